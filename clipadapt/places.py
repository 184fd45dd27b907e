"""Where the files lie that a run's config names, once the run was moved or copied, or is used from another folder.

    RUN/paths.json    {"data.source": {"written": "shops/a", "path": "shops/a", "from_here": "../../shops/a"}, ...}

A path of a config is looked for
    1. from the run itself, by the way that led there when it was started: a folder moved with all it needs works;
    2. as the config says it, from the working directory;
    3. as the config says it, from where the run was started (environment.json): a run moved alone on one machine works.
A value that was changed in config.yaml by hand is taken as it stands.
So nothing in a run depends on a machine's own paths, and base and catalogue may lie beside it. What is no file or
folder, as a hub name, is left as it is. Nothing here knows what the files hold.

    portable("local-dir:/data/base", Path("/data/runs/a/adapter"))   "local-dir:../../../base", for a file in there
    from_folder("local-dir:../../../base", Path("b/adapter"))        where that is now, in full
    public({"source": "/data/shop", "model": "run:runs/a"})          {"source": "shop", ...}, for what others read
    without_folders("trained on /data/shop")                         "trained on shop", wherever that is
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = "paths.json"
STARTS = "environment.json"
KEYS = ("model.name", "data.source", "data.prepared", "data.policy", "data.label_audit", "eval.suite", "eval.gate")
"""Keys of a config that may hold a path; model.name with a scheme before it."""
_FOLDERS = re.compile(r"(?<![\w/.~-])(?:~?/|[A-Za-z]:[\\/])(?!/)(?:[^\s/\\\"'<>|:]+[/\\]+)*(?=[^\s/\\])")
"""The folders of a path from the root, in POSIX or Windows form; no match in "and/or", "a / b" or "https://host/a"."""


def default_folder() -> Path:
    """Where this machine keeps what can be made again: CLIPADAPT_CACHE, else the user's cache folder."""
    named = os.environ.get("CLIPADAPT_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "clipadapt"


def paths_of(raw: Mapping[str, Any], folder: Path) -> dict[str, dict[str, str]]:
    """Key -> the value, the path in it, and that path from `folder`; for every file or folder that a config names."""
    found = {}
    for key in KEYS:
        text = _get(raw, key)
        if isinstance(text, str) and (path := _path_in(text)) is not None:
            way = os.path.relpath(path.resolve(), folder.resolve())
            found[key] = {"written": text, "path": str(path), "from_here": Path(way).as_posix()}
    return found


def resolved(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A run's config with its paths as they are found now; `raw` itself where `folder` holds no paths.json."""
    try:
        recorded: dict[str, dict[str, str]] = json.loads((folder / FILE).read_bytes())["paths"]
    except (OSError, ValueError, KeyError, TypeError):
        return raw
    raw = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    for key, one in recorded.items():
        if _get(raw, key) == one["written"] and (path := _found(one["path"], folder / one["from_here"], folder)):
            _put(raw, key, one["written"].removesuffix(one["path"]) + str(path))
    return raw


def portable(text: str, folder: Path) -> str:
    """A value that holds an absolute path, with the path from `folder`; others, such as hub names, as they are."""
    path = _path_in(text)
    if path is None or not path.expanduser().is_absolute():
        return text
    way = Path(os.path.relpath(path.expanduser().resolve(), folder.resolve())).as_posix()
    return text.removesuffix(str(path)) + (way if way.startswith(".") else f"./{way}")


def from_folder(text: str, folder: Path) -> str:
    """What `portable` wrote into a file of `folder`, with the path in full; whether or not something lies there."""
    for path in _candidates(text):
        if path.parts[:1] == ("..",) or str(path) == "." or text.endswith(f"./{path.as_posix()}"):
            before = text.removesuffix(str(path)).removesuffix("./")
            return before + os.path.normpath(folder.resolve() / path)
    return text


def public(document: Any) -> Any:
    """A document of plain values without this machine's folders: of an absolute path that is there, its last part."""
    if isinstance(document, Mapping):
        return {key: public(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [public(value) for value in document]
    if not isinstance(document, str) or (path := _path_in(document)) is None or not path.expanduser().is_absolute():
        return document
    return document.removesuffix(str(path)) + (path.name or document)


def without_folders(text: str) -> str:
    """A sentence in which every absolute path, of this machine or another, is its last part; addresses of the web stay.

    As `public`, for what others read; unlike there the path need not exist, for a config may come from elsewhere. Where
    a folder's name holds a space, what follows the space stays.
    """
    return _FOLDERS.sub("", text)


def _found(written: str, beside: Path, folder: Path) -> Path | None:
    """The path to use instead of the written one; None: the written one."""
    here = Path(written).expanduser()
    if beside.exists():
        return None if here.exists() and here.samefile(beside) else _short(beside)
    if here.exists():
        return None
    start = _started_in(folder)
    return start / here if start is not None and (start / here).exists() else None


def _started_in(folder: Path) -> Path | None:
    try:
        return Path(json.loads((folder / STARTS).read_bytes())["starts"][-1]["directory"])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None


def _short(path: Path) -> Path:
    """From the working directory where the path lies below it, else in full."""
    whole = path.resolve()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole


def _path_in(text: str) -> Path | None:
    """The file or folder that a value ends with: the whole of it, or what follows a colon."""
    # os.path.exists, for a long text is no path and Path.exists raises at it
    return next((path for path in _candidates(text) if os.path.exists(os.path.expanduser(path))), None)  # noqa: PTH110, PTH111


def _candidates(text: str) -> Iterator[Path]:
    rest, colon = text, ":"
    while colon and rest:
        yield Path(rest)
        before, colon, rest = rest.partition(":")
        if before == "hf-hub":
            return


def _get(raw: Mapping[str, Any], key: str) -> Any:
    node: Any = raw
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _put(raw: dict[str, Any], key: str, value: str) -> None:
    *sections, last = key.split(".")
    node = raw
    for section in sections:
        node = node[section]
    node[last] = value
