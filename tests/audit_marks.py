"""What a person leaves behind on an audit page, without a browser."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def data_of(page: Path) -> dict[str, Any]:
    """What the page holds of the sample."""
    found = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def exported(page: Path, marks: Mapping[int, str]) -> dict[str, Any]:
    """What the page's export writes."""
    data = data_of(page)
    kept = {key: data[key] for key in ("audit", "source", "split", "attributes", "share", "seed")}
    return {"schema_version": 1, **kept, "labels": labels_of(page), "seconds": 240, "marks": marks}


def labels_of(page: Path) -> int:
    """How many labels there are to look at."""
    return sum(len(group["cards"]) for group in data_of(page)["groups"])
