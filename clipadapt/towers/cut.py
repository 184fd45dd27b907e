"""An image tower cut in front of its first trained block: pictures -> tokens -> features.

    cut = find_cut(encoder)              # after adapters are on; cut.first is the number of the first trained block
    tokens = cut.lower(pixels)           # what enters that block; nothing below it changes in training
    features = cut.upper(tokens)         # encoder.image_features(pixels), with gradient

Both halves are the library's own forward: the lower one is left when it reaches the block; the upper one runs on a
blank picture whose frozen blocks are skipped, and the last of them hands on the tokens. So rotary embeddings, relative
positions, masks, pooling and heads are whatever the library makes of them, for every layout alike; the price is the
patch embedding of one picture for each batch. What a block is, `names` decides; where training begins, autograd does;
and `find_cut` proves on random pictures that both halves make the whole. Nothing here stores tokens.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clipadapt.errors import ModelError
from clipadapt.towers.encoder import TorchEncoder, evaluating, widened

_BLOCK = re.compile(r"(.*?\.?(?:blocks|resblocks|layers)\.\d+)\.")
_NUMBER = re.compile(r"image\.blocks\.(\d+)\.")
_EXACT, _ROUNDED = 1e-4, 5e-2
"""Largest difference of the two halves from the whole, relative to the largest feature: for float32 weights, where the
size of a batch alone changes the last bits, and for weights held in bfloat16."""


class Cut:
    """The two halves of an encoder's image tower; `find_cut` makes it."""

    def __init__(self, encoder: TorchEncoder, blocks: Mapping[int, nn.Module], first: int) -> None:
        self.first = first
        """Number of the first trained block, from 0: so many blocks are frozen below."""
        self.blocks = len(blocks)
        self._encoder = encoder
        ordered = [blocks[number] for number in sorted(blocks)]
        self._frozen, self._trained = ordered[:first], ordered[first:]
        with evaluating(encoder):
            tokens = self.lower(self._blank(2))
        self.shape: tuple[int, ...] = tuple(tokens.shape[1:])
        """Of one picture's tokens."""
        self.dtype = tokens.dtype
        """Of the tokens as the tower hands them on in the encoder's precision."""

    def __str__(self) -> str:
        return f"block {self.first + 1} of {self.blocks}"

    @torch.no_grad()
    def lower(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b ..."]:
        """The tokens that enter the first trained block, as the full forward has them."""
        hook = self._trained[0].register_forward_pre_hook(_leave)
        try:
            with torch.compiler.set_stance("force_eager"):  # a compiled tower would be compiled again around the hook
                self._encoder.image_features(pixels)
        except _Reached as reached:
            return reached.tokens
        finally:
            hook.remove()
        raise ModelError(f"{self._encoder.name}: its forward pass never reached {self}")

    def upper(self, tokens: Float[Tensor, "b ..."]) -> Float[Tensor, "b dim"]:
        """Unnormalised features, as `image_features` of the pictures would be; tokens may come in another dtype."""
        entering = tokens.to(self._encoder.device, self.dtype, non_blocking=True)
        with self._entered_by(entering), self._encoder.autocast():
            return widened(self._encoder.backend.image(self._blank(1)))

    def compile(self) -> None:
        """torch.compile on the blocks from the cut on, one by one, in place; the tower around them must not be."""
        for block in self._trained:
            block.compile(dynamic=False)

    def _blank(self, count: int) -> Tensor:
        side, weight = self._encoder.preprocess.size, next(self._encoder.model.parameters())
        return weight.new_zeros(count, 3, side, side)

    @contextmanager
    def _entered_by(self, tokens: Tensor) -> Iterator[None]:
        """Within: frozen blocks do nothing, and the last of them hands on `tokens`.

        Not the first trained block is given them: a block that is run again for its gradient must find its own input.
        """
        with ExitStack() as stack:
            for block in self._frozen[:-1]:
                stack.enter_context(_forward(block, _pass_on))
            stack.enter_context(_forward(self._frozen[-1], lambda *_, **__: tokens))
            yield


def find_cut(encoder: TorchEncoder) -> Cut:
    """The cut in front of the first block that training reaches, proven on random pictures.

    Raises:
        ModelError: there is none; says why.
    """
    blocks = _blocks(encoder)
    first = _first_trained(encoder, blocks)
    cut = Cut(encoder, blocks, first)
    with _in_full_precision(encoder):
        _prove(encoder, Cut(encoder, blocks, first))
    return cut


def _blocks(encoder: TorchEncoder) -> dict[int, nn.Module]:
    """Number -> block of the image tower."""
    paths: dict[int, str] = {}
    for logical, path in encoder.logical_names().items():
        number, block = _NUMBER.match(logical), _BLOCK.match(path)
        if number and block:
            paths.setdefault(int(number[1]), block[1])
    if not paths:
        raise ModelError(f"{encoder.name}: its image tower has no transformer blocks that it could be cut between")
    return {number: encoder.model.get_submodule(path) for number, path in sorted(paths.items())}


def _first_trained(encoder: TorchEncoder, blocks: Mapping[int, nn.Module]) -> int:
    """The last block whose input depends on nothing that is trained, found by autograd on a blank picture."""
    entered: dict[int, bool] = {}

    def look(number: int) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            entered[number] = bool(inputs and isinstance(inputs[0], Tensor) and not inputs[0].requires_grad)

        return hook

    hooks = [block.register_forward_pre_hook(look(number)) for number, block in blocks.items()]
    side, weight = encoder.preprocess.size, next(encoder.model.parameters())
    try:
        with evaluating(encoder), torch.enable_grad(), torch.compiler.set_stance("force_eager"):
            features = encoder.image_features(weight.new_zeros(1, 3, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    if list(entered) != sorted(blocks):
        raise ModelError(f"{encoder.name}: its image tower does not run its blocks once each, one after another")
    if not features.requires_grad:
        raise ModelError(f"{encoder.name}: nothing of its image tower is trained")
    frozen = [number for number, free in entered.items() if free]
    if not frozen:
        raise ModelError(f"{encoder.name}: what lies before the blocks of its image tower is trained, too")
    if frozen[-1] == 0:
        raise ModelError(f"{encoder.name}: the first block of its image tower is trained, so none is frozen below")
    return frozen[-1]


@torch.no_grad()
def _prove(encoder: TorchEncoder, cut: Cut) -> None:
    """That both halves give what the whole gives, for a batch of another size, too."""
    side, weight = encoder.preprocess.size, next(encoder.model.parameters())
    pixels = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0)).to(weight)
    with evaluating(encoder), torch.compiler.set_stance("force_eager"):
        whole = encoder.image_features(pixels)[1:]
        try:
            halves = cut.upper(cut.lower(pixels)[1:])
        except Exception as error:  # whatever an unknown tower does with tokens it did not expect, it cannot be cut
            raise ModelError(f"{encoder.name}: its image tower does not run from {cut} on ({error})") from error
    bound = _ROUNDED if weight.dtype in (torch.bfloat16, torch.float16) else _EXACT
    if halves.shape != whole.shape or float((halves - whole).abs().max()) > bound * float(whole.abs().max()):
        raise ModelError(f"{encoder.name}: cut in front of {cut}, its image tower gives other features than whole")


@contextmanager
def _in_full_precision(encoder: TorchEncoder) -> Iterator[None]:
    """Within: no autocast."""
    precision, encoder.precision = encoder.precision, "fp32"
    try:
        yield
    finally:
        encoder.precision = precision


class _Reached(Exception):  # noqa: N818 - no error: it leaves a forward pass where it has done enough
    """Carries the tokens out of the library's forward pass."""

    def __init__(self, tokens: Tensor) -> None:
        super().__init__("the first trained block is reached")
        self.tokens = tokens


def _leave(_: nn.Module, inputs: tuple[Any, ...]) -> NoReturn:
    raise _Reached(inputs[0])


def _pass_on(tokens: Tensor, *_: Any, **__: Any) -> Tensor:
    return tokens


@contextmanager
def _forward(block: nn.Module, forward: Any) -> Iterator[None]:
    """Within: `block` computes `forward`; what else it may have had in the place of its method comes back."""
    had = block.__dict__.get("forward")
    block.forward = forward
    try:
        yield
    finally:
        if had is None:
            del block.forward
        else:
            block.forward = had
