"""The picture of README: drawn hands, the points that are found on them, the answers.

python -m training.hands.picture [RUN_DIR]

RUN_DIR holds the results of a training; without it, the newest one is taken.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from data_prep import packed, preprocessing
from data_prep.draw import image_rng
from data_prep.drawing.scene import draw_image
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.paths import ROOT
from data_prep.preprocessing import Preprocessing
from training.reports import GRAPH_FILE
from training.trained_model import newest_run

LETTERS = "ASLHANDSYOUR"
SIDE, COLUMNS = 220, 6
# From point to point along the fingers, and across the palm.
BONES = [(0, 1), (0, 5), (0, 17), (5, 9), (9, 13), (13, 17)]
BONES += [(i, i + 1) for i in range(1, 20) if i % 4]
LINE, POINT, WORDS = (255, 255, 255), (30, 220, 120), (255, 255, 255)


def draw_answers(run: Path, target: Path) -> None:
    """Write the picture to ``target``.

    Raises:
        InputError: The run's model gives no landmarks.
    """
    import onnxruntime

    if not (run / GRAPH_FILE).is_file():
        raise InputError(f"{run} holds no {GRAPH_FILE}; name the results of a training")
    record = Preprocessing.load(run / preprocessing.FILE_NAME)
    classes = packed.read_classes(run)
    session = onnxruntime.InferenceSession(
        run / GRAPH_FILE, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    if "landmarks" not in names:
        raise InputError(f"{run} gives no landmarks; name a training of the hand model")
    tiles = []
    for number, letter in enumerate(LETTERS):
        # drawings that no training has: the quickstart's are the first ones
        drawn = draw_image(letter, image_rng(0, letter, 5000 + number), 256)
        pixels = record.crop_and_resize(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        wanted = ["probabilities", "landmarks"]
        answer, points = session.run(wanted, {"image": pixels[None]})
        best = int(answer[0].argmax())
        tiles.append(_tile(pixels, points[0], classes[best], float(answer[0, best])))
    rows = [
        np.concatenate(tiles[i : i + COLUMNS], axis=1)
        for i in range(0, len(tiles), COLUMNS)
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), np.concatenate(rows)[..., ::-1])


def _tile(pixels, points, letter: str, confidence: float) -> np.ndarray:
    tile = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    places = np.round(points[:, :2] * SIDE).astype(int).tolist()
    for a, b in BONES:
        cv2.line(tile, places[a], places[b], LINE, 2, cv2.LINE_AA)
    for place in places:
        cv2.circle(tile, place, 4, POINT, cv2.FILLED, cv2.LINE_AA)
    cv2.rectangle(tile, (0, SIDE - 30), (SIDE, SIDE), (20, 20, 20), cv2.FILLED)
    text = f"{letter}  {confidence:.0%}"
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(tile, text, (10, SIDE - 9), font, 0.65, WORDS, 2, cv2.LINE_AA)
    return tile


@exit_2_on_input_error
def main() -> None:
    run = Path(sys.argv[1]) if sys.argv[1:] else newest_run()
    target = ROOT / "docs" / "pictures" / "hands.png"
    draw_answers(run, target)
    print(target)


if __name__ == "__main__":
    main()
