"""Tags of single pictures, with the thresholds that `clipadapt tag` fitted and the words of a prompts file."""

from pathlib import Path

import numpy as np

from clipadapt.prompts import Prompts
from clipadapt.recognition.vectors import VectorCache
from clipadapt.tagging.tag import TagOfPicture, tag_picture
from clipadapt.tagging.thresholds import Thresholds
from clipadapt.towers.encoder import Encoder


class Tagger:
    """A picture's vector -> its tags.

    Raises:
        ConfigError, SpaceError: thresholds of another model or other words, or files that cannot be read.
    """

    def __init__(self, thresholds: Path, prompts: str, encoder: Encoder) -> None:
        self._thresholds, words = Thresholds.load(thresholds), Prompts.load(prompts)
        self._thresholds.require(encoder, words)
        kept = VectorCache()
        self._vectors = {
            name: kept.values(encoder, words, name, one.candidates.values)
            for name, one in self._thresholds.attributes.items()
        }

    def __call__(self, picture: np.ndarray) -> list[TagOfPicture]:
        return tag_picture(picture, self._thresholds, self._vectors)
