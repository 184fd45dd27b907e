"""Which process this is among how many, from what launchers set; and, in its modules, what processes exchange.

gather     the vectors of all processes as one tensor, differentiable; the mean of their gradients
exchange   Processes: rank, count, shared values, waiting; what it means when another process is gone

Nothing here imports torch, so that a command that only prints may ask whether it is the main process.
"""

import os

from clipadapt.errors import ConfigError


def rank() -> int:
    """The number of this process in its launch, from 0; torchrun and accelerate set it."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))


def world_size() -> int:
    """Processes of the launch."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this process prints and writes for all."""
    return rank() == 0


def refuse_broken_world(count: int) -> None:
    """Compares what the launcher promised with the `count` processes that met.

    Without it each node, or each process of a launch that starts only one, trains alone and writes over the others.

    Raises:
        ConfigError: the launch was to have more processes than met.
    """
    promised, where = 1, ""
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
        if os.environ.get(name, "").isdecimal() and int(os.environ[name]) > promised:
            promised, where = int(os.environ[name]), name
    if promised > count:
        raise ConfigError(
            f"the launcher set {where}={promised}, but {count} process(es) met; each would train alone and write into "
            f"the same run. {_REMEDY}"
        )
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    if count == 1 and launched and "WORLD_SIZE" not in os.environ:
        # What `accelerate launch --num_processes 2` does on a machine without GPUs, and on every node of a CPU
        # cluster: one process a node, MASTER_ADDR set, and no rank (accelerate 1.15, utils/launch.py).
        raise ConfigError(
            f"the launcher set MASTER_ADDR={os.environ['MASTER_ADDR']}, so it was to start several processes, but "
            f"gave this one no rank: it would train alone. {_REMEDY}"
        )


_REMEDY = (
    "Without GPUs, start several processes with `torchrun --nproc_per_node N -m clipadapt.launch --config ...`, on "
    "several machines with its --nnodes, --node_rank and --master_addr; or one with `accelerate launch "
    "--num_processes 1`"
)
