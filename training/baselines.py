"""What any network must beat: the most frequent class, and a line through pixels."""

import warnings

import cv2
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SIDE = 16  # pixels; finer ones cost time and overfit
MOST = 4000  # training images


def baselines(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], seed: int
) -> dict[str, float]:
    """Score the two simplest models on the test split.

    Args:
        train: ``(N, S, S, 3)`` uint8 RGB images and ``(N,)`` int64 labels.
        test: The same.
        seed: Of the training images that are picked where there are many.

    Returns:
        Accuracy of "most_frequent" and of "logistic_regression" on 16x16 pixels.
    """
    images, labels = train
    rows = np.random.default_rng(seed).permutation(len(labels))[:MOST]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=60))
    frequent = np.bincount(labels).argmax()
    scores = {"most_frequent": float((test[1] == frequent).mean())}
    if len(np.unique(labels[rows])) > 1:
        with warnings.catch_warnings():
            # a baseline need not be exact to the last digit
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(shrink(images[np.sort(rows)]), labels[np.sort(rows)])
        predicted = model.predict(shrink(test[0]))
        scores["logistic_regression"] = float((predicted == test[1]).mean())
    return scores


def shrink(images: np.ndarray) -> np.ndarray:
    """``(N, S, S, 3)`` uint8 -> ``(N, 768)`` float32."""
    size = (SIDE, SIDE)
    small = [cv2.resize(i, size, interpolation=cv2.INTER_AREA).ravel() for i in images]
    return np.array(small, np.float32)
