"""Measure in photographs how people hold the letters, as joint angles.

python -m training.hands.measure_poses --raw DIR [DIR ...]

Writes data_prep/drawing/signers_poses.csv, by which training/hands/bent_hands.py bends
hands. The hand of data_prep/drawing/hand_model.py is laid over the points that were
read; the directions of the bones in its frame are the joint angles. The landmark
network sees fingers straighter, and hands turned less, than they are. That is left so:
bent hands stand for what it sees. Of each letter and source the most different
photographs count. Nothing is kept of a photograph but 25 angles.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import torch

from data_prep.command_line import command_parser
from data_prep.drawing.hand_model import RIGID_POINTS
from data_prep.drawing.hand_poses import CLASSES, NOTHING
from data_prep.drawing.signers_poses import ANGLES, TABLE
from data_prep.errors import exit_2_on_input_error
from data_prep.preprocessing import Preprocessing
from data_prep.sources import RawImage, find_images
from training.hands.hand import Hand, unpack
from training.hands.landmarks import KNUCKLES, WRIST
from training.hands.picked import pick_evenly
from training.hands.reader_graph import reader_graph
from training.hands.readings import read_photographs

READ, KEPT = 15, 5  # photographs and poses of a letter and source
SURE = 0.7  # presence of the hand, from which on it is measured
RECORD = Preprocessing(image_size=256, resize_mode="letterbox")
LEAST_BEND, MOST_BEND, MOST_IN_ALL, MOST_ABDUCTION = -30, 130, 310, 35  # degrees


def measure(points: np.ndarray) -> np.ndarray:
    """The joint angles of a right hand, ``(25,)`` degrees in the order of ANGLES.

    Args:
        points: ``(21, 3)``, x right, y up, z to the viewer, in any unit.
    """
    view = _view(points)
    bones = np.diff((points @ view)[1:].reshape(5, 4, 3), axis=1)
    thumb, fingers = bones[0], bones[1:]
    bends = [angle for finger in fingers for angle in _bends(finger)]
    within = np.degrees(np.arctan2(thumb[:, 0], thumb[:, 1]))
    above = np.degrees(np.arcsin(thumb[:, 2] / np.linalg.norm(thumb, axis=1)))
    turn = np.arcsin(np.clip(-view[2, 0], -1, 1))
    nod, roll = np.arctan2(view[2, 1], view[2, 2]), np.arctan2(view[1, 0], view[0, 0])
    held = np.degrees([turn, nod, roll])
    return np.concatenate([bends, np.stack([within, above], 1).ravel(), held])


def _view(points: np.ndarray) -> np.ndarray:
    """The rotation ``(3, 3)`` of a straight hand's wrist and knuckles onto these
    (Kabsch 1976)."""
    a, b = RIGID_POINTS, points[[WRIST, *KNUCKLES]]
    a, b = a - a.mean(0), b - b.mean(0)
    u, _, vt = np.linalg.svd(b.T @ a)
    return u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt


def _bends(bones: np.ndarray) -> list[float]:
    """Flexion of three joints, then abduction, of a finger's bones ``(3, 3)``."""
    x, y, z = bones[0] / np.linalg.norm(bones[0])
    limit = np.radians(MOST_ABDUCTION)
    # a finger that points at the viewer has no abduction
    abduction = np.clip(np.arctan(x / y), -limit, limit) if abs(y) > 0.3 else 0.0
    along = bones[:, 0] * np.sin(abduction) + bones[:, 1] * np.cos(abduction)
    flexion = np.degrees(np.arctan2(bones[:, 2], along))
    flexion[0] += 360 * (flexion[0] < -120)
    for i in (1, 2):  # each bone bends on from the one before
        flexion[i] += 360 * (flexion[i] < flexion[i - 1] - 120)
    return [*np.diff(flexion, prepend=0.0), np.degrees(abduction)]


def in_space(hand: Hand) -> np.ndarray:
    """Points ``(N, 21, 3)`` as `measure` takes them, turned as in the photograph."""
    upright, turn = hand.metres.numpy(), hand.turn.numpy()[:, 0]
    cos, sin = np.cos(turn), np.sin(turn)
    zero, one = np.zeros_like(turn), np.ones_like(turn)
    back = np.array([[cos, sin, zero], [-sin, cos, zero], [zero, zero, one]])
    return upright @ back.transpose(2, 0, 1) * (1, -1, -1)


def is_possible(angles: np.ndarray) -> bool:
    """Whether the joints of fingers ``(25,)`` can be bent so."""
    fingers = angles[:16].reshape(4, 4)
    bends = fingers[:, :3]
    return bool(
        bends.min() >= LEAST_BEND
        and bends.max() <= MOST_BEND
        and bends.sum(1).max() <= MOST_IN_ALL
        and np.abs(fingers[:, 3]).max() <= MOST_ABDUCTION
    )


def most_different(points: np.ndarray, count: int) -> list[int]:
    """Which hands of ``(N, 21, 3)`` stand for all: the most typical one, then those
    after which the others are nearest to one of them."""
    size = np.linalg.norm(points, axis=2).max(1)[:, None, None]
    points = points / size
    away = np.linalg.norm(points[:, None] - points[None], axis=3).mean(2)
    chosen = [int(away.sum(0).argmin())]
    while len(chosen) < min(count, len(points)):
        near = away[:, chosen].min(1)
        chosen.append(int(np.minimum(near[:, None], away).sum(0).argmin()))
    return chosen


def measure_photographs(images: list[RawImage]) -> list[tuple[str, np.ndarray]]:
    """Letters and joint angles of hands in photographs."""
    labels = np.array([CLASSES.index(image.label) for image in images])
    sources = np.array([image.source for image in images])
    rows = pick_evenly(labels, sources, READ)
    labels, sources = labels[rows], sources[rows]
    pixels = np.stack([RECORD.apply(images[row].read()) for row in rows])
    graph = reader_graph("", RECORD.image_size)
    readings = read_photographs(pixels, graph, "read hands")
    hand = unpack(torch.from_numpy(readings.rows))
    points = in_space(hand)
    found = hand.sure[:, 1].numpy() > SURE
    poses = []
    for label, letter in enumerate(CLASSES):
        for source in np.unique(sources):
            here = np.flatnonzero((labels == label) & (sources == source) & found)
            if letter == NOTHING or not len(here):
                continue
            angles = [
                measure(points[here[i]]) for i in most_different(points[here], KEPT)
            ]
            poses += [(letter, one) for one in angles if is_possible(one)]
    return poses


@exit_2_on_input_error
def main() -> None:
    parser = command_parser(
        "python -m training.hands.measure_poses",
        description="Measure in photographs how people hold the letters.",
        example="--raw my_photographs",
    )
    parser.add_argument(
        "--raw",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="folders of photographs, a folder for each sign",
    )
    images = find_images(parser.parse_args().raw).images
    poses = measure_photographs([image for image in images if image.label in CLASSES])
    rows = sorted([letter, *angles.round().astype(int)] for letter, angles in poses)
    with open(TABLE, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([["letter", *ANGLES], *rows])
    print(f"{len(rows)} poses of {len(images)} photographs: {TABLE}")


if __name__ == "__main__":
    sys.exit(main())
