"""What two labelling tools write -> a record per picture: COCO's annotations.json, Label Studio's JSON exports.

COCO: the categories of a picture's boxes become the list `category`, and what annotations carry under `attributes`
becomes lists too. Label Studio: each labelled field becomes a column under its own name, a list where it has choices.
The picture's file is called file_name. Boxes and masks are not used: a catalogue labels whole pictures.
Source of the formats: cocodataset.org/#format-data; labelstud.io/guide/export (JSON and JSON-MIN).
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from clipadapt.errors import CatalogueError

_GEOMETRY = {"id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd", "keypoints", "num_keypoints"}
_PICTURE = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?|avif|jp2|ppm)$", re.IGNORECASE)


def is_coco(document: object) -> bool:
    """Whether a JSON document is COCO's."""
    return isinstance(document, dict) and {"images", "annotations"} <= document.keys()


def coco(document: Mapping[str, Any], file: str) -> list[dict[str, Any]]:
    """A record per picture, in the order of `images`.

    Raises:
        CatalogueError: an annotation of a picture or category that the document does not have.
    """
    categories = {one["id"]: one["name"] for one in document.get("categories", ())}
    records = {
        one["id"]: {key: value for key, value in one.items() if key != "id"} | {"category": []}
        for one in document["images"]
    }
    for annotation in document["annotations"]:
        record = records.get(annotation["image_id"])
        if record is None:
            raise CatalogueError(f"{file}: annotation {annotation.get('id')} is of image {annotation['image_id']}, "
                                 "which is not among images; export it again")  # fmt: skip
        if (category := annotation.get("category_id")) is not None:
            if category not in categories:
                raise CatalogueError(f"{file}: annotation {annotation.get('id')} has category {category}, which is "
                                     "not among categories; export it again")  # fmt: skip
            _add(record, "category", categories[category])
        for name, value in {**annotation, **(annotation.get("attributes") or {})}.items():
            if name not in _GEOMETRY and isinstance(value, str | int | float | bool):
                _add(record, name, value)
    return list(records.values())


def is_label_studio(document: object) -> bool:
    """Whether a JSON document is an export of Label Studio, in its JSON or JSON-MIN form."""
    if not isinstance(document, list) or not document or not all(isinstance(task, dict) for task in document):
        return False
    task = document[0]
    return ("annotations" in task and isinstance(task.get("data"), dict)) or {"annotator", "annotation_id"} <= {*task}


def label_studio(document: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A record per task; of several annotations of a task the last that was not cancelled counts."""
    return [_task(task) if "annotations" in task else _flat(task) for task in document]


def label_studio_path(reference: str) -> str:
    """Where the picture of a task lies beside the export.

    /data/upload/3/abc-1.jpg -> abc-1.jpg, /data/local-files/?d=shop/1.jpg -> shop/1.jpg; anything else stays.
    """
    address = urlsplit(reference)
    if address.path.startswith("/data/local-files") and (path := parse_qs(address.query).get("d")):
        return path[0].lstrip("/")
    if address.path.startswith("/data/upload/"):
        return PurePosixPath(unquote(address.path)).name
    return reference


def _task(task: Mapping[str, Any]) -> dict[str, Any]:
    record = _named_picture(task["data"])
    done = [one for one in task["annotations"] if not one.get("was_cancelled")]
    for region in done[-1].get("result", ()) if done else ():
        for value in region.get("value", {}).values():
            if isinstance(value, list) and all(isinstance(one, str) for one in value):
                for one in value:
                    _add(record, region["from_name"], one)
    return record


def _flat(task: Mapping[str, Any]) -> dict[str, Any]:
    record = _named_picture(task)
    dropped = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time")
    return {
        name: value["choices"] if isinstance(value, dict) and "choices" in value else value
        for name, value in record.items()
        if name not in dropped
    }


def _named_picture(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with the one that holds the picture under the name file_name."""
    picture = next(
        (
            name
            for name, value in fields.items()
            if isinstance(value, str) and _PICTURE.search(label_studio_path(value))
        ),
        None,
    )
    return {
        "file_name" if name == picture else name: label_studio_path(value) if name == picture else value
        for name, value in fields.items()
    }


def _add(record: dict[str, Any], name: str, value: object) -> None:
    """Appends to the list of that name, each value once; a plain field of the picture keeps its place."""
    members = record.setdefault(name, [])
    if isinstance(members, list) and value not in members:
        members.append(value)
