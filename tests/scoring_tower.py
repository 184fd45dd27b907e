"""Pictures and a text tower made of hashed words, for everything that scores prompts."""

import numpy as np

from clipadapt.keyed import generator
from clipadapt.prompt_scoring.table import LabelledPictures

DIM = 16
FILE = """attributes:
  Pattern:
    templates: ["{a value} garment", {text: "a photo of {value} cloth", weight: 2}, "{value}: {description}"]
    plain: "{value}"
    values:
      Checked: {names: [checked, plaid], descriptions: [crossing lines]}
      Striped: [striped]
  Fit: {templates: ["{value} garment"]}
  Lonely: {templates: ["{value}"]}
"""


class Tower:
    """A text tower made of hashed words, which counts what it encodes."""

    def __init__(self) -> None:
        self.calls = 0
        self.encoded: list[str] = []
        self._kept: dict[str, np.ndarray] = {}

    def __call__(self, texts) -> np.ndarray:
        self.calls += 1
        for text in texts:
            if text not in self._kept:
                self.encoded.append(text)
                self._kept[text] = self.vector(text)
        return np.stack([self._kept[text] for text in texts])

    def vector(self, text: str) -> np.ndarray:
        words = [generator("word", word.strip(":,")).standard_normal(DIM) for word in text.split()]
        mixed = np.sum(words, axis=0) + 0.2 * generator("text", text).standard_normal(DIM)
        return (mixed / np.linalg.norm(mixed)).astype(np.float32)


def labelled(items: int = 240, noise: float = 1.2) -> LabelledPictures:
    tower, random = Tower(), np.random.default_rng(3)
    patterns = random.choice(["Checked", "Striped", "Plain Weave", "Rare"], p=[0.4, 0.3, 0.28, 0.02], size=items)
    fits = random.choice(["Slim", "Loose"], size=items)
    meaning = np.stack([tower.vector(p.lower()) + tower.vector(f.lower()) for p, f in zip(patterns, fits, strict=True)])
    vectors = meaning + noise * random.standard_normal((items, DIM)) / np.sqrt(DIM)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[7] = np.nan
    values = {
        "Pattern": [None if at % 5 == 0 else str(pattern) for at, pattern in enumerate(patterns)],
        "Fit": [str(fit) for fit in fits],
        "Lonely": ["always"] * items,
    }
    products = np.array([f"p{at // 3}" for at in range(items)])
    return LabelledPictures(vectors, values, products, "fingerprint")
