"""What the client prints: answers as lines, JSON or CSV; errors and progress."""

import csv
import json
import sys
import time

UNCERTAIN = "uncertain"
PROGRESS_S = 10  # between two lines, where there is no terminal
MEASURED_S = 3  # over which a rate is measured before it is told


class Output:
    """Prints lines at once, JSON or CSV at the end; and, meanwhile, how far it is.

    Args:
        form: "lines", "json" or "csv".
        model: Its name.
        threshold: Answers of less confidence are "uncertain".

    Attributes:
        failed: Could some photograph not be answered?
    """

    def __init__(self, form, model, threshold):
        self.form, self.model, self.threshold = form, model, threshold
        self.paths, self.records, self.failed = [], [], False
        self.progress = Progress()

    def asked(self, paths):
        """Keep the order in which people asked about these photographs."""
        self.paths = paths

    def begin(self, count):
        """The first of so many photographs is about to be sent."""
        self.progress.begin(count)

    def answer(self, path, letters, version):
        """Take a photograph's ``[(label, probability), ...]``, the likeliest first."""
        record = record_of(path, letters, self.model, version, self.threshold)
        if self.form != "lines":
            self.records.append(record)
            return
        self.progress.clear()
        sure = beside(record["confidence"], self.threshold)
        shown = ["%s (%s)" % (record["predicted_class"], sure)]
        shown += ["%s (%.2f)" % letter for letter in letters[1:]]
        print("%s: %s" % (path, ", ".join(shown)), flush=True)

    def fail(self, path, reason):
        """Say at once that a photograph has no answer, and why."""
        self.progress.clear()
        print("error: %s: %s" % (path, reason), file=sys.stderr)
        self.failed = True
        self.records.append({"image": path, "error": reason})

    def end(self):
        """Print the JSON or CSV, in the order of the photographs asked about."""
        if self.form == "lines" or not self.records:
            return
        order = {path: i for i, path in reversed(list(enumerate(self.paths)))}
        self.records.sort(key=lambda one: order.get(one["image"], -1))
        if self.form == "json":
            print(json.dumps(self.records, indent=2))
        else:
            write_csv(self.records, sys.stdout)


class Progress:
    """A line that changes on a terminal, else a line now and then."""

    def __init__(self):
        self.done, self.shown = 0, False
        self.terminal = sys.stderr.isatty()
        self.begin(0)

    def begin(self, total):
        self.total, self.start = total, time.monotonic()
        self.said, self.first = self.start, None

    def add(self):
        """One more photograph has come back."""
        self.done += 1
        now = time.monotonic()
        # until the first answer a server may have started, or loaded what is asked
        self.first = self.first or (now, self.done)
        if now - self.said < (0.1 if self.terminal else PROGRESS_S):
            return
        self.said = now
        width = 24
        filled = width * self.done // max(self.total, 1)
        bar = "[%s%s] " % ("#" * filled, "." * (width - filled))
        text = "%s%d of %d" % (bar, self.done, self.total)
        since, before = self.first
        if now - since >= MEASURED_S:
            text += ", " + rate(self.done - before, now - since)
        if self.terminal:
            print("\r\033[K" + text, end="", file=sys.stderr, flush=True)
            self.shown = True
        else:
            print(text, file=sys.stderr, flush=True)

    def clear(self):
        """Take the line away, before something else is printed."""
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self.shown = False

    def end(self, size):
        """Say how fast it was, unless it was one request of this size at most."""
        self.clear()
        if self.terminal or self.total > size:
            speed = rate(self.done, time.monotonic() - self.start)
            print("%d answered, %s" % (self.done, speed), file=sys.stderr)


def rate(count, seconds):
    return "%.1f photographs/s" % (count / max(seconds, 1e-6))


def beside(value, limit):
    """A value with as many digits as show on which side of a limit it is."""
    for digits in range(2, 18):
        text = "%.*f" % (digits, value)
        if (float(text) >= limit) == (value >= limit):
            break
    return text


def record_of(path, letters, model, version, threshold):
    """The one JSON form of an answer, also the gateway's and the page's."""
    label, confidence = letters[0]
    return {
        "image": path,
        "predicted_class": label if confidence >= threshold else UNCERTAIN,
        "confidence": confidence,
        "all_predictions": dict(letters),
        "model": {"name": model, "version": version},
    }


def write_csv(records, output):
    """One row a photograph: image, class, confidence, and each class's probability."""
    labels = []
    for one in records:
        labels = labels or sorted(one.get("all_predictions", ()))
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(["image", "predicted_class", "confidence", *labels, "error"])
    for one in records:
        chances = one.get("all_predictions", {})
        row = [one["image"], one.get("predicted_class", ""), one.get("confidence", "")]
        row += [chances.get(label, "") for label in labels]
        writer.writerow([*row, one.get("error", "")])
