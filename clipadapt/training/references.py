"""What training goes by besides its batches: the base, anchors, value vectors, a bank of pictures, an average.

    references = References(config, encoder, logit_scale, objective, parameters, train, processes, encode=...)
    references.parameters      # what is trained: the towers' and the value vectors
    references.kept            # what a checkpoint holds: those, their averages, the bank
    references.ready(prompts)  # once pictures can be encoded, in every start of a run
    references.begin(...)      # before the first step of a run
    references.learn_again(...)  # between the pictures' epochs and the texts' steps
    references.targets()       # of the text warm-up: the value vectors as they are now

Nothing here knows of steps, epochs or files.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from clipadapt.config import Config
from clipadapt.data.catalogue import Catalogue
from clipadapt.processes.exchange import Processes
from clipadapt.prompts import Prompts
from clipadapt.towers.adapter import refill_adapter
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.value_vectors import ValueVectors
from clipadapt.training import optim
from clipadapt.training.anchors import FILLERS, Anchors
from clipadapt.training.averaging import Average
from clipadapt.training.bank import Bank
from clipadapt.training.base import BaseModel
from clipadapt.training.logit_scale import LogitScale
from clipadapt.training.objective import Objective
from clipadapt.training.value_vectors import ValueTable, learn

log = logging.getLogger(__name__)


class References:
    """Those of one run; what the objective needs of them is handed to it."""

    def __init__(
        self,
        config: Config,
        encoder: TorchEncoder,
        logit_scale: LogitScale,
        objective: Objective,
        parameters: Mapping[str, nn.Parameter],
        train: Catalogue,
        processes: Processes,
        *,
        encode: Callable[[], Tensor],
    ) -> None:
        """`encode`: vectors of all training pictures by the image tower as it is when it is called."""
        self._config = config
        self._encoder = encoder
        self._logit_scale = logit_scale
        self._objective = objective
        self._train = train
        self._processes = processes
        self._labels = (*objective.labels, *objective.beside)
        loss = config.loss
        self.parameters = dict(parameters)
        if loss.value_vectors and self._labels:
            objective.table = ValueTable(self._labels, encoder.dim).to(encoder.device)
            self.parameters |= {f"values.{name}": one for name, one in objective.table.named_parameters()}
        self.average = Average(self.parameters, config.train.average)
        self.kept = self.parameters | self.average.kept
        if loss.search and self._labels:
            empty = torch.zeros(len(train), encoder.dim, device=encoder.device)
            objective.bank = Bank(empty, size=loss.bank, seed=config.seed)
            self.kept |= {"bank": objective.bank.vectors}
        compared = (
            loss.keep, loss.anchor, loss.answers, loss.search, loss.value_vectors, config.train.text_warmup
        )  # fmt: skip
        self.base = BaseModel(encoder, parameters, encode) if any(compared) else None
        """The model as it was; None where nothing compares with it."""

    def ready(self, prompts: Prompts) -> None:
        """Takes the anchors from the base."""
        if self.base is None or not self._config.loss.anchor:
            return
        taught = self._objective.taught
        wordings, seed = self._objective.wordings, self._config.seed
        pictures = self.base.pictures if self._config.loss.answers else None
        with self.base.as_it_was():
            # Random words are those of titles, which captions may teach.
            fillers = 0 if self._objective.says(self._config.data.title) else FILLERS
            self._objective.anchors = Anchors.of(
                self._train, prompts, taught, wordings, self._encoder, pictures, fillers=fillers, seed=seed
            )
        if self._config.loss.answers and not self._objective.anchors.groups:
            log.warning("loss.answers does nothing: every attribute is taught, so there are no answers to keep")

    def begin(self) -> None:
        """Fills the bank and learns the value vectors; the same on every process."""
        if self.base is not None and (self._objective.bank is not None or self._objective.table is not None):
            self._learn(self.base.pictures, again=False)

    def _learn(self, pictures: Tensor, *, again: bool) -> None:
        """Fills the bank with vectors of all training pictures, and learns the value vectors from them."""
        objective, loss = self._objective, self._config.loss
        if objective.bank is not None:
            objective.bank.vectors.data.copy_(pictures)
        if objective.table is None:
            return
        scale, tau, seed = float(self._logit_scale.scale().detach()), loss.logit_adjustment, self._config.seed
        learned = learn(
            self._labels, pictures, scale=scale, tau=tau, search=loss.search, seed=seed, again=again, dims=loss.dims
        )
        objective.table.start(learned)
        self._processes.share(list(objective.table.parameters()))
        self.average.restart()

    @torch.no_grad()
    def targets(self) -> dict[str, Tensor]:
        """Attribute -> value vectors as they are now; none where none are learned."""
        table = self._objective.table
        return {} if table is None else {name: table.vectors(name) for name in table.values}

    def learn_again(self, pictures: Tensor, better: Callable[[], bool]) -> None:
        """Learns the value vectors anew from pictures as they are after their epochs; kept where `better` says so.

        `pictures`: unit vectors of all training pictures by the image tower as it is now.
        """
        before = self.targets()
        self._learn(pictures, again=True)
        if self._objective.table is not None and not better():
            self._objective.table.start(before)
            self.average.restart()

    def take(self, adapter: Path) -> None:
        """Goes back to the pictures that a run kept: its best epoch's weights and value vectors. Texts stay as they
        are, not trained yet: where the last checkpoint was lost, what is kept has trained ones.

        Raises:
            AdapterError: the folder is not what this run wrote.
        """
        trained = optim.trainable(self._encoder.model)
        texts = {name: one.detach().clone() for name, one in trained.items() if self._encoder.tower_of(name) == "text"}
        refill_adapter(self._encoder, adapter)
        for name, value in texts.items():
            trained[name].data.copy_(value)
        kept, table = ValueVectors.beside(adapter), self._objective.table
        if kept is not None and table is not None:
            table.start({name: torch.from_numpy(one.vectors) for name, one in kept.attributes.items()})
        self.average.restart()
