"""Hands of the hand model that sign: landmarks and probabilities, frame by frame."""

from dataclasses import replace

import numpy as np

from data_prep.drawing import hand_model
from data_prep.drawing.hand_model import pose_hand
from data_prep.drawing.hand_poses import POSES, Pose
from demo.spelling import Frame


def landmarks(pose: Pose, at=(0.0, 0.0), seed: int = 0) -> np.ndarray:
    """The 21 points ``(21, 3)`` of a posed hand, y down, the hand's size about 1."""
    hand = pose_hand(pose, np.random.default_rng(seed))
    points = hand_model.landmarks(hand) * (1, -1, -1) / 90
    points[:, :2] += at
    return points


def still(letter, start, seconds, rate=15.0, sure=0.9, **options):
    """Frames of a letter that is held; ``hand=False``: without landmarks."""
    hand = options.pop("hand", True) and letter != "nothing"
    points = landmarks(POSES[letter], **options) if hand else None
    times = start + np.arange(int(round(seconds * rate))) / rate
    return [Frame(t, probabilities(letter, sure), points) for t in times]


def probabilities(letter: str, sure: float = 0.9) -> dict[str, float]:
    others = [name for name in (*POSES, "nothing") if name != letter]
    return {letter: sure} | dict.fromkeys(others, (1 - sure) / len(others))


def written(letter, start, seconds, rate=15.0, rng=None, mirror=False, jitter=0.0):
    """Frames of J or Z as a hand writes it, with jitter in sizes of the hand."""
    rng = rng or np.random.default_rng(0)
    count = max(2, int(round(seconds * rate)))
    frames = []
    seed = int(rng.integers(1000))
    for i in range(count):
        share = i / (count - 1)
        pose, at = writing(letter, share)
        points = landmarks(pose, at, seed)
        points = points + rng.normal(0, jitter, points.shape)
        if mirror:
            points = points * [-1, 1, 1]
        seen = {"J": "I", "Z": "D"}[letter]
        frames.append(Frame(start + i / rate, probabilities(seen, 0.6), points))
    return frames


def writing(letter: str, share: float) -> tuple[Pose, tuple[float, float]]:
    """The hand at a share of its way: its pose, and where its wrist is."""
    if letter == "J":
        # down, then the forearm turns: the little finger swings out to the side
        turned = np.clip((share - 0.45) / 0.55, 0, 1)
        pose = replace(POSES["I"], roll=-70 * turned, turn=-40 * turned)
        return pose, (0.05 * turned, 1.0 * min(1, share / 0.55))
    corners = np.array([(0, 0), (-0.9, 0.05), (-0.1, 0.9), (-1.0, 0.95)])
    way = np.interp(share, [0, 0.3, 0.65, 1], np.arange(4))
    x, y = (np.interp(way, np.arange(4), axis) for axis in corners.T)
    return replace(POSES["Z"], roll=0), (x, y)


def wandering(letter: str, seed: int, rate: float = 15.0, seconds: float = 3.0):
    """Frames of a letter's hand that moves at random; with odd seeds it turns, too."""
    rng = np.random.default_rng(seed)
    times = np.arange(int(seconds * rate)) / rate

    def swing(most, fastest):
        phases = times * rng.uniform(0.2, fastest) + rng.uniform()
        return rng.uniform(0.1, 1) * most * np.sin(2 * np.pi * phases)

    x, y = (sum(swing(0.6, 1.5) for _ in range(3)) for _ in range(2))
    rolls = POSES[letter].roll + seed % 2 * swing(70, 1)
    frames = []
    for time, roll, *at in zip(times, rolls, x, y):
        points = landmarks(replace(POSES[letter], roll=float(roll)), at, seed)
        points = points + rng.normal(0, 0.02, points.shape)
        frames.append(Frame(time, probabilities(letter, 0.6), points))
    return frames
