"""The command line: `clipadapt VERB ...`, one module per verb, imported only when that verb is asked for.

Results go to stdout, messages to stderr. A ClipadaptError ends a command with its message, no traceback, and its exit
code; anything else is a bug and keeps its traceback. Nothing here knows what a verb does.
"""

import contextlib
import difflib
import errno
import importlib
import importlib.metadata
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

from clipadapt.errors import ClipadaptError
from clipadapt.processes import is_main_process, rank

VERBS = {
    "init": "look at a catalogue; write a config and a prompts file that train at once",
    "data": "check, prepare or audit a catalogue",
    "prompts": "lint, preview, score or weigh prompt templates",
    "embed": "a catalogue -> vectors",
    "eval": "measure a model, against another, with intervals",
    "advise": "what to try next with a run, with the numbers behind it",
    "tag": "values, captions and alt texts per item; what needs no person",
    "captions": "alt texts and captions of sure tags, as HTML with JSON-LD for a publisher's page",
    "index": "build, search, change and tune a visual search index",
    "export": "merge adapters; write what servers load",
    "release": "bundle, promote, roll back, list, purge and swap what serves",
    "serve": "search over HTTP, with a page to search on",
    "drift": "new vectors against a reference, per segment and window; 3 on an alarm",
    "events": "a service's log of answers and clicks, as one file",
    "evidence": "what a reviewer needs before a release goes live, each figure with its file",
    "shadow": "a candidate's answers beside those that were given; 3 where its gate is not passed",
    "experiment": "what people clicked, candidate against current; may be read every day; 3 where it is worse",
    "bench": "time a model's towers in torch, onnxruntime and INT8 against a budget",
    "garments": "draw the offline catalogue and pretrain the small base on it",
}
"""Verb -> what it does. Its module, clipadapt.cli.VERB, has `command` (a function) or `app` (a typer group)."""

LAUNCH = "accelerate launch -m clipadapt.launch --config CONFIG.yaml"
"""What trains, from anywhere; in a checkout, train.py does the same."""

_USAGE = """clipadapt VERB ... : adapt CLIP to your catalogue, prove the gain, ship it with no added latency

{verbs}

  clipadapt VERB --help tells more. What trains: {launch}
  Exit codes: 0 ok, 1 failure, 2 usage or configuration, 3 a gate or a drift alarm."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; `arguments` None takes the process's own. Gives the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    verb = given[0] if given else "--help"
    try:
        with reporting():
            return _answer(verb, given[1:])
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)


def _answer(verb: str, arguments: list[str]) -> int:
    """Runs a verb, or says what there is; the exit code."""
    if verb in ("--help", "-h"):
        width = max(map(len, VERBS))
        print(
            _USAGE.format(
                launch=LAUNCH, verbs="\n".join(f"  {name:{width}}  {summary}" for name, summary in VERBS.items())
            )
        )
        return 0
    if verb == "--version":
        print(f"clipadapt {importlib.metadata.version('clipadapt')}")
        return 0
    if verb == "train":
        print(f"clipadapt: training is started by a launcher, one process for each GPU:\n  {LAUNCH}", file=sys.stderr)
        return 2
    if verb not in VERBS:
        close = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"verbs are {', '.join(VERBS)}"
        print(f"clipadapt: no verb {verb!r}; {hint}", file=sys.stderr)
        return 2
    _run(verb, arguments)
    return 0


@contextlib.contextmanager
def reporting(stopped: str = "stopped") -> Iterator[None]:
    """Around a command: log lines go to stderr, what a person can mend becomes a message and SystemExit with its code.

    That is a ClipadaptError, a disk that is full or may not be written to, a Ctrl-C (`stopped`, and 130) and a pipe
    whose reader has gone (141, as a shell counts it); anything else is a bug and keeps its traceback. Of several
    processes the main one logs; each prints its own error, since it may be the only one to have it.
    """
    log = logging.getLogger("clipadapt")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO if is_main_process() else logging.ERROR)
    log.propagate = False  # a library that sets up the root logger would print every line a second time
    who = "" if is_main_process() else f" (process {rank()})"
    try:
        with _interruptible(stopped):
            yield
            sys.stdout.flush()
    except ClipadaptError as error:
        print(f"error{who}: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python flushes into the pipe once more
        raise SystemExit(128 + signal.SIGPIPE) from error
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        print(f"error{who}: {error}; {_REMEDIES[error.errno]}", file=sys.stderr)
        raise SystemExit(1) from error
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


@contextlib.contextmanager
def _interruptible(stopped: str) -> Iterator[None]:
    """Within: a Ctrl-C prints one line, on the main process, and ends the command with 130; a second one ends it hard.

    A signal that the process was started to ignore, as in the background of a script, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        yield
        return
    process = os.getpid()

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        if os.getpid() == process and is_main_process():  # not in processes that were forked to decode pictures
            print(f"\n{stopped}", file=sys.stderr, flush=True)
        raise SystemExit(128 + signal.SIGINT)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_REMEDIES = {
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "free some space, or choose another disk",
    errno.EROFS: "choose a folder that may be written to",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
}
"""What the machine may refuse, and what to do about it."""


def _run(verb: str, arguments: list[str]) -> None:
    import typer

    module = importlib.import_module(f"clipadapt.cli.{verb}")
    outer = typer.Typer(add_completion=False)
    if hasattr(module, "app"):
        outer.add_typer(module.app, name=verb)
        typer.main.get_command(outer).main(args=[verb, *arguments], prog_name="clipadapt")
    else:
        outer.command()(module.command)
        typer.main.get_command(outer).main(args=arguments, prog_name=f"clipadapt {verb}")
