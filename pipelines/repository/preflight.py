"""Check that a model can be served: all checks that need no server, before any copying.

`check` reads the folder a training task leaves (``model.onnx``, ``classes.txt``,
``preprocessing.json``, ``golden.npz`` and, of trainings that leave it,
``golden_raw.npz``) and holds the files against each other and against the ONNX Runtime
inside the target Triton. Photographs go the whole way here that they go on a server:
decoding, preprocessing, graph; so what is served answers as training did.
"""

import sys
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from data_prep import packed
from data_prep.errors import InputError
from data_prep.figures import beside
from data_prep.preprocessing import FILE_NAME as PREPROCESSING_FILE
from data_prep.preprocessing import Preprocessing
from pipelines.repository.graph_check import check_graph, first_line
from pipelines.repository.model_config import LABELS_FILE, GraphShapes
from training.golden import RAW_GOLDEN_FILE, read_raw_golden
from training.graph import PARITY
from training.reports import GRAPH_FILE

GOLDEN_FILE = "golden.npz"
FILES = (GRAPH_FILE, LABELS_FILE, PREPROCESSING_FILE, GOLDEN_FILE)

SUM_TOLERANCE = 1e-3  # of the probabilities of one image to 1


def check(artifacts: Path) -> GraphShapes:
    """Check a training task's files against each other and against the target.

    Raises:
        InputError: The first fault found.
    """
    for name in FILES:
        if not (artifacts / name).is_file():
            raise InputError(
                f"{artifacts}: {name} is missing; deploy needs {', '.join(FILES)}, "
                "as training leaves them"
            )
    graph = check_graph(artifacts / GRAPH_FILE)
    check_labels(artifacts / LABELS_FILE, graph)
    record = check_preprocessing(artifacts / PREPROCESSING_FILE, graph)
    check_answers(artifacts, graph, record)
    return graph


def check_labels(path: Path, graph: GraphShapes) -> None:
    """Check that there is one distinct, printable label a line for each output.

    Raises:
        InputError: Otherwise.
    """
    labels = packed.read_names(path)
    classes = graph.output_dims[0]
    if len(labels) != classes:
        raise InputError(
            f"{path}: {len(labels)} labels for {classes} outputs of the graph; "
            "take both from one training task"
        )
    if len(set(labels)) != classes or not all(label.strip() for label in labels):
        raise InputError(f"{path}: labels are empty or occur twice; one a line")
    for label in labels:
        # "C": control and format characters, such as a byte order mark; "Zl", "Zp":
        # separators of lines, by which other programs would count more lines
        kinds = map(unicodedata.category, label)
        if label != label.strip() or any(x[0] == "C" or x in "Zl Zp" for x in kinds):
            raise InputError(
                f"{path}: the label {ascii(label)} has blanks around it or characters "
                "that cannot be seen; name the class without them and train again"
            )


def check_preprocessing(path: Path, graph: GraphShapes) -> Preprocessing:
    """Check that the record makes the very pixels the graph takes.

    Raises:
        InputError: It cannot be read, or its image size is another one.
    """
    try:
        record = Preprocessing.load(path)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a preprocessing record ({first_line(error)}); take the one "
            "of the training task"
        ) from None
    made = (record.image_size, record.image_size, 3)
    if made != graph.input_dims or type(record.image_size) is not int:
        raise InputError(
            f"{path}: makes images of {made}, but '{graph.input_name}' takes "
            f"{graph.input_dims}; take both from one training task"
        )
    return record


def check_answers(artifacts: Path, graph: GraphShapes, record: Preprocessing) -> None:
    """Check that ONNX Runtime gives training's answers, to pixels and to photographs.

    Of a training that has left no raw photographs, the golden images are sent as PNG
    files, to which no answers are known: they must be probabilities all the same.

    Raises:
        InputError: Another answer, or arrays of other shapes.
    """
    model = artifacts / GRAPH_FILE
    try:
        session = onnxruntime.InferenceSession(
            model, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own, of many types
        raise cannot_run(model, error) from None
    images, expected = read_golden(artifacts / GOLDEN_FILE, graph)
    answers = infer(session, model, graph, images)
    compare(answers, expected, f"{model}: differs from torch", "the golden images")
    check_probabilities(answers, model, "the golden images")

    path = artifacts / RAW_GOLDEN_FILE
    if not path.is_file():
        print(
            f"note: this training has left no {RAW_GOLDEN_FILE}: whether "
            f"{PREPROCESSING_FILE} is its own cannot be checked",
            file=sys.stderr,
        )
        files = [cv2.imencode(".png", x[..., ::-1])[1].tobytes() for x in images]
        answers = infer(session, model, graph, prepare(files, record, path))
        check_probabilities(answers, model, "the golden images as files")
        return
    try:
        files, expected = read_raw_golden(path)
    except Exception as error:  # zipfile's and numpy's own, of many types
        raise unreadable(path, error) from None
    answers = infer(session, model, graph, prepare(files, record, path))
    if expected.shape != answers.shape:
        raise InputError(
            f"{path}: probabilities {expected.shape} do not fit the graph's "
            f"{answers.shape}; take both from one training task"
        )
    check_probabilities(answers, model, "raw photographs")
    compare(
        answers,
        expected,
        f"{artifacts / PREPROCESSING_FILE}: with it {GRAPH_FILE} differs from training",
        "raw photographs",
        "take both from one training task",
    )


def read_golden(path: Path, graph: GraphShapes) -> tuple[np.ndarray, np.ndarray]:
    """Read the golden images, ``(n, S, S, 3)`` uint8, and torch's answers to them.

    Raises:
        InputError: They cannot be read, or do not fit the graph.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, expected = arrays["images"], arrays["probabilities"]
    except Exception as error:  # zipfile's and numpy's own, of many types
        raise unreadable(path, error) from None
    count = images.shape[:1]
    shapes = (*count, *graph.input_dims), (*count, *graph.output_dims)
    right = images.dtype == np.uint8 and expected.dtype == np.float32
    if count in ((), (0,)) or (images.shape, expected.shape) != shapes or not right:
        raise InputError(
            f"{path}: images {images.shape} {images.dtype} and probabilities "
            f"{expected.shape} {expected.dtype} do not fit the graph's "
            f"{graph.input_dims} and {graph.output_dims}"
        )
    return images, expected


def prepare(files: list[bytes], record: Preprocessing, path: Path) -> np.ndarray:
    """Decode and prepare encoded images, ``(n, S, S, 3)`` uint8.

    Raises:
        InputError: One cannot be decoded.
    """
    try:
        return np.stack([record.apply(data) for data in files])
    except ValueError as error:
        raise InputError(
            f"{path}: a photograph cannot be prepared ({first_line(error)}); take the "
            "one of the training task"
        ) from None


def infer(
    session: onnxruntime.InferenceSession,
    path: Path,
    graph: GraphShapes,
    images: np.ndarray,
) -> np.ndarray:
    """Answer images all at once, and one alone; give the probabilities of all.

    Raises:
        InputError: The graph cannot be run, or answers one image otherwise when it is
            alone, or an output is not as the graph says.
    """
    names = [graph.output_name, *(output.name for output in graph.further)]
    try:
        arrays = session.run(names, {graph.input_name: images})
        alone = session.run(names, {graph.input_name: images[:1]})
    except Exception as error:  # onnxruntime's own, of many types
        raise cannot_run(path, error) from None
    dims = [graph.output_dims, *(output.dims for output in graph.further)]
    for name, array, one, wanted in zip(names, arrays, alone, dims):
        if (array.shape, one.shape) != ((len(images), *wanted), (1, *wanted)):
            raise InputError(
                f"{path}: '{name}' is {array.shape} for {len(images)} images, and "
                f"{one.shape} for one; the graph says {wanted}; export it again"
            )
    together, alone = arrays[0][:1], alone[0]
    if not np.allclose(alone, together, rtol=0, atol=PARITY, equal_nan=True):
        raise InputError(
            f"{path}: one image is answered otherwise alone than among "
            f"{len(images)}; export it again"
        )
    return arrays[0]


def compare(
    answers: np.ndarray,
    expected: np.ndarray,
    what: str,
    where: str,
    remedy: str = "export it again",
) -> None:
    difference = float(np.abs(answers.astype(float) - expected).max())
    if not difference <= PARITY:  # so that NaN fails too
        raise InputError(
            f"{what} by {beside(difference, PARITY, kind='g')} on {where} ({PARITY} at "
            f"most); {remedy}"
        )


def check_probabilities(answers: np.ndarray, path: Path, where: str) -> None:
    """Check that each row is of probabilities: none negative, and 1 in all.

    Raises:
        InputError: It is not; perhaps the graph has no softmax.
    """
    off = float(np.abs(answers.sum(1) - 1).max())
    if not (off <= SUM_TOLERANCE and answers.min() >= 0):  # so that NaN fails too
        raise InputError(
            f"{path}: what it answers to {where} are no probabilities (from "
            f"{answers.min():.2g}, sums off by {off:.2g}); export it with its softmax"
        )


def unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: cannot be read ({first_line(error)}); take the one of the training "
        "task"
    )


def cannot_run(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path}: ONNX Runtime cannot run it ({first_line(error)}); export it again"
    )
