#!/usr/bin/env bash
# peft 0.21.2: weight decay pulls trainable tokens away from the base, and one looked-up token copies the whole embedding.
#
# Guessed before it was run: `trainable_tokens_delta` holds what is added to an embedding, as LoRA's matrices do, so that
# decay draws a token back to the base, and a token that no batch has stays where it was. Seen, for an embedding of 5,000
# tokens of 64 numbers, tokens 3 and 5 trained, batches that have token 5 alone, AdamW at lr .01 and weight_decay .1 (as
# transformers' Trainer is often set), 100 steps:
#                                   size of the trained row over the base's
#   token 3, in no batch            0.905 = (1 - .001) ** 100
#   token 3 with weight_decay 0     1.0
#   LoRA (lora_B) that no gradient reached, with the same decay: still exactly the base
#   bytes allocated to look one token up: 1,280,000 (the whole table) and the answer; without peft 256, the answer alone
# The parameter holds the embeddings themselves, and a forward pass writes them into a copy of the table. So a token that is
# rare in training loses its meaning by decay alone, without a gradient, and a vocabulary of 256,000 tokens of 1,152 is
# copied, 1.2 GB, in every pass. Put `trainable_tokens_delta` into a parameter group without decay.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check peft==0.21.2 torch==2.14.1 transformers==5.24.0 numpy==2.4.6
cat > "$work/run.py" <<'PY'
import warnings

import peft
import torch
from torch.profiler import ProfilerActivity, profile

warnings.simplefilter("ignore")
TOKENS, WIDTH = 5_000, 64


class Text(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(TOKENS, WIDTH)
        self.head = torch.nn.Linear(WIDTH, 1, bias=False)

    def forward(self, ids):
        return self.head(self.table(ids)).mean()


def trained(weight_decay):
    """Size of each trained row over the base's, and of LoRA's product where nothing was to be learned."""
    torch.manual_seed(0)
    config = peft.LoraConfig(r=2, target_modules=["head"], trainable_token_indices={"table": [3, 5]})
    model = peft.get_peft_model(Text(), config)
    base = model.base_model.model.table.token_adapter.base_layer.weight[[3, 5]].clone()
    learning = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=0.01, weight_decay=weight_decay)
    for _ in range(100):
        optimizer.zero_grad()
        loss = (model(torch.tensor([[5]])) - 1) ** 2
        loss.backward()
        model.base_model.model.head.lora_B["default"].weight.grad = None
        optimizer.step()
    rows = model.base_model.model.table.token_adapter.trainable_tokens_delta["default"].detach()
    product = model.base_model.model.head.get_delta_weight("default")
    return round(float(rows[0].norm() / base[0].norm()), 3), float(product.detach().norm())


def bytes_of(model, ids):
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        model(ids)
    return sum(event.self_cpu_memory_usage for event in seen.events() if event.self_cpu_memory_usage > 0)


plain = torch.nn.Embedding(TOKENS, WIDTH)
config = peft.LoraConfig(r=2, target_modules=["1"], trainable_token_indices={"0": [3, 5]})
wrapped = peft.get_peft_model(torch.nn.Sequential(plain, torch.nn.Linear(WIDTH, 1)), config).base_model.model[0]
looked_up = torch.tensor([7])
before, after = bytes_of(wrapped.token_adapter.base_layer, looked_up), bytes_of(wrapped, looked_up)
seen = {"decay .1": trained(0.1), "decay 0": trained(0.0), "bytes": (before, after)}
print(peft.__version__, seen)
assert seen["decay .1"] == (0.905, 0.0), seen
assert seen["decay 0"] == (1.0, 0.0), seen
assert before == WIDTH * 4 and after >= TOKENS * WIDTH * 4, seen
PY
"$work/venv/bin/python" "$work/run.py"
