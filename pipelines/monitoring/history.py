"""Samples of metrics over the last day, as Prometheus would keep them."""

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipelines.repository import versions

Labels = frozenset  # of (label, value); the metric's name is no label here
LOOKBACK_S = 300.0  # so old a last sample still counts
# Of samples older than the first number only one in the second is kept, seconds.
THINNED = ((600.0, 60.0), (7200.0, 600.0))
KEPT_S = 26 * 3600.0
MAX_SERIES = 20_000
LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)")
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}


class History:
    """The samples of each series, oldest first.

    A NaN says that the series was not there at that time any more.

    Args:
        lookback_s: So old a last sample still counts.
        stretch_s: A range that holds one sample only takes in the one before as well,
            if that is at most so much older: for those who look seldom.
    """

    def __init__(self, lookback_s: float = LOOKBACK_S, stretch_s: float = 0.0):
        self.lookback_s, self.stretch_s = lookback_s, stretch_s
        self.series: dict[str, dict[Labels, tuple[list, list]]] = {}

    def add(self, name: str, labels: Labels, time: float, value: float) -> None:
        kept = self.series.setdefault(name, {})
        if labels not in kept and len(kept) >= MAX_SERIES:
            return
        times, values = kept.setdefault(labels, ([], []))
        if times and times[-1] >= time:  # two clocks, or one that was set back
            return
        times.append(time)
        values.append(value)

    def mark_gone(self, names: Iterable[str], own: Labels, time: float) -> None:
        """Note that series of a target, or recorded ones, have no sample at a time.

        Args:
            own: Labels that they have.
        """
        for name in names:
            for labels, (times, values) in self.series.get(name, {}).items():
                if own <= labels and times[-1] < time and not math.isnan(values[-1]):
                    times.append(time)
                    values.append(math.nan)

    def last(self, name: str, time: float) -> Iterator[tuple[Labels, float]]:
        """Give the series that are there at a time, and their values."""
        for labels, (times, values) in self.series.get(name, {}).items():
            place = bisect_right(times, time) - 1
            if place >= 0 and times[place] > time - self.lookback_s:
                if not math.isnan(values[place]):
                    yield labels, values[place]

    def ranges(
        self, name: str, start: float, end: float
    ) -> Iterator[tuple[Labels, list[float], list[float]]]:
        """Give the samples of each series from ``start`` to ``end``, both included."""
        for labels, (times, values) in self.series.get(name, {}).items():
            first, last = bisect_left(times, start), bisect_right(times, end)
            if last - first == 1 and first and self.stretch_s:
                first -= times[first] - times[first - 1] <= self.stretch_s
            found = [i for i in range(first, last) if not math.isnan(values[i])]
            if found:
                yield labels, [times[i] for i in found], [values[i] for i in found]

    def thin(self, now: float) -> None:
        """Forget what nobody asks for any more, and every other old sample."""
        for name, kept in list(self.series.items()):
            for labels, (times, values) in list(kept.items()):
                wanted = list(_kept(times, now))
                if not wanted:
                    del kept[labels]
                else:
                    times[:] = [times[i] for i in wanted]
                    values[:] = [values[i] for i in wanted]
            if not kept:
                del self.series[name]

    def save(self, path: Path) -> None:
        rows = [
            [name, dict(labels), times, [None if math.isnan(x) else x for x in values]]
            for name, kept in self.series.items()
            for labels, (times, values) in kept.items()
        ]
        versions.write_text(path, json.dumps(rows))

    def load(self, path: Path) -> None:
        """Take up what was saved.

        Raises:
            ValueError: The file is damaged.
        """
        try:
            for name, labels, times, values in json.loads(path.read_text("utf-8")):
                kept = self.series.setdefault(name, {})
                found = [math.nan if x is None else float(x) for x in values]
                kept[Labels(labels.items())] = [float(t) for t in times], found
        except FileNotFoundError:
            pass
        except (TypeError, AttributeError) as error:
            raise ValueError(str(error)) from None


def _kept(times: list[float], now: float) -> Iterator[int]:
    """Indices of the samples that stay; always those of a change of the grid."""
    for place, time in enumerate(times):
        age = now - time
        if age > KEPT_S:
            continue
        every = max((step for limit, step in THINNED if age > limit), default=0)
        # the first of each interval of the clock, so that the choice does not move
        if not every or place == 0 or time // every != times[place - 1] // every:
            yield place


def parse(text: str, wanted: set[str]) -> Iterator[tuple[str, Labels, float]]:
    """Read Prometheus's text format; lines that are none are passed over.

    Args:
        wanted: Names of the metrics that are of interest.
    """
    for line in text.splitlines():
        found = LINE.match(line)
        if not found or found[1] not in wanted:
            continue
        try:
            value = float(found[3])
        except ValueError:
            continue
        labels = LABEL.findall(found[2] or "")
        yield found[1], Labels((key, _plain(x)) for key, x in labels), value


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[0]), text)
