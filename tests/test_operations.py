"""docs/operations.md, typed as it stands there: from the audit of a tiny shop to a rollback that a service follows.

What a person does in a browser is done by writing what the page would export. Added to what stands there: a tiny model,
overrides of the training that suit it, a free port, and a shadow gate without a bound on time, for two arms that share
a busy processor say nothing of latency.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import httpx
import pytest
import readme
import readme_shop
import typer
from audit_marks import exported, labels_of
from PIL import Image, ImageOps
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.cli import main

SMALL = ["train.lr=5e-3", "model.precision=fp32", "train.epochs=3", "train.text_warmup=20"]
QUERIES = 160
"""By which the shadow gate can show that few queries fail."""
GATE = """
name: shadow
conditions:
  - {row: shadow, metric: failed, bound: high, below: 0.03}
  - {row: shadow, metric: overlap, bound: low, above: 0.01}
"""


def test_the_page_walks_from_audit_to_rollback() -> None:
    steps = [" ".join(readme.words(command)[:3]) for command in readme.commands(readme.OPERATIONS.read_text())]
    wanted = ["clipadapt data audit", "accelerate launch -m", "clipadapt release create", "clipadapt tag --model",
              "clipadapt captions --model", "clipadapt serve releases", "clipadapt shadow logs",
              "clipadapt evidence releases/versions/000002", "clipadapt release promote", "clipadapt drift vectors/new",
              "clipadapt release rollback"]  # fmt: skip
    assert [step for step in dict.fromkeys(steps) if step in wanted] == wanted
    assert all(len(line) <= 160 for line in readme.OPERATIONS.read_text().splitlines())


@pytest.mark.parametrize(
    "command",
    [
        *readme.commands(readme.OPERATIONS.read_text(encoding="utf-8")),
        *readme.commands(readme.SWAP.read_text(encoding="utf-8")),
    ],
)
def test_every_argument_is_known(command: str) -> None:
    """Parsed as the command line does, and not run."""
    program, verb, *arguments = readme.words(command)
    if program != "clipadapt":
        return
    module, outer = importlib.import_module(f"clipadapt.cli.{verb}"), typer.Typer(add_completion=False)
    if hasattr(module, "app"):
        outer.add_typer(module.app, name=verb)
        group = typer.main.get_command(outer)
        context = group.make_context("clipadapt", [verb, *arguments], resilient_parsing=True)
        inner = group.commands[verb].commands[arguments[0]]  # pyright: ignore[reportAttributeAccessIssue]
        inner.make_context(arguments[0], arguments[1:], parent=context)
    else:
        outer.command()(module.command)
        typer.main.get_command(outer).make_context(verb, arguments)


class Service:
    """`clipadapt serve` as a process of its own."""

    def __init__(self, command: str) -> None:
        arguments = [*readme.words(command)[1:], "--port", "0"]
        environment = os.environ | {"PYTHONPATH": str(readme.README.parent)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "clipadapt.cli", *arguments], env=environment, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert line.startswith("open http"), line + self.process.stderr.read()
        self.client = httpx.Client(
            base_url=line.split()[1], timeout=300, transport=httpx.HTTPTransport(retries=20), trust_env=False
        )
        self.until(lambda: self.client.get("/readyz").status_code == 200)

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 600
        while not true():
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)

    def info(self) -> dict[str, Any]:
        return self.client.get("/info").json()

    def follows(self, release: str) -> None:
        self.until(lambda: self.info()["current"]["release"] == release)

    def ask(self, number: int) -> None:
        words = ("red", "green", "blue", "black", "striped", "checked", "solid", "shirt")
        text = f"{words[number % 8]} {words[number // 8 % 8]} {number}"
        answer = self.client.post("/search", json={"text": text, "user": f"u{number}", "k": 10})
        assert answer.status_code == 200 and answer.json()["release"] == "000001", "users see what is promoted"

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=120)
        self.client.close()


@pytest.fixture
def running() -> Iterator[list[Service]]:
    services: list[Service] = []
    yield services
    for service in services:
        service.stop()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_step_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], running: list[Service]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPADAPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets-cache")
    for name in ("catalogue", "arrivals"):
        readme_shop.write_csv(tmp_path / "my" / name)
    table = Path("my/arrivals/items.csv")
    table.write_text(table.read_text().replace(",A-", ",B-"))  # other products
    for picture in Path("my/arrivals/photos").glob("*.png"):  # another camera look
        ImageOps.invert(Image.open(picture)).save(picture)
    write_open_clip(tmp_path / "tiny", OPEN_CLIP["clip"])
    (tmp_path / "shadow_gate.yaml").write_text(GATE)
    assert main(["init", "my/catalogue", "--name", "mine", "--yes", "--model", "local-dir:tiny"]) == 0

    for command in readme.commands(readme.OPERATIONS.read_text()):
        capsys.readouterr()
        code, said = step(command, capsys, running)
        assert code == (3 if command.startswith("clipadapt drift") else 0), f"{command}\n{said}"
        check(command, said, running)
    releases = listed(capsys)
    assert [(one["version"], one["current"]) for one in releases] == [("000001", True), ("000002", False)]


def step(command: str, capsys: pytest.CaptureFixture[str], running: list[Service]) -> tuple[int, str]:
    """Types one line; its exit code and what it said."""
    program, *arguments = readme.words(command)
    if program == "echo":
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr
    if program == "accelerate":
        # What accelerate starts, without the launcher: README's walk goes through it.
        log = Path("training.log")
        module = arguments.index("clipadapt.launch")
        forked.run("run_launch.py", *arguments[module + 1 :], *SMALL, log=log, ACCELERATE_USE_CPU="true")
        return 0, log.read_text()
    if arguments[0] == "serve":
        running.append(Service(command))
        return 0, ""
    more = ["--gate", "shadow_gate.yaml"] if arguments[0] == "shadow" else []
    code = main([*arguments, *more])
    return code, "".join(capsys.readouterr())


def check(command: str, said: str, running: list[Service]) -> None:
    """That a step left what it is for, and what happens between two steps."""
    if "data audit" in command and "--answers" not in command:
        write_answers(Path("audit"))
    elif "--answers" in command:
        assert json.loads(Path("audit/label_error.json").read_text())["rows"]
    elif command.startswith("clipadapt tag"):
        assert "for a person: " in said and Path("tags.queue.csv").is_file()
    elif command.startswith("clipadapt captions"):
        assert Path("gallery/gallery.json").is_file() and "items have an alt text" in said
    elif command.startswith("clipadapt serve"):
        (service,) = running
        assert service.info()["current"]["release"] == "000001" and service.info()["candidate"]["release"] == "000002"
        for number in range(QUERIES):
            service.ask(number)
        service.until(lambda: mirrored() == QUERIES)
    elif command.startswith("clipadapt shadow"):
        document = json.loads(Path("shadow/shadow.json").read_text())
        assert (document["current"], document["candidate"], document["passed"]) == ("000001", "000002", True)
        assert f"answered {QUERIES} queries" in document["sentence"]
    elif command.startswith("clipadapt evidence"):
        packet = json.loads(Path("evidence/evidence.json").read_text())
        titles = {section["title"]: section for section in packet["sections"]}
        assert packet["passed"] and titles["Label audit"]["facts"] and titles["Shadow"]["facts"]
    elif command.startswith("clipadapt release promote"):
        running[0].follows("000002")
    elif command.startswith("clipadapt drift"):
        assert json.loads(Path("drift/drift.json").read_text())["alarms"] > 0 and Path("drift/drift.prom").is_file()
    elif command.startswith("clipadapt release rollback"):
        running[0].follows("000001")


def write_answers(folder: Path) -> None:
    """What the page exports when every label was marked right but the first."""
    page = folder / "mark.html"
    marks = dict.fromkeys(range(labels_of(page)), "right") | {0: "wrong"}
    (folder / "answers.json").write_text(json.dumps(exported(page, marks)))


def mirrored() -> int:
    """Answers of the candidate that are in the log."""
    files = [path for path in Path("logs").rglob("*.jsonl") if path.is_file()]
    return sum(path.read_text(encoding="utf-8").count('"000002"') for path in files)


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["release", "list", "releases", "--json"]) == 0
    return json.loads(capsys.readouterr().out)
