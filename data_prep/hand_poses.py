"""The 29 classes and the handshape of each, as angles of a right hand.

All angles are degrees, in the hand's own frame as its palm is looked at: x to the
right (the thumb's side), y along the stretched fingers, z out of the palm.
"""

from dataclasses import dataclass

# A finger: flexion of its three joints, then abduction (positive: towards the thumb).
Finger = tuple[float, float, float, float]
# A bone of the thumb: its direction within the palm's plane (0 along the fingers,
# 90 to the right) and its elevation out of that plane, towards the viewer.
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

    fingers: tuple[Finger, Finger, Finger, Finger]
    thumb: tuple[ThumbBone, ThumbBone, ThumbBone]
    turn: float = 0.0
    nod: float = 0.0
    roll: float = 0.0
    forearm: float = 0.0


def _straight(abduction: float = 0.0) -> Finger:
    return (4, 5, 3, abduction)


def _fist(abduction: float = 0.0) -> Finger:
    return (84, 102, 62, abduction)


def _tight(abduction: float = 0.0) -> Finger:
    return (92, 112, 70, abduction)


def _draped(abduction: float = 0.0) -> Finger:
    return (78, 50, 18, abduction)


_FIST = (_fist(-2), _fist(-1), _fist(1), _fist(3))
_ACROSS = ((36, 45), (-50, 30), (-75, 0))  # the thumb lies over closed fingers
_MEETS_INDEX = ((30, 42), (2, 62), (-20, -5))  # its tip meets the bent index finger's

POSES: dict[str, Pose] = {
    "A": Pose(_FIST, ((50, 28), (3, 18), (-4, 8))),
    "B": Pose(
        (_straight(-2), _straight(-1), _straight(1), _straight(3)),
        ((28, 22), (-72, 8), (-80, 0)),
    ),
    "C": Pose(
        ((38, 52, 32, -2), (38, 52, 32, -1), (38, 52, 32, 1), (38, 52, 32, 3)),
        ((30, 55), (10, 75), (0, 65)),
        turn=58,
    ),
    "D": Pose(
        (_straight(0), (58, 76, 42, 1), (60, 76, 42, 2), (62, 76, 42, 4)),
        ((22, 42), (-12, 60), (-30, 5)),
        turn=42,
    ),
    "E": Pose(
        ((42, 112, 60, -2), (42, 112, 60, -1), (42, 112, 60, 1), (42, 112, 60, 3)),
        ((34, 24), (-62, 16), (-84, 4)),
    ),
    "F": Pose(
        ((54, 66, 36, 0), _straight(2), _straight(-8), _straight(-19)),
        _MEETS_INDEX,
        turn=34,
    ),
    "G": Pose(
        (_straight(0), _fist(-1), _fist(1), _fist(3)),
        ((56, 28), (6, 22), (2, 8)),
        roll=78,
        forearm=42,
    ),
    "H": Pose(
        (_straight(-2), _straight(0), _fist(1), _fist(3)),
        ((34, 40), (-35, 28), (-55, 5)),
        roll=78,
        forearm=42,
    ),
    "I": Pose((_fist(-2), _fist(-1), _fist(1), _straight(-4)), _ACROSS),
    "J": Pose(
        (_fist(-2), _fist(-1), _fist(1), _straight(-8)),
        _ACROSS,
        roll=58,
        forearm=32,
    ),
    "K": Pose(
        (_straight(9), (26, 8, 4, -9), _fist(1), _fist(3)),
        ((24, 38), (-24, 34), (-8, 18)),
    ),
    "L": Pose(
        (_straight(0), _fist(-1), _fist(1), _fist(3)),
        ((68, 12), (84, 5), (86, 0)),
    ),
    "M": Pose(
        (_draped(-3), _draped(-1), _draped(1), _tight(1)),
        ((12, 30), (-65, 18), (-75, 14)),
        nod=30,
    ),
    "N": Pose(
        (_draped(-3), _draped(-1), _tight(-3), _tight(1)),
        ((16, 32), (-50, 26), (-42, 26)),
        nod=30,
    ),
    "O": Pose(
        ((48, 70, 44, -3), (48, 70, 44, -1), (48, 70, 44, 1), (46, 70, 44, 4)),
        _MEETS_INDEX,
        turn=58,
    ),
    "P": Pose(
        (_straight(2), (66, 14, 6, -2), _fist(1), _fist(3)),
        ((22, 50), (4, 62), (0, 44)),
        turn=-72,
        roll=92,
        forearm=38,
    ),
    "Q": Pose(
        ((48, 26, 12, 0), _fist(-1), _fist(1), _fist(3)),
        ((30, 55), (4, 72), (0, 60)),
        turn=-62,
        roll=104,
        forearm=48,
    ),
    "R": Pose(
        ((10, 6, 3, -9), (2, 6, 4, 9), _fist(1), _fist(3)),
        ((34, 42), (-45, 28), (-65, 2)),
    ),
    "S": Pose(_FIST, _ACROSS),
    "T": Pose(
        ((60, 92, 48, 2), _fist(-4), _fist(-2), _fist(1)),
        ((22, 32), (-26, 24), (-10, 24)),
    ),
    "U": Pose(
        (_straight(-3), _straight(1), _fist(1), _fist(3)),
        ((34, 42), (-48, 28), (-68, 2)),
    ),
    "V": Pose(
        (_straight(11), _straight(-10), _fist(1), _fist(3)),
        ((34, 42), (-48, 28), (-68, 2)),
    ),
    "W": Pose(
        (_straight(14), _straight(0), _straight(-14), _fist(5)),
        ((32, 42), (-62, 26), (-80, 2)),
    ),
    "X": Pose(
        ((14, 92, 52, 0), _fist(-1), _fist(1), _fist(3)),
        _ACROSS,
        turn=30,
    ),
    "Y": Pose(
        (_fist(-2), _fist(-1), _fist(1), _straight(-22)),
        ((58, 15), (68, 5), (66, 0)),
    ),
    "Z": Pose(
        (_straight(0), _fist(-1), _fist(1), _fist(3)),
        ((36, 42), (-42, 30), (-66, 2)),
        roll=-42,
    ),
    "del": Pose(
        ((42, 20, 10, -2), (44, 20, 10, -1), (46, 20, 10, 1), (48, 20, 10, 3)),
        ((30, 40), (8, 35), (4, 30)),
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

# Kaggle's class folders; their order never changes, for it seeds the drawings.
CLASSES = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ") + ("del", "nothing", "space")
