"""Letters that are written into the air, J and Z, read from the track of a fingertip.

A still picture cannot show them. What a movement looks like is data: `MOVEMENTS`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WRIST, MIDDLE_KNUCKLE = 0, 9
# Of index, middle, ring and little finger: knuckle, joint in the middle, tip.
FINGERS = ((5, 6, 8), (9, 10, 12), (13, 14, 16), (17, 18, 20))
STRETCHED = 1.15  # a tip so much farther from the wrist than the joint before it
STEPS = 24  # points that a track is compared at


class Movement(NamedTuple):
    """One letter that is written.

    Attributes:
        letter: What it says.
        finger: The finger that writes; index 0 to little 3. The others are closed.
        strokes: Ways of writing it, each the corners of one: x to the right and y down,
            as the camera sees a right hand; a left hand's way is its mirror image.
        hands: The letters that a hand looks like meanwhile. They do not count after
            the movement until the hand has been released, and one of them that counted
            just before was its beginning.
        begins: Those of them that it begins with.
        formed: The one whose hand it is made with, turned only when it is shown still.
        turn: How much the writing finger turns or is foreshortened: least change of it
            in the second half of the way, in shares of its length at first.
        upright: Whether it points up at first.
    """

    letter: str
    finger: int
    strokes: tuple[tuple[tuple[float, float], ...], ...]
    hands: frozenset[str]
    begins: frozenset[str]
    formed: str
    turn: float
    upright: bool


class Rules(NamedTuple):
    """When a track is a letter; times in seconds, lengths in sizes of the hand (from
    the wrist to the knuckle of the middle finger).

    Attributes:
        shortest, longest: How long a movement takes.
        points: Least number of frames in it.
        gap: Longest time without a frame in it.
        size: Least height or width of it.
        likeness: Mean distance from the stroke, both of size 1, up to which it is one.
        length: How many times as long as the stroke, both of size 1, it may be at most,
            and as short at least.
        shaped: Least share of the frames in which only the writing finger is stretched.
    """

    shortest: float = 0.35
    longest: float = 1.8
    points: int = 5
    gap: float = 0.5
    size: float = 0.55
    likeness: float = 0.14
    length: float = 1.4
    shaped: float = 0.6


class Point(NamedTuple):
    """What a track keeps of a frame.

    Attributes:
        time: Seconds.
        tips: ``(4, 2)``, of index, middle, ring and little finger.
        fingers: ``(4, 2)``, from their knuckles to their tips.
        stretched: Which of these fingers are.
        size: Of the hand, in the unit of the tips.
        best: The letter that the hand looks like in this frame.
    """

    time: float
    tips: np.ndarray
    fingers: np.ndarray
    stretched: tuple[bool, ...]
    size: float
    best: str


MOVEMENTS = (
    Movement(
        letter="J",
        finger=3,
        strokes=(
            ((0, 0), (0, 0.8), (0.12, 1.0), (0.35, 1.05), (0.5, 0.85)),
            ((0, 0), (0, 0.8), (0.3, 1.0), (0.9, 0.95)),
        ),
        hands=frozenset("IJY"),
        begins=frozenset("IJ"),
        formed="I",
        turn=0.18,  # by the wrist
        upright=True,
    ),
    Movement(
        letter="Z",
        finger=0,
        strokes=(((0, 0), (-0.8, 0), (0, 0.8), (-0.8, 0.8)),),
        hands=frozenset("DGLQXZ"),
        begins=frozenset("DGLQXZ"),
        formed="D",
        turn=0.0,
        upright=False,
    ),
)
# Ways of a hand that is raised, lowered, waved or shaken: what is rather one of these
# is no letter.
OTHERS = (
    ((0, 0), (0, 1)),
    ((0, 0), (1, 0)),
    ((0, 0), (1, 1)),
    ((0, 0), (1, -1)),
    ((0, 0), (0, 1), (0, 0)),
    ((0, 0), (1, 0), (0, 0)),
    ((0, 0), (1, 0), (0, 0), (1, 0)),
    ((0, 0), (1, 0), (0, 1)),
    ((0, 0), (1, 0), (1, 1)),
)


def point(time: float, best: str, landmarks: np.ndarray) -> Point:
    """Keep what tells movements of 21 landmarks ``(21, 3)``, x, y and z in one unit."""
    wrist = landmarks[WRIST]
    reach = np.linalg.norm(landmarks - wrist, axis=1)
    stretched = tuple(
        bool(reach[tip] > STRETCHED * reach[joint]) for _, joint, tip in FINGERS
    )
    tips = landmarks[[tip for _, _, tip in FINGERS], :2]
    fingers = tips - landmarks[[knuckle for knuckle, _, _ in FINGERS], :2]
    size = float(reach[MIDDLE_KNUCKLE])
    return Point(time, tips, fingers, stretched, size, best)


def find(track: Sequence[Point], rules: Rules = Rules()) -> Movement | None:
    """Say which movement ends with the last point of a track, if any does."""
    track = _unbroken(track, rules.gap)
    if len(track) < rules.points:
        return None
    for movement in MOVEMENTS:
        if _looks(track[-1], movement) and _written(track, movement, rules):
            return movement
    return None


def speed(track: Sequence[Point], seconds: float) -> float:
    """How fast the hand has moved lately: sizes of it a second, 0 if unknown."""
    last = track[-1]
    for earlier in reversed(track[:-1]):
        passed = last.time - earlier.time
        if passed >= seconds:
            way = np.linalg.norm(last.tips.mean(0) - earlier.tips.mean(0))
            return float(way / (passed * max(last.size, 1e-6)))
    return 0.0


def _unbroken(track, gap):
    """The last part of a track, without what came before a gap."""
    for i in range(len(track) - 1, 0, -1):
        if track[i].time - track[i - 1].time > gap:
            return track[i:]
    return track


def _looks(point: Point, movement: Movement) -> bool:
    alone = tuple(i == movement.finger for i in range(4))
    return point.stretched == alone or point.best in movement.hands


def _written(track, movement, rules) -> bool:
    size = float(np.median([p.size for p in track]))
    tips = np.array([p.tips[movement.finger] for p in track]) / max(size, 1e-6)
    if track[-1].time - track[0].time < _SMOOTHED * (len(track) - 1):
        tips = _smooth(tips)
    tried = track[-1].time
    for start in range(len(track) - rules.points, -1, -1):
        if tried - track[start].time < _APART and start:
            continue
        tried = track[start].time
        way = track[start:]
        seconds = way[-1].time - way[0].time
        if seconds > rules.longest:
            break
        if seconds < rules.shortest or np.ptp(tips[start:], axis=0).max() < rules.size:
            continue
        shaped = np.mean([_looks(p, movement) for p in way])
        if (
            shaped >= rules.shaped
            and _begins(way, movement)
            and _turns(way, movement)
            and _alike(tips[start:], movement, rules)
        ):
            return True
    return False


def _begins(way, movement) -> bool:
    """Whether most of the first third of a way shows what the movement begins with."""
    first = way[: max(2, len(way) // 3)]
    return sum(p.best in movement.begins for p in first) > len(first) / 2


def _turns(way, movement) -> bool:
    """Whether the writing finger points and turns as it should."""
    fingers = np.array([p.fingers[movement.finger] / max(p.size, 1e-6) for p in way])
    first = fingers[: max(2, len(way) // 5)].mean(0)
    length = max(float(np.linalg.norm(first)), 1e-6)
    if movement.upright and -first[1] < _UPRIGHT * length:
        return False
    changes = np.linalg.norm(fingers[len(way) // 2 :] - first, axis=1)
    return changes.mean() >= movement.turn * length


def _alike(tips, movement, rules) -> bool:
    """Whether a way is rather the movement's than any other that is known."""
    way = _even(tips)
    distances = np.linalg.norm(_WAYS - way, axis=2).mean(1)
    nearest = int(distances.argmin())
    longer = _length(way) / _length(_WAYS[nearest])
    return (
        _LETTERS[nearest] == movement.letter
        and distances[nearest] < rules.likeness
        and 1 / rules.length <= longer <= rules.length
    )


def _length(way) -> float:
    return float(np.linalg.norm(np.diff(way, axis=0), axis=1).sum())


def _smooth(tips):
    """Take some of the jitter away: each point a quarter of both its neighbours."""
    padded = np.concatenate([tips[:1], tips, tips[-1:]])
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4


def _even(corners: np.ndarray) -> np.ndarray:
    """Points ``(STEPS, 2)`` at equal distances along a way, its middle at 0 and the
    longer side of the box around it 1."""
    corners = np.asarray(corners, float)
    steps = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(steps)])
    places = np.linspace(0, along[-1], STEPS)
    points = np.stack([np.interp(places, along, axis) for axis in corners.T], 1)
    low, high = points.min(0), points.max(0)
    return (points - (low + high) / 2) / max((high - low).max(), 1e-9)


_LETTERS = [
    movement.letter for movement in MOVEMENTS for _ in movement.strokes for _ in (1, -1)
]
_LETTERS += [""] * (4 * len(OTHERS))
_WAYS = np.array(
    [
        _even([(side * x, y) for x, y in stroke])
        for movement in MOVEMENTS
        for stroke in movement.strokes
        for side in (1, -1)
    ]
    + [
        _even([(side * x, up * y) for x, y in way])
        for way in OTHERS
        for side in (1, -1)
        for up in (1, -1)
    ]
)
_UPRIGHT = 0.75  # cosine of the angle to the vertical
_APART = 0.08  # seconds between the starts of a movement that are tried
_SMOOTHED = 0.07  # seconds a frame, up to which jitter is smoothed
