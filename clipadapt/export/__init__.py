"""Export: a model with adapters in, folders that servers load without clipadapt out.

The package bears the name of its one public function, so it can be called: `clipadapt.export(...)` is
`clipadapt.export.formats.export(...)`, whichever of the two names was imported first.
"""

import sys
import types
from typing import Any

from clipadapt.export.formats import export
from clipadapt.export.preparation import Exported

__all__ = ["Exported", "export"]


class _Callable(types.ModuleType):
    def __call__(self, *args: Any, **keywords: Any) -> Exported:
        return export(*args, **keywords)


sys.modules[__name__].__class__ = _Callable
