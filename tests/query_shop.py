"""A shop's table and vocabulary, as tests of understanding use them."""

from functools import cache

import pyarrow as pa

from clipadapt.prompts import Prompts
from clipadapt.search.items import Items
from clipadapt.search.understanding.vocabulary import Vocabulary

COLOURS = ("Red", "Blue", "Green", "Yellow", "Pink", "Black", "White", "Grey", "Brown", "Purple", "Orange", "Navy Blue")


@cache
def vocabulary() -> Vocabulary:
    prompts = Prompts.load("prompts/fashion.yaml")
    rows = range(48)
    columns: dict[str, list] = {name: [None] * len(rows) for name in prompts.attributes}
    columns |= {
        "id": [str(row) for row in rows],
        "baseColour": [COLOURS[row % len(COLOURS)] for row in rows],
        "season": [("Summer", "Winter", "Spring", "Fall")[row % 4] for row in rows],
        "brand": [("Nike", "Puma", "Levis")[row % 3] for row in rows],
        "size": [("S", "M", "L", "36", "37", "38", "39", "40", "41", "42")[row % 10] for row in rows],
        "price": [f"{10 + row}.5" for row in rows],
        "rating": [str(1 + row % 5) for row in rows],
        "added": [f"202{row % 5}-0{1 + row % 9}-11" for row in rows],
    }
    table = pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()})
    return Vocabulary.of(Items.of(table), prompts)
