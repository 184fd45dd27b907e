"""Export: a model with adapters in, folders that servers load without clipadapt out."""

from clipadapt.export.checkpoint import Exported, export

__all__ = ["Exported", "export"]
