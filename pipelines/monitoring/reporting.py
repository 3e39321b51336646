"""What is seen, as scalars of one ClearML task, ``monitor``: over restarts the same."""

import json
import os
import time
from pathlib import Path

from pipelines.monitoring.alerts import Alerts
from pipelines.monitoring.history import History
from pipelines.monitoring.rules import Rule
from pipelines.tracking.connection import ensure_clearml, report_from_threads
from pipelines.tracking.datasets import PROJECT

TASK_FILE, KEYS_FILE = "clearml-task", "clearml-keys.json"
REPORT_S = 60.0
MAX_SERIES = 12  # of a recorded name: shares of classes are many, and on the dashboard


class Reporting:
    """The ClearML side of the monitor.

    Args:
        state: Folder in which the task is remembered.
    """

    def __init__(self, state: Path):
        ensure_clearml()
        report_from_threads()
        from clearml import Task

        path = state / TASK_FILE
        earlier = path.read_text().strip() if path.exists() else ""
        known = Task.query_tasks(task_filter={"id": [earlier]}) if earlier else []
        again = {"continue_last_task": earlier} if known else {}
        self.task = Task.init(
            project_name=PROJECT,
            task_name="monitor",
            task_type="monitor",
            reuse_last_task_id=False,
            auto_connect_arg_parser=False,
            auto_connect_frameworks=False,
            auto_resource_monitoring=False,
            **again,
        )
        path.write_text(f"{self.task.id}\n")
        # iterations count minutes since the task began, whoever reports
        self.task.set_initial_iteration(0)
        self.began = self.task.data.started.timestamp()
        self.last = 0.0

    def report(self, history: History, rules: list[Rule], alerts: Alerts) -> None:
        """Report recorded series and the alerts that fire, once a minute."""
        now = time.time()
        if now - self.last < REPORT_S:
            return
        self.last, minute = now, int((now - self.began) / 60)
        logger = self.task.get_logger()
        for rule in rules:
            if not rule.record:
                continue
            found = list(history.last(rule.record, now))[:MAX_SERIES]
            for labels, value in found:
                series = " ".join(x for _, x in sorted(labels)) or "all"
                logger.report_scalar(rule.record, series, value, minute)
        firing = alerts.firing()
        logger.report_scalar("alerts", "firing", len(firing), minute)
        for alert in firing:
            logger.report_scalar("alerts", alert.name, 1, minute)

    def close(self) -> None:
        self.task.close()


def write_keys(state: Path) -> list[str]:
    """Write ClearML's keys, for the owner's eyes; return the exporter's options."""
    from clearml.backend_api import Session

    session = Session()
    path = state / KEYS_FILE
    keys = {"access_key": session.access_key, "secret_key": session.secret_key}
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(keys, file)
    return [f"--clearml={Session.get_api_server_host()}", f"--clearml-keys={path}"]
