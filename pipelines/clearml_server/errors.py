"""The errors of the real API: HTTP code, subcode and sentence, by name."""

ERRORS = {
    "batch_contains_no_items": (400, 17, "Batch request contains no items"),
    "cannot_be_merged_into_its_child": (
        400,
        412,
        "Project can not be merged into its own child",
    ),
    "cannot_remove_all_runs": (400, 160, "At least one pipeline run should be left"),
    "cannot_update_project_location": (
        400,
        408,
        "Cannot update project location. Use projects.move instead",
    ),
    "data_validation_error": (400, 800, "Data validation error"),
    "endpoint_not_found": (404, 0, "Unable to find endpoint"),
    "events_not_added": (400, 131, "Events not added"),
    "expected_unique_data": (400, 801, "Value combination already exists"),
    "fields_value_error": (400, 16, "Invalid value for fields"),
    "invalid_credentials": (401, 22, "Unauthorized (invalid credentials)"),
    "invalid_fields": (400, 14, "Fields not defined for object"),
    "invalid_model_id": (400, 201, "Invalid model id"),
    "invalid_project_id": (400, 401, "Invalid project id"),
    "invalid_project_name": (400, 407, "Invalid project name"),
    "invalid_queue_id": (400, 701, "Invalid queue id"),
    "invalid_queue_or_task_not_queued": (
        400,
        703,
        "Invalid queue id or task not in queue",
    ),
    "invalid_regex_error": (400, 21, "Malformed regular expression"),
    "invalid_request": (400, 0, "Invalid request"),
    "invalid_scroll_id": (400, 1104, "Invalid scroll id"),
    "invalid_task_id": (400, 101, "Invalid task id"),
    "invalid_task_status": (400, 110, "Invalid task status"),
    "invalid_token": (401, 30, "Unauthorized (invalid token)"),
    "invalid_worker_id": (400, 1001, "Invalid worker id"),
    "missing_required_fields": (400, 11, "Missing required fields"),
    "missing_task_fields": (400, 122, "Task is missing expected fields"),
    "model_creating_task_exists": (400, 206, "Task that created this model exists"),
    "model_in_use": (400, 205, "Model is used by tasks"),
    "model_is_ready": (400, 203, "Model is ready"),
    "no_credentials": (401, 20, "Unauthorized (missing credentials)"),
    "no_default_queue": (400, 707, "No queue is tagged as the default queue"),
    "project_cannot_be_moved_under_itself": (
        400,
        411,
        "Project can not be moved under itself in the projects hierarchy",
    ),
    "project_has_datasets": (400, 406, "Project has associated non-empty datasets"),
    "project_has_models": (400, 405, "Project has associated models"),
    "project_has_pipelines": (
        400,
        413,
        "Project has associated pipelines with active controllers",
    ),
    "project_has_tasks": (400, 402, "Project has associated tasks"),
    "queue_not_empty": (400, 702, "Queue is not empty"),
    "request_too_large": (413, 0, "Request too large"),
    "server_error": (500, 0, "General server error"),
    "task_already_queued": (
        400,
        706,
        "Failed adding task to queue since task is already queued",
    ),
    "task_cannot_be_deleted": (400, 123, "Task cannot be deleted"),
    "validation_error": (400, 12, "Validation error"),
    "worker_not_registered": (400, 1004, "Worker is not registered"),
    "worker_stats_not_found": (400, 1005, "Worker stats not found"),
}


class ApiError(Exception):
    """A refusal with the code, subcode and wording of the real server."""

    def __init__(self, error, reason="", /, **details):  # noqa: B042 never pickled
        """Build the error called `error`.

        Args:
            error: A key of ERRORS.
            reason: Added in parentheses.
            details: The values seen, added as ``key=value``.
        """
        self.code, self.subcode, message = ERRORS[error]
        if reason:
            message += f" ({reason})"
        if details:
            message += ": " + ", ".join(f"{k}={v}" for k, v in details.items())
        self.message = message
        super().__init__(message)
