#!/usr/bin/env bash
# One training over several machines with GPUs, by accelerate; torchrun.sh says what the variables mean and what the
# machines need. Without GPUs accelerate starts one lone process a machine, which clipadapt refuses: use torchrun.sh.
#
#   NODES=2 PROCESSES=8 NODE_RANK=0 MASTER_ADDR=node-a configs/cluster/accelerate.sh configs/mine.yaml [train.lr=2e-4 ...]
set -euo pipefail
: "${NODES:?machines}" "${PROCESSES:?GPUs of each machine}" "${MASTER_ADDR:?address of machine 0}"
NODE_RANK=${NODE_RANK:-${SLURM_NODEID:?set NODE_RANK: 0 on the machine that MASTER_ADDR names, then 1, 2, ...}}

# Precision is the config's business (model.precision), so accelerate is given none.
exec "${PYTHON:-python}" -m accelerate.commands.launch \
  --multi_gpu --num_machines "$NODES" --num_processes "$((NODES * PROCESSES))" --machine_rank "$NODE_RANK" \
  --main_process_ip "$MASTER_ADDR" --main_process_port "${MASTER_PORT:-29500}" \
  --mixed_precision no --dynamo_backend no --max_restarts 0 \
  -m clipadapt.launch --config "$@"
