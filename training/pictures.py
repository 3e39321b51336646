"""The pictures of a training, as matplotlib figures."""

import numpy as np
from matplotlib.figure import Figure


def plot_confusion(confusion: dict):
    """Draw ``evaluation["confusion"]`` as a matplotlib figure, rows normalised."""
    labels, matrix = confusion["labels"], np.array(confusion["matrix"], dtype=float)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = max(4.0, 0.36 * len(labels) + 1.5)
    figure, axes = _figure(side, side)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in zip(*np.nonzero(matrix)):
        colour = "white" if share[i, j] > 0.5 else "black"
        text = f"{int(matrix[i, j])}"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=7)
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title("Confusion matrix (images; shade: share of the row)")
    return figure


def plot_curves(history: list[dict]):
    """Draw loss and validation scores over epochs as a matplotlib figure."""
    epochs = [row["epoch"] + 1 for row in history]
    figure, (left, right) = _figure(10, 4, columns=2)
    for key in ("train_loss", "val_loss"):
        left.plot(epochs, [row[key] for row in history], label=key)
    for key in ("val_accuracy", "val_macro_f1"):
        right.plot(epochs, [row[key] for row in history], label=key)
    right.set_ylim(0, 1)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def plot_predictions(images, labels, probabilities, classes, count: int = 24):
    """Draw the worst mistakes first, then right answers, as a matplotlib figure.

    Args:
        images: ``(N, S, S, 3)`` uint8 RGB.
        labels: ``(N,)`` int64.
        probabilities: ``(N, classes)`` float32.
        classes: Names.
        count: Pictures at most.
    """
    order = np.argsort(probabilities[np.arange(len(labels)), labels])
    wrong = order[probabilities[order].argmax(1) != labels[order]][: count * 2 // 3]
    right = order[probabilities[order].argmax(1) == labels[order]]
    step = max(1, len(right) // max(1, count - len(wrong)))
    shown = np.concatenate([wrong, right[::step][: count - len(wrong)]])
    columns = 8
    rows = max(1, -(-len(shown) // columns))
    figure, grid = _figure(1.5 * columns, 1.8 * rows, rows, columns)
    for axes in np.ravel(grid):
        axes.axis("off")
    for axes, i in zip(np.ravel(grid), shown):
        best = probabilities[i].argmax()
        axes.imshow(images[i])
        axes.set_title(
            f"{classes[labels[i]]} → {classes[best]} ({probabilities[i, best]:.2f})",
            color="black" if best == labels[i] else "crimson",
            fontsize=8,
        )
    return figure


def _figure(width: float, height: float, rows: int = 1, columns: int = 1):
    """A figure that belongs to no window, so it works without a display."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    return figure, figure.subplots(rows, columns)
