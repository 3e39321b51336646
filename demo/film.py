"""A video or a camera without a browser: what each frame shows, and what it spells.

For the client's --video and --camera. With a screen there is a window with the hand
drawn; without one, a line is printed at each change.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Read when OpenCV is imported: what is wrong with a film is said by us.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from data_prep.figures import beside  # noqa: E402
from data_prep.preprocessing import Preprocessing  # noqa: E402
from demo import spelling  # noqa: E402

FOUND = 0.5  # of the output "hand", from which on there is one
BONES = (
    (0, 1, 2, 3, 4),
    (0, 5, 6, 7, 8),
    (9, 10, 11, 12),
    (13, 14, 15, 16),
    (0, 17, 18, 19, 20),
    (5, 9, 13, 17),
)
COLOURS = (  # BGR
    (0, 176, 255),
    (255, 181, 100),
    (161, 227, 77),
    (196, 127, 255),
    (255, 162, 201),
    (255, 255, 255),
)
LONGEST = 640  # pixels of the longer side of what is sent
STOP_KEYS = (27, ord("q"))


def watch(
    see: Callable,
    record_text: str | None,
    source: int | str,
    record: str | None = None,
    threshold: float = 0.0,
    as_json: bool = False,
) -> str:
    """Ask about every frame, show or print what is seen; return the text.

    Args:
        see: Takes a JPEG; returns ``{label: probability}``, further outputs by name,
            and the model's version.
        record_text: The model's preprocessing record, JSON; None: no hand is drawn.
        source: Number of a camera, or a video file.
        record: Video file to write what is shown to.
        threshold: Letters of less confidence are "uncertain".
        as_json: Print JSON, a line a change.

    Raises:
        ValueError: The source cannot be read, or `record` not be written.
    """
    preprocessing = Preprocessing.from_json(record_text) if record_text else None
    window = isinstance(source, int) and _has_screen()
    state, text, said, writer = spelling.State(), "", None, None
    try:
        for seconds, frame in frames(source):
            sent = _smaller(frame)
            jpeg = cv2.imencode(".jpg", sent, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            probabilities, outputs, version = see(jpeg.tobytes())
            points = _landmarks(outputs, preprocessing, sent)
            state, event = spelling.step(
                state, spelling.Frame(seconds, probabilities, points)
            )
            text = spelling.apply(text, event) if event else text
            best = max(probabilities, key=probabilities.get)
            confidence = probabilities[best]
            label = best if confidence >= threshold else "uncertain"
            sure = beside(confidence, threshold)
            if window or record:
                picture = drawn(sent, points, f"{label} {sure}", text)
                if record:
                    writer = writer or _writer(record, picture)
                    writer.write(picture)
                if window:
                    cv2.imshow("asl", picture)
                    if cv2.waitKey(1) & 0xFF in STOP_KEYS:
                        break
            if (label, text) != said:
                said = label, text
                line = {"time": round(seconds, 3), "predicted_class": label}
                line |= {"confidence": confidence, "text": text, "version": version}
                shown = f"{seconds:7.2f} s  {label} ({sure})  {text!r}"
                print(json.dumps(line) if as_json else shown, flush=True)
    finally:
        if writer:
            writer.release()
        if window:
            cv2.destroyAllWindows()
    return text


def frames(source: int | str) -> Iterator[tuple[float, np.ndarray]]:
    """Time in seconds and ``(h, w, 3)`` uint8 BGR of each frame.

    Raises:
        ValueError: It cannot be opened, or has no frame.
    """
    if isinstance(source, str) and not Path(source).is_file():
        raise ValueError(f"{source}: there is no such file")
    capture = cv2.VideoCapture(source)
    name = f"camera {source}" if isinstance(source, int) else source
    try:
        if not capture.isOpened():
            remedy = "name another one" if isinstance(source, int) else "it is no video"
            raise ValueError(f"{name} cannot be opened; {remedy}")
        rate = capture.get(cv2.CAP_PROP_FPS) or 30
        start, count = time.monotonic(), 0
        while True:
            good, frame = capture.read()
            if not good:
                break
            live = isinstance(source, int)
            yield (time.monotonic() - start if live else count / rate), frame
            count += 1
        if not count:
            raise ValueError(f"{name} has no frame that can be read")
    finally:
        capture.release()


def drawn(frame: np.ndarray, points, label: str, text: str) -> np.ndarray:
    """A copy of a BGR frame with the hand, the letter and the text on it."""
    shown = frame.copy()
    width = shown.shape[1]
    if points is not None:
        at = np.round(points[:, :2] * width).astype(np.int32)
        for bone, colour in zip(BONES, COLOURS):
            cv2.polylines(shown, [at[list(bone)]], False, colour, 2, cv2.LINE_AA)
        for x, y in at.tolist():
            cv2.circle(shown, (x, y), 3, (255, 255, 255), -1, cv2.LINE_AA)
    for line, place in ((label, 32), (text[-40:], shown.shape[0] - 12)):
        for colour, thick in (((0, 0, 0), 5), ((255, 255, 255), 2)):
            cv2.putText(
                shown, line, (10, place), cv2.FONT_HERSHEY_SIMPLEX, 0.9, colour, thick
            )
    return shown


def _landmarks(outputs, preprocessing, frame):
    """``(21, 3)`` in shares of the frame's width; None without a hand."""
    if preprocessing is None or "landmarks" not in outputs or "hand" not in outputs:
        return None
    if float(outputs["hand"][0]) <= FOUND:
        return None
    height, width = frame.shape[:2]
    points = preprocessing.in_photograph(outputs["landmarks"], height, width)
    return points * (1, height / width, 1)


def _smaller(frame):
    share = LONGEST / max(frame.shape[:2])
    if share >= 1:
        return frame
    return cv2.resize(frame, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)


def _has_screen() -> bool:
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        cv2.namedWindow("asl")
    except cv2.error:  # a build without windows
        return False
    return True


def _writer(path, frame):
    height, width = frame.shape[:2]
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), 15, (width, height))
    if not writer.isOpened():
        raise ValueError(f"{path} cannot be written; name a file that ends with .mp4")
    return writer
