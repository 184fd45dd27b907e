"""Which catalogue shows an index's items, wherever both lie now.

    index.json: "catalogue": {"source": "../../shop", "image": "photo", "policy": "../../policy.yaml"}

The keys are those of a config's data section that say which pictures there are, which item is whose, and which may be
shown; paths are from the index's own folder, so that no path of a machine is written. A catalogue that does not lie on
this machine is not looked for elsewhere. Nothing here reads a picture.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clipadapt import places
from clipadapt.config import Data
from clipadapt.errors import ConfigError, listing
from clipadapt.sections import describe

_KEYS = {"source", "revision", "image", "id", "product", "range", "bands", "policy"}
_PATHS = ("source", "policy")
_DRAWN = "drawn:"


def remembered_catalogue(data: Data, folder: Path) -> dict[str, Any]:
    """A data section as a file of `folder` keeps it, defaults left out."""
    kept = data.model_dump(mode="json", include=_KEYS, exclude_defaults=True)
    for key in _PATHS:
        if key in kept and (path := Path(kept[key]).expanduser()).exists():
            kept[key] = places.portable(str(path.resolve()), folder)
    return kept


def moved(remembered: Mapping[str, Any] | None, index: Path, to: Path) -> dict[str, Any] | None:
    """What an index remembers, for a copy of it in another folder; paths where nothing lies stay as they are."""
    if remembered is None:
        return None
    found = {key: places.from_folder(remembered[key], index) for key in _PATHS if key in remembered}
    there = {key: places.portable(value, to) for key, value in found.items() if Path(value).exists()}
    return {**remembered, **there}


def catalogue_of(remembered: Mapping[str, Any] | None, index: Path) -> Data | None:
    """The data section of the catalogue; None where none is remembered, or its source does not lie on this machine.

    Raises:
        ConfigError: what was remembered is no data section, or its policy, which says what may be shown, is missing.
    """
    if remembered is None:
        return None
    found = {key: places.from_folder(value, index) if key in _PATHS else value for key, value in remembered.items()}
    try:
        data = Data.model_validate(found)
    except ValidationError as error:
        raise ConfigError(f"{index}: the catalogue in its index.json:{listing(describe(error, Data))}") from error
    if not (data.source.startswith(_DRAWN) or Path(data.source).expanduser().exists()):
        return None
    if data.policy is not None and not Path(data.policy).expanduser().exists():
        raise ConfigError(
            f"{index}: the policy of its pictures, {data.policy}, is not there, so none is shown; put it back, or name "
            "the catalogue with --config"
        )
    return data
