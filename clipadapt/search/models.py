"""Which model an index belongs to, wherever both lie now.

    index.json: "model": "run:.."          the run that the index lies in; paths are from the index's own folder
    index.json: "model": "hf-hub:org/x"    what is no path is kept as it is

So a folder that holds both can be moved, copied or made read-only, and no path of a machine is written. An index inside
a release is the release's, and uses the release's own merged model. Nothing here loads a model.
"""

import os
from pathlib import Path

from clipadapt import places
from clipadapt.errors import UsageError
from clipadapt.towers.hub import SCHEMES

_FOLDERS = ("run", "local-dir", "onnx", "release")
"""Schemes of MODEL strings that are always followed by a folder."""


def remembered(model: str, folder: Path) -> str:
    """A MODEL string as a file of `folder` keeps it: a path in it from there, whatever the working directory was."""
    bare, form = _form(model)
    scheme, colon, path = bare.rpartition(":")
    where = Path(path).expanduser()
    if scheme == "hf-hub" or not (where.exists() if scheme in ("", *SCHEMES) else where.is_file()):
        return model
    return places.portable(f"{scheme}{colon}{where.resolve()}", folder) + form


def model_of(model: str | None, index: Path, name: str | None = None) -> str:
    """The MODEL string of an index that remembers `model`, to be loaded from the working directory.

    Args:
        index: the folder that remembered paths are from.
        name: what errors call the index; None: its folder.

    Raises:
        UsageError: it remembers none, or one whose folder is not there.
    """
    around = index.resolve().parent
    if (merged := release_model(index)) is not None:
        return merged
    if model is None:
        raise UsageError(f"{name or index}: does not know its model; name it with --model, or give an encoder")
    bare, form = _form(model)
    found = places.from_folder(bare, index)
    scheme, _, path = found.partition(":")
    if scheme not in _FOLDERS or _holds_model(scheme, Path(path).expanduser()):
        return _short(found) + form
    if (around / "adapter" / "clipadapt.json").is_file():  # moved with its run, and written by an older clipadapt
        return _short(f"run:{around}")
    raise UsageError(
        f"{name or index}: was built with {scheme}:{_short(path)}, where no model lies now; put it back, or name the "
        "model with --model (it must be the same one: its image_space is compared)"
    )


def release_model(index: Path) -> str | None:
    """The MODEL string of the release that an index's folder lies in; None: it lies in none."""
    around = index.resolve().parent
    merged = around / "model"
    if not (around / "manifest.json").is_file() or not merged.is_dir():
        return None
    scheme = "local-dir" if (merged / "open_clip_config.json").is_file() else "transformers"
    return _short(f"{scheme}:{merged}")


def _holds_model(scheme: str, folder: Path) -> bool:
    """A run's folder may be any that an index was copied into alone, so its adapter is looked for."""
    if scheme == "run":
        return any((folder / name).is_file() for name in ("adapter/clipadapt.json", "clipadapt.json"))
    return folder.exists()


def _form(model: str) -> tuple[str, str]:
    """`onnx:DIR@int8` -> its folder and its form."""
    bare, at, form = model.rpartition("@")
    return (bare, at + form) if at and model.startswith("onnx:") else (model, "")


def _short(text: str) -> str:
    """A MODEL string whose path is from the working directory where it lies below it."""
    scheme, colon, path = text.rpartition(":")
    where, here = Path(path), Path.cwd()
    return f"{scheme}{colon}{os.path.relpath(where, here)}" if where.is_relative_to(here) else text
