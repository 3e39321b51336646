"""What the endpoints do, one module a service; importing this registers them all."""

from . import (  # noqa: F401
    event_reads,
    events,
    models,
    project_removal,
    projects,
    queues,
    task_actions,
    task_parts,
    task_removal,
    tasks,
    users,
    workers,
)
