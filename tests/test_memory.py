import re
from pathlib import Path

from clipadapt.memory import give_back


def test_free_memory_between_blocks_in_use_goes_back_to_the_system():
    def resident() -> int:
        return int(re.findall(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[0]) // 1024

    blocks = [bytes([1]) * 60_000 for _ in range(2_000)]
    kept = blocks[::50]
    full = resident()
    blocks.clear()
    give_back()
    assert full - resident() > 60, "of 117 MB"
    assert len(kept) == 40
