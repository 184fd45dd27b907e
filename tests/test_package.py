"""What pyproject.toml promises: every import is declared, every floor is kept, what is shipped is found."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from readme import section

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def imported(place: Path) -> dict[str, Path]:
    """Top-level name of every absolute import in a folder, or one file -> a file that has it."""
    names: dict[str, Path] = {}
    for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0]: file for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names[node.module.split(".")[0]] = file
    return names


def normal(requirement: str) -> str:
    return re.split(r"[<>=!~;\[ ]", requirement)[0].lower().replace("_", "-")


def test_every_import_of_the_package_is_declared() -> None:
    project = PROJECT["project"]
    extras = [item for name, group in project["optional-dependencies"].items() if name != "dev" for item in group]
    declared = {normal(item) for item in [*project["dependencies"], *extras]}
    homes = packages_distributions()
    missing = {}
    for name, file in imported(ROOT / "clipadapt").items():
        if name in sys.stdlib_module_names or name == "clipadapt":
            continue
        if not {normal(home) for home in homes.get(name, [name])} & declared:
            missing[name] = str(file.relative_to(ROOT))
    missing.pop("pictures", None)  # written beside the client of a Triton export, which imports it there
    assert not missing


def test_shapes_are_checked_wherever_arrays_are_named() -> None:
    options = PROJECT["tool"]["pytest"]["ini_options"]["addopts"]
    (listed,) = (item.partition("=")[2].split(",") for item in options if item.startswith("--jaxtyping-packages="))
    assert listed.pop() == "shape_checks.check"
    missing, used = set(), set()
    for file in sorted((ROOT / "clipadapt").rglob("*.py")):
        if "jaxtyping" in imported(file):
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            homes = {name for name in listed if f"{module}.".startswith(f"{name}.")}
            missing |= {module} if not homes else set()
            used |= homes
    assert (missing, set(listed) - used) == (set(), set())


@pytest.mark.parametrize(("package", "version"), [("torch", "2.11.0"), ("transformers", "5.17.0")])
def test_ranges_admit_the_older_releases_that_are_supported(package: str, version: str) -> None:
    from packaging.requirements import Requirement

    found = [Requirement(item) for item in requires("clipadapt") or []]
    assert any(item.name == package and version in item.specifier for item in found)


def test_every_shipped_folder_of_yaml_is_in_the_wheel() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    for folder in ("prompts", "configs", "eval"):
        assert f"{folder}/*.yaml" in wheel["include"]
        assert wheel["sources"][folder] == f"clipadapt/defaults/{folder}"
        assert {file.parent.name for file in (ROOT / folder).rglob("*.yaml")} == {folder}, "subfolders are not shipped"


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for file in (ROOT / "clipadapt").rglob("*.py")
    }
    assert {file: lines for file, lines in lengths.items() if lines > 400} == {}


def test_every_module_opens_with_what_it_does() -> None:
    without = [
        str(file.relative_to(ROOT))
        for file in (ROOT / "clipadapt").rglob("*.py")
        if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert without == []


def test_readmes_house_is_the_one_that_stands() -> None:
    """Every module of the package is on one floor of the picture, in the order of the contracts."""
    house = section("The house").partition("clipadapt/\n")[2].partition("```")[0]
    floors: dict[str, int] = {}
    floor = -1
    for line in house.splitlines():
        found = re.match(r" +floor (\d+)", line)
        floor = int(found[1]) if found else floor
        words = line[12:].split()
        names = words if found and floor == 0 else words[:1]
        floors |= {name.strip("/"): floor for name in names}
    modules = {path.stem for path in (ROOT / "clipadapt").iterdir() if path.suffix == ".py" or path.is_dir()}
    modules -= {"__init__", "__pycache__", "defaults"}
    assert set(floors) == modules
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    order = [[name.removeprefix("clipadapt.") for name in layer.split(" | ")] for layer in reversed(layers)]
    heights = [[floors[name] for name in layer] for layer in order if not layer[0].startswith("(")]
    assert all(len(set(layer)) == 1 for layer in heights), "packages that may not import each other share a floor"
    assert [layer[0] for layer in heights] == sorted(layer[0] for layer in heights)
