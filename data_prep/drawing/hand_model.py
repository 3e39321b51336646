"""A kinematic right hand: joint angles in, a relief map of the hand out.

Lengths are millimetres of a hand of 190 mm until `render` scales them to pixels. The
frame is that of `hand_poses`: x right, y up, z towards the viewer. Every bone is a
tapered capsule; the picture is an orthographic projection with a depth buffer, so
fingers hide one another as real ones do.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.drawing.hand_poses import Pose

# Rows: index, middle, ring, little finger.
_CARPALS = np.array([[17, 8, 0], [6, 6, 0], [-6, 6, 0], [-17, 8, 0]], np.float64)
_KNUCKLES = np.array([[29, 91, 0], [9, 96, 2], [-11, 91, 1], [-29, 81, -2]], np.float64)
# Wrist and knuckles as `landmarks` has them, palm to the viewer; no pose moves them.
RIGID_POINTS = np.concatenate([[[0.0, -2.0, 0.0]], _KNUCKLES])
_PHALANGES = np.array([[44, 27, 20], [49, 31, 21], [45, 29, 21], [35, 21, 18]])
_FINGER_RADII = np.array([11.2, 10.0, 9.0, 7.4])  # knuckle, two joints, tip
_FINGER_THICKNESS = np.array([1.0, 1.03, 0.98, 0.86])
_THUMB_BASE = np.array([22.0, 18.0, 8.0])
_THUMB_BONES = np.array([46.0, 36.0, 26.0])
_THUMB_RADII = np.array([16.5, 13.0, 11.0, 8.8])
_PALM_CREASES = (  # of life, head and heart, on the surface of the palm
    np.array([[24, 78, 11], [10, 66, 12], [2, 46, 13], [3, 20, 14]], np.float64),
    np.array([[30, 76, 11], [12, 64, 12], [-8, 54, 13], [-26, 46, 12]], np.float64),
    np.array([[18, 88, 11], [4, 77, 12], [-14, 70, 12], [-36, 68, 10]], np.float64),
)
_CREASE, _NAIL = 0.9, 1.2  # albedo
_FAR = -1e4  # depth where there is no hand
_FLIP = np.array([1, -1, 1])  # rows of a picture count downwards
# Bones are numbered: forearm, palm (up to _SOFT drawn as one surface), fingers, thumb.
_FOREARM, _SOFT, _BONES = 2, 9, 23
_THUMB_BALL = _FOREARM + 5


@dataclass
class Hand:
    """A posed hand as the camera sees it, the forearm's and palm's bones first.

    Attributes:
        ends: ``(bones, 2, 3)``, both ends of each tapered capsule.
        radii: ``(bones, 2)``, its radius at either end.
        nails: ``(bones, 3)``, unit vector to the side of the nail; 0 without a nail.
        creases: Lines ``(points, 3)`` on the palm.
    """

    ends: np.ndarray
    radii: np.ndarray
    nails: np.ndarray
    creases: list[np.ndarray]

    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of the hand without its forearm."""
        ends, radii = self.ends[_FOREARM:, :, :2], self.radii[_FOREARM:, :, None]
        low = (ends - radii).min(axis=(0, 1))
        high = (ends + radii).max(axis=(0, 1))
        return (*low.tolist(), *high.tolist())


@dataclass
class Relief:
    """What `render` returns; all arrays are ``(size, size)`` float32.

    Attributes:
        depth: Towards the viewer, pixels; meaningless where there is no hand.
        mask: 1 on the hand, 0 beside it.
        albedo: Factor on the skin's colour: below 1 in creases, above it on nails.
    """

    depth: np.ndarray
    mask: np.ndarray
    albedo: np.ndarray


def rotation(roll: float, turn: float, nod: float) -> np.ndarray:
    """Rotate about x by `nod`, then y by `turn`, then z by `roll` (degrees): (3, 3)."""
    cr, ct, cn = np.cos(np.radians([roll, turn, nod]))
    sr, st, sn = np.sin(np.radians([roll, turn, nod]))
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    about_y = np.array([[ct, 0, st], [0, 1, 0], [-st, 0, ct]])
    about_x = np.array([[1, 0, 0], [0, cn, -sn], [0, sn, cn]])
    return about_z @ about_y @ about_x


def pose_hand(pose: Pose, rng: np.random.Generator) -> Hand:
    """Bend a hand into `pose`, every angle and proportion a little off, and hold it."""
    view = rotation(
        pose.roll + rng.uniform(-20, 20),
        pose.turn + rng.normal(0, 10),
        pose.nod + rng.normal(0, 9),
    )
    length = rng.normal(1, 0.04) * rng.normal(1, 0.02, 5)
    thickness = rng.normal(1.08, 0.08)
    joints, dorsal = _bend_fingers(pose, rng, length)
    thumb, thumb_nail = _bend_thumb(pose, rng, length[4])

    ends = np.zeros((_BONES, 2, 3))
    radii = np.zeros((_BONES, 2))
    nails = np.zeros((_BONES, 3))
    palm = ends[_FOREARM:]
    palm[:4, 0], palm[:4, 1] = _CARPALS, _KNUCKLES
    palm[4] = [-18, 16, 4], [-30, 62, 2]  # the little finger's ball
    palm[5] = thumb[:2]
    palm[6] = thumb[:2].mean(axis=0), 0.3 * _CARPALS[0] + 0.7 * _KNUCKLES[0]  # web
    radii[_FOREARM:_SOFT] = [[15, 11.5]] * 4 + [[15, 12], _THUMB_RADII[:2], [11, 8]]
    fingers = ends[_SOFT:-2].reshape(4, 3, 2, 3)
    fingers[:, :, 0], fingers[:, :, 1] = joints[:, :3], joints[:, 1:]
    pairs = np.stack([_FINGER_RADII[:3], _FINGER_RADII[1:]], axis=1)
    radii[_SOFT:-2] = (pairs * _FINGER_THICKNESS[:, None, None]).reshape(12, 2)
    nails[_SOFT + 2 : -2 : 3] = dorsal
    ends[-2:] = np.stack([thumb[1:3], thumb[2:]], axis=1)
    radii[-2:] = np.stack([_THUMB_RADII[1:3], _THUMB_RADII[2:]], axis=1)
    nails[-1] = thumb_nail
    radii[_FOREARM:] *= thickness

    ends, nails = ends @ view.T, nails @ view.T
    arm = np.radians(pose.forearm + rng.normal(0, 9))
    tilt = rng.uniform(-0.25, 0.05)  # the arm mostly comes from behind the hand
    towards = np.array([np.sin(arm), -np.cos(arm), tilt])
    wrist = view @ np.array([0.0, -6.0, 0.0]) + 12 * towards
    heel = view @ np.array([0.0, 14.0, 0.0])
    ends[:_FOREARM] = [[heel, wrist], [wrist, wrist + 320 * towards]]
    radii[:_FOREARM] = np.array([[28, 28], [28, 43]]) * rng.uniform(0.88, 1.12)
    creases = [line @ view.T for line in _PALM_CREASES] if view[2, 2] > 0.5 else []
    return Hand(ends, radii, nails, creases)


def landmarks(hand: Hand) -> np.ndarray:
    """The 21 points that hand landmark networks name: ``(21, 3)``, millimetres.

    The wrist, then four points a finger, from the knuckle to the tip, thumb first.
    """
    heel_and_wrist, thumb = hand.ends[0], hand.ends[_THUMB_BALL]
    fingers = hand.ends[_SOFT:-2].reshape(4, 3, 2, 3)
    joints = np.concatenate([fingers[:, :1, 0], fingers[:, :, 1]], axis=1)
    return np.concatenate(
        [
            heel_and_wrist.mean(axis=0, keepdims=True),
            thumb,
            hand.ends[-2:, 1],
            joints.reshape(16, 3),
        ]
    )


def _bend_fingers(pose, rng, length):
    """Joints ``(4, 4, 3)`` of the fingers and the nails' directions ``(4, 3)``."""
    angles = np.array(pose.fingers, float)
    angles[:, :3] += rng.normal(0, 4.5, (4, 3)) + rng.normal(0, 2.5)
    angles[:, 3] += rng.normal(0, 1.8, 4)
    flexion = np.radians(np.cumsum(angles[:, :3], axis=1))  # from the palm's plane
    abduction = np.radians(angles[:, 3:])
    sin, cos = np.sin(flexion), np.cos(flexion)
    right, up = np.sin(abduction), np.cos(abduction)
    directions = np.stack([cos * right, cos * up, sin], axis=2)
    dorsal = np.concatenate([sin * right, sin * up, -cos], axis=1)[:, 2::3]
    steps = directions * (_PHALANGES * length[:4, None])[:, :, None]
    joints = np.concatenate([_KNUCKLES[:, None], steps], axis=1).cumsum(axis=1)
    return joints, dorsal


def _bend_thumb(pose, rng, length):
    """Joints ``(4, 3)`` of the thumb and its nail's direction ``(3,)``."""
    angles = np.radians(np.array(pose.thumb, float) + rng.normal(0, 4, (3, 2)))
    within, above = angles.T
    directions = np.stack(
        [np.cos(above) * np.sin(within), np.cos(above) * np.cos(within), np.sin(above)],
        axis=1,
    )
    steps = directions * (_THUMB_BONES * length)[:, None]
    joints = np.concatenate([_THUMB_BASE[None], steps]).cumsum(axis=0)
    # The thumb's pad faces the fingers, so its nail looks away from them.
    nail = np.array([0.6, 0.0, -0.8])
    nail -= directions[2] * (nail @ directions[2])
    return joints, nail / np.linalg.norm(nail)


def render(hand: Hand, size: int, scale: float, centre: tuple[float, float]) -> Relief:
    """Draw `hand` with `scale` pixels a millimetre, its origin at pixel `centre`."""
    depth = np.full((size, size), _FAR, np.float32)
    albedo = np.ones((size, size), np.float32)
    ends, radii = _place(hand, scale, centre)
    nails = (hand.nails * _FLIP).tolist()
    for i in range(_SOFT):
        _add_capsule(depth, ends[i], radii[i])
    _smooth(depth, 4.5 * scale)
    for line in hand.creases:
        pixels = np.round(((line * _FLIP * scale)[:, :2] + centre) * 16)
        width = max(1, round(1.6 * scale))
        cv2.polylines(albedo, [pixels.astype(np.int32)], False, 0.84, width, shift=4)
    for i in range(_SOFT, _BONES):
        _add_capsule(depth, ends[i], radii[i], albedo, nails[i])
    return Relief(depth, (depth > _FAR).astype(np.float32), albedo)


def _place(hand, scale, centre):
    """Ends and radii of all bones in pixels, as lists; rows count downwards."""
    ends = hand.ends * (_FLIP * scale) + np.array([*centre, 0])
    return ends.tolist(), (hand.radii * scale).tolist()


def _smooth(depth, sigma):
    """Blur the depth within the surface drawn so far: skin bridges the bones."""
    mask = depth > _FAR
    if not mask.any():  # out of the picture
        return
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    box = np.s_[top : top + height, left : left + width]
    mask, depth = mask[box].astype(np.float32), depth[box]
    side = (2 * round(sigma) + 1,) * 2
    blurred = cv2.blur(depth * mask, side)
    np.divide(blurred, cv2.blur(mask, side), out=depth, where=mask > 0)


def _add_capsule(depth, ends, radii, albedo=None, nail=None):
    """Raise `depth` (and paint `albedo`) where the capsule is nearest to the viewer.

    The surface is the envelope of the spheres between both ends. With t the way along
    the axis, in the picture's plane, its height is ``z(t) + sqrt(k - (t - t0)^2)``,
    with k and t0 of each pixel; the t where that is greatest has a closed form.
    """
    (ax, ay, az), (bx, by, bz) = ends
    ra, rb = radii
    size = depth.shape[0]
    left = max(0, int(min(ax - ra, bx - rb)))
    right = min(size, int(max(ax + ra, bx + rb)) + 2)
    top = max(0, int(min(ay - ra, by - rb)))
    bottom = min(size, int(max(ay + ra, by + rb)) + 2)
    if left >= right or top >= bottom:
        return
    box = np.s_[top:bottom, left:right]
    dx, dy, dz, dr = bx - ax, by - ay, bz - az, rb - ra
    x = np.arange(left, right, dtype=np.float32) - ax
    y = np.arange(top, bottom, dtype=np.float32)[:, None] - ay
    # One end may hide within the other's outline: then the nearer end wins.
    length = math.sqrt(max(dx * dx + dy * dy - dr * dr, 0.25))
    dx, dy, dz, dr = dx / length, dy / length, dz / length, dr / length
    t0 = x * dx + (y * dy + ra * dr)
    k = (ra * ra - x * x) - y * y
    k += t0 * t0
    t = np.sqrt(np.maximum(k, 0)) * (dz / math.sqrt(1 + dz * dz))
    t += t0
    np.minimum(np.maximum(t, 0, out=t), length, out=t)
    t0 -= t
    radicand = k - t0 * t0
    height = np.sqrt(np.maximum(radicand, 0))
    z = t * dz + height
    z += az
    nearest = (radicand > 0) & (z > depth[box])
    np.copyto(depth[box], z, where=nearest)
    if albedo is None:
        return
    np.copyto(albedo[box], 1, where=nearest)
    crease = t < 0.16 * ra / math.sqrt(1 + dz * dz)
    np.copyto(albedo[box], _CREASE, where=nearest & crease)
    nx, ny, nz = nail
    if nz > 0:
        towards = (x - t * dx) * nx + (y - t * dy) * ny + height * nz
        on_nail = (towards > 0.72 * (ra + t * dr)) & (t > 0.35 * length)
        np.copyto(albedo[box], _NAIL, where=nearest & on_nail)
