"""The only place that knows ClearML's SDK.

Commands of data_prep and training are handed this package when they run as programs:
they do not import it.
"""

from pipelines.tracking.connection import ensure_clearml
from pipelines.tracking.datasets import (
    PREPARED,
    RAW,
    check_destination,
    find_raw,
    find_version,
    local_copy,
    newest_dataset,
    register_raw,
    upload_prepared,
)
from pipelines.tracking.task import set_output, step_task, tell_result
from pipelines.tracking.trainings import TRIED, artifact, find_training

__all__ = [
    "PREPARED",
    "RAW",
    "TRIED",
    "artifact",
    "check_destination",
    "ensure_clearml",
    "find_raw",
    "find_training",
    "find_version",
    "local_copy",
    "newest_dataset",
    "register_raw",
    "set_output",
    "step_task",
    "tell_result",
    "upload_prepared",
]
