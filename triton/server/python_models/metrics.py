"""Metrics of one instance: counted here, handed to Triton about once a second.

    asl_images_total                 photographs answered
    asl_refused_requests_total       requests with a broken image
    asl_decode_seconds_total         time spent on decoding
    asl_predictions_total{class}     photographs by the best class (fused models)
    asl_confidence_bucket{le}        photographs by its probability (fused models)
    asl_confidence_sum               the sum of these probabilities (fused models)
    asl_hands_found_total            photographs with a hand (fused models that look)

Every series is labelled with the model and the version that clients know, with the
instance, and with a name of its own for each time that one is loaded: a model that is
loaded again has processes of the same instances, and those before may not have ended
yet. Triton 24.10 frees a series as soon as the first of the processes that share it has
ended, and crashes when the next one counts on; and it wants to be called from `execute`
alone, not from a thread. So what is counted last is handed on with the next request.
Health checks give their requests the id "probe", and are not counted.
"""

import re
import secrets
import time

import numpy as np
import triton_python_backend_utils as pb_utils

PERIOD_S = 1.0
PROBE = "probe"
BOUNDS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)  # upper ones, of probabilities
FOUND = 0.5  # of the output "hand", from which on there is one


class Metrics:
    """The counters of one instance.

    Args:
        args: Of the model's `initialize`.
        labels: Of the classes, where they are known.
        looks: Whether the graph says if there is a hand.
    """

    def __init__(self, args, labels=(), looks=False):
        model, version = served_as(args["model_name"])
        common = {"model": model, "version": version}
        common["instance"] = args["model_instance_name"]
        common["load"] = secrets.token_hex(4)
        bounds = [str(bound) for bound in (*BOUNDS, "+Inf")] if labels else ()
        self.families, self.series, self.places = [], [], {}
        for name, text, key, values in (
            ("asl_images_total", "Photographs answered", "", [""]),
            ("asl_refused_requests_total", "Requests with a broken image", "", [""]),
            ("asl_decode_seconds_total", "Time spent on decoding", "", [""]),
            ("asl_predictions_total", "Photographs by best class", "class", labels),
            ("asl_confidence_bucket", "Photographs by probability", "le", bounds),
            ("asl_confidence_sum", "Sum of probabilities", "", [""] * bool(labels)),
            ("asl_hands_found_total", "Photographs with a hand", "", [""] * looks),
        ):
            if not values:
                continue
            family = pb_utils.MetricFamily(
                name=name, description=text, kind=pb_utils.MetricFamily.COUNTER
            )
            self.families.append(family)
            first = len(self.series)
            for value in values:
                labelled = common | ({key: value} if key else {})
                self.series.append(family.Metric(labels=labelled))
            self.places[name] = slice(first, len(self.series))
        self.classes = len(labels)
        self.waiting = np.zeros(len(self.series))
        self.handed_on = time.monotonic()

    def count(self, requests, places, seconds, probabilities=None, hands=None):
        """Count what one `execute` has done.

        Args:
            places: Of each request the slice of its images, or an error response.
            seconds: Of decoding.
            probabilities: ``(images, classes)``, None for none.
            hands: ``(images, 1)`` how surely there is a hand, None where nobody looks.
        """
        asked = [p for r, p in zip(requests, places) if r.request_id() != PROBE]
        rows = [place for place in asked if type(place) is slice]
        images = sum(place.stop - place.start for place in rows)
        self.add("asl_images_total", images)
        self.add("asl_refused_requests_total", len(asked) - len(rows))
        self.add("asl_decode_seconds_total", seconds if asked else 0)
        if self.classes and images:
            probabilities = chosen(probabilities, rows)
            best = np.bincount(probabilities.argmax(1), minlength=self.classes)
            self.add("asl_predictions_total", best)
            sure = probabilities.max(1)
            found = np.bincount(
                np.searchsorted(BOUNDS, sure), minlength=len(BOUNDS) + 1
            )
            self.add("asl_confidence_bucket", found.cumsum())
            self.add("asl_confidence_sum", sure.sum(dtype=float))
        if hands is not None and images:
            self.add("asl_hands_found_total", (chosen(hands, rows) > FOUND).sum())
        now = time.monotonic()
        if now - self.handed_on >= PERIOD_S:
            self.handed_on = now
            for place in self.waiting.nonzero()[0]:
                self.series[place].increment(float(self.waiting[place]))
            self.waiting[:] = 0

    def add(self, name, values):
        self.waiting[self.places[name]] += values

    def release(self):
        """Have Triton forget the series, as long as it listens."""
        self.series.clear()
        self.families.clear()


def served_as(part):
    """Model and version that clients know, of a part's name such as asl_fused_7."""
    found = re.fullmatch(r"(.+)_(?:fused|decode)_(\d+)", part)
    return found.groups() if found else (part, "")


def chosen(array, rows):
    """The rows of those requests that count."""
    if sum(place.stop - place.start for place in rows) == len(array):
        return array
    return np.concatenate([array[place] for place in rows])
