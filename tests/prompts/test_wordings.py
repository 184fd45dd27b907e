"""Wordings: draws that depend on their key alone, hold nothing that is held out, and reach all there is."""

import re
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clipadapt.errors import PromptError
from clipadapt.prompts import Prompts
from clipadapt.prompts.family import family_of
from clipadapt.prompts.lint import lint
from clipadapt.prompts.wordings import FILE, GENERIC, HELD_OUT_TEXTS, RANDOM_WORDS, Wordings
from clipadapt.prompts.words import pluralise

FILE_TEXT = """
not_applicable: {cells: [None], texts: ["something without {attribute}"]}
captions: ["a {kind}", {text: "fresh {kind}", held_out: true}]
attributes:
  Pattern:
    templates:
      - "a photo of {a value} garment"
      - {text: "{value}: {description}", weight: 0.5}
      - {text: "wearing {value}", held_out: true}
    values:
      Solid: {names: [plain, {text: unpatterned, held_out: true}], descriptions: [one colour]}
      Striped: [striped, pin-striped, {text: stripy, weight: 0}]
  Neck: {templates: ["with {a value}"], values: {V-Neck: [V-neck, plunging neck]}}
  kind: {templates: ["{a value}"], values: {Jeans: {names: [jeans], article: a pair of}}}
other_attributes: {templates: ["of {value}"]}
"""
TITLES = ["Puma men blue summer tee", "Nike men plain tee", "Puma women unpatterned stripy kurta", "wearing women tee"]
VALUES = {"Pattern": ["Solid", "Striped", "None"], "Neck": ["V-Neck"], "kind": ["Jeans"], "colour": ["Blue", "Red"]}


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts.parse(FILE_TEXT, "test.yaml")


@pytest.fixture(scope="module")
def wordings(prompts) -> Wordings:
    return Wordings(prompts, TITLES, values=VALUES)


def words(text: str) -> list[str]:
    """Words without case and punctuation, seen apart from the package's own rule."""
    return re.sub(r"[^\w]+", " ", text.lower()).split()


def holds(outer: str, inner: str) -> bool:
    return f" {' '.join(words(inner))} " in f" {' '.join(words(outer))} "


def many(wordings: Wordings, attribute: str, value: str, number: int = 1500) -> list[str]:
    return [wordings.training(attribute, value, (7, draw)) for draw in range(number)]


def test_draws_depend_on_their_key_alone(prompts, wordings):
    keys = [(0, 1), (0, 2), (3,), (), (2**40, -5, 0)]
    first = [wordings.training("Pattern", "Solid", key) for key in keys]
    again = Wordings(prompts, TITLES[::-1], values={name: own[::-1] for name, own in VALUES.items()})
    again.training("Neck", "V-Neck", (0, 1))
    assert [again.training("Pattern", "Solid", key) for key in reversed(keys)] == first[::-1]
    assert [again.filler(key) for key in keys] == [wordings.filler(key) for key in keys]
    other = Wordings(prompts, TITLES, seed=1, values=VALUES)
    assert many(other, "Pattern", "Solid", 50) != many(wordings, "Pattern", "Solid", 50)
    assert other.held_out("Pattern", "Solid") == wordings.held_out("Pattern", "Solid"), "judged alike at any seed"


def test_every_name_template_variant_and_title_word_is_reached_by_its_share(prompts, wordings):
    texts = many(wordings, "Pattern", "Striped")
    for generic in family_of(prompts).trained:
        text = re.sub(r"\{(a )?value\}", lambda m: "a striped" if m[1] else "striped", generic.what.text)
        assert text.replace("{attribute}", "pattern") in texts
    assert {"a photo of a striped garment", "a photo of a pin-striped garment"} <= {*texts}
    for variant in ("pin striped", "Pin-striped", "stripeds"):
        assert any(variant in text for text in texts), variant
    assert not any(holds(text, "stripy") for text in texts), "its weight is 0"
    around = Counter(word for text in texts for word in words(text) if word in ("puma", "men", "nike", "women", "tee"))
    assert around["tee"] > around["men"] > around["nike"] > 0, "by how often titles say them"
    own = sum("photo of" in text and "garment" in text for text in texts) / len(texts)
    assert own == pytest.approx(FILE, abs=0.04), "the one template of the file that needs no description"
    bare = sum(not any(holds(text, word) for word in ("puma", "men", "nike", "women", "tee")) for text in texts)
    assert bare / len(texts) == pytest.approx(FILE + GENERIC, abs=0.06) and FILE + GENERIC + RANDOM_WORDS == 1
    pinned = sum("pin" in text.lower() for text in texts) / len(texts)
    assert pinned == pytest.approx(0.3, abs=0.04), "half of what the table's own spelling leaves"
    described = many(wordings, "Pattern", "Solid")
    assert {"plain: one colour", "solid: one colour"} <= {*described}


def test_values_words_are_never_drawn_at_random(wordings):
    fillers = [wordings.filler((0, draw)) for draw in range(2000)]
    assert {len(text.split()) for text in fillers} == {1, 2, 3, 4, 5, 6}
    said = {word for text in fillers for word in text.split()}
    assert said == {"puma", "men", "summer", "tee", "nike", "women", "kurta", "wearing"}, "no blue, plain, stripy"


def test_without_titles_the_files_words_stand_in_else_the_shipped_ones(prompts):
    shipped = Wordings(prompts)
    assert set(" ".join(shipped.filler((0, n)) for n in range(500)).split()) > {"summer", "street"}
    own = Wordings(Prompts.parse(FILE_TEXT + "words: [alpha, beta, striped]"))
    assert set(" ".join(own.filler((0, n)) for n in range(50)).split()) == {"alpha", "beta"}
    none = Prompts.parse(FILE_TEXT + "words: [striped]")
    assert not {text for text in many(Wordings(none), "Neck", "V-Neck", 99) if "  " in text or not text}
    with pytest.raises(PromptError, match="give the prompts file a list `words:`"):
        Wordings(none).filler((0,))


def test_held_out_texts_are_the_marked_ones_else_generic_ones_in_the_tables_spelling(prompts, wordings):
    assert wordings.held_out("Pattern", "Solid") == [("wearing solid", 0.5), ("wearing unpatterned", 0.5)]
    assert wordings.held_out("Pattern", "Striped") == [("wearing striped", 1.0)]
    generic = wordings.held_out("Neck", "V-Neck")
    assert len(generic) == HELD_OUT_TEXTS == len(family_of(prompts).held_out)
    assert all("v-neck" in text and share == pytest.approx(1 / 8) for text, share in generic)
    assert wordings.held_out("Pattern", "None") == [("something without pattern", 1.0)]
    assert set(many(wordings, "Pattern", "None", 20)) == {"something without pattern"}
    assert any("a pair of jeans" in text for text, _ in wordings.held_out("kind", "Jeans"))
    assert all("blue" in text for text, _ in wordings.held_out("colour", "Blue"))


def test_captions_and_ensembles_leave_out_what_is_held_out(prompts):
    assert prompts.captions({"kind": "Jeans"}) == ["a jeans"]
    said = {prompts.caption({"kind": "Jeans"}, (0, epoch, 0)) for epoch in range(20)}
    assert said == {"a jeans"}
    assert prompts.value_texts("Pattern", "Solid") == ["a photo of a plain garment", "plain: one colour"]
    assert prompts.rewordings("unpatterned tee") == ["unpatterned tee", "plain tee"], "understood, and not said"
    assert prompts.rewordings("plain tee") == ["plain tee"]


def test_a_file_whose_every_template_is_held_out_trains_in_generic_wordings():
    prompts = Prompts.parse('attributes:\n  X:\n    templates:\n      - {text: "quite {value}", held_out: true}\n')
    wordings = Wordings(prompts, TITLES)
    texts = many(wordings, "X", "Red", 500)
    assert "looking for red" in texts and not any(holds(text, "quite") for text in texts)
    assert wordings.held_out("X", "Red") == [("quite red", 1.0)] and prompts.value_texts("X", "Red") == ["red"]
    assert ["every template is held out" in finding.message for finding in lint(prompts)] == [True]


def test_what_leaves_nothing_to_train_on_is_refused():
    head = "attributes:\n  X: {templates: ['{value}'], values: {Red: [{text: red, held_out: true}%s]}}\n"
    with pytest.raises(PromptError, match=r"p:2:\d+: .*every name is held out, the table's own spelling too"):
        Prompts.parse(head % "", "p")
    texts = many(Wordings(Prompts.parse(head % ", crimson")), "X", "Red", 60)
    assert all(re.search("crimsons?", text.lower()) for text in texts)
    with pytest.raises(PromptError, match="none is left to train with"):
        Prompts.parse('captions: [{text: "{x}", held_out: true}, {text: "a {x}", weight: 0}]')
    with pytest.raises(PromptError, match="expected true or false, found '2'"):
        Prompts.parse('captions: [{text: "{x}", held_out: 2}, "a {x}"]')
    with pytest.raises(PromptError, match="unknown key 'held_out'"):
        Prompts.parse('attributes: {X: {templates: "{value}", plain: {text: "a {value}", held_out: true}}}')
    shared = Prompts.parse(
        (head % ", crimson") + "  Y: {templates: ['{value}'], values: {Dark Red: [dark red]}}\n", "p"
    )
    with pytest.raises(PromptError, match="p:3: Y: every name of 'Dark Red' is or contains one that is held out"):
        Wordings(shared)
    assert [finding.level for finding in lint(shared)] == ["error"]
    with pytest.raises(PromptError, match="every name of 'RED'"):
        Wordings(Prompts.parse(head % ", crimson"), values={"X": ["RED"]})


def test_lint_names_templates_and_names_that_contain_what_is_held_out():
    prompts = Prompts.parse(
        "attributes:\n"
        "  X:\n"
        "    templates: ['{a value} thing', {text: 'a {value} thing now', held_out: true}]\n"
        "    plain: 'see {a value} thing now'\n"
        "    values: {Red: [scarlet tone, {text: scarlet, held_out: true}]}\n"
        "  Y: {templates: ['this {a value} thing now is {value}']}\n",
        "p",
    )
    assert [finding.line("p") for finding in lint(prompts)] == [
        "p:2:3: warning: 'see {a value} thing now' contains the template of line 3, which is held out, so nothing is "
        "trained with it; change one of them",
        "p:5:20: warning: X: the name 'scarlet tone' of 'Red' is or contains that of line 5, which is held out, so "
        "nothing is trained with it",
        "p:6:19: warning: 'this {a value} thing now is {value}' contains the template of line 3, which is held out, so "
        "nothing is trained with it; change one of them",
    ]
    assert not any(holds(text, "thing now") for text in many(Wordings(prompts), "Y", "Blue", 300))


def test_two_attributes_that_share_a_name_both_train_with_it():
    prompts = Prompts.parse(
        "attributes: {X: {templates: ['x {value}'], values: {A: one}}, Y: {templates: ['y {value}'], values: {B: one}}}"
    )
    wordings = Wordings(prompts)
    assert "x one" in many(wordings, "X", "A", 300) and "y one" in many(wordings, "Y", "B", 300)


def test_other_languages_use_wordings_without_words():
    prompts = Prompts.parse("language: de\nwords: [Sommer]\nattributes: {Muster: {templates: ['ein Foto, {value}']}}")
    texts = {re.sub("(?i)kariert", "_", text) for text in many(Wordings(prompts), "Muster", "Kariert", 800)}
    assert {text for text in texts if "sommer" not in text} <= {"ein Foto, _", "_", "_ muster", "muster _", "muster: _"}
    assert lint(prompts) == []
    taken = Prompts.parse(
        "language: de\nattributes: {Muster: {templates: ['{value} {attribute}, {attribute} {value}']}}"
    )
    assert Wordings(taken).held_out("Muster", "Kariert") == [("kariert", 1.0)]
    assert ["no wording is left" in finding.message for finding in lint(taken)] == [True]
    ((text, share),) = Wordings(prompts).held_out("Muster", "Kariert")
    assert share == 1 and "muster" in text and text not in many(Wordings(prompts), "Muster", "Kariert", 800)


NAMES = st.lists(
    st.sampled_from(["red", "blue", "deep-red", "new", "sea", "buy", "clearly", "photo", "results", "thing", "is"]),
    min_size=1,
    max_size=2,
).map(" ".join)
TEMPLATES = st.lists(
    st.sampled_from(
        ["{value}", "a {value} thing", "{a value}", "see {a value} now", "now", "red {value}", "all {value} results",
         "{value} {value}", "buy {value}", "look: {value}", "deep {value}", "{attribute} is {value}"]
    ),
    min_size=1, max_size=3, unique=True,
).filter(lambda some: any("value" in one for one in some))  # fmt: skip
SECTION = st.tuples(
    st.lists(
        st.tuples(TEMPLATES.map(lambda some: next(t for t in some if "value" in t)), st.booleans()),
        min_size=1,
        max_size=4,
        unique_by=lambda one: one[0],
    ),
    st.dictionaries(NAMES, st.lists(st.tuples(NAMES, st.booleans()), min_size=1, max_size=3), min_size=1, max_size=3),
)


def file_of(sections) -> str:
    def entry(text: str, held: bool) -> str:
        return f'{{text: "{text}", held_out: {str(held).lower()}}}'

    lines = ["attributes:"]
    for number, (templates, values) in enumerate(sections):
        lines += [
            f"  A{number}:",
            "    templates: [" + ", ".join(entry(*one) for one in templates) + "]",
            "    values:",
        ]
        lines += [
            f'      "{value}": [' + ", ".join(entry(*one) for one in names) + "]" for value, names in values.items()
        ]
    return "\n".join(lines) + "\n"


@settings(max_examples=30, deadline=None)
@given(st.lists(SECTION, min_size=1, max_size=2), st.lists(NAMES, max_size=4), st.integers(0, 2**32))
def test_no_draw_holds_a_held_out_template_or_name(sections, titles, seed):
    try:
        prompts = Prompts.parse(file_of(sections))
        wordings = Wordings(prompts, titles, seed=seed)
    except PromptError as refused:
        assert "left to train with" in str(refused) or "leave one to train with" in str(refused)
        assume(False)
        return
    held_names = [name for _, values in sections for names in values.values() for name, held in names if held]
    generic = [entry.what.text for entry in family_of(prompts).held_out]
    marked = [text for templates, _ in sections for text, held in templates if held]
    for number, (_, values) in enumerate(sections):
        attribute = f"A{number}"
        for value, names in values.items():
            said = {value, *(name for name, held in names if not held)}
            judged = [text for text, _ in wordings.held_out(attribute, value)]
            assert 1 <= len(judged) <= HELD_OUT_TEXTS
            for draw in range(8):
                try:
                    text = wordings.training(attribute, value, (draw,))
                except PromptError as refused:
                    assert "nothing is left to train with" in str(refused)
                    break
                forms = [one for name in said for one in (name, pluralise(name))]
                assert any(holds(text, name) for name in forms), (text, said)
                for name in held_names:
                    assert not holds(text, name), (text, name)
                for one in judged:
                    assert not holds(text, one), (text, one)
                for template in (*marked, *generic):
                    for name in said:
                        own = template.replace("{attribute}", f"a{number}")
                        assert not holds(text, re.sub(r"\{(a )?value\}", name, own)), (text, template)
