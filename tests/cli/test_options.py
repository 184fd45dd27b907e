"""Every verb that reads a catalogue takes the same flags for it, and gets what was typed."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from clipadapt.cli import data, drift, embed, index, options, prompts, tag
from clipadapt.cli import eval as eval_

FLAGS = ["--source", "--config", "--image", "--product", "--id", "--title"]
VERBS = {
    "embed": embed.command, "eval": eval_.command, "tag": tag.command, "index build": index.build,
    "index add": index.add, "data check": data.check, "data audit": data.audit, "data metadata": data.metadata,
    "drift": drift.command, "prompts lint": prompts.lint,
    "prompts preview": prompts.preview, "prompts score": prompts.score, "prompts weigh": prompts.weigh,
}  # fmt: skip


def app(verb) -> typer.Typer:
    made = typer.Typer()
    made.command()(verb)
    return made


@pytest.mark.parametrize("verb", VERBS)
def test_the_flags_are_the_same_everywhere(verb: str) -> None:
    command = typer.main.get_command(app(VERBS[verb]))
    names = [name for parameter in command.params for name in parameter.opts]
    assert [name for name in names if name in FLAGS] == FLAGS
    assert command.help, "the verb's own docstring"


def test_the_verb_gets_what_was_typed() -> None:
    got = []

    @options.with_catalogue
    def verb(name: str, catalogue: options.Catalogue, more: int = 1) -> None:
        got.append((name, dict(catalogue), more))

    typed = ["a", "--source", "shop", "--id", "sku", "--more", "2", "--config", "c.yaml"]
    result = CliRunner().invoke(app(verb), typed)
    assert result.exit_code == 0, result.output
    nothing = dict.fromkeys(("image", "product", "title"))
    assert got == [("a", {"source": "shop", "id": "sku", "config": Path("c.yaml"), **nothing}, 2)]
