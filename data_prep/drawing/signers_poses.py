"""How signers hold the letters, measured: for hands that are bent but not drawn
(training/hands/bent_hands.py).

Joint angles of at most ten hands a letter, fitted to the landmarks of photographs of
eleven people and teams (how: training/EXPERIMENTS.md, 2026-11-29). A row of
signers_poses.csv is a letter and its angles, as in data_prep/drawing/hand_poses.py.
"""

import csv
import functools
from pathlib import Path

from data_prep.drawing.hand_poses import Pose

FOREARM = 0.55  # of the hand's roll: an arm follows its hand


@functools.cache
def signers_poses() -> dict[str, tuple[Pose, ...]]:
    """All of these poses by letter; nothing has none."""
    poses: dict[str, tuple[Pose, ...]] = {}
    table = Path(__file__).with_suffix(".csv")
    with table.open(newline="", encoding="utf-8") as lines:
        for letter, *angles in list(csv.reader(lines))[1:]:
            pose = _pose([float(angle) for angle in angles])
            poses[letter] = (*poses.get(letter, ()), pose)
    return poses


def _pose(angles: list[float]) -> Pose:
    index, middle, ring, little = (
        (angles[i], angles[i + 1], angles[i + 2], angles[i + 3])
        for i in range(0, 16, 4)
    )
    metacarpal, proximal, distal = (
        (angles[i], angles[i + 1]) for i in range(16, 22, 2)
    )
    turn, nod, roll = angles[22:]
    return Pose(
        (index, middle, ring, little),
        (metacarpal, proximal, distal),
        turn=turn,
        nod=nod,
        roll=roll,
        forearm=FOREARM * roll,
    )
