"""What the endpoints do, one module a service; importing this registers them all."""

from . import (  # noqa: F401
    event_reads,
    event_samples,
    events,
    models,
    pipelines,
    project_facts,
    project_removal,
    projects,
    queues,
    scalars,
    statistics,
    task_actions,
    task_parts,
    task_removal,
    tasks,
    users,
    workers,
)
