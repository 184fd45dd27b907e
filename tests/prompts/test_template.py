"""Templates: articles, plurals, vanishing phrases, tidy text, and values that hold the notation's own characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.prompts import Prompts
from clipadapt.prompts.template import Rules, Template, TemplateError, from_mapping
from clipadapt.prompts.words import Word, indefinite, pluralise, spoken, tidy

WORDS = {
    "Pattern": Word("striped"),
    "Fabric": None,
    "Sleeve Length": Word("long sleeves", article=""),
    "articleType": Word("jeans", article="a pair of"),
    "finish": Word("embroidered"),
    "scarf": Word("scarf"),
    "a|b": Word("odd"),
    "odd": Word("{x}] [y|plural {{"),
    "end": Word("no. 5."),
    "blank": Word("  "),
}


def text(template: str, *, sentence: bool = False) -> str:
    return Template.parse(template).render(from_mapping(WORDS), Rules(sentence=sentence))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{a Pattern} shirt", "a striped shirt"),
        ("{an finish} shirt", "an embroidered shirt"),
        ("{A finish} shirt", "An embroidered shirt"),
        ("with {a Sleeve Length}", "with long sleeves"),
        ("{a for articleType} [{Fabric} ][{finish} ]{articleType}", "a pair of embroidered jeans"),
        ("{a for scarf} [{Fabric} ][{finish} ]{scarf}", "an embroidered scarf"),
        ("{a} [{Fabric} ]umbrella[ in {Pattern}]", "an umbrella in striped"),
        ("{scarf|plural} and {articleType|plural}", "scarves and jeans"),
        ("{scarf|plural|capital}, {Pattern|upper}", "Scarves, STRIPED"),
        ("{ Sleeve   Length }", "long sleeves"),
        ('{"a|b"} {a "a|b"}', "odd an odd"),
        ("x[ in {Fabric}][, {Fabric}], [{blank}], {scarf} .", "x, scarf."),
        ("[with [{Pattern} ][{Fabric} ]finish]", "with striped finish"),
        ("[with [{blank} ][{Fabric} ]finish]", ""),
        ("[{Pattern}[ in {Fabric}[ and {scarf}]]]", "striped"),
        ("{{a}} [[b]] {scarf}", "{a} [b] scarf"),
        ("{odd}.", "{x}] [y|plural {{."),
        ("{end}", "no. 5."),
        ("{end}.", "no. 5."),
        ("  {scarf} ,  ( ) ", "scarf"),
        ("{Fabric} shirt", ""),
        ("[{Fabric}], .", ""),
    ],
)
def test_renders(template, expected):
    assert text(template) == expected


def test_sentence_case_and_other_languages():
    assert text("{a finish} bag", sentence=True) == "An embroidered bag"
    german = Rules(language="de")
    words = from_mapping({"Hose": Word("Hose", article="eine", plural="Hosen"), "Muster": Word("Streifen")})
    assert Template.parse("{a Hose} mit {Muster|plural}").render(words, german) == "eine Hose mit Streifen"
    assert Template.parse("{Hose|plural} mit {a Muster}").render(words, german) == "Hosen mit Streifen"
    assert Template.parse("{c}とても{c}").render(from_mapping({"c": Word("赤い")}), Rules("ja")) == "赤いとても赤い"
    assert Template.parse("{c} ?").render(from_mapping({"c": Word("rouge")}), Rules("fr")) == "rouge ?"


def test_names_what_is_missing():
    template = Template.parse("{Fabric} {a for Fabric} {scarf}[ {blank}]")
    assert template.missing(from_mapping(WORDS)) == ["Fabric"]
    assert [field.name for field in template.fields] == ["Fabric", "Fabric", "scarf", "blank"]


@pytest.mark.parametrize(
    ("template", "message", "offset"),
    [
        ("a {x", "never closed", 2),
        ("a } b", "closes nothing", 2),
        ("a [b {x}", "never closed", 2),
        ("a [b]", "can never vanish", 2),
        ("a ] b", "closes nothing", 2),
        ("a {}", "names no field", 2),
        ("a {a for}", "names no field", 2),
        ("a {x|plurals}", "unknown filter |plurals", 2),
        ("  ", "empty", 0),
    ],
)
def test_points_at_faults(template, message, offset):
    with pytest.raises(TemplateError, match=message.replace("|", r"\|")) as caught:
        Template.parse(template)
    assert caught.value.offset == offset


@given(st.text(min_size=1))
def test_any_value_stands_in_the_text_as_it_is(value):
    said = " ".join(value.split())
    rendered = Template.parse("before {v}[, and {v}]").render(from_mapping({"v": Word(value)}))
    assert rendered == (f"before {said}, and {said}" if said else "")


@given(st.text(alphabet="ab {}[]|.,", max_size=30))
def test_any_template_parses_or_is_refused(template):
    try:
        parsed = Template.parse(template)
    except TemplateError as fault:
        assert 0 <= fault.offset <= len(template)
    else:
        rendered = parsed.render(lambda field: Word("word"))
        assert parsed.speaks(lambda field: Word("word"), Rules()) == bool(rendered)
        assert "  " not in rendered and rendered == rendered.strip()


AN = """
X-ray | x-ray blue | FBI | fbi | MP3 | mp3 player | hour | hourglass | honest | umbrella | unpatterned |
embroidered | SUV | suv | A-line | a-line | l-shaped | S-curve | NGO | ngo | heirloom | HTML | html page | LED
lamp | led lamp | LCD | MRI | rgb | RGB image | ECG | NDVI | fm radio | lp record | hdmi | sd card | XL | xxl
| M | s | L'Oréal | onyx | unimportant | unironed | unidentified | urban | utter | ushanka | m&m | r&b | H&M |
f1 | n95 mask | élégant | éclair | øre | FAQ page | sms | Yves Saint Laurent | 8 | 80 | 800 | 8-bit | 11-inch
| 18th | 1895 | 1890s | 8mm | “off” white
"""
A = """
shirt | red | SAR image | NASA | NASA image | USB | usb cable | UV | uv filter | UFO | URL | uk flag | unisex
| uniform | unicorn | European | one-piece | one-shoulder | onesie | one | once | ouija | T-shirt | V-neck |
u-neck | herb | hotel | historic | used | ukulele | eucalyptus | ewe | union | universal | utility | utensil |
uranium | Ugandan | xerox | laser | radar | St Bernard | St. Bernard | mr | llama | scarf | school | spring |
sphere | rhombus | Nguyen | mnemonic | fjord | flat | hybrid | YSL bag | y-shaped | 1 | 12 | 100 | 180 | 1950s
| 10 m
"""


@pytest.mark.parametrize(
    ("following", "article"),
    [(text.strip(), article) for texts, article in ((AN, "an"), (A, "a")) for text in texts.split("|")],
)
def test_articles_by_sound(following, article):
    assert indefinite(following) == article


@pytest.mark.parametrize(
    ("cell", "caption"),
    [
        ("X-ray Blue", "an x-ray blue car"),
        ("FBI", "an fbi car"),
        ("MP3", "an mp3 car"),
        ("LAPD issue", "an lapd issue car"),
        ("RED", "a red car"),
        ("SILK", "a silk car"),
        ("NASA", "a nasa car"),
        ("SUV", "an suv car"),
    ],
)
def test_articles_go_by_the_tables_own_case(cell, caption):
    """Lower case is chosen after the article, and a table all in capitals is not one of abbreviations."""
    field = {"colour": cell, "thing": "car"}
    assert Prompts.parse('captions: ["{a colour} {thing}"]').captions(field) == [caption]
    assert Prompts.parse('captions: ["{a for thing} {colour} {thing}"]').captions(field) == [caption]
    listed = (
        f'captions: ["{{a colour}} {{thing}}"]\nattributes: {{colour: {{templates: ["{{a value}}"], values: {{{cell}: '
    )
    assert Prompts.parse(listed + f"[{cell.lower()}]" + "}}}").captions(field) == [caption]
    assert Prompts.parse(listed + "{descriptions: [x]}" + "}}}").captions(field) == [caption]
    kept = Prompts.parse('case: keep\ncaptions: ["{a colour} {thing}", "{a colour|upper} thing"]').captions(field)
    assert kept == [f"{caption.split()[0]} {cell} car", f"{caption.split()[0]} {cell.upper()} thing"]


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ("shirt", "shirts"), ("dress", "dresses"), ("watch", "watches"), ("scarf", "scarves"),
        ("belt bag", "belt bags"), ("body", "bodies"), ("jersey", "jerseys"), ("jeans", "jeans"), ("woman", "women"),
        ("footwear", "footwear"), ("knife", "knives"), ("lens cap", "lens caps"), ("basis", "bases"), ("", ""),
    ],
)  # fmt: skip
def test_plurals(one, several):
    assert pluralise(one) == several


def test_columns_as_words():
    assert [spoken(c) for c in ("Sleeve Length", "baseColour", "article_type", "land-cover", "usage")] == [
        "sleeve length", "base colour", "article type", "land cover", "usage",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("untidy", "tidied"),
    [
        ("a  b ,c", "a b ,c"),
        ("a , b .", "a, b."),
        (", a,", "a"),
        ("a,, b;.", "a, b."),
        ("wait ...", "wait..."),
        ("( a )", "(a)"),
    ],
)
def test_tidy(untidy, tidied):
    assert tidy(untidy) == tidied
