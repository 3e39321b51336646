"""Points of hands bent by their joint angles, as the landmark network would see them.

No picture is drawn: a thousand a second, of people with other proportions, whom no
camera has seen.
"""

import math

import numpy as np

from data_prep.drawing.further_poses import FURTHER_POSES, idle_pose
from data_prep.drawing.hand_model import landmarks, pose_hand
from data_prep.drawing.hand_poses import CLASSES, NOTHING, POSES, Pose
from data_prep.drawing.signers_poses import signers_poses
from training.hands.hand import CHANNELS, POINTS
from training.hands.landmarks import KNUCKLES, WRIST
from training.hands.letters import Hands

SOURCE = "bent hands"  # what they are called among the sources
# Score of the palm and presence of the hand: as of photographs, and not always 1, or
# that would tell bent hands from others.
LEAST_SURE = np.array([0.5, 0.8])
OF_SIGNERS = 0.5  # of the hands are held as signers were seen to hold them, if wanted
PALM = 300  # millimetres that stand for the side of a photograph


def bend_hands(
    classes: list[str], each: int, seed: int, of_signers: bool = False
) -> Hands:
    """Bend ``each`` hands into every letter that is known.

    Args:
        classes: Names of the labels; those without a pose are left out.
        each: Hands a class.
        seed: Of proportions, angles and views.
        of_signers: Whether some are held as in data_prep/drawing/signers_poses.py; not
            beside photographs of several signers, who show by themselves how they do,
            and who may be those very signers.
    """
    rng = np.random.default_rng([seed, 9])
    rows, labels = [], []
    for label, name in enumerate(classes):
        for number in range(each if name in CLASSES else 0):
            pose = _pose(name, number, rng, of_signers)
            sure = rng.uniform(LEAST_SURE, 1)
            rows.append(_row(landmarks(pose_hand(pose, rng)), sure))
            labels.append(label)
    return Hands(
        np.array(rows, np.float32).reshape(len(rows), -1),
        np.array(labels, np.int64),
        np.array([SOURCE] * len(rows)),
    )


def _pose(name: str, number: int, rng: np.random.Generator, of_signers: bool) -> Pose:
    """Half of a letter's other hands are by the book; hands that come and go sign
    nothing."""
    if name == NOTHING:
        return idle_pose(rng)
    if of_signers and rng.random() < OF_SIGNERS:
        seen = signers_poses()[name]
        return seen[rng.integers(len(seen))]
    poses = [POSES[name], *FURTHER_POSES.get(name, ())]
    return poses[0 if number % 2 else rng.integers(len(poses))]


def _row(points: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Pack ``(21, 3)`` millimetres, y up and z to the viewer (as `Hand` is packed)."""
    points = points * (1, -1, -1)  # pictures count downwards, and away from the camera
    points = points - points[WRIST]
    way = points[list(KNUCKLES)].mean(0)
    turn = math.pi / 2 - math.atan2(-way[1], way[0])
    cos, sin = math.cos(turn), math.sin(turn)
    upright = points @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    parts = [
        points[:, :2].ravel() / PALM,
        upright.ravel() / 1000,
        [turn, *sure],
        np.zeros(POINTS * CHANNELS),  # nobody has seen them
        [0],  # no pixels
    ]
    return np.concatenate(parts).astype(np.float32)
