"""Pictures that a careless decoder gets wrong, for the tests of every way in."""

import io
import struct

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)


def saved(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def wide_gamut() -> bytes:
    """A profile of wide primaries, built as an ICC v2 matrix profile from a few lines (Adobe RGB's primaries)."""

    def fixed(number: float) -> bytes:
        return struct.pack(">i", round(number * 65536))

    def xyz(*numbers: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, numbers))

    text = b"wide gamut\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    tags = {
        b"desc": description,
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        b"rTRC": gamma, b"gTRC": gamma, b"bTRC": gamma,
        b"cprt": b"text\0\0\0\0none\0",
    }  # fmt: skip
    table, body, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2030, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    return head + bytes(128 - len(head)) + table + body


def odd_pictures() -> dict[str, bytes]:
    colours = Image.fromarray(RNG.integers(0, 256, (20, 28, 3), np.uint8))
    cut = colours.copy()
    cut.putalpha(Image.fromarray(RNG.integers(0, 256, (20, 28), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "cut-out": saved(cut),
        "turned": saved(colours, exif=exif),
        "palette": saved(colours.quantize(16)),
        "grey 16": saved(Image.fromarray(RNG.integers(0, 65536, (20, 28), np.uint16))),
        "profile": saved(colours, icc_profile=wide_gamut()),
        "cut-out, turned, profile": saved(cut, exif=exif, icc_profile=wide_gamut()),
    }
