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


def _alike(knuckle: float, middle: float, end: float) -> tuple[Finger, ...]:
    return tuple((knuckle, middle, end, abduction) for abduction in (-2, -1, 1, 3))


def _straight(abduction: float = 0.0) -> Finger:
    return (4, 5, 3, abduction)


def _fist(abduction: float = 0.0) -> Finger:
    return (84, 102, 62, abduction)


def _tight(abduction: float = 0.0) -> Finger:
    return (92, 112, 70, abduction)


def _draped(abduction: float = 0.0) -> Finger:
    return (78, 50, 18, abduction)


_FIST = (_fist(-2), _fist(-1), _fist(1), _fist(3))
# less tight, so that the fingertips show
_HALF_FIST = _alike(80, 92, 28)
_ACROSS = ((36, 45), (-50, 30), (-75, 0))  # the thumb lies over closed fingers
_MEETS_INDEX = ((30, 42), (2, 62), (-20, -5))  # its tip meets the bent index finger's
_POINTING = (_straight(0), _fist(-1), _fist(1), _fist(3))
_TWO = (_straight(-2), _straight(0), _fist(1), _fist(3))
_LITTLE = (_fist(-2), _fist(-1), _fist(1), _straight(-8))
_HOLDS = ((34, 42), (-48, 28), (-68, 2))  # two fingers down
_BEFORE = ((36, 42), (-42, 30), (-66, 2))  # the middle finger
_BESIDE_HOOK = ((36, 45), (-40, 30), (-66, 0))
_UNDER_THREE = ((12, 30), (-65, 18), (-75, 14))
_UNDER_TWO = ((16, 32), (-50, 26), (-42, 26))

POSES: dict[str, tuple[Pose, ...]] = {
    "A": (
        Pose(_FIST, ((50, 28), (3, 18), (-4, 8))),
        Pose(_HALF_FIST, ((48, 20), (8, 12), (14, 0))),
    ),
    "B": (
        Pose(
            (_straight(-2), _straight(-1), _straight(1), _straight(3)),
            ((28, 22), (-72, 8), (-80, 0)),
        ),
        Pose(
            (_straight(1), _straight(0), _straight(-1), _straight(-1)),
            ((24, 30), (-50, 14), (-62, 0)),
        ),
    ),
    "C": (Pose(_alike(38, 52, 32), ((30, 55), (10, 75), (0, 65)), turn=58),),
    "D": (
        Pose(  # a ring beside the index finger
            (_straight(0), (50, 68, 38, 1), (52, 68, 38, 2), (54, 68, 38, 4)),
            ((24, 44), (-4, 62), (-24, 14)),
            turn=56,
        ),
        Pose(  # seen from the front, the thumb on the middle finger
            (_straight(0), (68, 96, 50, 0), (72, 96, 52, 1), (74, 96, 52, 3)),
            ((30, 44), (-34, 34), (-50, 8)),
            turn=8,
        ),
        Pose(  # the fingertips in sight, on a thumb that stands before the palm
            (_straight(0), (58, 92, 40, -1), (60, 92, 40, 0), (62, 92, 40, 2)),
            ((20, 50), (-34, 52), (-64, 22)),
            turn=8,
            nod=-10,
        ),
        Pose(
            (_straight(0), (50, 84, 50, -2), (54, 84, 50, -1), (58, 84, 50, 1)),
            ((20, 52), (-22, 60), (-40, 30)),
            turn=24,
            nod=-8,
        ),
    ),
    "E": (
        Pose(_alike(42, 112, 60), ((34, 24), (-62, 16), (-84, 4))),
        Pose(_alike(64, 102, 34), ((34, 20), (-68, 14), (-86, 0))),
    ),
    "F": (
        Pose(
            ((46, 58, 32, 0), (16, 22, 12, 2), (14, 20, 12, -8), (10, 18, 10, -18)),
            _MEETS_INDEX,
            turn=44,
        ),
        Pose(
            ((50, 62, 36, 0), (16, 12, 6, 3), (12, 10, 6, -6), (8, 8, 5, -14)),
            _MEETS_INDEX,
            turn=8,
        ),
    ),
    "G": (
        Pose(_POINTING, ((56, 28), (6, 22), (2, 8)), roll=78, forearm=42),
        Pose(  # the thumb lies along the fist
            _POINTING, ((36, 38), (-18, 26), (-30, 8)), roll=84, forearm=66
        ),
        Pose(  # index finger and thumb side by side, seen from the thumb's side
            ((24, 14, 8, 0), (70, 80, 40, 0), _tight(1), _tight(3)),
            ((26, 46), (0, 30), (2, 24)),
            turn=-70,
            roll=86,
            forearm=52,
        ),
        Pose(  # the same, both apart as if they held something flat
            ((42, 8, 4, 0), (66, 84, 44, 0), _tight(1), _tight(3)),
            ((22, 46), (6, 52), (4, 44)),
            turn=-66,
            roll=56,
            forearm=44,
        ),
    ),
    "H": (
        Pose(_TWO, ((34, 40), (-35, 28), (-55, 5)), roll=78, forearm=42),
        Pose(_TWO, ((34, 40), (-20, 30), (-40, 10)), turn=-20, roll=84, forearm=62),
    ),
    "I": (
        Pose((_fist(-2), _fist(-1), _fist(1), _straight(-4)), _ACROSS),
        Pose((_fist(-2), _fist(-1), _fist(1), _straight(-10)), _ACROSS, turn=24),
    ),
    "J": (
        Pose(_LITTLE, _ACROSS, roll=58, forearm=32),
        Pose(_LITTLE, _ACROSS, turn=30, roll=76, forearm=52),
    ),
    "K": (
        Pose(
            (_straight(9), (26, 8, 4, -9), _fist(1), _fist(3)),
            ((24, 38), (-24, 34), (-8, 18)),
        ),
        Pose(  # the thumb stands up between both fingers
            (_straight(7), (22, 10, 6, -8), _fist(1), _fist(3)),
            ((16, 44), (-22, 2), (-26, -12)),
            turn=-12,
        ),
    ),
    "L": (Pose(_POINTING, ((68, 12), (84, 5), (86, 0))),),
    "M": (
        Pose((_draped(-3), _draped(-1), _draped(1), _tight(1)), _UNDER_THREE, nod=30),
        Pose(  # a fist, its fingertips in sight
            ((50, 88, 38, -3), (50, 88, 38, -1), (50, 88, 38, 1), _tight(1)),
            _UNDER_THREE,
            turn=10,
            nod=4,
        ),
        Pose(  # fingers hang down before the palm
            ((88, 22, 8, -2), (88, 22, 8, 0), (88, 22, 8, 1), _tight(1)),
            _UNDER_THREE,
            nod=62,
        ),
    ),
    "N": (
        Pose((_draped(-3), _draped(-1), _tight(-3), _tight(1)), _UNDER_TWO, nod=30),
        Pose(
            ((50, 88, 38, -3), (50, 88, 38, -1), _tight(-2), _tight(1)),
            ((14, 34), (-46, 24), (-36, 14)),
            turn=10,
            nod=4,
        ),
        Pose(
            ((88, 22, 8, -2), (88, 22, 8, 0), _tight(-2), _tight(1)), _UNDER_TWO, nod=62
        ),
    ),
    "O": (
        Pose(
            ((48, 70, 44, -3), (48, 70, 44, -1), (48, 70, 44, 1), (46, 70, 44, 4)),
            _MEETS_INDEX,
            turn=58,
        ),
    ),
    "P": (
        Pose(
            (_straight(2), (66, 14, 6, -2), _tight(1), _tight(3)),
            ((22, 50), (4, 62), (0, 44)),
            turn=-72,
            roll=92,
            forearm=38,
        ),
        Pose(  # held flat, both fingers to the left
            (_straight(4), (34, 12, 6, -4), _tight(1), _tight(3)),
            ((20, 48), (-8, 40), (-4, 24)),
            turn=-58,
            roll=80,
            forearm=48,
        ),
        Pose(  # the middle finger meets the thumb
            (_straight(2), (60, 44, 22, -2), (74, 80, 40, 1), _tight(3)),
            ((26, 52), (4, 66), (-6, 30)),
            turn=-72,
            roll=88,
            forearm=60,
        ),
    ),
    "Q": (
        Pose(
            ((48, 26, 12, 0), _tight(-1), _tight(1), _tight(3)),
            ((30, 55), (4, 72), (0, 60)),
            turn=-62,
            roll=104,
            forearm=48,
        ),
        Pose(  # index finger and thumb side by side
            ((22, 12, 8, 0), _tight(-1), _tight(1), _tight(3)),
            ((28, 46), (0, 34), (0, 26)),
            turn=-58,
            roll=134,
            forearm=92,
        ),
    ),
    "R": (
        Pose(
            ((10, 6, 3, -9), (2, 6, 4, 9), _fist(1), _fist(3)),
            ((34, 42), (-45, 28), (-65, 2)),
        ),
        Pose(
            ((14, 10, 5, -12), (2, 8, 5, 11), _fist(1), _fist(3)),
            ((34, 42), (-40, 28), (-58, 2)),
            turn=-16,
        ),
    ),
    "S": (
        Pose(_FIST, _ACROSS),
        Pose(_FIST, ((36, 42), (-22, 34), (-50, 4))),
        Pose(_FIST, ((34, 44), (-30, 28), (-60, 4)), turn=-18),
    ),
    "T": (
        Pose(
            ((60, 92, 48, 2), _fist(-4), _fist(-2), _fist(1)),
            ((22, 32), (-26, 24), (-10, 24)),
        ),
        Pose(  # the thumb's tip stands out above
            ((66, 90, 48, 6), _fist(-5), _fist(-2), _fist(1)),
            ((18, 36), (-13, 14), (-8, 8)),
            turn=-16,
        ),
    ),
    "U": (Pose((_straight(-3), _straight(1), _fist(1), _fist(3)), _HOLDS),),
    "V": (Pose((_straight(11), _straight(-10), _fist(1), _fist(3)), _HOLDS),),
    "W": (
        Pose(
            (_straight(14), _straight(0), _straight(-14), _fist(5)),
            ((32, 42), (-62, 26), (-80, 2)),
        ),
    ),
    "X": (
        Pose(((14, 92, 52, 0), _tight(-1), _tight(1), _tight(3)), _ACROSS, turn=30),
        Pose(  # the hook in profile
            ((22, 74, 46, 0), _tight(-1), _tight(1), _tight(3)), _BESIDE_HOOK, turn=-60
        ),
        Pose(
            ((20, 78, 46, 0), _tight(-1), _tight(1), _tight(3)), _BESIDE_HOOK, turn=64
        ),
        Pose(((8, 62, 42, 0), _fist(-1), _fist(1), _fist(3)), _BEFORE),
    ),
    "Y": (
        Pose(
            (_fist(-2), _fist(-1), _fist(1), _straight(-22)),
            ((58, 15), (68, 5), (66, 0)),
        ),
    ),
    "Z": (
        Pose(_POINTING, _BEFORE, roll=-42),
        Pose(_POINTING, _BEFORE, nod=38, roll=-16),  # towards the viewer
        Pose(_POINTING, _BEFORE, roll=34, forearm=14),  # the other way
        Pose(  # upright, as the stroke begins
            _POINTING, ((38, 44), (-56, 30), (-84, -2)), turn=-6, roll=-4
        ),
    ),
    "del": (
        Pose(
            ((42, 20, 10, -2), (44, 20, 10, -1), (46, 20, 10, 1), (48, 20, 10, 3)),
            ((18, 42), (-8, 50), (-12, 60)),
            turn=-70,
            roll=92,
            forearm=26,
        ),
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
    ),
    "space": (
        Pose(
            ((34, 34, 20, -2), (32, 34, 20, -1), (30, 34, 20, 1), (28, 34, 20, 3)),
            ((46, 50), (28, 66), (24, 62)),
            turn=56,
            roll=82,
            forearm=34,
        ),
        Pose(  # the palm faces the viewer
            _alike(26, 26, 14),
            ((60, 34), (52, 40), (46, 34)),
            turn=26,
            roll=74,
            forearm=30,
        ),
    ),
}

# Kaggle's class folders; their order never changes, for it seeds the drawings.
CLASSES = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ") + ("del", "nothing", "space")
