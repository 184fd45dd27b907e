"""What pyproject.toml promises: every import is declared, every floor is kept, what is shipped is found."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def imported(folder: Path) -> dict[str, Path]:
    """Top-level name of every absolute import -> a file that has it."""
    names: dict[str, Path] = {}
    for file in sorted(folder.rglob("*.py")):
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
    assert not missing


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
