"""The preview page: every caption beside its picture, nothing outside the page, nothing unescaped."""

import base64
import io
import re

from PIL import Image

from clipadapt.prompts import Prompts
from clipadapt.prompts.preview import SIDE, card, lines, page

PROMPTS = Prompts.parse(
    """captions: ["{a kind}[ in {colour}]", "{kind} by {maker}"]
attributes: {kind: {templates: ["{a value}", "{value}"], values: {Umbrella: [umbrella]}}}""",
    "<my> prompts.yaml",
)
ROW = {"kind": "Umbrella", "colour": "<b>red</b>", "maker": "", "id": "7", "unrelated": "x"}


def words(text: str) -> int:
    return len(text.split())


def test_cards_say_every_template_and_what_it_lacks():
    one = card(PROMPTS, "7", ROW, None)
    assert [said.text for said in one.said] == ["an umbrella in <b>red</b>", ""]
    assert one.said[1].lacks == ("maker",) and one.said[1].line == 1
    assert list(lines(one, words)) == ["7", "  line   1   4 tokens  an umbrella in <b>red</b>"]


def test_an_item_without_a_caption_says_what_it_lacks():
    bare = card(PROMPTS, "9", ROW | {"kind": ""}, None)
    assert not bare.captioned
    assert list(lines(bare, words)) == [
        "9",
        "  line   1  no caption: needs kind",
        "  line   1  no caption: needs kind, maker",
    ]
    silent = Prompts.parse("attributes: {kind: {templates: ['{value}']}}")
    assert list(lines(card(silent, "9", ROW, None), None)) == ["9", "  no caption: the file has no `captions:`"]


def test_the_page_stands_alone_and_escapes():
    picture = Image.new("RGBA", (600, 300), (250, 20, 20, 255))
    text = page(PROMPTS, [card(PROMPTS, "7", ROW, picture)], {"kind": ["Umbrella"]}, words)
    assert "<b>red" not in text and "&lt;b&gt;red" in text and "&lt;my&gt;" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    encoded = re.search(r"data:image/jpeg;base64,([^\"]+)", text)
    assert encoded is not None
    shown = Image.open(io.BytesIO(base64.b64decode(encoded[1])))
    assert shown.size == (SIDE, SIDE // 2) and shown.getpixel((5, 5)) != (0, 0, 0)
    assert picture.size == (600, 300)
    assert "needs maker" in text and "4 tokens" in text and "50%" in text and "unrelated" not in text


def test_what_is_held_out_is_marked_and_counts_for_no_caption():
    prompts = Prompts.parse(
        """captions: ["{a kind}", {text: "that {kind} there", held_out: true}, {text: "{a maker} thing"}]
attributes: {kind: {templates: ["{a value}", {text: "quite {a value}", held_out: true}]}}"""
    )
    one = card(prompts, "7", ROW, None)
    assert [said.held_out for said in one.said] == [False, True, False]
    assert list(lines(one, None))[1:] == ["  line   1  an umbrella", "  line   1  that umbrella there   (held out)"]
    silent = Prompts.parse('captions: [{text: "that {kind} there", held_out: true}, "{a maker}"]')
    assert not card(silent, "7", ROW, None).captioned
    html = page(prompts, [one], {"kind": ["Umbrella"]}, None)
    assert '<li class="not">that umbrella there <small' in html
    assert "<li>an umbrella <small>100%</small></li>" in html
    assert '<li class="not">quite an umbrella <small>held out, 100%</small></li>' in html
