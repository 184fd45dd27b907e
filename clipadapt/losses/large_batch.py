"""Contrastive training on batches that memory could not hold, with the gradients of the plain method.

A contrastive loss needs the vectors of all pictures at once, but not their activations. So: encode the batch piece
by piece without remembering anything, take the loss and its gradient with respect to the vectors, then encode each
piece again, this time remembering, and push its vectors' gradient through. Activations of one micro-batch at a time
are held; the price is a second forward pass. Dropout draws the same masks both times. tiled.py has the losses whose
own matrix would not fit. Nothing here knows of towers or DDP: what differs is handed in.
Source: Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (GradCache, 2021).

    loss = two_pass(
        [Stream(encode_image, pixel_batches), Stream(encode_text, [tokens])],
        lambda image, text: softmax_loss(image, text, scale).mean(),
        gather=gather,                                          # the loss then sees the batches of all processes
        around=lambda last: nullcontext() if last else model.no_sync(),
    )
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clipadapt.losses.terms import widen


class Stream(NamedTuple):
    """One tower's share of a batch: how to encode a micro-batch, and the micro-batches in order."""

    encode: Callable[[Any], Tensor]
    """micro-batch -> [m, d]; deterministic apart from torch's random state on the CPU and the current CUDA device."""
    batches: Sequence[Any]


def two_pass(
    streams: Sequence[Stream],
    loss: Callable[..., Tensor],
    *,
    gather: Callable[[Tensor], Tensor] | None = None,
    around: Callable[[bool], AbstractContextManager[object]] | None = None,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> Tensor:
    """Accumulates in .grad what `loss(*vectors of all streams).backward()` would; returns the detached loss.

    A stream of a single micro-batch is encoded once and keeps its graph: re-encoding it would save nothing.

    Args:
        streams: one per argument of `loss`.
        loss: takes the whole vectors of each stream, in order, and returns a scalar; parameters used in it (a logit
            scale) get their gradients too.
        gather: applied to each stream's vectors before the loss; processes.gather.gather under DDP.
        around: called with whether this backward pass is the last one; the context it returns surrounds each forward
            pass that remembers, with its backward. Under DDP: no_sync for all but the last.
        backward: starts the loss's backward pass; Accelerator.backward where gradients are scaled. The second pass
            continues with gradients that hold that scaling already.

    Raises:
        ValueError: a stream without micro-batches.
    """
    if not streams or any(not stream.batches for stream in streams):
        raise ValueError("two_pass got a stream without micro-batches; leave empty batches out")
    gather = gather or _unchanged
    around = around or _plainly
    long = [index for index, stream in enumerate(streams) if len(stream.batches) > 1]
    with around(not long):
        first = [_encode(stream) for stream in streams]
        value = loss(*(gather(vectors) for vectors, _ in first))
        backward(value)
    pieces = [(index, piece) for index in long for piece in range(len(streams[index].batches))]
    for index, piece in pieces:
        stream, (vectors, states) = streams[index], first[index]
        start = sum(state.rows for state in states[:piece])
        gradient = vectors.grad
        if gradient is None:
            raise ValueError(f"the loss does not depend on the vectors of stream {index}")
        with around((index, piece) == pieces[-1]), states[piece].restored():
            again = stream.encode(stream.batches[piece])
            again.backward(gradient[start : start + len(again)].to(again.dtype))
    return value.detach()


class _State(NamedTuple):
    """The random state a micro-batch was encoded under, and the rows that came of it."""

    cpu: Tensor
    cuda: Tensor | None
    rows: int

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Within: the random state of the first pass. Afterwards: the state found on entering."""
        with torch.random.fork_rng(devices=[] if self.cuda is None else [torch.cuda.current_device()]):
            torch.set_rng_state(self.cpu)
            if self.cuda is not None:
                torch.cuda.set_rng_state(self.cuda)
            yield


def _encode(stream: Stream) -> tuple[Tensor, list[_State]]:
    """A stream's vectors: with graph when it is one piece, else as a leaf that collects the loss's gradient."""
    if len(stream.batches) == 1:
        return stream.encode(stream.batches[0]), []
    vectors, states = [], []
    with torch.no_grad():
        for batch in stream.batches:
            cpu, cuda = torch.get_rng_state(), _cuda_state()
            vectors.append(stream.encode(batch))
            states.append(_State(cpu, cuda, len(vectors[-1])))
    # Half-precision vectors become float32 leaves, or the gradients collected in them would be rounded twice.
    return widen(torch.cat(vectors)).requires_grad_(), states


def _cuda_state() -> Tensor | None:
    """The current device's; None where CUDA was never used: asking would create a context of some hundred megabytes."""
    return torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None


def _unchanged(vectors: Tensor) -> Tensor:
    return vectors


def _plainly(_last: bool) -> AbstractContextManager[object]:
    return nullcontext()
