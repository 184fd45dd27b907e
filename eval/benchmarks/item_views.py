"""Augmented views of a catalogue's pictures, which Tip-Adapter's cache is made of.

catalogue.with_prepared(View(catalogue, encoder.preprocess, 3), rows)     # the fourth view of each item
"""

from PIL import Image

from clipadapt import keyed
from clipadapt.augmentation import Augment as AugmentSettings
from clipadapt.data.augment import Augment
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.decode import PixelPolicy
from clipadapt.data.images import Preprocess

CROP = (0.5, 1.0)
"""Share of a picture's area that a view shows, as in Tip-Adapter's code."""


class View:
    """One augmented view of each item of a catalogue, in place of its picture."""

    def __init__(self, catalogue: Catalogue, preprocess: Preprocess, number: int) -> None:
        self._catalogue = catalogue
        self._number = number
        self._augment = Augment(AugmentSettings(crop=CROP, flip=True, jitter=0.0), preprocess, seed=0)

    def picture(self, row: int) -> Image.Image:
        """At the tower's own size; keyed by the item."""
        key = keyed.integer(self._catalogue.ids[row])
        return Image.fromarray(self._augment.view(self._catalogue.picture(row), self._number, key))

    def require(self, preprocess: PixelPolicy) -> None:
        """It is made for the tower that it was given."""
