"""What a batch is trained for: which texts it needs, and one differentiable number once their vectors are there.

A step has two halves with the towers between them. `texts_for` names the distinct texts of a global batch: captions,
and for `attributes` some wordings of every value, so that each takes part in every step however rare it is. `loss`
takes the unit vectors of all pictures and all those texts. Both are pure functions of (seed, epoch, step, items), so
every process works out the same. Nothing here knows of towers, processes or precision.

    attributes       cross-entropy over all values of each attribute, and over all items of each value, plus
                     `caption_weight` x multi_positive
    others           pictures against captions: losses/captions.py lists them, and says how to bring one's own
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from clipadapt import config
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import TrainingError
from clipadapt.losses.captions import CaptionPairs, caption_loss, mean_of
from clipadapt.losses.keep import anchor_loss, keep_loss
from clipadapt.losses.prefixes import prefix
from clipadapt.losses.tiled import Pairs
from clipadapt.prompts import Prompts
from clipadapt.prompts.wordings import Wordings
from clipadapt.training.anchors import Anchors, Chosen
from clipadapt.training.bank import Bank
from clipadapt.training.captions import CaptionBatch, Captions
from clipadapt.training.labels import Labels, labels_of
from clipadapt.training.mixing import Mix
from clipadapt.training.scores import Scores
from clipadapt.training.value_vectors import ValueTable


class TextBatch(NamedTuple):
    """A global batch and the texts it needs."""

    items: Integer[Tensor, " b"]
    """Rows of the catalogue."""
    texts: list[str]
    """Distinct, captions first."""
    captions: CaptionBatch | None
    """Whose texts are `texts[: len(captions.texts)]`; None when the loss has no use for captions."""
    values: dict[str, Integer[Tensor, "w v"]]
    """Attribute -> row in `texts` of each wording of each of its values."""
    mix: Mix | None = None
    anchors: Integer[Tensor, " a"] | None = None
    """Rows in `texts` of the texts that are to stay where the base has them ..."""
    anchor_vectors: Float[Tensor, "a d"] | None = None
    """... the base's vectors of those ..."""
    group: int = 0
    """... and how many, from the first, are values of one attribute, to which the base's answers are kept."""
    step: int = 0

    def on(self, device: torch.device) -> "TextBatch":
        """With every tensor there."""
        return TextBatch(
            self.items.to(device),
            self.texts,
            None if self.captions is None else self.captions.to(device),
            {name: rows.to(device) for name, rows in self.values.items()},
            None if self.mix is None else self.mix.to(device),
            None if self.anchors is None else self.anchors.to(device),
            None if self.anchor_vectors is None else self.anchor_vectors.to(device),
            self.group,
            self.step,
        )


class Base(NamedTuple):
    """What the unadapted model says of the same batch, for the `keep` term."""

    image: Float[Tensor, "b d"]
    text: Float[Tensor, "t d"]
    scale: float


class Outcome(NamedTuple):
    """A batch's loss and how training fares; all but `loss` without gradient."""

    loss: Float[Tensor, ""]
    parts: dict[str, Tensor]
    """The loss's terms by name, before weighting."""
    right: Tensor
    """How many judged answers were right ..."""
    judged: Tensor
    """... out of how many ..."""
    guessed: Tensor
    """... and how many guessing would have got right."""

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None when nothing was judged, as where all pictures are mixed."""
        return float(self.right) / float(self.judged) if self.judged else None


class Objective:
    """One config's loss over one catalogue."""

    def __init__(
        self,
        loss: config.Loss,
        catalogue: Catalogue,
        prompts: Prompts,
        *,
        seed: int,
        titles: Sequence[str] = (),
    ) -> None:
        """`titles`: of the catalogue's items, whose words stand around values in some wordings."""
        self._config = loss
        self.pictures_first = False
        """Steps of the main phase need no texts; those of the text phase, which are below 0, do."""
        self.prompts = prompts
        self._seed = seed
        self._items = len(catalogue)
        self.labels: tuple[Labels, ...] = (
            labels_of(catalogue, loss.attribute_weights) if loss.name == "attributes" else ()
        )
        kept = [one.name for one in catalogue.attributes if loss.attribute_weights.get(one.name) == 0]
        self.beside: tuple[Labels, ...] = (
            labels_of(
                catalogue.with_attributes([one for one in catalogue.attributes if one.name in kept]),
                dict.fromkeys(kept, 1.0),
            )
            if self.labels and loss.value_vectors
            else ()
        )
        """Attributes that are anchored: their texts stay, value vectors are learned for them all the same."""
        if loss.name == "attributes" and not self.labels:
            raise TrainingError(
                f"loss.name attributes: in {catalogue.split!r} of {catalogue.source} no attribute has two values; "
                "name filled columns in data.attributes, or take loss={name: multi_positive}"
            )
        captioned = loss.name != "attributes" or loss.caption_weight > 0 or loss.keep > 0
        self._caption_loss = mean_of(caption_loss(loss.name, loss.options), loss.name)
        self._captions = Captions(catalogue, prompts, seed=seed) if captioned else None

        self.values = {one.name: sorted(catalogue.counts(one.name)) for one in catalogue.attributes}
        """Attribute -> the values that items have."""
        self.wordings = Wordings(prompts, titles, seed=seed, values=self.values)
        """How values are worded, in training and when judged."""
        self.anchors: Anchors | None = None
        """What texts and pictures are to keep of the base."""
        self._targets: Mapping[str, Tensor] = {}
        self.table: ValueTable | None = None
        """Value vectors that are trained beside texts."""
        self.bank: Bank | None = None
        """What values look for their items in, beside the batch."""

    @property
    def taught(self) -> list[str]:
        """The attributes whose values' texts are trained: those with a weight, or, of a loss over captions alone, those
        whose columns captions name.
        """
        if self.labels:
            return [labels.attribute for labels in self.labels]
        return [name for name in self.values if name in self.prompts.trained_fields]

    def says(self, column: str | None) -> bool:
        """Whether captions that are trained say what stands in a column."""
        return self._captions is not None and column in self.prompts.trained_fields

    def set_targets(self, directions: Mapping[str, Float[Tensor, "v d"]]) -> None:
        """Unit vectors that each attribute's value texts are pulled to; none turns the term off."""
        self._targets = directions

    def texts_for(self, items: np.ndarray, *, epoch: int, step: int, captioned: int | None = None) -> TextBatch:
        """The texts of a global batch. `captioned`: how many of the first items get a caption; None: all."""
        if self.pictures_first and step >= 0:
            return TextBatch(torch.from_numpy(np.ascontiguousarray(items)), [], None, {}, step=step)
        captions = self._captions.batch(items[:captioned].tolist(), epoch) if self._captions else None
        texts = dict.fromkeys(captions.texts if captions else ())
        rows: dict[str, int] = {text: row for row, text in enumerate(texts)}
        values = {}
        for labels in self.labels:
            sampled = [self._worded(labels, step, number) for number in range(max(1, self._config.wordings))]
            places = [[rows.setdefault(text, len(rows)) for text in texts] for texts in sampled]
            values[labels.attribute] = torch.tensor(places)
        at = torch.from_numpy(np.ascontiguousarray(items))
        text_batch = TextBatch(at, list(rows), captions, values, step=step)
        return text_batch if self.anchors is None else _with_anchors(text_batch, rows, self.anchors.chosen(step))

    def _worded(self, labels: Labels, step: int, number: int) -> list[str]:
        """A text of each value of an attribute, in words drawn for this step."""
        if not self._config.wordings:
            key = (self._seed, step)
            return [self.prompts.attribute_text(labels.attribute, value, key) for value in labels.values]
        key = (self._seed, step, number)
        return [self.wordings.training(labels.attribute, value, key) for value in labels.values]

    def sample_texts(self, count: int) -> list[str]:
        """At most `count` distinct texts that training may use: captions of items spread over the catalogue, then
        every value's longest text.
        """
        texts: dict[str, None] = {}
        if self._captions is not None:
            items = np.unique(np.linspace(0, self._items - 1, min(count, self._items)).astype(int))
            texts |= dict.fromkeys(self._captions.batch(items.tolist(), 0).texts)
        for labels in self.labels:
            for value in labels.values:
                texts[max(self.prompts.value_texts(labels.attribute, value), key=len)] = None
        return list(texts)[:count]

    def loss(
        self,
        text_batch: TextBatch,
        image: Float[Tensor, "b d"],
        text: Float[Tensor, "t d"],
        *,
        scale: Tensor,
        bias: Tensor | None = None,
        base: Base | None = None,
    ) -> Outcome:
        """The loss of a global batch, from the unit vectors of its pictures and of `text_batch.texts`, in their order.

        Args:
            text_batch: from `texts_for`.
            image: unit vectors, with gradient where the image tower learns.
            text: unit vectors of all texts.
            scale: factor on cosines.
            bias: SigLIP's; None: the sigmoid loss takes minus the batch's mean logit and the log of its captions.
            base: needed when `loss.keep` is not 0.

        Raises:
            TrainingError: the batch holds nothing to learn from.
        """
        whole = self._loss(text_batch, image, text, scale, bias, base)
        dims = [dim for dim in self._config.dims if dim < image.shape[1]]
        if not dims:
            return whole
        shorter = {
            f"first {dim}": self._loss(text_batch, prefix(image, dim), prefix(text, dim), scale, bias, base).loss
            for dim in dims
        }
        total = torch.stack([whole.loss, *shorter.values()]).mean()
        return whole._replace(loss=total, parts=whole.parts | {name: one.detach() for name, one in shorter.items()})

    def _loss(
        self, text_batch: TextBatch, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor | None, base: Base | None
    ) -> Outcome:
        """Of the vectors at one length; the base's answers are those of its whole vectors at any."""
        parts: dict[str, Tensor] = {}
        scores = Scores(image.device)
        total = image.new_zeros((), dtype=torch.promote_types(image.dtype, torch.float32))
        for name, term, weight in self._attribute_terms(text_batch, image, text, scale, scores):
            parts[name] = term
            total = total + weight * term
        for name, term, weight in self._text_terms(text_batch, text):
            parts[name] = term
            total = total + weight * term
        if self._config.answers and text_batch.group:
            parts["answers"] = self._answers_term(text_batch, image, text, scale)
            total = total + self._config.answers * parts["answers"]
        if text_batch.captions is not None:
            caption_vectors = text[: len(text_batch.captions.texts)]
            pictures = image[: len(text_batch.captions.of)]
            weight = self._config.caption_weight if self.labels else 1.0
            if weight:
                parts["captions"] = self._caption_term(text_batch, pictures, caption_vectors, scale, bias)
                total = total + weight * parts["captions"]
            if (
                base is not None and self._config.keep and len(caption_vectors) > 1
            ):  # over a single text nothing can change
                kept = keep_loss(pictures, caption_vectors, base.image, base.text, base.scale)
                parts["keep"] = kept.mean()
                total = total + self._config.keep * parts["keep"]
            if not self.labels:
                scores.captions(text_batch.captions, pictures, caption_vectors)
        return Outcome(total, {name: part.detach() for name, part in parts.items()}, *scores.sums())

    def _text_terms(self, text_batch: TextBatch, text: Tensor) -> Iterator[tuple[str, Tensor, float]]:
        """(name, value, weight) of the terms that look at texts alone."""
        dim = text.shape[1]
        if self._targets:
            weights = sum(labels.weight for labels in self.labels)
            pulls = [
                labels.weight / weights * anchor_loss(text[rows], prefix(self._targets[labels.attribute], dim)).mean()
                for labels in self.labels
                for rows in text_batch.values[labels.attribute]
            ]
            yield "pull", torch.stack(pulls).sum() / max(1, self._config.wordings), self._config.value_vectors
        if text_batch.anchors is not None and text_batch.anchor_vectors is not None:
            anchors = prefix(text_batch.anchor_vectors, dim)
            yield "anchor", anchor_loss(text[text_batch.anchors], anchors).mean(), self._config.anchor

    def _answers_term(self, text_batch: TextBatch, image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        """How far the answers to one attribute's values moved from the base's, in both directions."""
        assert self.anchors is not None and self.anchors.pictures is not None
        assert text_batch.anchors is not None and text_batch.anchor_vectors is not None
        if text_batch.mix is not None:  # the base never saw the mixed pictures
            return image.new_zeros((), dtype=torch.float32)
        own, base = text[text_batch.anchors[: text_batch.group]], text_batch.anchor_vectors[: text_batch.group]
        pictures = self.anchors.pictures[text_batch.items].to(image.device)
        across = keep_loss(image, own, pictures, base, scale).mean()
        return across + keep_loss(own, image, base, pictures, scale).mean() if len(image) > 1 else across

    def _caption_term(
        self, text_batch: TextBatch, image: Tensor, text: Tensor, scale: Tensor, bias: Tensor | None
    ) -> Tensor:
        assert text_batch.captions is not None
        captions, mix = text_batch.captions, text_batch.mix
        pairs = CaptionPairs(captions.of, _mixed(captions, mix), _own_only(captions, mix), mix is not None)
        return self._caption_loss(image, text, pairs, scale=scale, bias=bias)

    def value_rows(self, labels: Labels, text_batch: TextBatch, text: Tensor) -> Iterator[tuple[str, Tensor, float]]:
        """(name of the term, what the pictures' vectors are multiplied with: a row for each value, weight)."""
        for rows in text_batch.values.get(labels.attribute, ()):
            yield "texts", text[rows.to(text.device)], 1.0 / max(1, self._config.wordings)
        if self.table is not None:
            yield "vectors", self.table.vectors(labels.attribute), 1.0

    def _attribute_terms(
        self, text_batch: TextBatch, image: Tensor, text: Tensor, scale: Tensor, scores: "Scores"
    ) -> Iterator[tuple[str, Tensor, float]]:
        """(name, value, weight) of the terms over labels: recognition and search, by texts and by value vectors; each
        the weighted mean over attributes.

        In recognition an attribute's sum is divided by the number of labels a batch of this size has on average, not by
        the number it happens to have: a single labelled item would otherwise weigh as much as a batch full of them.
        """
        if not self.labels:
            return
        total = image.new_zeros((), dtype=torch.promote_types(image.dtype, torch.float32))
        sums: dict[str, Tensor] = {}
        weights = sum(labels.weight for labels in self.labels)  # those beside weigh like one of them
        gallery = self._gallery(text_batch, image)
        for labels in (*self.labels, *self.beside):
            for number, (by, whole, share) in enumerate(self.value_rows(labels, text_batch, text)):
                vectors = prefix(whole, image.shape[1])
                factor = share * labels.weight / weights
                mix, tau = text_batch.mix, self._config.logit_adjustment
                terms = labels.terms(text_batch.items, image, vectors, scale, mix, tau)
                recognised = factor * terms.total / (labels.labelled * len(image))
                sums[f"recognise {by}"] = sums.get(f"recognise {by}", total) + recognised
                if self._config.search:
                    terms = labels.search_terms(*gallery, vectors, scale, mix)
                    sought = factor * terms.total / terms.items.clamp(min=1)
                    sums[f"search {by}"] = sums.get(f"search {by}", total) + sought
                if mix is None and number == 0 and labels in self.labels:
                    scores.values(labels, text_batch.items, image, vectors)
        for name, value in sums.items():
            yield name, value, self._config.search if name.startswith("search") else 1.0

    def _gallery(self, text_batch: TextBatch, image: Tensor) -> tuple[Tensor, Tensor]:
        """(rows of the catalogue, vectors) that values look for their items in: the batch, and the bank beside it."""
        if self.bank is None or text_batch.mix is not None:
            return text_batch.items, image
        rows, vectors = self.bank.beside(text_batch.items, step=text_batch.step)
        return torch.cat([text_batch.items, rows]), torch.cat([image, prefix(vectors, image.shape[1]).to(image)])


def _with_anchors(text_batch: TextBatch, rows: dict[str, int], chosen: Chosen) -> TextBatch:
    at = torch.tensor([rows.setdefault(text, len(rows)) for text in chosen.texts])
    return text_batch._replace(texts=list(rows), anchors=at, anchor_vectors=chosen.vectors, group=chosen.group)


def _mixed(captions: CaptionBatch, mix: Mix | None) -> Pairs:
    """Positives and known pairs of a batch; of a mixed picture both halves count with their share."""
    if mix is None:
        return captions.pairs

    def pairs(rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
        positives, known = captions.pairs(rows, columns)
        others = captions._replace(of=captions.of[mix.partner], items=captions.items[mix.partner])
        also, also_known = others.pairs(rows, columns)
        share = mix.share[rows, None]
        return share * positives + (1 - share) * also, known & also_known

    return pairs


def _own_only(captions: CaptionBatch, mix: Mix | None) -> Pairs:
    """A picture's own caption and its partner's, with their shares, and no other positives: softmax under MixUp."""

    def pairs(rows: slice, columns: slice) -> tuple[Tensor, None]:
        at = torch.arange(len(captions.texts), device=captions.of.device)[columns]
        if mix is None:
            return captions.of[rows, None] == at, None
        own, other = captions.of[rows, None] == at, captions.of[mix.partner][rows, None] == at
        share = mix.share[rows, None]
        return share * own + (1 - share) * other, None

    return pairs
