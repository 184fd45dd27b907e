"""The section `augment` of a config: what is done to training pictures, and what is refused unless it is forced.

Nothing here touches a picture: data/augment.py does, and training/mixing.py.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from clipadapt.sections import Fraction, Section

_AGAINST = {
    "cutmix": "a patch pasted from another garment shows its fabric and pattern under this one's label, which no share "
    "of areas says; augment.mixup blends targets as it blends pictures",
    "autoaugment": "its policies change hue, invert, posterise and shear, which are labels here (colour, pattern, "
    "cut); augment.crop, flip and jitter leave those as they are",
}
"""Why an augmentation is refused unless it is forced."""


class Augment(Section):
    """Mild changes to training pictures, keyed by (seed, epoch, item)."""

    crop: tuple[Fraction, Fraction] = (0.5, 1.0)
    """Smallest and largest share of the area that a random crop keeps; [1, 1] turns it off."""
    flip: bool = True
    jitter: Fraction = 0.2
    """Brightness, contrast and saturation by up to this share; never hue."""
    mixup: Annotated[float, Field(ge=0.0)] = 0.0
    """Alpha of MixUp's beta distribution; 0 turns it off."""
    cutmix: Annotated[float, Field(ge=0.0)] = 0.0
    """Alpha of CutMix's beta distribution; refused unless forced."""
    autoaugment: bool = False
    """AutoAugment's ImageNet policy; refused unless forced."""
    force: tuple[Literal["cutmix", "autoaugment"], ...] = ()
    """Augmentations to use although they are refused for attributes, with the reason read and weighed."""

    @model_validator(mode="after")
    def _forced_or_refused(self) -> Self:
        used = {"cutmix": self.cutmix > 0, "autoaugment": self.autoaugment}
        faults = [
            f"{name}: refused: {reason}; to use it all the same, add it to augment.force"
            for name, reason in _AGAINST.items()
            if used[name] and name not in self.force
        ]
        if self.mixup and self.cutmix:
            faults.append("mixup and cutmix: a picture is mixed once; set one of them to 0")
        if faults:
            raise ValueError("; ".join(faults))
        return self
