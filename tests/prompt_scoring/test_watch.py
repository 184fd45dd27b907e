"""Watching a file: saves are taken up once they stand still; faults are told; unchanged texts are not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from clipadapt.errors import PromptError
from clipadapt.prompt_scoring.watch import saves
from clipadapt.prompts import Prompts

GOOD = 'attributes: {kind: {templates: ["a {value}"]}}\n'


def follow(path: Path, steps: list[Callable[[], object]]) -> list[Prompts | PromptError]:
    """What is told while `steps` happen, a step per look, until they are used up."""
    waiting = iter(steps)

    def wait(_: float) -> None:
        step = next(waiting, None)
        if step is None:
            raise RuntimeError("no more steps")
        step()

    told: list[Prompts | PromptError] = []
    with pytest.raises(RuntimeError, match="no more steps"):
        told.extend(iter(saves(path, wait=wait)))
    return told


def nothing() -> None:
    pass


def test_a_save_is_taken_up_once_it_stands_still(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(GOOD)

    def write(text: str) -> Callable[[], object]:
        return lambda: path.write_text(text)

    edited, longer = GOOD.replace("a {value}", "one {value}"), GOOD.replace("a {value}", "one single {value}")
    told = follow(path, [nothing, write(edited), nothing, nothing, write(edited[:20]), write(longer), nothing, nothing])
    assert [one.value_texts("kind", "x") for one in told if isinstance(one, Prompts)] == [["one x"], ["one single x"]]
    assert len(told) == 2


def test_faults_are_told_and_watching_goes_on(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(GOOD)
    told = follow(
        path,
        [
            lambda: path.write_text(GOOD[:-6]), nothing, nothing,
            path.unlink, nothing, nothing,
            lambda: path.write_text(GOOD), nothing, nothing,
            lambda: path.write_text(GOOD), nothing, nothing,
        ],
    )  # fmt: skip
    assert [type(one) for one in told] == [PromptError, PromptError, Prompts]
    assert "not valid YAML" in str(told[0]) and "no such file" in str(told[1])
