#!/usr/bin/env bash
# limits 5.8.0: with a fixed window, a request that was refused for its cost uses up the rest of the window.
#
# Guessed before it was run: what is refused is not counted, under each of the three strategies. Seen: eight requests of
# 10 an hour, then one that costs 5 (a batch of pictures, say) and is refused, then one that costs 1, which fits: the
# moving window and the sliding counter allow it, FixedWindowRateLimiter refuses it and all others until the hour ends.
# One request that costs more than the limit itself locks a client out for the whole window, on every try.
# With costs other than 1, take MovingWindowRateLimiter or SlidingWindowCounterRateLimiter, or test() before hit().
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check limits==5.8.0
cat > "$work/run.py" <<'PY'
import limits
from limits import strategies
from limits.storage import MemoryStorage

rate = limits.parse("10/hour")
seen = {}
for name in ("FixedWindowRateLimiter", "MovingWindowRateLimiter", "SlidingWindowCounterRateLimiter"):
    limiter = getattr(strategies, name)(MemoryStorage())
    eight = [limiter.hit(rate, "client") for _ in range(8)]
    dear, cheap = limiter.hit(rate, "client", cost=5), limiter.hit(rate, "client")
    other = getattr(strategies, name)(MemoryStorage())
    never, after = other.hit(rate, "client", cost=11), other.hit(rate, "client")
    assert all(eight) and not dear and not never
    seen[name] = (cheap, after)
    print(f"limits {limits.__version__} {name:32} after 8 and a refused 5: {cheap}   after a refused 11: {after}")
assert seen == {
    "FixedWindowRateLimiter": (False, False),
    "MovingWindowRateLimiter": (True, True),
    "SlidingWindowCounterRateLimiter": (True, True),
}
PY
"$work/venv/bin/python" "$work/run.py"
