"""How else signers hold the letters, and hands that sign nothing: for hands that are
bent but not drawn (training/hands/bent_hands.py).

Looked up in photographs of several signers; angles as in
data_prep/drawing/hand_poses.py.
"""

import numpy as np

from data_prep.drawing.hand_poses import (
    ACROSS,
    BEFORE,
    FIST,
    LITTLE,
    MEETS_INDEX,
    POINTING,
    TWO,
    UNDER_THREE,
    UNDER_TWO,
    Pose,
    alike,
    fist,
    straight,
    tight,
)

# less tight, so that the fingertips show
_HALF_FIST = alike(80, 92, 28)
_BESIDE_HOOK = ((36, 45), (-40, 30), (-66, 0))

FURTHER_POSES: dict[str, tuple[Pose, ...]] = {
    "A": (Pose(_HALF_FIST, ((48, 20), (8, 12), (14, 0))),),
    "B": (
        Pose(
            (straight(1), straight(0), straight(-1), straight(-1)),
            ((24, 30), (-50, 14), (-62, 0)),
        ),
    ),
    "D": (
        Pose(  # seen from the front, the thumb on the middle finger
            (straight(0), (68, 96, 50, 0), (72, 96, 52, 1), (74, 96, 52, 3)),
            ((30, 44), (-34, 34), (-50, 8)),
            turn=8,
        ),
        Pose(  # the fingertips in sight, on a thumb that stands before the palm
            (straight(0), (58, 92, 40, -1), (60, 92, 40, 0), (62, 92, 40, 2)),
            ((20, 50), (-34, 52), (-64, 22)),
            turn=8,
            nod=-10,
        ),
        Pose(
            (straight(0), (50, 84, 50, -2), (54, 84, 50, -1), (58, 84, 50, 1)),
            ((20, 52), (-22, 60), (-40, 30)),
            turn=24,
            nod=-8,
        ),
    ),
    "E": (Pose(alike(64, 102, 34), ((34, 20), (-68, 14), (-86, 0))),),
    "F": (
        Pose(
            ((50, 62, 36, 0), (16, 12, 6, 3), (12, 10, 6, -6), (8, 8, 5, -14)),
            MEETS_INDEX,
            turn=8,
        ),
        Pose(  # a small ring
            ((62, 82, 50, 2), (8, 8, 5, 4), (6, 8, 5, -6), (6, 8, 5, -16)),
            ((30, 42), (-6, 58), (-34, 8)),
            turn=6,
        ),
        Pose(
            ((70, 88, 50, 4), (14, 10, 6, 3), (10, 10, 6, -7), (6, 8, 6, -17)),
            ((28, 42), (-16, 52), (-40, 6)),
            turn=14,
            nod=4,
        ),
    ),
    "G": (
        Pose(  # the thumb lies along the fist
            POINTING, ((36, 38), (-18, 26), (-30, 8)), roll=84, forearm=66
        ),
        Pose(  # a beak that points sideways: index finger above, thumb below
            ((62, 4, 2, 0), (80, 70, 40, 0), (86, 80, 40, 1), tight(3)),
            ((10, 38), (-4, 58), (-4, 62)),
            turn=-76,
            nod=6,
            roll=24,
            forearm=26,
        ),
        Pose(
            ((60, 6, 2, 0), (90, 90, 46, 0), tight(1), tight(3)),
            ((12, 36), (0, 64), (4, 72)),
            turn=-72,
            roll=24,
            forearm=26,
        ),
    ),
    "H": (Pose(TWO, ((34, 40), (-20, 30), (-40, 10)), turn=-20, roll=84, forearm=62),),
    "I": (Pose((fist(-2), fist(-1), fist(1), straight(-10)), ACROSS, turn=24),),
    "J": (Pose(LITTLE, ACROSS, turn=30, roll=76, forearm=52),),
    "K": (
        Pose(  # the thumb stands up between both fingers
            (straight(7), (22, 10, 6, -8), fist(1), fist(3)),
            ((16, 44), (-22, 2), (-26, -12)),
            turn=-12,
        ),
    ),
    "M": (
        Pose(  # a fist, its fingertips in sight
            ((50, 88, 38, -3), (50, 88, 38, -1), (50, 88, 38, 1), tight(1)),
            UNDER_THREE,
            turn=10,
            nod=4,
        ),
        Pose(  # fingers hang down before the palm
            ((88, 22, 8, -2), (88, 22, 8, 0), (88, 22, 8, 1), tight(1)),
            UNDER_THREE,
            nod=62,
        ),
    ),
    "N": (
        Pose(
            ((50, 88, 38, -3), (50, 88, 38, -1), tight(-2), tight(1)),
            ((14, 34), (-46, 24), (-36, 14)),
            turn=10,
            nod=4,
        ),
        Pose(((88, 22, 8, -2), (88, 22, 8, 0), tight(-2), tight(1)), UNDER_TWO, nod=62),
    ),
    "P": (
        Pose(  # held flat, both fingers to the left
            (straight(4), (34, 12, 6, -4), tight(1), tight(3)),
            ((20, 48), (-8, 40), (-4, 24)),
            turn=-58,
            roll=80,
            forearm=48,
        ),
        Pose(  # the middle finger meets the thumb
            (straight(2), (60, 44, 22, -2), (74, 80, 40, 1), tight(3)),
            ((26, 52), (4, 66), (-6, 30)),
            turn=-72,
            roll=88,
            forearm=60,
        ),
        Pose(  # a K laid on its side
            (straight(7), (30, 8, 4, -7), fist(1), fist(3)),
            ((24, 38), (-24, 34), (-8, 18)),
            roll=70,
            forearm=44,
        ),
        Pose(
            (straight(7), (34, 8, 4, -7), fist(1), fist(3)),
            ((22, 42), (-20, 36), (-6, 20)),
            turn=-22,
            roll=74,
            forearm=50,
        ),
    ),
    "Q": (
        Pose(  # index finger and thumb side by side
            ((22, 12, 8, 0), tight(-1), tight(1), tight(3)),
            ((28, 46), (0, 34), (0, 26)),
            turn=-58,
            roll=134,
            forearm=92,
        ),
    ),
    "R": (
        Pose(
            ((14, 10, 5, -12), (2, 8, 5, 11), fist(1), fist(3)),
            ((34, 42), (-40, 28), (-58, 2)),
            turn=-16,
        ),
    ),
    "S": (
        Pose(FIST, ((36, 42), (-22, 34), (-50, 4))),
        Pose(FIST, ((34, 44), (-30, 28), (-60, 4)), turn=-18),
    ),
    "T": (
        Pose(  # the thumb's tip stands out above
            ((66, 90, 48, 6), fist(-5), fist(-2), fist(1)),
            ((18, 36), (-13, 14), (-8, 8)),
            turn=-16,
        ),
    ),
    "X": (
        Pose(  # the hook in profile
            ((22, 74, 46, 0), tight(-1), tight(1), tight(3)), _BESIDE_HOOK, turn=-60
        ),
        Pose(((20, 78, 46, 0), tight(-1), tight(1), tight(3)), _BESIDE_HOOK, turn=64),
        Pose(((8, 62, 42, 0), fist(-1), fist(1), fist(3)), BEFORE),
    ),
    "Z": (
        Pose(POINTING, BEFORE, nod=38, roll=-16),  # towards the viewer
        Pose(POINTING, BEFORE, roll=34, forearm=14),  # the other way
        Pose(  # upright, as the stroke begins
            POINTING, ((38, 44), (-56, 30), (-84, -2)), turn=-6, roll=-4
        ),
        Pose(POINTING, BEFORE, nod=16, roll=4),  # upright, the fist towards the viewer
        Pose(POINTING, BEFORE, turn=6, nod=22, roll=-2),
    ),
    "del": (
        Pose(  # fingers down from their knuckles, together
            ((80, 18, 8, -1), (82, 18, 8, 0), (84, 18, 8, 1), (86, 18, 8, 1)),
            ((18, 48), (-8, 68), (-12, 78)),
            turn=-74,
            roll=92,
            forearm=26,
        ),
        Pose(  # the whole hand down from the wrist
            ((40, 34, 16, -1), (42, 34, 16, 0), (44, 34, 16, 1), (46, 34, 16, 1)),
            ((18, 44), (-8, 48), (-10, 52)),
            turn=-74,
            roll=132,
            forearm=40,
        ),
        Pose(  # the same, closed: the thumb meets the fingertips
            ((62, 36, 18, -1), (64, 36, 18, 0), (66, 36, 18, 1), (68, 36, 18, 1)),
            ((20, 46), (-4, 64), (-10, 66)),
            turn=-66,
            roll=118,
            forearm=24,
        ),
        Pose(  # the back of a flat hand, down from a bent wrist
            ((66, 14, 6, 0), (68, 14, 6, 0), (70, 14, 6, 0), (72, 14, 6, 0)),
            ((6, 20), (-20, 40), (-20, 70)),
            turn=-90,
            roll=96,
            forearm=28,
        ),
    ),
    "space": (
        Pose(  # the palm faces the viewer
            alike(26, 26, 14),
            ((60, 34), (52, 40), (46, 34)),
            turn=26,
            roll=74,
            forearm=30,
        ),
    ),
}


def idle_pose(rng: np.random.Generator) -> Pose:
    """Make a pose of an open hand, its fingers spread, in any direction and seen from
    either side: as hands come and go, which is no letter."""
    spread, bent = rng.uniform(0.7, 1.4), rng.uniform(0, 14)
    index, middle, ring, little = (
        (bent + rng.uniform(0, 10), bent + rng.uniform(2, 8), 3, spread * abduction)
        for abduction in (15, 4, -6, -18)
    )
    thumb = ((58, 20), (rng.uniform(45, 80), 15), (rng.uniform(40, 80), 8))
    roll = rng.uniform(-100, 130)
    return Pose(
        (index, middle, ring, little),
        thumb,
        turn=rng.choice([0, 180]) + rng.uniform(-50, 50),
        nod=rng.uniform(-40, 40),
        roll=roll,
        forearm=roll * rng.uniform(0.2, 0.8),
    )
