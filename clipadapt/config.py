"""One YAML per experiment, dotted overrides on top, into frozen models that know every key.

Every fault of a file is reported at once, with its key, what was found and what is allowed. Defaults are the ones the
evidence supports for a catalogue of 10,000 to a million pictures; each key is explained where it is declared.
Nothing here loads a model or a picture: a config that parses can still name a source that does not exist.
"""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, ValidationInfo, model_validator

from clipadapt import places
from clipadapt.augmentation import Augment as Augment
from clipadapt.errors import ConfigError, listing
from clipadapt.recipe import LARGEST_SCALE
from clipadapt.recipe import Loss as Loss
from clipadapt.recipe import Train as Train
from clipadapt.sections import (
    Count,
    Fraction,
    Positive,
    Section,
    describe,
    expand,
    locate,
    put_override,
    read_yaml,
    with_new_names,
)

Selector = Literal["rare_balanced_accuracy", "balanced_accuracy", "top1", "smooth", "loss"]
_UNUSED_BY_CAPTIONS = (
    "caption_weight", "attribute_weights", "logit_adjustment", "search", "bank", "value_vectors", "wordings",
)  # fmt: skip
"""Keys of the loss that `attributes` alone has a use for."""
_UNUSED_BY_HEADS = (
    "name", "options", "logit_scale", "caption_weight", "keep", "anchor", "answers", "search", "bank", "value_vectors",
    "dims", "wordings",
)  # fmt: skip
"""Keys of the loss that a linear head has no use for."""
WRITTEN_BY_A_RUN = "written_by_a_run"
"""Of the context of a validation: true of files that clipadapt wrote itself."""
Plan = tuple[tuple[str, int | None], ...]
"""Ordered (pattern of logical names, rank or null); the first match wins and null freezes."""


class Model(Section):
    """Which towers are adapted."""

    name: str = "EVA02-B-16:merged2b_s8b_b131k"
    """A MODEL string: open_clip `NAME:TAG`, `hf-hub:`, `local-dir:`, `transformers:`, `timm:`."""
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    """What matrix products run in during training (autocast); adapters and optimizer states stay float32."""
    image_size: Count | None = None
    """Pixels per side when it is not the model's own; position embeddings are resampled."""
    frozen_dtype: Literal["fp32", "bf16"] = "fp32"
    """How frozen weights are held while training; bf16 halves their memory and skips autocast's casts."""
    compile: bool = False
    """torch.compile both towers: about a minute to start, then 1.15x to 1.25x on CPU."""
    checkpointing: bool = False
    """Recompute activations block by block: about half the activation memory for a third more compute."""


class AttributeKind(Section):
    """How the values of one column relate."""

    kind: Literal["exclusive", "multi"] = "exclusive"
    """exclusive: one value at most per item; multi: a list, separated by `separator` in a text column, or written there
    as JSON or Python writes a list. A column of lists is multi whatever stands here."""
    separator: str = "|"


class SplitNames(Section):
    """Which splits of the source play which part."""

    train: str = "train"
    validation: str = "validation"
    tune: str | Fraction = 0.1
    """A split by name, or the share of training products that is set aside for every choice made on data."""
    validation_share: Fraction = 0.2
    """Used only when the source has no split named by `validation`: the share of products carved from train."""


class Data(Section):
    """The catalogue and what its columns mean."""

    source: str
    """Whatever datasets.load_dataset loads: a folder of pictures with metadata.csv, Parquet, a hub id, WebDataset."""
    revision: str | None = None
    """A pinned revision, for a hub source."""
    attributes: tuple[str, ...] | dict[str, AttributeKind] = (
        "Pattern",
        "Fabric",
        "Fit",
        "Sleeve Length",
        "Neck",
        "baseColour",
        "articleType",
    )
    product: str | None = "product"
    """Column whose items are one product and never cross splits; null: every item is a product of its own."""
    id: str | None = None
    """Column that names an item; null: `id` when there is one, else the file name, else the row number."""
    image: str = "image"
    """Column that holds the picture."""
    range: tuple[float, float] | None = None
    """The numbers that are black and white in pictures of more than 8 bits; null: found from the pictures of the first
    split, in steps of bits (255, 511, ... 65535; 1 for floats), the same for every item; `data check` shows it."""
    bands: tuple[int, int, int] | None = None
    """Which bands are red, green and blue, counted from 1, in pictures of more; null: the first three of four."""
    title: str | None = None
    """Column of titles; equal ones form a group where no product column is known."""
    unknown: tuple[str, ...] = ("", "NA")
    """Cells that mean nobody knows, and members of multi-valued cells; an unknown is masked, never a negative."""
    normalise: Literal["unicode", "spaces", "case"] = "spaces"
    """Which spellings of an attribute's value are one value; each level includes those before. unicode: composed and
    decomposed letters; spaces: also spaces around and doubled, no-break spaces, soft hyphens; case: also capitals, by
    lower-casing. `data check` lists values that a higher level would join."""
    splits: SplitNames = SplitNames()
    holdout_pairs: tuple[dict[str, str], ...] = ()
    """Pairs such as {Pattern: Striped, Fabric: Linen} kept out of training, to measure composition."""
    broken: Literal["error", "count"] = "error"
    """A picture that cannot be decoded: stop, or leave the item out and count it in the report."""
    mixed_sizes: Literal["resample", "refuse"] = "resample"
    """Pictures that are not at the model's native size."""
    prepared: str | None = None
    """Folder of a prepared cache (`clipadapt data prepare`); null decodes the originals each time."""
    policy: str | None = None
    """File that says which licences may be learned from, indexed and shown (clipadapt.data.policy); others are kept
    out and counted. null: no item is kept out."""
    label_audit: str | None = None
    """label_error.json of an audit (`clipadapt data audit --answers`), whose figures training warns of; null: none."""
    label_error: Fraction = 0.05
    """Share of wrong labels, of all or of one attribute, above which training warns before it starts."""
    window: Annotated[int, Field(ge=0)] = 8
    """Of a source in shards (`clipadapt data prepare --shards`): among how many shards the items of an epoch are mixed
    at a time; `train.balance` must be none. 0: among all of them, in any order, as of other sources."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that decode pictures; 0 decodes in the training process."""

    def kinds(self) -> dict[str, AttributeKind]:
        """Attribute name -> kind, whichever way they were written."""
        if isinstance(self.attributes, dict):
            return dict(self.attributes)
        return {name: AttributeKind() for name in self.attributes}


class Lora(Section):
    """Which Linears get an adapter, and of which shape."""

    preset: Literal["both", "image", "text"] = "both"
    rank: Count = 8
    alpha: Positive = 16.0
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    plan: Plan | None = None
    """Ordered (pattern, rank | null) over logical names (`image.blocks.3.attention.q`); null: q/k/v/out at `rank`."""
    norms: bool = False
    """Also train LayerNorm scale and bias."""
    tokens: bool = False
    """Also train the token embeddings of words that name taught values and stand in no text that is to be kept (peft's
    trainable tokens): a word learns what it means, and texts that do not have its token keep theirs."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Passed to peft.LoraConfig as they are: use_dora, use_rslora, init_lora_weights (pissa, olora, ...)."""

    def resolved_plan(self) -> Plan:
        """The plan as written, or attention q/k/v/out at `rank` with everything else frozen."""
        if self.plan is not None:
            return self.plan
        return (("*.attention.{q,k,v,out}", self.rank), ("*.mlp.*", None), ("*.norm.*", None))


class Eval(Section):
    """What is measured at the end, and what chooses the epoch on tune."""

    suite: str | None = "eval/attributes.yaml"
    """null: nothing is measured after training."""
    select_on: Selector = "rare_balanced_accuracy"
    """smooth: the mean of balanced likelihood and value-wise average precision, which moves with every item of tune,
    where accuracy over a handful of rare items jumps."""
    headline: tuple[str, ...] | None = None
    """Attributes whose mean is quoted; null: all exclusive attributes."""
    show_pictures: bool = True
    """false: item ids stand in place of thumbnails in report.html, for catalogues whose pictures may not leave."""
    gate: str | None = None


class Config(Section):
    """A whole experiment."""

    name: str
    output_dir: str
    seed: int = 0
    model: Model = Model()
    data: Data
    prompts: str
    head: Literal["text", "linear"] = "text"
    """text: attributes are recognised by their values' texts. linear: by a linear classifier each, trained with the
    image tower alone (any, `timm:` ones included); it starts from a linear probe, and `export` defaults to []."""
    lora: Lora = Lora()
    loss: Loss = Loss()
    train: Train = Train()
    augment: Augment = Augment()
    eval: Eval = Eval()
    export: tuple[Literal["open_clip", "transformers"], ...] = ("open_clip",)
    index: Literal["train", "validation", "tune"] | None = None
    """The split whose pictures go into a search index at OUTPUT_DIR/index; null: build one with `clipadapt index`."""

    @model_validator(mode="before")
    @classmethod
    def _exports_nothing_of_a_head(cls, raw: Any) -> Any:
        return {"export": [], **raw} if isinstance(raw, dict) and raw.get("head") == "linear" else raw

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> Self:
        faults = list(_impossible(self))
        if not (info.context or {}).get(WRITTEN_BY_A_RUN):
            faults += _idle(self)
        if faults:
            raise ValueError("\n".join(faults))
        return self

    @classmethod
    def load(
        cls, path: str | Path, overrides: Sequence[str] = (), *, old_keys: bool = False, as_written: bool = False
    ) -> Self:
        """Reads a YAML file and applies `a.b=value` overrides, each value parsed as YAML.

        `old_keys`: for files that clipadapt wrote itself; keys of earlier versions are taken under their new names,
        where in anybody else's file they are faults that name the new key, and keys that do nothing are let pass.
        `as_written`: paths of a run's config.yaml as they stand there, not as they are found now (see places).

        Raises:
            ConfigError: no such file, no YAML, or any fault in it; all of them in one message.
        """
        raw = read_yaml(path)
        folder = locate(path).parent
        is_runs = (folder / places.FILE).is_file()
        if old_keys or is_runs:
            raw = with_new_names(raw, cls)
        if is_runs and not as_written:
            raw = places.resolved(raw, folder)
        faults = [fault for override in overrides if (fault := put_override(raw, override))]
        raw = expand(raw, faults)
        try:
            parsed = cls.model_validate(raw, context={WRITTEN_BY_A_RUN: old_keys or is_runs})
        except ValidationError as error:
            faults += describe(error, cls)
            parsed = None
        if faults or parsed is None:
            raise ConfigError(f"{path}: {len(faults)} fault(s){listing(faults)}")
        return parsed

    def to_yaml(self) -> str:
        """The resolved config, every default written out; loads back to an equal Config."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _impossible(config: Config) -> Iterator[str]:
    """What no run can be."""
    yield from _head_faults(config)
    yield from _order_faults(config)
    loss, train, augment = config.loss, config.train, config.augment
    if config.head == "text" and loss.name in ("softmax", "multi_positive") and train.batch_size == 1:
        yield (
            f"train.batch_size 1: loss.name {loss.name} tells a picture's caption from those of the other pictures of "
            "its batch, and there are none; raise it, or set loss.name to attributes or sigmoid"
        )
    plain = augment.crop == (1.0, 1.0) and not (augment.flip or augment.jitter or augment.autoaugment)
    if train.views > 1 and plain:
        yield f"train.views {train.views}: augment changes nothing, so all are alike; set it to 1"
    if train.views and train.cache != "off" and (augment.mixup or augment.cutmix):
        yield (
            "train.cache: augment.mixup and cutmix mix pixels, and what is kept are tokens of single pictures; set it "
            "to off, or the mixing to 0"
        )
    if train.hard_negatives and not (config.head == "text" and (loss.name != "attributes" or loss.caption_weight > 0)):
        yield (
            "train.hard_negatives: this loss compares pictures with values, not with each other's captions; set it to "
            "0, or loss.caption_weight above 0"
        )


def _idle(config: Config) -> Iterator[str]:
    """What would be passed over: a run would be taken for what it is not. Of a run's own file, which may be of an
    earlier version, nobody asks that.
    """
    yield from _name_faults(config)
    loss = config.loss
    if config.lora.tokens and config.train.trainable != "adapters":
        yield (
            f"lora.tokens: trained beside adapters, and train.trainable is {config.train.trainable}; set it to false, "
            "or train.trainable to adapters"
        )
    elif config.lora.tokens and (config.head == "linear" or config.lora.preset == "image"):
        yield "lora.tokens: the text tower's, and the image tower alone is trained; set it to false"
    if config.head == "linear":
        if odd := loss.changed(_UNUSED_BY_HEADS):
            keys = ", ".join(f"loss.{key}" for key in odd)
            yield f"head linear: has one loss, cross-entropy over an attribute's values; leave out {keys}"
        return
    if loss.name != "attributes" and (odd := loss.changed(_UNUSED_BY_CAPTIONS)):
        yield (
            f"loss.name {loss.name}: compares pictures with captions and not with values, so that "
            f"{', '.join(f'loss.{key}' for key in odd)} would do nothing; leave out what concerns values "
            f"(loss={{name: {loss.name}}}), or set loss.name to attributes"
        )
    if loss.name == "attributes" and not loss.search and loss.changed(["bank"]):
        yield "loss.bank: values look for items in it, and loss.search is 0; leave it out, or set loss.search above 0"
    if loss.answers and not loss.anchor:
        yield "loss.answers: without an anchor nothing is kept; set loss.anchor above 0, or loss.answers to 0"
    elif loss.answers and loss.name == "attributes" and 0.0 not in loss.attribute_weights.values():
        yield (
            "loss.answers: kept to the values of attributes whose loss.attribute_weights is 0, and there is none; set "
            "one to 0, or loss.answers"
        )
    if loss.logit_scale == "trained" and loss.scale is not None and not 1.0 <= loss.scale <= LARGEST_SCALE:
        yield (
            f"loss.scale {loss.scale:g}: a trained scale stays between 1 and {LARGEST_SCALE:g}; set one of these, or "
            "loss.logit_scale to frozen"
        )
    if config.train.order == "pictures_first" and config.eval.select_on == "loss":
        yield (
            "train.order pictures_first: eval.select_on loss is judged by texts, which do not learn in the epochs that "
            "it would choose from; set it to smooth"
        )


def _name_faults(config: Config) -> Iterator[str]:
    """Names that other keys give to attributes which data.attributes does not have; unseen, they would do nothing."""
    known = list(config.data.kinds())
    named = {"loss.attribute_weights": config.loss.attribute_weights, "eval.headline": config.eval.headline or ()}
    for key, names in named.items():
        for name in names:
            if name not in known:
                folded = {one.casefold(): one for one in known}
                close = difflib.get_close_matches(name.casefold(), folded, n=1)
                hint = f"did you mean {folded[close[0]]!r}?" if close else f"there are {', '.join(known) or 'none'}"
                yield f"{key}: data.attributes has no {name!r}; {hint}"


def _order_faults(config: Config) -> Iterator[str]:
    """What the image tower needs in order to learn before the text tower does."""
    if config.train.order == "texts_first":
        return
    about = "train.order pictures_first"
    if config.loss.name != "attributes" or not config.loss.value_vectors:
        yield f"{about}: pictures learn from value vectors; set loss.name to attributes and loss.value_vectors above 0"
    if config.loss.caption_weight or config.loss.keep:
        yield f"{about}: captions are texts, too; set loss.caption_weight and loss.keep to 0"
    if config.lora.preset == "both" and not config.train.text_warmup:
        yield (
            f"{about}: the text tower learns in train.text_warmup steps at the end; set it above 0, or lora.preset to "
            "image"
        )


def _head_faults(config: Config) -> Iterator[str]:
    """What cannot be together with the head that was chosen."""
    if config.head == "text":
        if config.train.trainable == "head":
            yield "train.trainable head: there is none to train; set head: linear"
        return
    multi = [name for name, kind in config.data.kinds().items() if kind.kind == "multi"]
    if multi:
        yield f"head linear: tells one value of each item, and {', '.join(multi)} may have several; take it out"
    if config.train.text_warmup:
        yield "head linear: trains no texts; leave out train.text_warmup"
    if config.lora.preset == "text":
        yield "lora.preset text: head linear trains the image tower alone; set it to image"
    if config.eval.select_on == "loss":
        yield "eval.select_on loss: head linear chooses by recognition; set it to balanced_accuracy"
    if config.export:
        yield "export: no exported form holds a linear head; set it to []"
