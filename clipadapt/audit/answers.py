"""A person's marks, as the page exports them: which sample they belong to, and a mark for each label looked at.

    answers = Answers.load("answers.json")
    answers.marks[0]        # "right", "wrong" or "unclear": of the first label of the sample

The sample itself is drawn again from the catalogue, by the share and seed that stand here; `audit` is its digest, so
marks of another catalogue, or of this one before its cells were changed, are refused rather than misread.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from clipadapt.audit.estimate import Mark
from clipadapt.config import Count
from clipadapt.errors import ConfigError, listing
from clipadapt.sections import Section, describe


class Answers(Section):
    """What the page's export holds."""

    schema_version: Literal[1] = 1
    audit: str
    """Digest of the sample."""
    source: str
    split: str
    attributes: tuple[str, ...]
    share: Annotated[float, Field(gt=0.0, le=1.0)]
    seed: int
    labels: Count
    """Of the sample."""
    seconds: Annotated[float, Field(ge=0.0)] = 0.0
    """Spent on marking; pauses of more than a minute count as one."""
    marks: dict[int, Mark]
    """Place in the sample -> mark."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads an exported file.

        Raises:
            ConfigError: it is not there, no such file of the page, or marks labels that it does not have.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{path}: not the answers of an audit page ({error}); export them with its button"
            ) from error
        try:
            found = cls.model_validate(document)
        except ValidationError as error:
            raise ConfigError(f"{path}: not the answers of an audit page:{listing(describe(error, cls))}") from error
        beyond = [place for place in found.marks if not 0 <= place < found.labels]
        if beyond:
            raise ConfigError(f"{path}: marks label {beyond[0]}, and the sample has {found.labels}; export it anew")
        return found

    def require(self, digest: str, path: str | Path) -> None:
        """Refuses marks of another sample.

        Raises:
            ConfigError: naming what the answers are of.
        """
        if self.audit != digest:
            raise ConfigError(
                f"{path}: answers of another catalogue, or of this one before its cells, pictures or rows changed "
                f"(they are of {self.source}, split {self.split!r}, sample {self.audit}; here it is {digest}); name "
                "the source and flags that the page was made with, or make a new page"
            )
