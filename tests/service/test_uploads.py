"""Pictures that people, and others, send: a right answer or a refusal, never a fault."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from clipadapt.service.settings import Limits, Settings


def saved(picture: Image.Image, form: str, **options) -> bytes:
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


def claimed(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = b"IDAT" + zlib.compress(b"\0" * 10)
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


PLAIN = Image.new("RGB", (60, 40), "red")
DEEP = Image.fromarray((np.arange(2_400, dtype=np.uint16) * 27).reshape(40, 60))
GOOD = {
    "jpeg": saved(PLAIN, "JPEG"),
    "cmyk": saved(PLAIN.convert("CMYK"), "JPEG"),
    "16 bits": saved(DEEP, "PNG"),
    "palette": saved(PLAIN.convert("P"), "PNG"),
    "transparent": saved(PLAIN.convert("RGBA"), "PNG"),
    "webp": saved(PLAIN, "WEBP"),
    "animated gif": saved(PLAIN, "GIF", save_all=True, append_images=[Image.new("RGB", (60, 40), "blue")]),
    "one pixel": saved(Image.new("RGB", (1, 1)), "PNG"),
    "a line": saved(Image.new("L", (1, 30_000)), "PNG"),
    "turned": saved(PLAIN, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
}
BAD = {
    "nothing": (b"", 415),
    "text": (b"not a picture", 415),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", 415),
    "tiff": (saved(PLAIN, "TIFF"), 415),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415),
    "truncated jpeg": (saved(Image.effect_noise((300, 300), 90), "JPEG")[:2_000], 422),
    "header alone": (saved(PLAIN, "PNG")[:20], 422),
    "huge claim": (claimed(2**31 - 1, 2**31 - 1), 413),
    "large claim": (claimed(60_000, 1_000), 413),
    "broken data": (claimed(50, 50), 422),
}


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD.keys())
def test_an_odd_picture_is_searched_with(client, data: bytes):
    answer = client.post("/search", files={"image": data})
    assert answer.status_code == 200, answer.text
    assert answer.json()["hits"]


@pytest.mark.parametrize(("data", "status"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_used_is_refused(client, data: bytes, status: int):
    answer = client.post("/search", files={"image": data})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("cut", [40, 2_000, -5])
@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_who_sent_half_a_picture_reads_what_to_send(client, form: str, cut: int):
    picture = saved(Image.effect_noise((300, 300), 90).convert("RGB"), form)
    message = client.post("/search", files={"image": picture[:cut]}).json()["error"]["message"]
    assert message.startswith("the picture is broken or cut off (")
    assert "; send all of it again, as JPEG, PNG, " in message
    assert "take it out" not in message, "advice for whoever keeps a catalogue"


def test_the_limit_on_pixels_holds_before_any_is_decoded(client_of, monkeypatch):
    def decoded(*_: object) -> None:
        raise AssertionError("was decoded")

    client = client_of(Settings(Limits(pixels=2_000)))
    monkeypatch.setattr("clipadapt.service.uploads.decode", decoded)
    answer = client.post("/search", files={"image": GOOD["jpeg"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_random_damage_is_never_a_fault_of_the_service(client):
    rng = np.random.default_rng(0)
    sources = [GOOD["jpeg"], GOOD["webp"], GOOD["16 bits"], GOOD["animated gif"]]
    for round_ in range(80):
        data = bytearray(sources[round_ % len(sources)])
        for place in rng.integers(0, len(data), 6):
            data[place] = rng.integers(256)
        answer = client.post("/search", files={"image": bytes(data[: rng.integers(1, len(data) + 1)])})
        assert answer.status_code in (200, 413, 415, 422), answer.text
