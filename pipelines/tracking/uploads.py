"""Files that go to the store of a task: there when these functions return.

ClearML's SDK would send them in the background, where a failure is no more than a line
in a log, and the command ends as if all were well.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from data_prep.errors import InputError, unwritable_is_input_error

MOST_SAID = 300  # characters of what a store answers


def upload_artifact(task, name: str, content: Path | dict) -> None:
    """Upload a file, or a dictionary as JSON, as an artifact of a task.

    Raises:
        InputError: It did not arrive.
    """
    with must_arrive(name):
        _choose_store(task)
        if not task.upload_artifact(name, content, wait_on_upload=True):
            raise ValueError("refused by the SDK")


def upload_model(
    task, file: Path, name: str, labels: Mapping[str, int], comment: str
) -> str:
    """Upload an ONNX file as the output model of a task.

    Args:
        labels: The number of each class.

    Returns:
        The model's id.

    Raises:
        InputError: It did not arrive.
    """
    from clearml import OutputModel

    with must_arrive(file.name):
        _choose_store(task)
        model = OutputModel(
            task=task,
            name=name,
            framework="ONNX",
            label_enumeration=dict(labels),
            comment=comment,
        )
        model.update_weights(str(file), auto_delete_file=False, async_enable=False)
    return model.id


@contextmanager
def must_arrive(what: str) -> Iterator[None]:
    """Tell of an upload that fails in one line; each kind of store has its own errors.

    Args:
        what: Is uploaded.

    Raises:
        InputError: It did not arrive.
    """
    try:
        with unwritable_is_input_error():
            yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:MOST_SAID]
        raise InputError(
            f"{what} cannot be uploaded ({reason}); check that the file server (or the "
            "store of --output-uri) answers and has room, then run the command again"
        ) from None


def _choose_store(task) -> None:
    """Tasks made by clearml-task ignore the argument output_uri of Task.init."""
    if not task.output_uri:
        task.output_uri = True
