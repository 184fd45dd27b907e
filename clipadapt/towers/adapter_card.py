"""What is said of an adapter beside it: its form, the base it belongs to, and the spaces before and after.

    card = read_adapter_card("runs/shop/adapter")       # None where it was made elsewhere

Apart from adapter.py, which needs peft: a release is opened and served without it.
"""

from pathlib import Path
from typing import Literal, NamedTuple

from clipadapt import places
from clipadapt.errors import AdapterError
from clipadapt.towers.identity import CARD, read_card

WEIGHTS = "adapter_model.safetensors"
Kind = Literal["adapters", "norms", "all", "head"]
"""head: no weight of a tower; what was trained is the linear head alone."""


class AdapterCard(NamedTuple):
    """What clipadapt.json says of an adapter."""

    kind: Kind
    base: str
    """The MODEL string of the base; a folder of this machine in full here, from the adapter's folder on disk."""
    image_size: int
    base_image_space: str
    base_text_space: str | None
    image_space: str
    """With the adapter at strength 1."""
    text_space: str | None


def read_adapter_card(folder: str | Path) -> AdapterCard | None:
    """What clipadapt.json beside an adapter says; null for one that was made elsewhere.

    Raises:
        AdapterError: a clipadapt.json that is not an adapter's.
    """
    card = read_card(folder)
    if card is None:
        return None
    try:
        adapter = AdapterCard(**card["adapter"])
        return adapter._replace(base=places.from_folder(adapter.base, Path(folder)))
    except (KeyError, TypeError) as error:
        raise AdapterError(f"{folder}/{CARD}: does not describe an adapter ({error})") from error
