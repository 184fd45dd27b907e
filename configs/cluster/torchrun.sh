#!/usr/bin/env bash
# One training over several machines, by torchrun. The same line on every one of them, but for NODE_RANK:
#
#   NODES=2 PROCESSES=8 NODE_RANK=0 MASTER_ADDR=node-a configs/cluster/torchrun.sh configs/mine.yaml [train.lr=2e-4 ...]
#
# NODES        machines
# PROCESSES    processes on each of them: its GPUs, or on machines without any a few, each with a share of the cores
# NODE_RANK    0 on the machine that MASTER_ADDR names, then 1, 2, ...; under srun it is taken from SLURM_NODEID
# MASTER_ADDR  name or address of machine 0, which the others can reach at MASTER_PORT (29500)
#
# All machines need the same version of clipadapt, and the config's output_dir and data.source at the same path of one
# shared file system: process 0 writes checkpoints, and all of them read them. When a machine is lost the others end with
# a message; the same lines again go on from the last checkpoint.
set -euo pipefail
: "${NODES:?machines}" "${PROCESSES:?processes on each machine}" "${MASTER_ADDR:?address of machine 0}"
NODE_RANK=${NODE_RANK:-${SLURM_NODEID:?set NODE_RANK: 0 on the machine that MASTER_ADDR names, then 1, 2, ...}}

exec "${PYTHON:-python}" -m torch.distributed.run \
  --nnodes "$NODES" --nproc_per_node "$PROCESSES" --node_rank "$NODE_RANK" \
  --master_addr "$MASTER_ADDR" --master_port "${MASTER_PORT:-29500}" --max_restarts 0 \
  -m clipadapt.launch --config "$@"
