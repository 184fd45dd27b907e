"""Vectors from the server, without clipadapt: pictures and texts in, unit vectors out.

python client.py --image photo.jpg --text "a striped shirt" [--url localhost:8001]

Needs: pip install "tritonclient[grpc]" tokenizers ftfy pillow numpy tifffile imagecodecs
"""

import argparse
import html
import json
import string
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from pictures import decode, rgb_of  # noqa: E402 # pyright: ignore[reportMissingImports]

INPUTS = json.loads((HERE / "preprocess.json").read_text(encoding="utf-8"))


def pixels(picture: Image.Image) -> np.ndarray:
    """[3, size, size] float32, resized, cropped and normalised as the model was measured with."""
    how = INPUTS["image"]
    size, edge = how["size"], how["edge"] or how["size"]
    picture = rgb_of(picture)
    width, height = picture.size
    if how["resize_mode"] == "squash":
        target = (edge, edge)
    elif how["resize_mode"] == "longest":
        ratio = max(width, height) / edge
        target = (max(1, round(width / ratio)), max(1, round(height / ratio)))
    else:
        longer = int(edge * max(width, height) / min(width, height))
        target = (edge, longer) if width <= height else (longer, edge)
    resample = Image.Resampling.BICUBIC if how["interpolation"] == "bicubic" else Image.Resampling.BILINEAR
    if picture.size != target or edge != size:
        picture = picture.resize(target, resample)
    if min(picture.size) < size:
        width, height = picture.size
        padded = Image.new("RGB", (max(width, size), max(height, size)), (how["fill"],) * 3)
        padded.paste(picture, (max(0, (size - width) // 2), max(0, (size - height) // 2)))
        picture = padded
    margins = [side - size for side in picture.size]
    left, top = (margin // 2 if how["rounding"] == "floor" else round(margin / 2.0) for margin in margins)
    cropped = picture.crop((left, top, left + size, top + size))
    scaled = np.asarray(cropped, np.float32).transpose(2, 0, 1) / np.float32(255)
    mean, std = (np.array(how[key], np.float32).reshape(3, 1, 1) for key in ("mean", "std"))
    return (scaled - mean) / std


def tokens(texts: list[str]) -> np.ndarray:
    """[texts, length] int64, as short as the longest text allows, rounded up to 8 so that requests share batches."""
    from tokenizers import Tokenizer

    how = INPUTS["text"]
    ids = np.array(
        [one.ids for one in Tokenizer.from_file(str(HERE / "tokenizer.json")).encode_batch(list(map(clean, texts)))],
        np.int64,
    )
    if how["end"] is None:
        return ids
    needed = int((ids == how["end"]).argmax(axis=1).max()) + 1
    return ids[:, : min(how["context_length"], -(-needed // 8) * 8)]


def clean(text: str) -> str:
    """Mends and folds a text as the model's own tokenizer does."""
    how = INPUTS["text"]["clean"]
    if how is None or how == "lowercase":
        return text if how is None else text.lower()
    import ftfy

    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    if how == "canonicalize":
        text = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation)).lower()
    text = " ".join(text.split())
    return text.lower() if how == "lower" else text


def main() -> None:
    """Asks the server and prints similarities, or the vectors where only one of both is given."""
    import tritonclient.grpc as triton  # pyright: ignore[reportMissingImports]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, action="append", default=[])
    parser.add_argument("--text", action="append", default=[])
    parser.add_argument("--url", default="localhost:8001")
    arguments = parser.parse_args()
    server = triton.InferenceServerClient(arguments.url)

    def ask(model: str, name: str, kind: str, batch: np.ndarray) -> np.ndarray:
        sent = triton.InferInput(name, list(batch.shape), kind)
        sent.set_data_from_numpy(batch)
        answer: Any = server.infer(model, [sent])
        return answer.as_numpy("vectors")

    found = []
    if arguments.image:
        found.append(
            ask("image", "pixels", "FP32", np.stack([pixels(decode(file.read_bytes())) for file in arguments.image]))
        )
    if arguments.text:
        found.append(ask("text", "tokens", "INT64", tokens(arguments.text)))
    print(json.dumps((found[0] @ found[1].T if len(found) == 2 else found[0]).tolist()))


if __name__ == "__main__":
    main()
