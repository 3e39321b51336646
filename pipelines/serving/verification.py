"""A server's answers to photographs, held against torch's and against the truth.

Plain functions; `pipelines.verify` is the command around them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from data_prep.errors import InputError
from data_prep.image_file import MAX_PIXELS, BrokenImage, claimed_pixels, examine
from data_prep.progress import Progress, warn
from pipelines.serving.golden_check import TOLERANCES

BATCH_SIZES = (1, 2, 7, 32)  # photographs a request
# Two probabilities as close as this, by the precision of the served model, are a tie,
# which rounding may decide otherwise: a deployment may be off by half of it in each.
TIES = {precision: 2 * tolerance for precision, tolerance in TOLERANCES.items()}
# The golden images of a deployment are within the tolerance; of thousands of
# photographs one may be ten times as sensitive. More is another model.
LIMITS = {precision: 10 * tolerance for precision, tolerance in TOLERANCES.items()}
AT_ONCE = 2  # requests, so that two instances of a model have work
# So many photographs are asked about in every way, each further one in one of them.
IN_EVERY_WAY = 64
COLUMNS = ("protocol", "batch size", "images", "right", "agreeing", "max difference")


def verify(
    photographs: Iterable[bytes],
    labels: np.ndarray,
    expected: np.ndarray,
    askers: Mapping[str, Callable[[list[bytes]], np.ndarray]],
    precision: str = "fp32",
) -> dict:
    """Compare the server's answers with torch's and with the truth.

    The first IN_EVERY_WAY photographs are sent in every way, by each protocol and in
    each batch size; the ways take turns with the others.

    Args:
        photographs: Encoded raw test images, in the order of the other two.
        labels: ``(N,)`` int64, the truth.
        expected: ``(N, classes)`` float32, torch's probabilities.
        askers: By protocol: sends images in one request, returns their
            ``(n, classes)`` answers.
        precision: Of the served model; a key of TIES.

    Returns:
        As `compare`, of all photographs; left_out, how many more there are that
        preprocessing does not accept any more; ways, a list with a comparison for each
        protocol and batch size; allowed_difference, above which max_difference is a
        fault; and torch_accuracy.
    """
    sizes = [size for size in BATCH_SIZES if size <= max(1, len(labels))]
    ways = [(protocol, size) for protocol in askers for size in sizes]
    answers, rows = {way: [] for way in ways}, {way: [] for way in ways}
    refused = {}  # row: why
    asked = 0
    with (
        ThreadPoolExecutor(AT_ONCE) as pool,
        Progress("asking the server", len(labels), "images") as bar,
    ):
        groups = chunks(within_limits(photographs, refused), AT_ONCE * max(sizes))
        for number, chunk in enumerate(groups):
            here = range(asked, asked + len(chunk))
            asked += len(chunk)
            turn = number % len(ways)
            for way in ways if asked <= IN_EVERY_WAY else ways[turn : turn + 1]:
                protocol, size = way
                # the HTTP client of Triton is for one thread
                each = pool.map if protocol == "grpc" else map
                for found in each(askers[protocol], requests(chunk, size)):
                    answers[way].extend(found)
                rows[way].extend(here)
            bar.update(len(chunk))
    if refused:
        row, why = next(iter(refused.items()))
        warn(
            f"{len(refused)} of the photographs are left out, such as number "
            f"{row + 1}: {why}"
        )
    if len(refused) == len(labels):
        raise InputError("no photograph can be sent; prepare the dataset again")
    labels, expected = (np.delete(x, list(refused), 0) for x in (labels, expected))

    def compared(*chosen):
        asked = np.concatenate([rows[way] for way in chosen]).astype(int)
        found = np.array([answer for way in chosen for answer in answers[way]])
        return compare(asked, found, labels, expected, TIES[precision])

    torchs = float((expected.argmax(1) == labels).mean())
    return {
        **compared(*ways),
        "left_out": len(refused),
        "allowed_difference": LIMITS[precision],
        "torch_accuracy": torchs,
        "ways": [
            {"protocol": way[0], "batch_size": way[1]} | compared(way)
            for way in ways
            if rows[way]
        ],
    }


def compare(
    rows: np.ndarray,
    answers: np.ndarray,
    labels: np.ndarray,
    expected: np.ndarray,
    tie: float,
) -> dict:
    """Hold answers against truth and torch. Of several answers to one photograph, the
    worst counts.

    Args:
        rows: ``(M,)`` int64, of which photograph each answer is.
        answers: ``(M, classes)`` float32.
        labels: ``(N,)`` int64, of all photographs.
        expected: ``(N, classes)`` float32, torch's answers to them.
        tie: Two of its probabilities as close as this may change places.

    Returns:
        images, how many were asked about; correct and accuracy (server against truth);
        agreeing and agreement (same best class as torch, up to a tie); max_difference
        of a probability, 1 where the server has none (NaN).
    """
    asked = np.unique(rows)
    wanted = expected[rows]
    finite = np.isfinite(answers).all(1)
    best = answers.argmax(1)
    short = wanted.max(1) - wanted[np.arange(len(best)), best]
    wrong = rows[~finite | (best != labels[rows])]
    differing = rows[~finite | (short > tie)]
    correct = len(asked) - len(np.unique(wrong))
    agreeing = len(asked) - len(np.unique(differing))
    difference = np.where(finite[:, None], np.abs(answers - wanted), 1)
    return {
        "images": len(asked),
        "correct": correct,
        "accuracy": correct / len(asked),
        "agreeing": agreeing,
        "agreement": agreeing / len(asked),
        "max_difference": float(difference.max()),
    }


def within_limits(
    photographs: Iterable[bytes], refused: dict[int, str]
) -> Iterator[bytes]:
    """Pass on what a server takes; note the numbers of the others, and why."""
    for number, data in enumerate(photographs):
        try:
            examine(data)
        except BrokenImage as error:
            refused[number] = str(error)
        else:
            yield data


def requests(photographs: list[bytes], size: int) -> Iterator[list[bytes]]:
    """Cut into requests of at most ``size`` photographs, and MAX_PIXELS pixels."""
    part, total = [], 0
    for data in photographs:
        pixels = claimed_pixels(data)
        if part and (len(part) == size or total + pixels > MAX_PIXELS):
            yield part
            part, total = [], 0
        part.append(data)
        total += pixels
    if part:
        yield part


def chunks(items: Iterable, size: int) -> Iterator[list]:
    """Cut a sequence into lists of ``size``; the last may be shorter."""
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def short_summary(result: dict) -> str:
    """The outcome in a line."""
    return (
        f"{result['correct']} of {result['images']} test images right "
        f"({100 * result['accuracy']:.1f} %); same answer as torch for "
        f"{result['agreeing']}"
    )


def summary(result: dict) -> str:
    """The outcome in two lines."""
    return (
        f"{result['correct']} of {result['images']} held-out photographs right "
        f"through the running server ({100 * result['accuracy']:.1f} %)\n"
        f"server and torch agree on {result['agreeing']} of {result['images']}; "
        f"largest difference of a probability {result['max_difference']:.1e}"
    )


def table(result: dict) -> list[list[str]]:
    """What `verify` returns as a table: COLUMNS, then a row a way."""
    ways = [
        [
            way["protocol"],
            str(way["batch_size"]),
            str(way["images"]),
            str(way["correct"]),
            str(way["agreeing"]),
            f"{way['max_difference']:.1e}",
        ]
        for way in result["ways"]
    ]
    return [list(COLUMNS), *ways]
