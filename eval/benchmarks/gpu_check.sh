#!/usr/bin/env bash
# What needs a GPU, in one run of under 8 minutes: the tests that are skipped elsewhere, a training step beside stock
# open_clip + peft, and the recipes for hub weights whole, on random weights of full size. Nothing is downloaded.
#
#   bash eval/benchmarks/gpu_check.sh [FOLDER_OF_WHEELS]
#
# The wheels are of packages that the machine lacks (pip download --no-deps); torch must be there, with CUDA. Writes
# eval/results/train_step_gpu.json and gpu_recipes.json; where OUT names a folder, copies of them and the log go there.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1 PYTHONPATH=$PWD
if [ $# -gt 0 ]; then
  "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps "$1"/*.whl || exit 1
fi
"$python" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "no CUDA device; nothing to check here")' || exit 1

failed=0
# Each part has its own limit, so that one that is slow does not take the results of the others with it.
timeout 90 "$python" -m pytest -q -m gpu -p no:cacheprovider tests || failed=1
timeout 110 "$python" eval/benchmarks/train_step.py --model EVA02-B-16 --batch 128 --rounds 5 --device cuda --name gpu || failed=1
timeout 270 "$python" eval/benchmarks/gpu_recipes.py --items 768 --epochs 1 || failed=1
if [ -n "${OUT:-}" ]; then
  cp eval/results/train_step_gpu.json eval/results/gpu_recipes.json "$OUT" || failed=1
fi
exit $failed
