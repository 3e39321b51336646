"""What a run of the pipeline shows on its own task: tables and pictures."""

import json
from pathlib import Path

from pipelines.tracking.trainings import artifact
from training.reports import EVALUATION, PICTURES, table_by_class


def show(step: str, task, logger) -> None:
    """Show what a completed step has left.

    Args:
        step: Its name in the pipeline.
        task: Its ClearML task.
        logger: Of the controller's task.

    Raises:
        InputError: Its files cannot be had.
    """
    if step == "evaluate":
        result = json.loads(artifact(task, EVALUATION).read_text())
        overall = [[name, round(value, 4)] for name, value in result["overall"].items()]
        overall += [
            [f"{name} accuracy", round(scores["accuracy"], 4)]
            for name, scores in result["slices"].items()
        ]
        logger.report_table("evaluation", "overall", 0, table_plot=overall)
        by_class = table_by_class(result)
        logger.report_table("evaluation", "by class", 0, table_plot=by_class)
        for name in PICTURES:
            file = str(artifact(task, name))
            logger.report_image("pictures", Path(name).stem, 0, local_path=file)
    elif step == "promote":
        found = json.loads(artifact(task, "candidates").read_text())
        logger.report_table("candidates", found["reason"], 0, table_plot=found["table"])
