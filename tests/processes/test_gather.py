"""Two gloo processes against one: gathered losses and gradients are those of the whole batch."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn.functional import normalize

from clipadapt.losses.contrastive import softmax_loss
from clipadapt.losses.large_batch import Stream, two_pass
from clipadapt.losses.tiled import tiled_softmax_loss
from clipadapt.processes.exchange import Processes
from clipadapt.processes.gather import average_gradients, gather

ROWS = (4, 3)
"""Pictures per process: uneven, as the last batch of an epoch is."""


class Towers(nn.Module):
    """The logit scale stays outside: DDP refuses parameters that are used beyond its forward."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.image, self.text = nn.Linear(5, 4).double(), nn.Linear(5, 4).double()
        self.idle = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, pixels=None, tokens=None):
        image = None if pixels is None else normalize(self.image(pixels))
        return image, None if tokens is None else normalize(self.text(tokens))


def scale_parameter():
    return nn.Parameter(torch.tensor(2.0, dtype=torch.float64))


def data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, sum(ROWS), 5, dtype=torch.float64, generator=generator)


def result(towers, scale, loss):
    found = {name: None if p.grad is None else p.grad.flatten().tolist() for name, p in towers.named_parameters()}
    return {"loss": loss.item(), "scale": scale.grad.item(), **found}


def one_process():
    towers, scale, (pixels, tokens) = Towers(), scale_parameter(), data()
    image, text = towers(pixels, tokens)
    loss = softmax_loss(image, text, scale.exp()).mean()
    loss.backward()
    return result(towers, scale, loss)


def with_ddp(towers, scale, pixels, tokens):
    model = nn.parallel.DistributedDataParallel(towers, find_unused_parameters=True)
    image, text = model(pixels, tokens)
    loss = softmax_loss(gather(image), gather(text), scale.exp()).mean()
    loss.backward()
    return loss


def streams(model, pixels, tokens):
    yield Stream(lambda batch: model(pixels=batch)[0], pixels.split(2))
    yield Stream(lambda batch: model(tokens=batch)[1], tokens.split(2))


def in_pieces_with_ddp(towers, scale, pixels, tokens):
    model = nn.parallel.DistributedDataParallel(towers, find_unused_parameters=True)
    return two_pass(
        list(streams(model, pixels, tokens)),
        lambda image, text: tiled_softmax_loss(image, text, scale.exp(), 2).mean(),
        gather=gather,
        around=lambda last: nullcontext() if last else model.no_sync(),
    )


def in_pieces(towers, scale, pixels, tokens):
    loss = two_pass(
        list(streams(towers, pixels, tokens)),
        lambda image, text: tiled_softmax_loss(image, text, scale.exp(), 2).mean(),
        gather=gather,
    )
    average_gradients([*towers.parameters(), scale])
    return loss


def worker(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=len(ROWS))
    try:
        start = sum(ROWS[:rank])
        pixels, tokens = data()[:, start : start + ROWS[rank]]
        results = {}
        for way in (with_ddp, in_pieces_with_ddp, in_pieces):
            towers, scale = Towers(), scale_parameter()
            results[way.__name__] = result(towers, scale, way(towers, scale, pixels, tokens))
        asked: list[int] = []
        launched: Any = SimpleNamespace(process_index=rank, num_processes=len(ROWS))
        processes = Processes(launched)
        results["decided"] = [processes.decided(lambda: asked.append(1) is None), processes.decided(lambda: False)]
        results["asked"] = len(asked)
        results["labels"] = gather(torch.arange(start, start + ROWS[rank])).tolist()
        Path(folder, f"{rank}.json").write_text(json.dumps(results))
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    spawn(worker, args=(str(tmp_path),), nprocs=len(ROWS))
    expected = one_process()
    for rank in range(len(ROWS)):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found.pop("labels") == list(range(sum(ROWS)))
        assert found.pop("decided") == [True, False]
        assert found.pop("asked") == (rank == 0), "only the main process is asked"
        for way, values in found.items():
            assert values.keys() == expected.keys()
            for name, value in values.items():
                wanted = expected[name]
                same = value is None if wanted is None else value == pytest.approx(wanted, rel=1e-12, abs=1e-15)
                assert same, (rank, way, name, value, wanted)


def test_single_process_returns_the_tensor_itself():
    vectors = torch.rand(3, 2, requires_grad=True)
    assert gather(vectors) is vectors
