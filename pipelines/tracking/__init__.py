"""The only place that uses ClearML's SDK.

Modules of data_prep and training do not import this package. When one is started as a
program, its last lines pass the package to its `main`.
"""

from pipelines.tracking.connection import ensure_clearml
from pipelines.tracking.dataset_copies import check_dataset, find_raw, local_copy
from pipelines.tracking.dataset_versions import (
    check_destination,
    register_raw,
    upload_prepared,
)
from pipelines.tracking.datasets import (
    check_model,
    find_version,
    newest_dataset,
    note_use,
)
from pipelines.tracking.task import (
    set_output,
    step_task,
    tell_result,
    tell_warnings,
)
from pipelines.tracking.trainings import TRIED, artifact, find_training
from pipelines.tracking.uploads import upload_artifact, upload_model

__all__ = [
    "TRIED",
    "artifact",
    "check_dataset",
    "check_destination",
    "check_model",
    "ensure_clearml",
    "find_raw",
    "find_training",
    "find_version",
    "local_copy",
    "newest_dataset",
    "note_use",
    "register_raw",
    "set_output",
    "step_task",
    "tell_result",
    "tell_warnings",
    "upload_artifact",
    "upload_model",
    "upload_prepared",
]
