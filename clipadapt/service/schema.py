"""What requests and answers hold; the OpenAPI document is made of these."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clipadapt.service.settings import BOUNDS

Text = Annotated[str, Field(min_length=1, max_length=BOUNDS.text_characters)]
ItemId = Annotated[str, Field(min_length=1, max_length=500)]
Where = Annotated[str, Field(max_length=BOUNDS.text_characters)]
Conditions = Annotated[list[Where], Field(max_length=BOUNDS.conditions)]
Arm = Literal["current", "candidate"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Part(_Body):
    """Words or an item, with a weight; below 0: what results should not be like."""

    text: Text | None = None
    item: ItemId | None = None
    but: Text | None = None
    """What is to be other than in the item: "red, long sleeves"; such a part stands alone."""
    weight: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _one(self) -> "Part":
        if (self.text is None) == (self.item is None):
            raise ValueError("a part is a text or an item, and only one of them")
        if self.but is not None and (self.item is None or self.weight != 1.0):
            raise ValueError("`but` changes an item, and has no weight")
        if self.weight == 0:
            raise ValueError("a weight of 0 says nothing; leave the part out")
        return self


class SearchBody(_Body):
    """A search: words, an item, several parts, or a picture that comes beside this as the file `image`."""

    text: Text | None = None
    item: ItemId | None = None
    parts: Annotated[list[Part], Field(max_length=BOUNDS.parts)] = []
    where: Conditions = []
    k: Annotated[int, Field(ge=1, le=BOUNDS.k)] = 24
    collapse: bool = True
    text_weight: Annotated[float, Field(ge=0, le=1)] | None = None
    plain: bool = False
    """Whether words are searched for as they stand, and not read for values, negations and numbers."""
    arm: Arm | None = None
    user: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class EmbedBody(_Body):
    texts: Annotated[list[Text], Field(min_length=1, max_length=BOUNDS.texts)]


class TagBody(_Body):
    item: ItemId


class Item(BaseModel):
    id: str
    product: str
    attributes: dict[str, Any]
    image_url: str | None


class Hit(Item):
    score: float


class NamedValue(BaseModel):
    attribute: str
    value: str


class UnderstoodPart(BaseModel):
    kind: Literal["words", "wanted", "unwanted", "condition"]
    text: str
    values: list[NamedValue]
    conditions: list[str]
    columns: list[str]
    """That the conditions compare."""
    without: str
    """The text without this part."""


class Understood(BaseModel):
    """What one text of a query was understood as."""

    text: str
    explained: str
    parts: list[UnderstoodPart]
    notes: list[str]


class SearchAnswer(BaseModel):
    query_id: str
    release: str
    arm: Arm
    took_ms: float
    warnings: list[str]
    understood: list[Understood]
    """Of each text in which anything but words was found."""
    hits: list[Hit]


class FacetValue(BaseModel):
    value: str
    count: int


class ValuesFacet(BaseModel):
    name: str
    kind: Literal["values"] = "values"
    values: list[FacetValue]
    more: int


class RangeFacet(BaseModel):
    name: str
    kind: Literal["range"] = "range"
    low: float | str
    high: float | str


class FacetsAnswer(BaseModel):
    items: int
    facets: list[ValuesFacet | RangeFacet]


class EmbedAnswer(BaseModel):
    image_space: str
    dim: int
    vectors: list[list[float]]


class Tag(BaseModel):
    attribute: str
    value: str
    probability: float
    state: Literal["sure", "unsure", "not_applicable"]


class TagsAnswer(BaseModel):
    tags: list[Tag]


class Described(BaseModel):
    """One arm."""

    release: str
    model: str | None
    factory: str
    recall: dict[str, float]
    encoder: Literal["onnx-int8", "onnx-fp32", "onnx-fp16", "torch"]


class Column(BaseModel):
    name: str
    kind: str


class ShownLimits(BaseModel):
    upload_bytes: int
    pixels: int
    k: int
    text_characters: int
    conditions: int


class Info(BaseModel):
    name: str
    items: int
    image_space: str
    pictures: bool
    tags: bool
    reads: bool
    """Whether words are read for values, negations and numbers, and `but` is understood."""
    events: bool
    """Whether POST /events keeps what it is sent."""
    current: Described
    candidate: Described | None
    flag: dict[str, Any] | None
    faults: list[str]
    columns: list[Column]
    limits: ShownLimits


class ErrorDetail(BaseModel):
    code: str
    message: str
    request_id: str


class ErrorAnswer(BaseModel):
    error: ErrorDetail
