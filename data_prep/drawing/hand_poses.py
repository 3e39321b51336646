"""The 29 classes and the handshape of each, by the book, as angles of a right hand.

How else signers hold them: data_prep/drawing/further_poses.py.

All angles are degrees, in the hand's own frame as its palm is looked at: x to the
right (the thumb's side), y along the stretched fingers, z out of the palm.
"""

from dataclasses import dataclass

# A finger: flexion of its three joints, then abduction (positive: towards the thumb).
Finger = tuple[float, float, float, float]
# A bone of the thumb: its direction within the palm's plane (0 along the fingers,
# 90 to the right) and its elevation out of that plane, towards the viewer.
Fingers = tuple[Finger, Finger, Finger, Finger]
ThumbBone = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """One handshape and how it is held.

    Attributes:
        fingers: Index, middle, ring and little finger.
        thumb: Metacarpal, proximal and distal bone.
        turn: Rotation about y; positive shows the little finger's side, the palm
            looking right; negative the thumb's side, the palm looking left.
        nod: Rotation about x; positive tilts the fingers towards the viewer.
        roll: Rotation in the picture, counter-clockwise; applied last.
        forearm: Direction of the forearm in the picture: 0 down, 90 to the right.
    """

    fingers: Fingers
    thumb: tuple[ThumbBone, ThumbBone, ThumbBone]
    turn: float = 0.0
    nod: float = 0.0
    roll: float = 0.0
    forearm: float = 0.0


def alike(knuckle: float, middle: float, end: float) -> Fingers:
    joints = (knuckle, middle, end)
    return (*joints, -2), (*joints, -1), (*joints, 1), (*joints, 3)


def straight(abduction: float = 0.0) -> Finger:
    return (4, 5, 3, abduction)


def fist(abduction: float = 0.0) -> Finger:
    return (84, 102, 62, abduction)


def tight(abduction: float = 0.0) -> Finger:
    return (92, 112, 70, abduction)


def draped(abduction: float = 0.0) -> Finger:
    return (78, 50, 18, abduction)


FIST = (fist(-2), fist(-1), fist(1), fist(3))
ACROSS = ((36, 45), (-50, 30), (-75, 0))  # the thumb lies over closed fingers
MEETS_INDEX = ((30, 42), (2, 62), (-20, -5))  # its tip meets the bent index finger's
POINTING = (straight(0), fist(-1), fist(1), fist(3))
TWO = (straight(-2), straight(0), fist(1), fist(3))
LITTLE = (fist(-2), fist(-1), fist(1), straight(-8))
HOLDS = ((34, 42), (-48, 28), (-68, 2))  # two fingers down
BEFORE = ((36, 42), (-42, 30), (-66, 2))  # the middle finger
UNDER_THREE = ((12, 30), (-65, 18), (-75, 14))
UNDER_TWO = ((16, 32), (-50, 26), (-42, 26))

POSES: dict[str, Pose] = {  # all classes but nothing
    "A": Pose(FIST, ((50, 28), (3, 18), (-4, 8))),
    "B": Pose(
        (straight(-2), straight(-1), straight(1), straight(3)),
        ((28, 22), (-72, 8), (-80, 0)),
    ),
    "C": Pose(alike(38, 52, 32), ((30, 55), (10, 75), (0, 65)), turn=58),
    "D": Pose(  # a ring beside the index finger
        (straight(0), (50, 68, 38, 1), (52, 68, 38, 2), (54, 68, 38, 4)),
        ((24, 44), (-4, 62), (-24, 14)),
        turn=56,
    ),
    "E": Pose(alike(42, 112, 60), ((34, 24), (-62, 16), (-84, 4))),
    "F": Pose(
        ((46, 58, 32, 0), (16, 22, 12, 2), (14, 20, 12, -8), (10, 18, 10, -18)),
        MEETS_INDEX,
        turn=44,
    ),
    "G": Pose(POINTING, ((56, 28), (6, 22), (2, 8)), roll=78, forearm=42),
    "H": Pose(TWO, ((34, 40), (-35, 28), (-55, 5)), roll=78, forearm=42),
    "I": Pose((fist(-2), fist(-1), fist(1), straight(-4)), ACROSS),
    "J": Pose(LITTLE, ACROSS, roll=58, forearm=32),
    "K": Pose(
        (straight(9), (26, 8, 4, -9), fist(1), fist(3)),
        ((24, 38), (-24, 34), (-8, 18)),
    ),
    "L": Pose(POINTING, ((68, 12), (84, 5), (86, 0))),
    "M": Pose((draped(-3), draped(-1), draped(1), tight(1)), UNDER_THREE, nod=30),
    "N": Pose((draped(-3), draped(-1), tight(-3), tight(1)), UNDER_TWO, nod=30),
    "O": Pose(
        ((48, 70, 44, -3), (48, 70, 44, -1), (48, 70, 44, 1), (46, 70, 44, 4)),
        MEETS_INDEX,
        turn=58,
    ),
    "P": Pose(
        (straight(2), (66, 14, 6, -2), tight(1), tight(3)),
        ((22, 50), (4, 62), (0, 44)),
        turn=-72,
        roll=92,
        forearm=38,
    ),
    "Q": Pose(
        ((48, 26, 12, 0), tight(-1), tight(1), tight(3)),
        ((30, 55), (4, 72), (0, 60)),
        turn=-62,
        roll=104,
        forearm=48,
    ),
    "R": Pose(
        ((10, 6, 3, -9), (2, 6, 4, 9), fist(1), fist(3)),
        ((34, 42), (-45, 28), (-65, 2)),
    ),
    "S": Pose(FIST, ACROSS),
    "T": Pose(
        ((60, 92, 48, 2), fist(-4), fist(-2), fist(1)),
        ((22, 32), (-26, 24), (-10, 24)),
    ),
    "U": Pose((straight(-3), straight(1), fist(1), fist(3)), HOLDS),
    "V": Pose((straight(11), straight(-10), fist(1), fist(3)), HOLDS),
    "W": Pose(
        (straight(14), straight(0), straight(-14), fist(5)),
        ((32, 42), (-62, 26), (-80, 2)),
    ),
    "X": Pose(((14, 92, 52, 0), tight(-1), tight(1), tight(3)), ACROSS, turn=30),
    "Y": Pose(
        (fist(-2), fist(-1), fist(1), straight(-22)),
        ((58, 15), (68, 5), (66, 0)),
    ),
    "Z": Pose(POINTING, BEFORE, roll=-42),
    "del": Pose(
        ((42, 20, 10, -2), (44, 20, 10, -1), (46, 20, 10, 1), (48, 20, 10, 3)),
        ((18, 42), (-8, 50), (-12, 60)),
        turn=-70,
        roll=92,
        forearm=26,
    ),
    "space": Pose(
        ((34, 34, 20, -2), (32, 34, 20, -1), (30, 34, 20, 1), (28, 34, 20, 3)),
        ((46, 50), (28, 66), (24, 62)),
        turn=56,
        roll=82,
        forearm=34,
    ),
}

NOTHING = "nothing"
# Kaggle's class folders; their order never changes, for it seeds the drawings.
CLASSES = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ") + ("del", NOTHING, "space")
