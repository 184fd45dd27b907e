"""The sections of a config that say how a run learns: what its loss pulls together, and how its steps go.

Each key is explained where it is declared; clipadapt/config.py is the whole config, and what sections exclude of each
other stands there.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from clipadapt.sections import Count, Fraction, Positive, Section

LOSSES = ("softmax", "sigmoid", "multi_positive", "attributes")
LARGEST_SCALE = 100.0
"""Most that a trained scale becomes: similarities times 100, CLIP's bound (Radford et al. 2021, section 2.5)."""
_OWN_LOSS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Loss(Section):
    """What training pulls together and pushes apart."""

    renamed: ClassVar = {"probe": "value_vectors"}

    name: str = "softmax"
    """One of LOSSES, or MODULE:CLASS of your own (clipadapt/losses/captions.py says what such a class looks like)."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of a class of your own."""
    logit_scale: Literal["frozen", "trained"] = "frozen"
    """trained: without weight decay, from 1 to 100; wants more than about 10,000 pairs."""
    scale: Positive | None = None
    """Replaces the base's logit scale (1 / temperature) during training; null keeps it."""
    caption_weight: Annotated[float, Field(ge=0.0)] = 1.0
    """attributes: weight of the whole-caption multi-positive term beside the per-attribute terms."""
    attribute_weights: dict[str, Annotated[float, Field(ge=0.0)]] = Field(default_factory=dict)
    """attributes: weight of one attribute's term; 1 when not named."""
    logit_adjustment: Annotated[float, Field(ge=0.0)] = 1.0
    """attributes: tau of the training-frequency prior added to the logits (Menon et al. 2021); 0 turns it off."""
    keep: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the term that keeps each picture's similarities to the captions close to the base's."""
    anchor: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the term that keeps the vectors of texts outside of training (everyday things, and the values of
    attributes whose weight is 0, or of other losses those that captions do not name) where the base has them: what an
    adaptation must not forget."""
    answers: Annotated[float, Field(ge=0.0)] = 0.0
    """With an anchor: weight of the term that keeps the base's answers to the values of those attributes: how it ranks
    the values for each picture, and the pictures for each value."""
    search: Annotated[float, Field(ge=0.0)] = 0.0
    """attributes: weight of the direction from values to items (search), beside that from items to values."""
    bank: Count = 16384
    """attributes: most items whose last known vectors stand beside a batch's own in that direction."""
    value_vectors: Annotated[float, Field(ge=0.0)] = 0.0
    """attributes: a vector per value is learned from the base's picture vectors, and this is the weight of the term
    that pulls the value's texts to it in the text warm-up. The vectors are trained on with the towers and stay with the
    adapter; 0: none are learned."""
    dims: tuple[Count, ...] = ()
    """First dimensions that are trained to do by themselves, from many to few, such as [256, 128, 64]; the loss is the
    mean over them and the whole vector. Indexes may then keep the first ones alone (`index build --dims`). Towers have
    no more to do for it."""
    wordings: Annotated[int, Field(ge=0)] = 1
    """attributes: texts drawn for each value and step, in many wordings; 0: one, in the prompts file's alone."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name in LOSSES or _OWN_LOSS.fullmatch(name):
            return name
        close = difflib.get_close_matches(name, LOSSES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(LOSSES)}"
        raise ValueError(f"no loss of that name; {hint}; one of your own is written as MODULE:CLASS")

    @field_validator("dims")
    @classmethod
    def _falling(cls, dims: tuple[int, ...]) -> tuple[int, ...]:
        if list(dims) != sorted(set(dims), reverse=True):
            raise ValueError(f"write each once, from many to few: {sorted(set(dims), reverse=True)}")
        return dims

    @model_validator(mode="after")
    def _options_have_a_taker(self) -> Self:
        if self.options and ":" not in self.name:
            raise ValueError(f"options: only a class of your own takes them, and name is {self.name}; leave them out")
        return self

    def changed(self, names: Iterable[str]) -> list[str]:
        """Those of some keys whose values are not the defaults."""
        fields = type(self).model_fields
        return [name for name in names if getattr(self, name) != fields[name].get_default(call_default_factory=True)]


class Train(Section):
    """How the run goes."""

    renamed: ClassVar = {"text_lead": "text_warmup", "text_lead_lr": "text_warmup_lr"}

    trainable: Literal["adapters", "norms", "all", "head"] = "adapters"
    """adapters: LoRA by the plan; norms: LayerNorm alone; all: full fine-tuning; head: no tower, the linear probe of
    `head: linear` alone."""
    epochs: Count = 5
    batch_size: Count = 512
    """Global: pictures per optimizer step over all processes."""
    micro_batch: Count = 64
    """Pictures per forward pass on one device; only memory depends on it. With MixUp or CutMix an even number."""
    lr: Positive = 2.0e-4
    average: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Decay of an exponential moving average over the optimizer's steps, which is what tune judges and the run keeps;
    0.98 looks back over about 50 steps. 0: the weights as they are."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    warmup: Fraction = 0.05
    """Share of the steps with a rising rate; cosine to zero follows."""
    clip: Positive | None = 1.0
    """Largest gradient norm."""
    text_warmup: Annotated[int, Field(ge=0)] = 0
    """Steps that train the text tower alone, against picture vectors that were encoded once."""
    order: Literal["texts_first", "pictures_first"] = "texts_first"
    """texts_first: those steps come first, and then both towers learn in every step. pictures_first: the epochs train
    the image tower alone, against value vectors, and the text tower follows in those steps at the end, with anchors and
    answers: texts that are not good yet pull no pictures after them. Wants loss.value_vectors."""
    text_warmup_lr: Positive | None = None
    """Rate of those steps; null: `lr`."""
    views: Annotated[int, Field(ge=0)] = 0
    """Views of each picture, taken in turn: the plain one and `views` - 1 augmented ones, the same in every epoch; 0: a
    new augmentation each time."""
    cache: Literal["required", "optional", "off"] = "required"
    """With `views`, where the first blocks of the image tower are frozen: the tokens that enter the first trained block
    are computed once and kept on disk. required: a disk that is too small for them is an error before training;
    optional: blocks are then computed each time; off: they always are. The adapter is the same."""
    cache_dtype: Literal["fp32", "fp16", "bf16"] | None = None
    """How tokens are kept; null: as the tower computes them, but fp16 where model.precision is bf16 or fp16 and tokens
    are float32."""
    cache_folder: str | None = None
    """Where tokens are kept; null: OUTPUT_DIR/cache, removed when the run has ended. A folder named here stays, and
    runs of the same base, frozen blocks and pictures share it."""
    balance: Literal["none", "sqrt", "full"] = "none"
    """How often rare values are drawn: as they come, by the root of their inverse frequency, or equally; capped."""
    balance_cap: Annotated[float, Field(ge=1.0)] = 5.0
    """An item is drawn at most this many times as often as an unweighted one."""
    hard_negatives: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each batch that is drawn next to the rest of it: the closest pictures, by the model at the start of the
    epoch, whose labels differ. For losses that compare pictures with other items' captions; 0 leaves it to chance."""
    patience: Count | None = None
    """Stop after this many epochs without a better `eval.select_on` on tune; null runs all epochs."""
    checkpoint_every: Count | None = None
    """Steps between checkpoints, besides the one after every epoch."""
    keep_checkpoints: Count = 2
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)

    @model_validator(mode="after")
    def _micro_fits(self) -> Self:
        if self.micro_batch > self.batch_size:
            raise ValueError(f"micro_batch {self.micro_batch} is larger than batch_size {self.batch_size}; lower it")
        return self
