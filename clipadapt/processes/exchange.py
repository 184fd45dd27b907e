"""What the processes of one training agree on: where they start, and the mean of their gradients.

No DistributedDataParallel wrapper is used. It averages once per forward pass and has to be told which adapters a step
leaves out, while a step here may run a tower in several pieces, twice each. Adapters are megabytes, so one exchange
after the backward pass costs next to nothing; gather.py's rule (every process returns the loss of the whole batch)
makes this mean exact. Nothing here knows of models or losses.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from clipadapt.errors import TrainingError
from clipadapt.processes.gather import average_gradients

_LOST = ("connection closed by peer", "connection reset", "timed out", "broken pipe", "connection refused")
"""What gloo says, in a plain RuntimeError, when a process it talks to is gone; nccl raises DistBackendError."""


@runtime_checkable
class Launched(Protocol):
    """What accelerate's Accelerator and PartialState know of a launch."""

    @property
    def process_index(self) -> int: ...

    @property
    def num_processes(self) -> int: ...


class Processes:
    """The processes of a launch, one or many, seen from one of them: `Processes(Accelerator())`."""

    def __init__(self, launched: Launched) -> None:
        self.rank = launched.process_index
        self.count = launched.num_processes

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces each gradient by its mean over the processes; one that none of them has stays missing."""
        average_gradients(parameters)

    def part(self, count: int) -> np.ndarray:
        """The contiguous part of so many places that falls to this process; parts differ by one at most."""
        return np.array_split(np.arange(count), self.count)[self.rank]

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Gives every process the values of the main one, in place."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def decided(self, question: Callable[[], bool]) -> bool:
        """The main process's answer, on all of them: for what it alone can know, such as files that it writes."""
        said = [self.main and question()]
        if self.count > 1:
            dist.broadcast_object_list(said, src=0)
        return said[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


def only_processors() -> bool:
    """Whether this machine has no GPU, which accelerate wants to be told.

    Under torchrun on such a machine `Accelerator()` is a world of one in each process; `Accelerator(cpu=True)` joins
    them (accelerate 1.15).
    """
    return not torch.accelerator.is_available()


def leave() -> None:
    """Ends the exchange between processes, where there is one; each process goes its own way from here.

    Without it a process that ends while another still runs may be aborted in gloo's threads (seen in one launch of
    eight with torch 2.15), and torchrun then ends the other one as well.
    """
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


@contextmanager
def lost_process_named() -> Iterator[None]:
    """Says what it means when an exchange within fails because another process is gone.

    Raises:
        TrainingError: in place of the communication library's own error.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(sign in str(error).lower() for sign in _LOST):
            raise
        raise TrainingError(
            f"a process of this run is gone ({str(error).splitlines()[0]}); "
            "the last checkpoint is whole: start the same command again to go on from it"
        ) from error
