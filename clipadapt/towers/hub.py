"""MODEL strings taken apart, and weights fetched, with messages that say what to do when that fails.

    EVA02-B-16:merged2b_s8b_b131k      open_clip name and tag, or name and a .safetensors file
    EVA02-B-16:random                  the architecture with random weights, for measuring speed
    hf-hub:org/name[@revision]         an open_clip repository on the hub
    local-dir:PATH                     an open_clip folder
    transformers:ID-or-PATH[@revision]
    timm:NAME                          an image tower alone; timm's own `hf-hub:` and `local-dir:` names too
    run:PATH, release:PATH, onnx:DIR   what clipadapt wrote
    PATH                               any of these folders, recognised by what it holds

Only safetensors are read from folders. Weights behind an open_clip tag are fetched by open_clip itself, which prefers
safetensors and otherwise reads tensors only. Nothing here builds a model.
"""

import contextlib
import difflib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from clipadapt.errors import ModelError

SCHEMES = ("hf-hub", "local-dir", "transformers", "timm", "run", "release", "onnx")
_REVISED = ("hf-hub", "transformers")
_RANDOM = "random"
OPEN_CLIP_FILES = ("open_clip_config.json", "open_clip_model.safetensors")


class ModelName(NamedTuple):
    """A MODEL string in parts."""

    scheme: str
    """One of SCHEMES, or open_clip."""
    name: str
    tag: str | None = None
    """open_clip: the tag or weights file."""
    revision: str | None = None

    def __str__(self) -> str:
        if self.scheme == "open_clip":
            return f"{self.name}:{self.tag}"
        return f"{self.scheme}:{self.name}" + (f"@{self.revision}" if self.revision else "")


def parse(text: str) -> ModelName:
    """Takes a MODEL string apart.

    Raises:
        ModelError: empty, a bare name that is neither a folder nor known, or a folder that holds no model.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme in SCHEMES:
        if not rest:
            raise ModelError(f"{text!r}: nothing after {scheme}:")
        name, at, revision = rest.rpartition("@")
        if scheme in _REVISED and at and not Path(rest).expanduser().exists():
            return ModelName(scheme, name, revision=revision)
        return ModelName(scheme, rest)
    path = Path(text).expanduser()
    if text and path.is_dir():
        return ModelName(_recognise(path), str(path))
    if colon and rest and "/" not in scheme:
        return ModelName("open_clip", scheme, tag=rest)
    raise _unknown(text)


def _recognise(folder: Path) -> str:
    """The scheme of a folder, from the files in it."""
    if (folder / "manifest.json").is_file() and (folder / "model").is_dir():
        return "release"  # it holds an adapter and a config as well
    if (folder / "open_clip_config.json").is_file():
        return "local-dir"
    if (folder / "adapter" / "clipadapt.json").is_file() or (folder / "adapter_model.safetensors").is_file():
        return "run"
    if (folder / "image.onnx").is_file():
        return "onnx"
    config = folder / "config.json"
    if config.is_file():
        with contextlib.suppress(ValueError):
            document = json.loads(config.read_text(encoding="utf-8"))
            if "architecture" in document:
                return "timm"
            if "model_type" in document:
                return "transformers"
    raise ModelError(
        f"{folder}: no model found in it; looked for open_clip_config.json, adapter/, image.onnx, config.json "
        "(transformers or timm) and manifest.json beside model/ (a release)"
    )


def _unknown(text: str) -> ModelError:
    import open_clip

    if text in open_clip.list_models():
        tags = open_clip.list_pretrained_tags_by_model(text)
        example = f"{text}:{tags[0]}" if tags else f"{text}:FILE.safetensors"
        return ModelError(f"{text}: names no weights; write {example} (tags: {', '.join(tags) or 'none published'})")
    return ModelError(
        f"{text!r}: no such folder and no MODEL string{near(text, open_clip.list_models())}; a MODEL is NAME:TAG of "
        f"open_clip, a folder, or one of {', '.join(f'{scheme}:' for scheme in SCHEMES)}"
    )


def near(text: str, known: Sequence[str]) -> str:
    """`; did you mean A, B?` for close matches, ignoring case, else nothing."""
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(text.lower(), lowered, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(lowered[name] for name in close)}?" if close else ""


def check_open_clip(name: str, tag: str) -> None:
    """Refuses an open_clip name or tag that does not exist, with near misses.

    Raises:
        ModelError: no such name, tag or weights file; or a weights file that is a pickle.
    """
    import open_clip

    if name not in open_clip.list_models():
        raise ModelError(f"{name}: open_clip knows no model of that name{near(name, open_clip.list_models())}")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag == _RANDOM or tag in tags or tag.lower().replace("-", "_") in tags:
        return
    file = Path(tag).expanduser()
    if not file.is_file():
        raise ModelError(f"{name}:{tag}: no such tag or file{near(tag, tags)}; tags: {', '.join(tags) or 'none'}")
    if file.suffix != ".safetensors":
        raise ModelError(f"{file}: only .safetensors are read from disk; {_CONVERT}")


_CONVERT = (
    "a pickle can run code when it is opened; if you trust it, convert it once: "
    "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'open_clip_model.safetensors')"
)


def check_folder(folder: Path) -> None:
    """Refuses an open_clip folder without a config or without safetensors weights.

    Raises:
        ModelError: naming what is missing.
    """
    if not folder.is_dir():
        raise ModelError(f"local-dir:{folder}: no such folder")
    if not (folder / "open_clip_config.json").is_file():
        raise ModelError(f"local-dir:{folder}: holds no open_clip_config.json")
    if not any(folder.glob("*.safetensors")):
        pickles = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        detail = f"; it holds {pickles[0].name}, but {_CONVERT}" if pickles else ""
        raise ModelError(f"local-dir:{folder}: holds no .safetensors weights{detail}")


def snapshot(model: ModelName) -> Path:
    """The local folder of an open_clip repository on the hub, downloaded if it is not cached.

    Raises:
        ModelError: no such repository or revision, no network, or no safetensors in it.
    """
    from huggingface_hub import snapshot_download

    with fetching(str(model), f"{' and '.join(OPEN_CLIP_FILES)} of {model.name}"):
        reach(model.name, OPEN_CLIP_FILES, model.revision)
        folder = snapshot_download(
            model.name,
            revision=model.revision,
            allow_patterns=["*.json", "open_clip*.safetensors", "*.txt", "*.model"],
        )
    return Path(folder)


def reach(repository: str, files: Sequence[str], revision: str | None = None) -> None:
    """Asks the hub once whether a repository is there, because its clients retry for the better part of a minute.

    Passes when the hub cannot be reached but one of `files` is cached. Raises what the hub client raises.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().model_info(repository, revision=revision, timeout=20)
    except Exception as error:
        missing = isinstance(error, HfHubHTTPError) and error.response.status_code < 500
        if missing or not any(
            isinstance(try_to_load_from_cache(repository, file, revision=revision), str) for file in files
        ):
            raise


@contextlib.contextmanager
def fetching(model: str, wanted: str) -> Iterator[None]:
    """Turns whatever a download raises into one message: which file was wanted, and how to point to a local copy.

    Raises:
        ModelError: in place of any error from the hub client, the network, or a loader that wraps them.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # hub clients, requests, httpx and open_clip's own wrapping share no base class
        if not _is_download(error):
            raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{model}: could not fetch {wanted} ({reason[:200]}). Without a network, copy the folder that holds it "
            "here and use local-dir:PATH (open_clip), transformers:PATH, or NAME:FILE.safetensors"
        ) from error


def _is_download(error: BaseException | None) -> bool:
    """Whether an error, or one it was raised from, is about fetching rather than about what was fetched."""
    while error is not None:
        origin = type(error).__module__.partition(".")[0]
        if origin in ("huggingface_hub", "httpx", "httpcore", "requests", "urllib3", "urllib", "socket", "ssl"):
            return True
        if isinstance(error, ConnectionError | TimeoutError):
            return True
        text = str(error)
        if isinstance(error, RuntimeError | OSError) and ("download" in text or "onnect to 'https://" in text):
            return True
        error = error.__cause__ or error.__context__
    return False
