"""How signers hold the letters, measured: for hands that are bent but not drawn
(training/hands/bent_hands.py).

A row of signers_poses.csv is a letter and its joint angles, degrees, as in
data_prep/drawing/hand_poses.py; training/hands/measure_poses.py has measured them in
photographs of four public sets (training/EXPERIMENTS.md, 2026-11-29).
"""

import csv
import functools
from pathlib import Path

from data_prep.drawing.hand_poses import Pose

TABLE = Path(__file__).with_suffix(".csv")
FINGERS = ("index", "middle", "ring", "little")
JOINTS = ("knuckle", "middle", "end", "abduction")
THUMB_BONES = ("metacarpal", "proximal", "distal")
ANGLES = (
    *(f"{finger} {joint}" for finger in FINGERS for joint in JOINTS),
    *(f"thumb {bone} {way}" for bone in THUMB_BONES for way in ("within", "above")),
    *("turn", "nod", "roll"),
)
FOREARM = 0.55  # of the hand's roll: an arm follows its hand


@functools.cache
def signers_poses() -> dict[str, tuple[Pose, ...]]:
    """All of these poses by letter; nothing has none."""
    poses: dict[str, tuple[Pose, ...]] = {}
    with TABLE.open(newline="", encoding="utf-8") as lines:
        for letter, *angles in list(csv.reader(lines))[1:]:
            pose = pose_of([float(angle) for angle in angles])
            poses[letter] = (*poses.get(letter, ()), pose)
    return poses


def pose_of(angles: list[float]) -> Pose:
    """The pose of 25 angles in the order of ANGLES."""
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
