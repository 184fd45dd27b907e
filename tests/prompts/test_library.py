"""A prompts file as a whole: captions, ensembles, draws, checks, and faults with their places."""

from collections import Counter
from pathlib import Path

import pytest

from clipadapt.errors import PromptError
from clipadapt.prompts import Prompts

ROOT = Path(__file__).parents[2]

FILE = """
not_applicable: {cells: [None], texts: ["something without {attribute}"]}
captions:
  - "{a for kind} [{Pattern} ]{kind}[ with {a Collar}]"
  - {text: "a photo of {a Pattern} {kind}", weight: 2}
  - {text: "never {kind}", weight: 0}
attributes:
  kind: {templates: ["{a value}"], values: {Jeans: {names: [jeans], article: a pair of}, Shirts: [shirt]}}
  Pattern:
    templates: ["{a value} garment", {text: "{value}: {description}", weight: 3}]
    plain: "plainly {value}"
    values:
      Checked: {names: [checked, {text: plaid, weight: 3}], descriptions: [crossing lines, squares]}
      "No": no-pattern
      36: thirty-six
  Collar:
    called: kind of collar
    templates: ["with {a Collar}", "{attribute}: {value|cell}"]
    not_applicable: {name: no collar, texts: ["collarless", "no {attribute}"]}
  Tags: {separator: "|", templates: ["about {value}"], values: {Sea: the sea}}
other_attributes: {templates: ["{attribute} {value}"]}
"""
ROW = {"kind": "Shirts", "Pattern": "Checked", "Collar": "", "Tags": "", "id": "r7"}


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts.parse(FILE, "test.yaml")


def row(**cells: str) -> dict[str, str]:
    return ROW | cells


def test_captions_use_each_template_that_fits(prompts):
    assert prompts.captions(row()) == ["a checked shirt", "a photo of a checked shirt"]
    assert prompts.captions(row(Pattern="")) == ["a shirt"]
    assert prompts.captions(row(kind="Jeans", Collar="Polo  Collar")) == [
        "a pair of checked jeans with a polo collar",
        "a photo of a checked jeans",
    ]
    assert prompts.captions(row(Pattern="None", Collar="None")) == ["a shirt with no collar"]
    assert prompts.captions(row(Pattern="{kind} [x]", kind="a}b")) == [
        "a {kind} [x] a}b",
        "a photo of a {kind} [x] a}b",
    ]


def test_a_caption_says_which_columns_it_states():
    prompts = Prompts.parse('captions: ["{a for kind} [{Pattern} ]{kind}[, {Collar}[ in {Tags}]]"]')
    assert prompts.stated(row(), (0, 0, 0)) == ("a checked shirts", ("kind", "Pattern"))
    assert prompts.stated(row(Pattern="", Tags="red"), (0, 0, 0)).columns == ("kind",)
    assert prompts.stated(row(Collar="polo", Tags="red"), (0, 0, 0)).columns == ("kind", "Pattern", "Collar", "Tags")


def test_several_values_of_a_cell_are_joined():
    prompts = Prompts.parse(
        'captions: ["about {Tags}"]\nand: und\nattributes: {Tags: {separator: "|", templates: ["{value}"]}}'
    )
    assert prompts.captions({"Tags": "Sea| Sky |Ship"}) == ["about sea, sky und ship"]
    assert prompts.captions({"Tags": "Sea|"}) == ["about sea"]
    assert prompts.captions({"Tags": "Sea|Sky|sea |Sea"}) == ["about sea und sky"]
    assert prompts.captions({"Tags": "Sea|sea"}) == ["about sea"]


def test_an_item_nothing_can_be_said_of_is_named_with_every_template(prompts):
    with pytest.raises(PromptError) as caught:
        prompts.caption(row(kind=""), (0, 0, 12))
    message = str(caught.value)
    assert "item 12 r7" in message and "test.yaml:4:" in message and "test.yaml:5:" in message
    assert "lacks kind" in message and "never" not in message
    with pytest.raises(PromptError, match="says nothing"):
        Prompts.parse('captions: ["[{x}]"]').captions({"x": ""})
    with pytest.raises(PromptError, match=r"\{Patern\} is no column.*did you mean 'Pattern'"):
        Prompts.parse('captions: ["{Patern}"]').captions(row())


def test_draws_are_keyed_spread_over_epochs_and_follow_the_weights(prompts):
    captions = {epoch: prompts.caption(row(), (0, epoch, 3)) for epoch in range(400)}
    assert captions == {epoch: prompts.caption(row(), (0, epoch, 3)) for epoch in reversed(range(400))}
    photos = sum(text.startswith("a photo") for text in captions.values())
    assert photos / 400 == pytest.approx(2 / 3, abs=0.03)
    plaid = sum("plaid" in text for text in captions.values())
    assert plaid / 400 == pytest.approx(3 / 4, abs=0.07)
    with pytest.raises(ValueError, match="seed, epoch, item"):
        prompts.caption(row(), (0, 1))


def test_equal_weights_give_every_template_once_per_round():
    prompts = Prompts.parse("captions: ['{x} one', '{x} two', '{x} three', '[{x} ]four']")
    for item in range(20):
        for start in (0, 4, 8):
            said = {prompts.caption({"x": "v"}, (1, start + turn, item)) for turn in range(4)}
            assert len(said) == 4


def test_ensembles_share_each_templates_weight(prompts):
    assert dict(
        zip(prompts.value_texts("Pattern", "Checked"), prompts.value_weights("Pattern", "Checked"), strict=True)
    ) == {
        "a checked garment": pytest.approx(1 / 4 * 1 / 4),
        "a plaid garment": pytest.approx(1 / 4 * 3 / 4),
        "checked: crossing lines": pytest.approx(3 / 4 * 1 / 8),
        "checked: squares": pytest.approx(3 / 4 * 1 / 8),
        "plaid: crossing lines": pytest.approx(3 / 4 * 3 / 8),
        "plaid: squares": pytest.approx(3 / 4 * 3 / 8),
    }
    assert prompts.value_texts("Pattern", "Wavy Lines") == ["a wavy lines garment"]
    assert prompts.value_weights("Pattern", "Wavy Lines") == [1.0]
    assert prompts.value_texts("Pattern", "No") == ["a no-pattern garment"]
    assert prompts.value_texts("Pattern", "36") == ["a thirty-six garment"]
    assert prompts.value_texts("Collar", "Polo Collar") == ["with a polo collar", "kind of collar: Polo Collar"]
    assert prompts.value_texts("Collar", "None") == ["collarless", "no kind of collar"]
    assert prompts.value_texts("Pattern", "None") == ["something without pattern"]
    assert prompts.value_texts("sleeveLength", "Long") == ["sleeve length long"]


def test_plain_and_drawn_texts(prompts):
    assert prompts.plain("Pattern", "Checked") == "plainly checked"
    assert prompts.plain("Collar", "Polo") == "with a polo"
    assert prompts.plain("Collar", "None") == "collarless"
    drawn = Counter(prompts.attribute_text("Pattern", "Checked", (0, step)) for step in range(2000))
    shares = dict(
        zip(prompts.value_texts("Pattern", "Checked"), prompts.value_weights("Pattern", "Checked"), strict=True)
    )
    assert {text: count / 2000 for text, count in drawn.items()} == pytest.approx(shares, abs=0.04)


def test_an_attribute_without_wording_is_refused():
    prompts = Prompts.parse(
        'attributes: {Pattern: {templates: ["{value}"]}, Odd: {templates: ["{value}: {description}"]}}'
    )
    with pytest.raises(PromptError, match="no wording for attribute 'pattern'; did you mean 'Pattern'"):
        prompts.value_texts("pattern", "x")
    with pytest.raises(PromptError, match="no template of 'Odd' gives a text for 'x'"):
        prompts.value_texts("Odd", "x")


def test_queries_are_said_in_all_names_but_shared_ones():
    prompts = Prompts.parse(
        """attributes:
          Pattern: {templates: ["{value}"], values: {Checked: [checked, plaid, gingham], Plain: [plain, solid]}}
          colour: {templates: ["{value}"], values: {Navy Blue: [navy blue, navy], Iron: [iron, grey], Ash: [ash, grey]}}
          kind: {templates: ["{value}"], values: {Ties: [tie, necktie]}}"""
    )
    assert prompts.rewordings("Plaid shirt") == ["Plaid shirt", "checked shirt", "gingham shirt"]
    assert prompts.rewordings("navy blue ties") == [
        "navy blue ties",
        "navy blue neckties",
        "navy ties",
        "navy neckties",
    ]
    assert prompts.rewordings("untied grey shoes") == ["untied grey shoes"]
    assert len(prompts.rewordings("checked plain navy tie")) == 8


def test_check_names_columns_with_their_lines(prompts):
    prompts.check(["kind", "Pattern", "Collar", "Tags"])
    with pytest.raises(PromptError) as caught:
        prompts.check(["kinds", "Pattern", "Tags"])
    message = str(caught.value)
    assert "test.yaml:4: 'kind' is no column of the catalogue; did you mean 'kinds'? (also in line 5, 6, 8)" in message
    assert "'Collar'" in message and "'Tags'" not in message
    Prompts.parse("missing_columns: allow\n" + FILE.lstrip()).check([])


def test_all_faults_of_a_file_come_at_once_with_their_places():
    faulty = """language: en
captions:
  - "a {Pattern"
  - {text: "b {x}", weight: -1}
  - {articleType}
attributs: {}
attributes:
  Pattern:
    templates: ["a garment"]
    values:
      Checked: [checked]
      Checked: []
      Plain:
  Fit:
    templats: ["{value}"]
  Neck: {templates: ["{value} of {Fabric}"], plain: ["{value} {description}"]}
"""
    with pytest.raises(PromptError) as caught:
        Prompts.parse(faulty, "f.yaml")
    message = str(caught.value)
    for expected in (
        "f.yaml:3:8: captions: '{' is never closed",
        "f.yaml:4:29: captions: weight: expected a number of 0 or more, found '-1'",
        "f.yaml:5:6: captions: unknown key 'articleType'",
        "f.yaml:6:1: the file: unknown key 'attributs'; did you mean attributes?",
        "f.yaml:9:17: attribute 'Pattern': a template has to name {value}",
        "f.yaml:12:7: 'Checked' is already there in line 11",
        "f.yaml:13:7: attribute 'Pattern': Plain: how is it said?",
        "f.yaml:14:3: attribute 'Fit': `templates:` is missing",
        "f.yaml:15:5: attribute 'Fit': unknown key 'templats'; did you mean templates?",
        "{Fabric} is not known here; there are {value}, {attribute}, {description}, {Neck}",
        "{description} is not known here",
    ):
        assert expected in message, f"{expected}\nis not in\n{message}"


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("captions:\n  - {a Pattern} shirt\n", "f.yaml:2:", "begins with { has to stand in quotes"),
        ("captions:\n  - [with {x}] shirt\n", "f.yaml:2:", "begins with [ has to stand in quotes"),
        ("captions:\n  - a: b: c\n", "f.yaml:2:", "colon has to stand in quotes"),
        ("captions:\n\t- a\n", "f.yaml:2:", "not with tabs"),
        ('captions:\n  - "a\n', "f.yaml:3:", "line 2: a quote is not closed"),
        (
            'captions:\n  - "{a x\nattributes: {x: {templates: ["{value}"]}}\n',
            "f.yaml:3:",
            "line 2: a quote is not closed",
        ),
        ('captions:\n  - "a {x}"\n - "b {x}"\n', "f.yaml:3:", "line 3 is indented by 1 spaces, where 0 or 2 would fit"),
        (
            'captions:\n  - "a {x}"\n   - "b {x}"\n',
            "f.yaml:3:",
            "line 3 is indented by 3 spaces, where 0 or 2 would fit",
        ),
        (
            'attributes:\n  x:\n    templates: ["{value}"]\n   values: {}\n',
            "f.yaml:4:",
            "line 4 is indented by 3 spaces, where 2 or 4 would fit",
        ),
        (
            "attributes:\n  x:\n    values:\n      A: b\n        C: d\n",
            "f.yaml:5:",
            "line 5 is indented by 8 spaces, where 4 or 6 would fit",
        ),
        (
            'attributes:\n  x:\n\u00a0   templates: ["{value}"]\n',
            "f.yaml:3:1",
            "begins or ends with a non-breaking space (U+00A0); type plain spaces",
        ),
        ('captions\u00a0: ["{x}"]\n', "f.yaml:1:1", "begins or ends with a non-breaking space (U+00A0)"),
        ("captions:\n  - a {x}\n   - b {x}\n", "f.yaml:2:5", "the dash in line 3 continues the text before it"),
        ('captions:\n  -\u00a0"a {x}"\n  - {text: "b"}\n', "f.yaml:", "line 2, column 4: a non-breaking space"),
        ("", "f.yaml", "is empty"),
        ("[]", "f.yaml:1:1", "found a list"),
        ("language: en", "f.yaml:1:1", "neither `captions:` nor `attributes:`"),
    ],
)
def test_yaml_faults_have_line_column_and_usual_cause(text, place, hint):
    with pytest.raises(PromptError) as caught:
        Prompts.parse(text, "f.yaml")
    assert place in str(caught.value) and hint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("captions: [“a {x}”]", "f.yaml:1:15: not valid YAML"),
        ("captions:\n  - {text: „a {x}“}", "f.yaml:2:15: not valid YAML"),
        ("captions:\n  - “a {x}”", "f.yaml:2:5: captions: begins with a typographic quote “"),
        (
            "attributes: {x: {templates: ['{value}'], values: {Red: [«rouge»]}}}",
            "f.yaml:1:57: attribute 'x': Red: begins with a typographic quote «",
        ),
        (
            "attributes: {x: {called: ‘x’, templates: ['{value}']}}",
            "f.yaml:1:26: called: begins with a typographic quote ‘",
        ),
        ("attributes: {“x”: {templates: ['{value}']}}", "f.yaml:1:14: attributes: begins with a typographic quote “"),
    ],
)
def test_typographic_quotes_in_place_of_quotes_are_faults_with_their_cure(text, expected):
    with pytest.raises(PromptError, match='straight quotes "') as caught:
        Prompts.parse(text, "f.yaml")
    assert expected in str(caught.value)


def test_typographic_quotes_within_straight_ones_are_part_of_the_text():
    assert Prompts.parse('captions: ["“{x}”"]').captions({"x": "a"}) == ["“a”"]


def test_sections_at_the_wrong_depth_are_told_with_a_cure():
    with pytest.raises(PromptError) as caught:
        Prompts.parse('attributes:\n  x:\n  templates: ["{value}"]\n', "f.yaml")
    assert "f.yaml:2:3: attribute 'x': expected `key: ...` lines, found nothing; indent the lines" in str(caught.value)


def test_other_languages_state_their_articles_and_plurals():
    german = """language: de
case: keep
captions: ["{a Art}[ aus {Stoff}]"]
attributes:
  Art:
    templates: ["{a value}", "viele {value|plural}"]
    values: {Hemd: {names: [Hemd, {text: Bluse, article: eine, plural: Blusen}], article: ein, plural: Hemden}}
"""
    prompts = Prompts.parse(german)
    assert prompts.captions({"Art": "Hemd", "Stoff": "Baumwolle"}) == ["ein Hemd aus Baumwolle"]
    assert prompts.value_texts("Art", "Hemd") == ["ein Hemd", "eine Bluse", "viele Hemden", "viele Blusen"]
    with pytest.raises(PromptError, match="plural of Art: language de has no rules here; give `plural:` for 'Hemd'"):
        Prompts.parse(german.replace(", plural: Blusen", ""))
    with pytest.raises(PromptError, match=r"article of Stoff: .*no value of it is listed"):
        Prompts.parse(german.replace("{Stoff}", "{a Stoff}"))


def test_missing_and_undecodable_files_are_named(tmp_path):
    with pytest.raises(PromptError, match=r"nowhere.yaml: no such file"):
        Prompts.load(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes("captions: ['caf\xe9 {x}']".encode("latin-1"))
    with pytest.raises(PromptError, match="is not UTF-8"):
        Prompts.load(tmp_path / "latin.yaml")
    (tmp_path / "bom.yaml").write_text('captions: ["{x}"]', encoding="utf-8-sig")
    assert Prompts.load(tmp_path / "bom.yaml").fields == ("x",)


SHIPPED = sorted((ROOT / "prompts").rglob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_file_says_every_value_it_lists_in_lower_case_without_collisions(path):
    prompts = Prompts.load(path)
    for attribute in prompts.attributes:
        seen: dict[tuple[str, ...], str] = {}
        for value in prompts.library.attributes[attribute].values:
            texts = prompts.value_texts(attribute, value)
            assert texts and sum(prompts.value_weights(attribute, value)) == pytest.approx(1)
            plain = prompts.plain(attribute, value)
            for text in (*texts, plain):
                assert text == text.strip() and "  " not in text and not text[:1].isspace()
            for text in texts:
                assert seen.setdefault((text,), value) == value, (
                    f"{attribute}: {value} reads like {seen[text,]}: {text}"
                )


def test_shipped_files_are_there():
    assert {path.stem for path in SHIPPED} >= {"fashion", "garments", "generic", "geospatial", "media"}
