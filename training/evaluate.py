"""How good a model is: one function, one JSON.

``evaluation.json``, scores in 0 to 1, computed by scikit-learn::

    {"overall":     {"accuracy", "top3_accuracy", "macro_f1", "weighted_f1",
                     "macro_precision", "macro_recall", "loss", "images"},
     "per_class":   {"A": {"precision", "recall", "f1", "images"}, ...},
     "slices":      {"source=kaggle": {"accuracy", "macro_f1", "images"},
                     "brightness=dark": ..., "external=DIR": ...},
     "calibration": {"ece", "mean_confidence", "threshold_99", "coverage_99"},
     "confusion":   {"labels": [...], "matrix": [[true rows x predicted columns]]},
     "held_out_signers": {"mean", "worst", "images",
                     "sources": {"kaggle": {"accuracy", "images"}, ...}} or null,
     "baselines":   {"most_frequent": accuracy, "logistic_regression": accuracy},
     "model", "grey", "find_hand", "parameters", "precision", "int8",
     "dataset_id", "split", "split_method", "epochs", "seconds"}

``held_out_signers`` says how often the geometry of hands gives the letter of people who
were left out: each source once (training/hands/held_out_signers.py). It is null where
there is one source only, and for models that do not find the hand.

``threshold_99`` is the least confidence above which 99 % of the answers are right, and
``coverage_99`` the share of images that have it; both null where there is none.
"""

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

CALIBRATION_BINS = 15
PRECISION = 0.99


def evaluate(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    slices: dict[str, np.ndarray] | None = None,
) -> dict:
    """Score predictions against the truth.

    Args:
        probabilities: ``(N, classes)`` float32.
        labels: ``(N,)`` int64, indices into ``classes``.
        classes: Names, in the order of the columns.
        slices: Name of a slice -> which images belong to it, bool ``(N,)``.

    Returns:
        The parts overall, per_class, slices, calibration and confusion of the JSON.
    """
    predicted = probabilities.argmax(1)
    every = np.arange(len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=0
    )
    present = support > 0  # a class without test images has no score to average
    top3 = np.argsort(-probabilities, axis=1)[:, :3]
    truth = np.clip(probabilities[np.arange(len(labels)), labels], 1e-9, None)
    return {
        "overall": {
            "accuracy": float(accuracy_score(labels, predicted)),
            "top3_accuracy": float((top3 == labels[:, None]).any(1).mean()),
            "macro_f1": float(f1[present].mean()),
            "weighted_f1": float(np.average(f1, weights=support)),
            "macro_precision": float(precision[present].mean()),
            "macro_recall": float(recall[present].mean()),
            "loss": float(-np.log(truth).mean()),
            "images": int(len(labels)),
        },
        "per_class": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "images": int(support[i]),
            }
            for i, name in enumerate(classes)
        },
        "slices": {
            name: score_slice(predicted[rows], labels[rows])
            for name, rows in (slices or {}).items()
            if rows.any()
        },
        "calibration": calibration(probabilities, labels),
        "confusion": {
            "labels": list(classes),
            "matrix": confusion_matrix(labels, predicted, labels=every).tolist(),
        },
    }


def score_slice(predicted: np.ndarray, labels: np.ndarray) -> dict:
    """Accuracy, macro F1 and size of a part of the images."""
    f1 = f1_score(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
    )
    return {
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": float(f1),
        "images": int(len(labels)),
    }


def slice_rows(
    images: np.ndarray, sources: list[str], alike: list[bool]
) -> dict[str, np.ndarray]:
    """Slice a split by where images come from and by how bright they are.

    Args:
        images: ``(N, S, S, 3)`` uint8 RGB.
        sources: Of each image.
        alike: Whether preparation found others like it: neighbouring frames, twins.

    Returns:
        As `evaluate` takes them; brightness in thirds, of the images' mean.
    """
    names = np.asarray(sources)
    slices = {f"source={name}": names == name for name in sorted(set(sources))}
    has_twins = np.asarray(alike, bool)
    slices["group=one of several alike"] = has_twins
    slices["group=like no other"] = ~has_twins
    brightness = np.array([image.mean() for image in images])
    low, high = np.quantile(brightness, [1 / 3, 2 / 3])
    slices["brightness=dark"] = brightness <= low
    slices["brightness=middle"] = (brightness > low) & (brightness <= high)
    slices["brightness=bright"] = brightness > high
    return slices


def calibration(probabilities: np.ndarray, labels: np.ndarray) -> dict:
    """How far confidence can be trusted.

    The expected calibration error (Guo et al. 2017): over 15 bins of equal width, the
    mean distance between confidence and accuracy, weighted by images.
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    ece = 0.0
    for number in range(CALIBRATION_BINS):
        rows = bins == number
        if rows.any():
            ece += rows.mean() * abs(confidence[rows].mean() - right[rows].mean())
    order = np.argsort(-confidence, kind="stable")
    precision = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # a threshold lets all images of equal confidence in, so only their last counts
    last = np.append(np.diff(confidence[order]) != 0, True)
    good = np.flatnonzero((precision >= PRECISION) & last)
    return {
        "ece": float(ece),
        "mean_confidence": float(confidence.mean()),
        "threshold_99": float(confidence[order[good[-1]]]) if len(good) else None,
        "coverage_99": float((good[-1] + 1) / len(order)) if len(good) else None,
    }
