"""What a person names -> what the program uses: the one resolver, for train.py and every verb that reads a catalogue.

    inputs = resolve(model="run:runs/fashion")                      a run brings source, columns, splits and prompts
    inputs = resolve(config="configs/fashion.yaml")                 a config brings the same
    inputs = resolve(source="shop", image="photo", product="sku")   flags name a catalogue that nothing knows yet
    inputs.catalogue("validation"), inputs.tune, inputs.prompts, inputs.training_counts()

Flags win over a config, a config over a run. Train, validation and tune of a catalogue that a config or run describes
are those of its training; `validation` and `tune` of any other, where the source has none, are split off `train` by
product in the same way. Splits are loaded once. Nothing here loads a model or measures.
"""

import dataclasses
import functools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from clipadapt.config import AttributeKind, Config, Data
from clipadapt.data.bins import training_counts
from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.columns import keys_are_flags, near
from clipadapt.data.sources import Source, open_source
from clipadapt.data.splits import Splits, carve, declared_attributes, grouped, load_split, load_splits
from clipadapt.errors import ConfigError, listing
from clipadapt.prompts import Prompts
from clipadapt.runs import Run
from clipadapt.sections import describe

log = logging.getLogger(__name__)

GENERIC = "prompts/generic.yaml"
_ROLES = ("image", "product", "id", "title")


@dataclass(frozen=True)
class Inputs:
    """One catalogue as a command uses it, and what a config or a run knows about it. Made by `resolve`."""

    data: Data
    """The config's or run's data section with the flags on top."""
    settings: Config | None
    """The config, or the run's; None: flags alone."""
    trained: bool
    """The model is a run that was trained on this very source, so its splits are those of the training."""
    known_source: bool
    """The source is that of the settings."""
    attributes_named: bool
    """Attributes come from flags."""
    words: str
    """The prompts file."""
    bare_seed: int = 0
    """Of splits that are split off where no config names a seed; the same as a config's default."""

    @property
    def seed(self) -> int:
        return self.settings.seed if self.settings is not None else self.bare_seed

    def of_run(self) -> Self:
        """The same once the config has been trained: its weights and epoch were chosen on these splits."""
        made = dataclasses.replace(self, trained=True)
        kept = {name: self.__dict__[name] for name in ("opened", "splits", "prompts") if name in self.__dict__}
        made.__dict__.update(kept)
        return made

    def with_splits(self, splits: Splits) -> Self:
        """The same with other items in its splits, such as a part of them."""
        made = dataclasses.replace(self)
        kept = {name: self.__dict__[name] for name in ("opened", "prompts") if name in self.__dict__}
        made.__dict__.update(kept, splits=splits)
        return made

    def with_seed(self, seed: int) -> Self:
        """The same with another seed for what is split off; a config's or run's seed stays."""
        return dataclasses.replace(self, bare_seed=seed)

    def about(self, names: Iterable[str]) -> Self:
        """The same with only those columns as attributes; names that the source does not have are passed over."""
        kinds, columns = self.data.kinds(), self._columns()
        chosen = {name: kinds.get(name, AttributeKind()) for name in names if name in columns}
        data = self.data.model_copy(update={"attributes": chosen})
        return dataclasses.replace(self, data=data, attributes_named=True)

    @functools.cached_property
    def opened(self) -> Source:
        return open_source(self.data.source, self.data.revision)

    @functools.cached_property
    def prompts(self) -> Prompts:
        return Prompts.load(self.words)

    @functools.cached_property
    def splits(self) -> Splits:
        """Train, validation and tune as training has them.

        Raises:
            CatalogueError: a split or column that is not there, or a product in two splits.
        """
        with self._naming():
            return load_splits(self._declared, self.seed)

    @property
    def tune_name(self) -> str:
        """What the split for choices is called."""
        named = self.data.splits.tune
        return named if isinstance(named, str) else "tune"

    @property
    def default_split(self) -> str:
        """The split that is reported when no flag names one."""
        return self.data.splits.validation

    def catalogue(self, split: str) -> Catalogue:
        """The items of a split with the declared attributes.

        Raises:
            CatalogueError: no such split, and none that training would split off under that name.
        """
        names = self.data.splits
        if self.known_source and split in (names.train, names.validation, self.tune_name):
            parts = {names.train: self.splits.train, names.validation: self.splits.validation}
            return parts.get(split, self.splits.tune)
        if split in ("validation", "tune") and split not in self.opened.splits():
            return getattr(self.splits, split)
        with self._naming():
            return grouped([load_split(self._declared, split, self.opened)], self.data.title)[0].permitted("show")

    def items(self, split: str) -> Catalogue:
        """All items that the source has under that name, for uses that need no label, such as an index.

        Attributes that the source lacks are left out; a split that it lacks is split off as in training.
        """
        names = self.data.splits
        if split not in self.opened.splits() and split in (names.validation, self.tune_name, "validation", "tune"):
            return self.catalogue(split)
        with self._naming():
            plain = load_split(self.data.model_copy(update={"attributes": ()}), split, self.opened)
        if self.settings is None and not self.attributes_named:
            return plain
        return plain.with_attributes([one for one in declared_attributes(self.data) if one.name in plain.columns])

    @property
    def tune(self) -> Catalogue | None:
        """What choices are made on; None where no training knew the source."""
        return self.splits.tune if self.known_source else None

    def tune_beside(self, split: str) -> Catalogue | None:
        """`tune` for a report of `split`; None when that is tune itself, on which nothing fitted may be reported."""
        return None if split == self.tune_name else self.tune

    def training_counts(self, train_split: str | None = None) -> Mapping[str, Mapping[str, int]] | None:
        """Attribute -> value -> labelled training items, by which values are rare; None: no training split is known."""
        if self.known_source and train_split is None:
            return training_counts(self.splits.train, self.splits.tune)
        if train_split is None and self.data.splits.train in self.opened.splits():
            train_split = self.data.splits.train
        return training_counts(self.catalogue(train_split)) if train_split is not None else None

    @property
    def fitted_on(self) -> Mapping[str, str]:
        """What the model's training chose -> the split it was chosen on."""
        return {"weights": self.data.splits.train, "epoch": self.tune_name} if self.trained else {}

    @property
    def headline(self) -> tuple[str, ...] | None:
        """Attributes whose mean is quoted; None: all exclusive ones."""
        return self.settings.eval.headline if self.settings is not None and not self.attributes_named else None

    @property
    def holdout_pairs(self) -> Sequence[Mapping[str, str]]:
        return self.data.holdout_pairs

    @functools.cached_property
    def attributes(self) -> tuple[Attribute, ...]:
        """The declared attributes; of a catalogue that nothing describes, those of the default config that it has.

        Raises:
            ConfigError: it has none of them.
        """
        return tuple(declared_attributes(self._declared))

    def share_of_train(self, share: float) -> tuple[Catalogue, Catalogue]:
        """(all of train, the share of its products that is split off for choices), where no training did so.

        Raises:
            CatalogueError: no train split, or too few products.
        """
        whole = self.catalogue(self.data.splits.train)
        return whole, carve(whole, share, self.seed, purpose="tune")[1]

    @functools.cached_property
    def _declared(self) -> Data:
        """The data section with attributes that can be loaded."""
        if self.settings is not None or self.attributes_named:
            return self.data
        columns = self._columns()
        present = tuple(name for name in self.data.kinds() if name in columns)
        if not present:
            raise ConfigError(
                f"{self.data.source}: which columns are attributes? name them with --attribute, or give a --config "
                f"(`clipadapt init {self.data.source}` writes one); columns are {', '.join(columns)}"
            )
        log.info("attributes: %s", ", ".join(present))
        return self.data.model_copy(update={"attributes": present})

    def _columns(self) -> list[str]:
        """Every column of the first split that has a text."""
        with self._naming():
            plain = self.data.model_copy(update={"attributes": ()})
            return load_split(plain, self.opened.splits()[0], self.opened).columns

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Messages within name flags where there is no config whose keys could be corrected."""
        if self.settings is not None:
            yield
        else:
            with keys_are_flags():
                yield


def resolve(
    *,
    model: str | None = None,
    config: str | Path | Config | None = None,
    source: str | None = None,
    image: str | None = None,
    product: str | None = None,
    id: str | None = None,  # noqa: A002 - the flag's name
    title: str | None = None,
    attributes: Sequence[str] = (),
    prompts: str | None = None,
) -> Inputs:
    """Puts together what flags, a config and a run say.

    Args:
        model: a MODEL string; a run brings its config and its copy of the prompts.
        config: a config file, or one that is loaded already; it wins over the run's.
        source: SOURCE; null: the config's or the run's.
        image: column of pictures; likewise `product`, `id` and `title`.
        attributes: only these columns; with a config or run they keep the kind it gives them.
        prompts: a prompts file; null: the config's or run's, else the generic one.

    Raises:
        ConfigError: no source, a column in two roles, or a flag that would let trained products into what is measured.
    """
    run = run_of(model)
    settings = _settings(config, run)
    if source is None and settings is None:
        raise ConfigError("no source: name a catalogue with --source, or a --config or run that has one")
    base = settings.data if settings is not None else Data(source=source or "")
    known = settings is not None and (source is None or _same(source, settings.data.source))
    trained = known and run is not None and _same(run.config.data.source, base.source)
    flags = {"image": image, "product": product, "id": id, "title": title}
    given = {role: column for role, column in flags.items() if column is not None}
    refuse_two_roles({role: getattr(base, role) for role in _ROLES} | given, attributes, flags=given)
    if known:
        _say_contradictions(base, given, trained=trained, run=run)
    elif settings is not None and config is not None:
        log.info("--source %s instead of %s, with the columns and prompts of %s", source, base.source, config)
    changed: dict[str, Any] = {**given, "source": base.source if known else source}
    if attributes:
        changed["attributes"] = _kinds(base, attributes, settings)
    try:
        data = Data.model_validate({**base.model_dump(), **changed})
    except ValidationError as error:
        raise ConfigError(f"these columns cannot be used:{listing(describe(error, Data))}") from error
    words = prompts or _words(settings, run, explicit=config is not None)
    return Inputs(data, settings, trained, known, bool(attributes), words)


def inputs_of(data: Data) -> Inputs:
    """A catalogue that a data section describes, without the config around it."""
    return Inputs(data, None, False, False, False, GENERIC)


def run_of(model: str | None) -> Run | None:
    """The run of a run: MODEL, whose PATH is its folder or that of its adapter; None for models that are no run."""
    if model is None or not model.startswith("run:"):
        return None
    folder = Path(model.removeprefix("run:")).expanduser()
    return Run.open(folder.parent if folder.name == "adapter" else folder)


def refuse_two_roles(
    roles: Mapping[str, str | None], attributes: Sequence[str], flags: Mapping[str, str] | None = None
) -> None:
    """A column of pictures can be nothing else, and an attribute is no product, id or title.

    Raises:
        ConfigError: naming the flags or keys of both roles, and the column.
    """
    spelled = {role: f"--{role}" if role in (flags or {}) else f"data.{role}" for role in roles}
    faults = [
        f"{spelled['image']} and {spelled[role]} both name {column!r}: pictures cannot be the {role} of an item"
        for role, column in roles.items()
        if role != "image" and column is not None and column == roles["image"]
    ]
    faults += [
        f"{spelled[role]} and an attribute both name {column!r}: take it out of the attributes"
        for role, column in roles.items()
        if column is not None and column in attributes
    ]
    if faults:
        raise ConfigError(f"{len(faults)} column(s) in two roles:{listing(faults)}")


def _settings(config: str | Path | Config | None, run: Run | None) -> Config | None:
    if isinstance(config, Config):
        return config
    if config is not None:
        return Config.load(config)
    return run.config if run is not None else None


def _words(settings: Config | None, run: Run | None, *, explicit: bool) -> str:
    """The prompts file: a config's own where one was named, else the run's copy, else the generic one."""
    if explicit and settings is not None:
        return settings.prompts
    if run is not None:
        return run.config.prompts
    return settings.prompts if settings is not None else GENERIC


def _kinds(base: Data, attributes: Sequence[str], settings: Config | None) -> dict[str, AttributeKind]:
    """The named attributes with the kind that a config gives them."""
    kinds = base.kinds()
    if settings is not None and (unknown := [name for name in attributes if name not in kinds]):
        hints = "".join(f"; --attribute {name}{near(name, list(kinds))}" for name in unknown)
        raise ConfigError(f"no attribute {', '.join(unknown)}; the config has {', '.join(kinds)}{hints}")
    return {name: kinds.get(name, AttributeKind()) for name in attributes}


def _say_contradictions(base: Data, given: Mapping[str, str], *, trained: bool, run: Run | None) -> None:
    """A flag wins over the config and says so, unless other splits than the training's would come of it."""
    for role, column in given.items():
        before = getattr(base, role)
        if before == column:
            continue
        if role == "product" and trained and run is not None:
            raise ConfigError(
                f"--product {column}: {run.path} split its catalogue by {before or 'single items'}; by another column "
                "products that it was trained on would be measured. Leave --product out, or train with "
                f"data.product={column}"
            )
        log.info("--%s %s instead of the config's %s", role, column, before)


def _same(one: str, other: str) -> bool:
    """Two ways to write one source."""
    return one == other or (Path(one).exists() and Path(one).resolve() == Path(other).resolve())
