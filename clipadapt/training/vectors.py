"""Picture vectors of a whole catalogue, its rows shared among the processes of a run.

Nothing here stores vectors or knows what they are compared with.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from clipadapt.data.catalogue import Catalogue
from clipadapt.processes.exchange import Processes
from clipadapt.processes.gather import gather
from clipadapt.towers.encode import encode_catalogue
from clipadapt.towers.encoder import TorchEncoder


def picture_vectors(
    encoder: TorchEncoder, catalogue: Catalogue, processes: Processes, *, batch_size: int
) -> Float[Tensor, "n d"]:
    """One unit vector per item, in order, on the encoder's device and the same on every process.

    Compiled towers run uncompiled here: other batch sizes, without gradients, would each be compiled anew.

    Raises:
        CatalogueError: a picture cannot be decoded.
    """
    mine = processes.part(len(catalogue))
    with torch.compiler.set_stance("force_eager"):
        vectors = encode_catalogue(encoder, catalogue, batch_size=batch_size, indices=mine)
    return gather(torch.from_numpy(vectors).to(encoder.device))
