"""What a file that is no readable picture is instead, by its first bytes, and what to do about it.

    reason(b"<html>404 Not Found")   # "... (a web page, as a failed download leaves, 19 bytes); download ..."

Kept apart from decoding, which knows pictures only.
"""

import re

_OTHERWISE = "replace it or take it out"
_DOWNLOAD = f"download the picture again, or {_OTHERWISE}"
_CONVERT = f"convert it to JPEG or PNG, or {_OTHERWISE}"
_KINDS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (re.compile(rb"\Z"), "an empty file", _DOWNLOAD),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS",
     f"fetch the files with git lfs pull, or {_OTHERWISE}"),
    (re.compile(rb"....ftyp(hei|hev|mif1|msf1)", re.DOTALL), "HEIC, as phones write it", _CONVERT),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "AVIF, but broken", _OTHERWISE),
    (re.compile(rb"....ftyp", re.DOTALL), "a video, or a picture in a container of videos", _CONVERT),
    (re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "), "JPEG XL", _CONVERT),
    (re.compile(rb"%PDF"), "a PDF", _CONVERT),
    (re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml.*?)?(<!--.*?-->\s*)?(<!DOCTYPE svg.*?)?<svg", re.DOTALL | re.IGNORECASE),
     "SVG, a drawing without pixels", _CONVERT),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+)?html", re.IGNORECASE),
     "a web page, as a failed download leaves", _DOWNLOAD),
)  # fmt: skip
_START = 1_000
"""Bytes that are looked at."""


def reason(data: bytes) -> str:
    """The message for a file that no decoder knows: what it is, its size, the remedy."""
    for pattern, what, remedy in _KINDS:
        if pattern.match(data[:_START]):
            return f"not a picture that can be read ({what}, {len(data):,} bytes); {remedy}"
    return f"not a picture that can be read ({len(data):,} bytes); {_OTHERWISE}"
