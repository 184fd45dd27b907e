#!/usr/bin/env bash
# peft 0.21.2: the mean of an adapter and itself, by add_weighted_adapter, is twice the adapter, or half of it.
#
# Guessed before it was run: weights of .5 and .5 over two adapters that are alike give that adapter, whatever the
# combination_type. Seen, as the size of the change of weights that comes out over the one asked for, and the distance
# between the two in units of the latter:
#                           two alike, .5 and .5    four alike, .25 each    two unlike, .5 and .5    one of two, .5
#   cat                     1.0  0.0                1.0  0.0                1.0  0.0                 1.0  0.0
#   svd                     1.0  0.0                1.0  0.0                 .8   .6                 1.0  0.0
#   linear                  2.0  1.0                4.0  3.0                1.4  1.0                 1.0  0.0
#   magnitude_prune         2.0  1.0                4.0  3.0                1.4  1.0                 1.0  0.0
#   ties                     .5   .5                 .25  .75                .85  .95                1.0  0.0
# (density of 1, so that nothing is pruned.) An adapter is a product of two matrices. `linear` adds up each of the two,
# times the root of its weight: of n alike the sums are n times the root of 1/n, their product n times the adapter; of two
# with nothing in common, half of what comes out is products of one's matrix and the other's. `ties` averages each matrix
# over the adapters already, so that weights of 1, not of 1/n, give the mean of such as are alike.
# So the usual soup of several seeds, epochs or shops moves the model as many times too far as adapters are in it.
# Take `cat` (exact; the rank is the sum of the ranks) or `svd` with enough svd_rank, or merge the deltas into the weights.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check peft==0.21.2 torch==2.14.1 transformers==5.24.0 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import warnings

import peft
import torch

warnings.simplefilter("ignore")
torch.manual_seed(0)
RANK = 8
adapters = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=["0"], init_lora_weights=False)
model = peft.get_peft_model(torch.nn.Sequential(torch.nn.Linear(128, 128, bias=False)), adapters, adapter_name="one")
for name in ("same", "third", "fourth", "other"):
    model.add_adapter(name, adapters)
layer = model.base_model.model[0]
for name in ("same", "third", "fourth"):
    layer.lora_A[name].load_state_dict(layer.lora_A["one"].state_dict())
    layer.lora_B[name].load_state_dict(layer.lora_B["one"].state_dict())
WEIGHTS = {
    "two alike": {"one": 0.5, "same": 0.5},
    "four alike": {name: 0.25 for name in ("one", "same", "third", "fourth")},
    "two unlike": {"one": 0.5, "other": 0.5},
    "one of two": {"one": 0.5},
}


@torch.no_grad()
def combined(kind, weights):
    """Size of what comes out over what was expected, and the distance between both."""
    name = f"{kind}_{len(layer.lora_A)}"
    pruned = {"density": 1.0} if kind in ("magnitude_prune", "ties") else {}
    model.add_weighted_adapter(list(weights), list(weights.values()), name, combination_type=kind, **pruned)
    expected = sum(weight * layer.get_delta_weight(one) for one, weight in weights.items())
    came = layer.get_delta_weight(name)
    return tuple(round(float(size / expected.norm()), 2) for size in (came.norm(), (came - expected).norm()))


seen = {kind: {case: combined(kind, weights) for case, weights in WEIGHTS.items()} for kind in (
    "cat", "svd", "linear", "magnitude_prune", "ties")}
print(f"peft {peft.__version__}: size of the change over the one asked for, and the distance between them")
for kind, found in seen.items():
    print(f"{kind:16}", "   ".join(f"{case} {size:.2f} {distance:.2f}" for case, (size, distance) in found.items()))
assert set(seen["cat"].values()) == {(1.0, 0.0)}
assert seen["svd"]["two alike"] == seen["svd"]["four alike"] == (1.0, 0.0)
for kind in ("linear", "magnitude_prune"):
    assert seen[kind]["two alike"] == (2.0, 1.0) and seen[kind]["four alike"] == (4.0, 3.0), seen
assert seen["ties"]["two alike"] == (0.5, 0.5) and seen["ties"]["four alike"] == (0.25, 0.75), seen
for kind, size, distance in (("svd", 0.83, 0.56), ("linear", 1.42, 1.0), ("magnitude_prune", 1.42, 1.0), ("ties", 0.85, 0.95)):
    assert abs(seen[kind]["two unlike"][0] - size) < 0.05 and abs(seen[kind]["two unlike"][1] - distance) < 0.05, seen
assert {found["one of two"] for found in seen.values()} == {(1.0, 0.0)}
PY
"$work/venv/bin/python" "$work/run.py"
