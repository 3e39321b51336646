"""Metrics of one instance: counted here, handed to Triton about once a second.

    asl_images_total                 photographs answered
    asl_refused_requests_total       requests with a broken image
    asl_decode_seconds_total         time spent on decoding
    asl_predictions_total{class}     photographs by the best class (fused models)
    asl_confidence_bucket{le}        photographs by its probability (fused models)

Every series is labelled with the instance, and with a name of its own for each time
that one is loaded: a model that is loaded again has processes of the same instances,
and those before may not have ended yet. Triton 24.10 frees a series as soon as the
first of the processes that share it has ended, and crashes when the next one counts on;
and it wants to be called from `execute` alone, not from a thread. So what is counted
last is handed on with the next request. Health checks give their requests the id
"probe", and are not counted.
"""

import secrets
import time

import numpy as np
import triton_python_backend_utils as pb_utils

PERIOD_S = 1.0
PROBE = "probe"
BOUNDS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)  # upper ones, of probabilities


class Metrics:
    """The counters of one instance.

    Args:
        instance: Its name.
        labels: Of the classes, where they are known.
    """

    def __init__(self, instance, labels=()):
        bounds = [str(bound) for bound in (*BOUNDS, "+Inf")] if labels else ()
        self.families, self.series = [], []
        common = {"instance": instance, "load": secrets.token_hex(4)}
        for name, text, key, values in (
            ("asl_images_total", "Photographs answered", "", [""]),
            ("asl_refused_requests_total", "Requests with a broken image", "", [""]),
            ("asl_decode_seconds_total", "Time spent on decoding", "", [""]),
            ("asl_predictions_total", "Photographs by best class", "class", labels),
            ("asl_confidence_bucket", "Photographs by probability", "le", bounds),
        ):
            family = pb_utils.MetricFamily(
                name=name, description=text, kind=pb_utils.MetricFamily.COUNTER
            )
            self.families.append(family)
            for value in values:
                labelled = common | ({key: value} if key else {})
                self.series.append(family.Metric(labels=labelled))
        self.classes = len(labels)
        self.waiting = np.zeros(len(self.series))
        self.handed_on = time.monotonic()

    def count(self, requests, places, seconds, answers=None):
        """Count what one `execute` has done.

        Args:
            places: Of each request the slice of its images, or an error response.
            seconds: Of decoding.
            answers: ``(images, classes)`` probabilities, None for none.
        """
        asked = [p for r, p in zip(requests, places) if r.request_id() != PROBE]
        rows = [place for place in asked if type(place) is slice]
        images = sum(place.stop - place.start for place in rows)
        self.waiting[:3] += images, len(asked) - len(rows), seconds if asked else 0
        if self.classes and images:
            if len(asked) < len(places):
                answers = np.concatenate([answers[place] for place in rows])
            best = np.bincount(answers.argmax(1), minlength=self.classes)
            self.waiting[3 : 3 + self.classes] += best
            places = np.searchsorted(BOUNDS, answers.max(1))
            found = np.bincount(places, minlength=len(BOUNDS) + 1)
            self.waiting[3 + self.classes :] += found.cumsum()
        now = time.monotonic()
        if now - self.handed_on >= PERIOD_S:
            self.handed_on = now
            for place in self.waiting.nonzero()[0]:
                self.series[place].increment(float(self.waiting[place]))
            self.waiting[:] = 0

    def release(self):
        """Have Triton forget the series, as long as it listens."""
        self.series.clear()
        self.families.clear()
