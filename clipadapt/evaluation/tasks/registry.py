"""The tasks that a suite can name.

register(MyTask)           # from then on a suite's file may say `task: my_task`
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import PlainValidator, SerializeAsAny

from clipadapt.evaluation.tasks.item_queries import ImageToImage, ImageToText
from clipadapt.evaluation.tasks.recognition import Recognition
from clipadapt.evaluation.tasks.retention import Retention
from clipadapt.evaluation.tasks.task import Task
from clipadapt.evaluation.tasks.text_to_image import TextToImage
from clipadapt.evaluation.tasks.typed_queries import TypedQueries

_TASKS: dict[str, type[Task]] = {}


def register(task: type[Task]) -> None:
    """Lets suites name a task; the name is the default of its `task` field.

    Raises:
        ValueError: another task has that name.
    """
    name = task.model_fields["task"].default
    if _TASKS.get(name, task) is not task:
        raise ValueError(f"there is a task {name!r} already: {_TASKS[name].__name__}; give yours another name")
    _TASKS[name] = task


for _task in (Recognition, TextToImage, ImageToImage, ImageToText, Retention, TypedQueries):
    register(_task)


def _picked(section: Any) -> Task:
    if isinstance(section, Task):
        return section
    name = section.get("task") if isinstance(section, Mapping) else None
    if not isinstance(name, str):
        raise ValueError(f"a task is a mapping with a key `task`, one of {', '.join(_TASKS)}")
    if name not in _TASKS:
        close = difflib.get_close_matches(name, _TASKS, n=1)
        meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(_TASKS)}"
        raise ValueError(f"no task {name!r}; {meant}")
    return _TASKS[name].model_validate(section)


AnyTask = Annotated[SerializeAsAny[Task], PlainValidator(_picked)]
"""A registered task, by the section of a file."""
