import errno
import importlib
import logging
import os
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer

from clipadapt import cli, errors
from clipadapt.cli import VERBS, main, reporting

COMMAND = [str(Path(sys.executable).parent / "clipadapt")]
MODULE = [sys.executable, "-m", "clipadapt.cli"]


def install(monkeypatch: pytest.MonkeyPatch, verb: str, **content: object) -> None:
    module = ModuleType(f"clipadapt.cli.{verb}")
    module.__dict__.update(content)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(VERBS, verb, "made for a test")


def test_every_verb_has_its_module_and_every_module_its_verb() -> None:
    modules = {info.name for info in pkgutil.iter_modules(cli.__path__)} - {"__main__"}
    loaded = {name: importlib.import_module(f"clipadapt.cli.{name}") for name in modules}
    assert set(VERBS) == {
        name for name, module in loaded.items() if hasattr(module, "app") or hasattr(module, "command")
    }


@pytest.mark.parametrize("form", [COMMAND, MODULE], ids=["script", "module"])
def test_help_is_quick_for_nothing_heavy_is_imported(form: list[str]) -> None:
    done = subprocess.run([*form, "--help"], capture_output=True, text=True, check=True)
    assert "prompts" in done.stdout
    assert done.stderr == ""
    traced = subprocess.run(
        [*form, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
    )
    imported = {line.rpartition("|")[2].strip() for line in traced.stderr.splitlines()}
    assert "clipadapt.cli" in imported, "the trace names what is imported"
    assert not imported & {"torch", "numpy", "datasets", "faiss", "transformers", "pandas", "pydantic"}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_of_every_verb_imports_nothing_heavy(verb: str) -> None:
    script = (
        "import sys; from clipadapt.cli import main; code = main([sys.argv[2], '--help'])\n"
        "print({'torch', 'datasets', 'faiss', 'transformers', 'pandas'} & set(sys.modules)); sys.exit(code)"
    )
    # The argument makes this process a command, as the package tells them.
    command = [sys.executable, "-c", script, "clipadapt.cli", verb]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("set()\n")


def test_a_slip_in_the_verb_is_usage_and_says_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompst"]) == 2
    assert main(["zzzzzz"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "did you mean prompts?" in err
    assert "verbs are init, data" in err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["-h"]) == main(["--version"]) == 0
    out, err = capsys.readouterr()
    assert out.rstrip().splitlines()[-1].startswith("clipadapt 0.")
    assert err == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TrainingError, 1),
        (errors.StoreError, 1),
        (errors.ConfigError, 2),
        (errors.ModelError, 2),
        (errors.GateError, 3),
    ],
)
def test_errors_end_in_their_message_and_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: type[errors.ClipadaptError], code: int
) -> None:
    def command(name: str) -> None:
        raise error(f"{name}: broken; mend it")

    install(monkeypatch, "toy", command=command)
    assert main(["toy", "x.yaml"]) == code
    assert capsys.readouterr() == ("", "error: x.yaml: broken; mend it\n")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def command() -> None:
        raise ZeroDivisionError

    install(monkeypatch, "toy", command=command)
    with pytest.raises(ZeroDivisionError):
        main(["toy"])


def test_results_and_exit_codes_of_a_group(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def show(count: int = 1) -> None:
        logging.getLogger("clipadapt.data").warning("%d odd item(s)", count)
        print("result")

    @app.command()
    def fail() -> None:
        raise typer.Exit(3)

    install(monkeypatch, "toy", app=app)
    assert main(["toy", "show", "--count", "2"]) == 0
    assert capsys.readouterr() == ("result\n", "2 odd item(s)\n")
    assert main(["toy", "fail"]) == 3
    assert main(["toy", "show", "--count", "many"]) == 2
    assert "clipadapt toy show" in capsys.readouterr().err
    assert not logging.getLogger("clipadapt").handlers


def test_another_process_logs_nothing_but_tells_its_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as ended, reporting():
        logging.getLogger("clipadapt").warning("once is enough")
        raise errors.TrainingError("lost")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error (process 1): lost\n"


@pytest.mark.parametrize("form", [COMMAND, MODULE], ids=["script", "module"])
def test_a_reader_that_leaves_is_no_traceback(form: list[str]) -> None:
    """`clipadapt | head -1`, with a reader that closes before anything is written."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(form, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "free some space"), (errno.EACCES, "change its permissions"), (errno.EROFS, "may be written to")],
)
def test_what_the_machine_refuses_is_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, remedy: str
) -> None:
    def command() -> None:
        raise OSError(number, os.strerror(number), "shop.yaml")

    install(monkeypatch, "toy", command=command)
    assert main(["toy"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: [Errno {number}]") and "'shop.yaml'" in said and remedy in said


def test_another_fault_of_the_system_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def command() -> None:
        raise FileNotFoundError(errno.ENOENT, "gone", "x")

    install(monkeypatch, "toy", command=command)
    with pytest.raises(FileNotFoundError):
        main(["toy"])


def test_ctrl_c_in_a_verb_is_one_line_and_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("went on")

    before = signal.getsignal(signal.SIGINT)
    install(monkeypatch, "toy", command=command)
    assert main(["toy"]) == 130
    assert capsys.readouterr() == ("", "\nstopped\n")
    assert signal.getsignal(signal.SIGINT) is before


def test_training_is_pointed_to_its_launcher(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "x.yaml"]) == 2
    assert "accelerate launch -m clipadapt.launch --config CONFIG.yaml" in capsys.readouterr().err
