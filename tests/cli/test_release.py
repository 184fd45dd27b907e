"""clipadapt release as typed: names on stdout, reasons on stderr, exit codes that a pipeline can go by."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from data_factory import write_catalogue
from runs_factory import write_gate, write_run
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.cli import main
from clipadapt.deploy.bundle import gather
from clipadapt.deploy.creation import create
from clipadapt.deploy.releases import Releases
from clipadapt.evaluation.gate import Gate
from clipadapt.runs import Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop, a base, a run of both towers and one of the text tower alone, and gates."""
    root = tmp_path_factory.mktemp("made")
    write_open_clip(root / "base", OPEN_CLIP["clip"])
    shop = str(write_catalogue(root / "shop", items=60))
    write_run(root / "text1", root / "base", 1, preset="text", source=shop)
    write_run(root / "text2", root / "base", 2, preset="text", source=shop)
    write_run(root / "both", root / "base", 3, preset="both", source=shop)
    write_gate(root)
    return root


def release(*arguments: object) -> int:
    return main(["release", *map(str, arguments)])


def test_a_release_from_creation_to_rollback(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, gate = tmp_path / "releases", made / "gate.yaml"
    for number, name in enumerate(("text1", "both"), 1):
        assert release("create", store, made / name, "--gate", gate, "--note", f"the {name} one") == 0
        out, err = capsys.readouterr()
        assert out == f"00000{number}\n"
        assert "gate shop: headline" in err
        assert release("promote", store, ("000001", "2")[number - 1]) == 0, "zeros may be left out"
        assert capsys.readouterr().out == f"00000{number}\n"
    assert release("list", store, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["version"], one["current"], one["rollback"]) for one in listed] == [
        ("000001", False, True),
        ("000002", True, False),
    ]
    assert listed[1]["follows"] == "000001"
    assert listed[0]["image_space"] != listed[1]["image_space"]
    assert listed[0]["gates"][0]["passed"] is True
    assert release("list", store) == 0
    text = capsys.readouterr().out
    assert "000002  current" in text
    assert "the both one" in text
    assert "after 000001; gates: shop passed" in text
    assert release("rollback", store) == 0
    assert capsys.readouterr().out == "000001\n"
    assert release("purge", store) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "000002 stays: it is 0 day(s) old" in err
    assert release("purge", store, "2") == 1
    assert "000002: it is 0 day(s) old" in capsys.readouterr().err
    assert release("purge", store, "7") == 1
    assert "no release 000007; there are 000001, 000002" in capsys.readouterr().err
    assert release("create", store, made / "both", "--gate", gate, "--promote") == 0
    out, err = capsys.readouterr()
    assert out == "000003\n"
    assert "versions/000003 is current" in err
    assert release("rollback", store) == 0
    assert capsys.readouterr().out == "000001\n", "what it replaced"


def test_exit_codes(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, gate = tmp_path / "releases", made / "gate.yaml"
    assert release("create", store, made / "both") == 3, "the shipped gate asks for what was not measured"
    assert "no such row was measured" in capsys.readouterr().err
    assert not store.exists()
    assert release("create", store, made / "shop", "--gate", gate) == 2
    shutil.copytree(made / "both", tmp_path / "mixed")
    shutil.rmtree(tmp_path / "mixed" / "index")
    shutil.copytree(made / "text1" / "index", tmp_path / "mixed" / "index")
    assert release("create", store, tmp_path / "mixed", "--gate", gate) == 2
    assert "build it again with this run" in capsys.readouterr().err
    assert release("promote", store, "000001") == 1
    assert release("rollback", store) == 1
    assert release("purge", store, "000001") == 1
    assert release("create", store, made / "both", "--gate", gate, "--keep-index") == 2
    assert "nothing was promoted yet" in capsys.readouterr().err
    assert not (store / "versions").exists() or not list((store / "versions").iterdir())


def test_a_new_text_tower_keeps_the_index_if_its_queries_fit(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, gate = tmp_path / "releases", made / "gate.yaml"
    assert release("create", store, made / "text1", "--gate", gate) == 0
    assert release("promote", store, "000001") == 0
    lax, strict = (tmp_path / f"{name}.yaml" for name in ("lax", "strict"))
    row = {"row": "headline", "metric": "average_precision", "bound": "delta_low"}
    for path, above in ((lax, -1.0), (strict, 0.9)):
        path.write_text(json.dumps({"name": "compatibility", "conditions": [row | {"above": above}]}))
    create = ("create", store, made / "text2", "--gate", gate, "--keep-index", "--compatibility-gate")
    assert release(*create, strict) == 3
    assert "so the index is not kept" in capsys.readouterr().err
    assert release(*create, lax) == 0
    capsys.readouterr()
    assert release("list", store, "--json") == 0
    child = json.loads(capsys.readouterr().out)[1]
    assert child["parent"] == "000001"
    assert child["parts"]["index"] == "kept from 000001"
    assert [one["gate"] for one in child["gates"]] == ["shop", "compatibility"]
    document = json.loads((store / "versions/000002/report/compatibility/results.json").read_text())
    assert list(document["config"]["systems"]) == ["new queries", "old queries"]
    first, second = (store / "versions" / name / "index/versions/000001/index.faiss" for name in ("000001", "000002"))
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_ino != second.stat().st_ino
    assert release("create", store, made / "both", "--gate", gate, "--keep-index", "--compatibility-gate", lax) == 2
    assert "build an index with the new model" in capsys.readouterr().err


def test_lists_promotions_and_facts_of_an_index_never_import_torch(made: Path, tmp_path: Path) -> None:
    """What is typed in a hurry, on a server, answers in the time that Python takes to start."""
    run, gate = Run.open(made / "both"), Gate.load(made / "gate.yaml")
    releases = Releases(tmp_path / "releases")
    for _ in range(2):
        create(releases, gather(run, gate))
    releases.promote("1")
    shown = {
        "release list": "000001  current",
        "release promote 2": "000002",
        "release rollback": "000001",
        "release purge": "",
        "index info": "40 items (40 vectors of 24 dimensions)",
    }
    for command, expected in shown.items():
        verb, what, *more = command.split()
        place = run.path / "index" if verb == "index" else releases.root
        arguments = [verb, what, str(place), *more]
        script = (
            f"import sys; from clipadapt.cli import main; code = main({arguments!r})\n"
            "print({'torch', 'open_clip', 'datasets', 'transformers', 'pandas'} & set(sys.modules)); sys.exit(code)"
        )
        done = subprocess.run([sys.executable, "-c", script, "clipadapt.cli"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(expected) and done.stdout.endswith("set()\n"), (command, done.stdout)
