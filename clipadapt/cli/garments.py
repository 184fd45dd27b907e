"""clipadapt garments --out OUT: the quickstart's two ingredients, made on the spot and kept until their recipe changes.

    OUT/catalogue    drawn garments, an imagefolder with train and validation
    OUT/base         the small EVA-CLIP, pretrained on plain captions of other drawn garments: an open_clip folder
    OUT/made.json    hashes of the two recipes: settings, versions, and the code that draws

The base stands in for hub weights where there is no network. It is trained by the ordinary trainer on products that are
not in the catalogue, with captions of category and colour alone.
"""

import hashlib
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

CONFIG = "configs/garments_base.yaml"
_OTHER_PRODUCTS = 1_000_000
"""Added to the seed of the pictures that the base is pretrained on, so that they are not those of the catalogue."""


def command(
    out: Annotated[Path, typer.Option("--out", help="Folder for catalogue/ and base/.")],
    items: Annotated[int, typer.Option(help="Pictures of the catalogue.", min=12)] = 9000,
    seed: Annotated[int, typer.Option(help="Another seed draws other garments.")] = 0,
    size: Annotated[int, typer.Option(help="Pixels per side.", min=16)] = 64,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help=f"Replaces keys of {CONFIG}.")
    ] = None,
) -> None:
    """Draw the offline catalogue of garments and pretrain the small base model; what is there already is kept."""
    from clipadapt.config import Config

    config = Config.load(CONFIG, overrides or [])
    drawing: dict[str, Any] = {"items": items, "seed": seed, "size": size, **_drawing_versions()}
    pretraining = {"config": config.model_dump(mode="json"), "prompts": _text(config.prompts), **_versions()}
    catalogue, base = out / "catalogue", out / "base"
    made = _Made(out / "made.json")
    if not made.already(catalogue, drawing):
        from clipadapt.data.garments import draw

        typer.echo(f"drawing {items} pictures of garments: {catalogue}", err=True)
        draw(catalogue, items, seed, size)
        made.note(catalogue, drawing)
    recipe = {"drawing": drawing, **pretraining}
    if not made.already(base, recipe):
        typer.echo(f"pretraining the small base model on plain captions, two minutes or three: {base}", err=True)
        _pretrain(out / "pretraining", base, config, items=items, seed=seed, size=size)
        made.note(base, recipe)
    typer.echo(f"catalogue  {catalogue}\nbase       {base}")


class _Made:
    """Which recipe each folder was made by."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def already(self, folder: Path, recipe: dict[str, Any]) -> bool:
        return folder.is_dir() and self._read().get(folder.name) == _digest(recipe)

    def note(self, folder: Path, recipe: dict[str, Any]) -> None:
        import json

        from clipadapt.store import atomic_write

        atomic_write(self._file, json.dumps({**self._read(), folder.name: _digest(recipe)}, indent=1) + "\n")

    def _read(self) -> dict[str, str]:
        import json

        try:
            return json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}


def _pretrain(work: Path, base: Path, config: Any, *, items: int, seed: int, size: int) -> None:
    """Trains in `work`, which goes on where a killed process stopped and is removed at the end."""
    from clipadapt.data.garments import draw
    from clipadapt.export import export
    from clipadapt.store import atomic_folder
    from clipadapt.towers.identity import CARD
    from clipadapt.towers.small import create_small
    from clipadapt.training.trainer import train

    catalogue, small = work / "catalogue", work / "small"
    if not catalogue.is_dir():
        draw(catalogue, items, seed + _OTHER_PRODUCTS, size)
    if not small.is_dir():
        create_small(small, seed)
    run = train(
        config.model_copy(
            update={
                "output_dir": str(work / "run"),
                "seed": seed,
                "model": config.model.model_copy(update={"name": f"local-dir:{small}"}),
                "data": config.data.model_copy(update={"source": str(catalogue)}),
            }
        )
    )
    exported = export(f"run:{run.path}", "open_clip", work / "export", overwrite=True).path
    with atomic_folder(base) as staging:
        for file in exported.iterdir():
            # Without the card it is a base of its own, not a form of the random weights it began as.
            if file.name != CARD:
                shutil.copyfile(file, staging / file.name)
    shutil.rmtree(work)


def _drawing_versions() -> dict[str, str]:
    """What the same settings need to give the same pictures: the code and the libraries that draw."""
    from clipadapt.data import garments

    code = {file.name: file.read_text(encoding="utf-8") for file in sorted(Path(garments.__path__[0]).glob("*.py"))}
    return {"code": _digest(code), **{name: version(name) for name in ("numpy", "pillow")}}


def _versions() -> dict[str, str]:

    return {name: version(name) for name in ("clipadapt", "torch", "timm", "open_clip_torch")}


def _text(path: str) -> str:
    from clipadapt.sections import locate

    return locate(path).read_text(encoding="utf-8")


def _digest(recipe: dict[str, Any]) -> str:

    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
