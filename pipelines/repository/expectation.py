"""What a model's answers should look like in service, out of its evaluation.

Deployment writes it into the config of the version, as the parameter "expected"; the
alerts compare it with what is served (triton/monitoring/rules.yaml)::

    {"shares": {"A": 0.0345, ...}, "confidence": 0.93}
"""

import json
from pathlib import Path

import numpy as np

from data_prep.errors import InputError

TEST, ENGLISH = "test", "english"
# Letters in English texts, per cent (Lewand, Cryptological Mathematics, 2000).
FREQUENCIES = dict(
    zip(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (8.167, 1.492, 2.782, 4.253, 12.702, 2.228, 2.015, 6.094, 6.966, 0.153)
        + (0.772, 4.025, 2.406, 6.749, 7.507, 1.929, 0.095, 5.987, 6.327, 9.056)
        + (2.758, 0.978, 2.360, 0.150, 1.974, 0.074),
    )
)


def expectation(evaluation: dict, mix: str = TEST) -> dict:
    """Say which share of its answers each class should have, and how sure they are.

    The shares are those of the true classes, each passed through the row of the
    confusion matrix: what this model answers to such a mix, with its mistakes. The
    confidence is that of people whom the training has not seen, where it was measured:
    a calibrated model is as sure as it is right.

    Args:
        evaluation: The content of ``evaluation.json``.
        mix: Of the true classes: "test", as in the test split; "english", letters as
            often as in English texts and other classes as in the test split; or a file
            with a JSON object of weights by class.

    Raises:
        InputError: The file does not hold that.
    """
    labels = evaluation["confusion"]["labels"]
    matrix = np.array(evaluation["confusion"]["matrix"], float)
    true = matrix.sum(1)
    rows = np.where(true[:, None] > 0, matrix, np.eye(len(labels)))
    rows /= rows.sum(1, keepdims=True)
    shares = true_mix(labels, true / true.sum(), mix) @ rows
    left_out = evaluation.get("held_out_signers") or {}
    calibration = evaluation.get("calibration", {})
    found = {"shares": dict(zip(labels, shares.round(5).tolist()))}
    confidence = left_out.get("mean", calibration.get("mean_confidence"))
    if confidence is not None:
        found["confidence"] = round(confidence, 4)
    return found


def true_mix(labels: list[str], tested: np.ndarray, mix: str) -> np.ndarray:
    """The shares of the true classes, ``(classes,)``; ``tested`` in the test split."""
    if mix == TEST:
        return tested
    if mix == ENGLISH:
        weights = np.array([FREQUENCIES.get(label.upper(), 0) for label in labels])
        if not weights.any():
            raise InputError(
                f"--mix english is for letters, the classes are {' '.join(labels[:5])};"
                " name a file of weights"
            )
        letters = weights > 0
        return np.where(
            letters, weights / weights.sum() * tested[letters].sum(), tested
        )
    try:
        weights = json.loads(Path(mix).read_text(encoding="utf-8"))
        found = np.array([float(weights[label]) for label in labels])
        if not found.sum() > 0 or not np.isfinite(found).all() or found.min() < 0:
            raise ValueError("weights are at least 0, and not all of them 0")
    except KeyError as error:
        raise InputError(f"--mix {mix} has no weight of the class {error}") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"--mix {mix} is neither test nor english nor a JSON object of weights by "
            f"class ({error})"
        ) from None
    return found / found.sum()
