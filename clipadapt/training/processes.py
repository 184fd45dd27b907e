"""What the processes of one training agree on: where they start, and the mean of their gradients.

No DistributedDataParallel wrapper is used. It averages once per forward pass and has to be told which adapters a step
leaves out, while a step here may run a tower in several pieces, twice each. Adapters are megabytes, so one exchange
after the backward pass costs next to nothing; the features of the global batch are gathered differentiably in
losses/gather.py, whose rule (every process returns the loss of the whole batch) makes this mean exact.
Nothing here knows of models or losses.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn

from clipadapt.errors import TrainingError

_LOST = ("connection closed by peer", "connection reset", "timed out", "broken pipe", "connection refused")
"""What gloo says, in a plain RuntimeError, when a process it talks to is gone; nccl raises DistBackendError."""


class Processes:
    """The processes of a run, one or many, seen from one of them."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.rank = accelerator.process_index
        self.count = accelerator.num_processes

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replaces each gradient by its mean over the processes; a missing one counts as zero."""
        if self.count == 1:
            return
        for dtype in sorted({parameter.dtype for parameter in parameters}, key=str):
            group = [parameter for parameter in parameters if parameter.dtype == dtype]
            flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in group])
            dist.all_reduce(flat)
            flat /= self.count
            for parameter, part in zip(group, flat.split([p.numel() for p in group]), strict=True):
                parameter.grad = part.view_as(parameter).clone()

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Gives every process the values of the main one, in place."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def lost_rank_named() -> Iterator[None]:
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
