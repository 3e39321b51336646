"""A server's answers to photographs, held against torch's and against the truth.

Plain functions; `pipelines.verify` is the command around them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from data_prep.errors import InputError
from data_prep.preprocessing import MAX_PIXELS, BrokenImage, claimed_pixels, examine
from data_prep.progress import Progress, warn
from pipelines.serving.golden_check import TOLERANCES

BATCH_SIZES = (1, 2, 7, 32)  # photographs a request
# Two probabilities as close as this, by the precision of the served model, are a tie,
# which rounding may decide otherwise: a deployment may be off by half of it in each.
TIES = {precision: 2 * tolerance for precision, tolerance in TOLERANCES.items()}
# The golden images of a deployment are within the tolerance; of thousands of
# photographs one may be ten times as sensitive. More is another model.
LIMITS = {precision: 10 * tolerance for precision, tolerance in TOLERANCES.items()}
COLUMNS = ("protocol", "batch size", "images", "right", "agreeing", "max difference")


def verify(
    photographs: Iterable[bytes],
    labels: np.ndarray,
    expected: np.ndarray,
    askers: Mapping[str, Callable[[list[bytes]], np.ndarray]],
    precision: str = "fp32",
) -> dict:
    """Compare the server's answers with torch's and with the truth.

    Args:
        photographs: Encoded raw test images, in the order of the other two.
        labels: ``(N,)`` int64, the truth.
        expected: ``(N, classes)`` float32, torch's probabilities.
        askers: By protocol: sends images in one request, returns their
            ``(n, classes)`` answers.
        precision: Of the served model; a key of TIES.

    Returns:
        images; left_out, how many more there are that preprocessing does not accept
        any more; ways, a list with a comparison for each protocol and batch size (see
        `compare`); of its values also the worst of all ways; allowed_difference, above
        which max_difference is a fault; and torch_accuracy.
    """
    sizes = [size for size in BATCH_SIZES if size <= max(1, len(labels))]
    ways = [(protocol, size) for protocol in askers for size in sizes]
    answers = {way: [] for way in ways}
    refused = {}  # row: why
    with Progress("asking the server", len(labels), "images") as bar:
        for chunk in chunks(within_limits(photographs, refused), max(sizes)):
            for protocol, size in ways:
                for part in requests(chunk, size):
                    answers[protocol, size].extend(askers[protocol](part))
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
    compared = [
        {"protocol": protocol, "batch_size": size}
        | compare(np.array(answers[protocol, size]), labels, expected, TIES[precision])
        for protocol, size in ways
    ]
    worst = {
        name: (max if name == "max_difference" else min)(way[name] for way in compared)
        for name in compared[0]
        if name not in ("protocol", "batch_size")
    }
    torchs = float((expected.argmax(1) == labels).mean())
    return {
        **worst,
        "left_out": len(refused),
        "allowed_difference": LIMITS[precision],
        "torch_accuracy": torchs,
        "ways": compared,
    }


def compare(
    answers: np.ndarray, labels: np.ndarray, expected: np.ndarray, tie: float
) -> dict:
    """Hold ``(N, classes)`` answers against truth and torch.

    Returns:
        images; correct and accuracy (server against truth); agreeing and agreement
        (same best class as torch, up to a tie); max_difference of a probability, 1
        where the server has none (NaN).
    """
    finite = np.isfinite(answers).all(1)
    best = answers.argmax(1)
    correct = finite & (best == labels)
    short = expected.max(1) - expected[np.arange(len(best)), best]
    agreeing = finite & (short <= tie)
    difference = np.where(finite[:, None], np.abs(answers - expected), 1)
    return {
        "images": len(labels),
        "correct": int(correct.sum()),
        "accuracy": float(correct.mean()),
        "agreeing": int(agreeing.sum()),
        "agreement": float(agreeing.mean()),
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
