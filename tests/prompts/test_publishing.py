"""What may stand under a published picture, and what lint says of templates that cannot."""

import pytest

from clipadapt.prompts import Prompts
from clipadapt.prompts.lint import Source, lint
from clipadapt.prompts.publishing import ALT_LENGTH, stuffed, unfit_alt


@pytest.mark.parametrize(
    "text",
    [
        "A striped shirt",
        "A long-sleeved striped red shirt made of cotton with a round neck for women, slim fit",
        "slim striped shirt in red, cotton, linen, long, mid-rise, with a round neck",
        "The back of the shirt on the left of the chair in the corner of the room",
        "",
    ],
)
def test_descriptions_are_not_stuffed(text):
    assert stuffed(text) == "" and unfit_alt(text) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("shirt shirts blue shirt", "says 'shirt' 3 times"),
        ("Shirt, blue SHIRT and cheap shirts", "says 'shirt' 3 times"),
        ("puppy, dog, pup, doggies, litter, retriever, labrador, setter, pointer", "lists 9 short parts"),
        ("red|blue|green|black|white|grey|pink|beige", "lists 8 short parts"),
    ],
)
def test_keywords_are_stuffed(text, why):
    assert why in stuffed(text) and why in unfit_alt(text)


def test_alt_texts_are_short_and_announce_nothing():
    assert unfit_alt("x" * ALT_LENGTH) == ""
    assert unfit_alt("x" * (ALT_LENGTH + 1)) == "has 126 characters, and screen readers read 125 without a break"
    for text in ("a photo of a shirt", "A close-up product photo of a shirt"):
        assert "announces a picture" in unfit_alt(text)
    assert unfit_alt("A shirt with a photo of a cat") == ""


def test_lint_names_templates_that_can_never_be_published():
    file = """captions:
  - "{a kind}"
  - "{kind}, cheap {kind}, buy {kind}"
  - "{a kind} {story}"
  - "shirt shirts shirt {kind}"
other_attributes: {templates: ["{value}"]}
"""
    prompts = Prompts.parse(file, "f.yaml")
    rows = [
        {"id": "1", "kind": "bag", "story": " ".join(f"{one}{two}" for one in "bcdf" for two in "ghjklmnpqrst")},
        {"id": "2", "kind": "hat", "story": "short"},
    ]
    lines = [one.line("f.yaml") for one in lint(prompts, Source.of(prompts, ["id", "kind", "story"], rows))]
    published = [line for line in lines if "stuffing" in line or "characters" in line]
    assert published[0].startswith("f.yaml:3:5: warning: keyword stuffing: 'bag, cheap bag, buy bag' says 'bag' 3")
    assert published[1].startswith("f.yaml:4:5: note: 1 of its texts have over 125 characters")
    assert published[2].startswith("f.yaml:5:5: warning: keyword stuffing: 'shirt shirts shirt bag' says 'shirt' 3")
    assert len(published) == 3
    alone = [one.line("f.yaml") for one in lint(prompts) if "stuffing" in one.message]
    assert len(alone) == 1 and alone[0].startswith("f.yaml:5:5"), "without rows, literal words alone are judged"
