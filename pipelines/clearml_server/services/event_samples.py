"""Going through the images and plots of tasks, by iteration or one by one.

Relied on by ``get_debug_samples``, ``APIClient().events`` and by web interfaces. A
scroll id says where somebody is; nothing is kept here for it.

A file that a later iteration wrote over (the SDK keeps the last hundred of a series) is
an image of the later one alone.
"""

import json

from ..calls import endpoint
from ..errors import ApiError
from . import events
from .common import of_metrics

# Images and plots that still show what they showed when they were reported.
STANDING = (
    "(SELECT *, max(iter) OVER (PARTITION BY metric, variant, "
    "ifnull(nullif(json_extract(doc, '$.url'), ''), id)) AS last "
    "FROM events WHERE task = ? AND type = ?)"
)


@endpoint("events.debug_images")
@endpoint("events.plots")
def by_iteration(call):
    """Images or plots by iteration, latest first, of each task that is asked for.

    A scroll id continues with earlier iterations, or goes back to later ones.
    """
    asked, scroll = call.data["metrics"], call.data.get("scroll_id")
    places = [None] * len(asked)
    if scroll and not call.data.get("refresh"):
        places = _read(scroll, _are_places)
        if len(places) != len(asked):
            raise ApiError("invalid_scroll_id", scroll_id=scroll[:100])
    answer, ends = [], []
    for one, place in zip(asked, places):
        found = _iterations(call, one, place)
        ends.append([found[-1]["iter"], found[0]["iter"]] if found else place)
        answer.append({"task": one["task"], "iterations": found})
        if one.get("metric"):
            answer[-1]["metric"] = one["metric"]
    return {"metrics": answer, "scroll_id": json.dumps(ends)}


def _are_places(places) -> bool:
    return isinstance(places, list) and all(
        place is None
        or isinstance(place, list)
        and len(place) == 2
        and all(isinstance(end, int) for end in place)
        for place in places
    )


def _iterations(call, asked: dict, place: list[int] | None) -> list[dict]:
    """The next iterations of one task: earlier or later than a place, latest first."""
    kind = events.PLOT if call.name == "events.plots" else events.IMAGE
    metrics = [asked] if asked.get("metric") else None
    where, values = of_metrics(metrics)
    way, bound = "DESC", "1"
    if place and call.data.get("navigate_earlier") is False:
        way, bound = "ASC", f"iter > {place[1]:d}"
    elif place:
        bound = f"iter < {place[0]:d}"
    rows = call.db.execute(
        f"WITH standing AS (SELECT * FROM {STANDING} WHERE iter = last AND {where} "
        f"AND {bound}) SELECT iter, doc FROM standing WHERE iter IN (SELECT DISTINCT "
        f"iter FROM standing ORDER BY iter {way} LIMIT ?) ORDER BY iter DESC, id",
        (asked["task"], kind, *values, max(1, call.data.get("iters") or 1)),
    )
    found = {}
    for row in rows:
        found.setdefault(row["iter"], []).append(json.loads(row["doc"]))
    return [{"iter": i, "events": e} for i, e in found.items()]


@endpoint("events.get_debug_image_sample")
@endpoint("events.get_plot_sample")
def get_sample(call):
    """The sample at an iteration (default: the last), and where to go from there.

    A sample is one image, or all plots of one metric at one iteration.
    """
    request = call.data
    place = {"metric": request["metric"], "variant": request.get("variant")}
    if request.get("navigate_current_metric", True):
        place["only"] = request["metric"]
    samples = _samples(call, place.get("only"))
    if request.get("scroll_id") and not request.get("refresh"):
        _read(request["scroll_id"], _is_place)
    here = [s for s in samples if (s[1], s[2]) == (place["metric"], place["variant"])]
    if (wanted := request.get("iteration")) is not None:
        here = [sample for sample in here if sample[0] == wanted]
    return _answer(call, here[-1] if here else None, samples, place)


@endpoint("events.next_debug_image_sample")
@endpoint("events.next_plot_sample")
def next_sample(call):
    """The sample before the one that the scroll id names, or after it."""
    request = call.data
    place = _read(request["scroll_id"], _is_place)
    samples = _samples(call, place.get("only"))
    here = (place["iter"], place["metric"], place["variant"])
    earlier = request.get("navigate_earlier", True)
    found = [s for s in samples if _is_on(s, here, earlier)]
    if request.get("next_iteration"):
        found = [s for s in found if s[0] != here[0]]
    sample = found[-1 if earlier else 0] if found else None
    return _answer(call, sample, samples, place)


def _is_on(sample, here, earlier: bool) -> bool:
    order = [(s[0], s[1], s[2] or "") for s in (sample, here)]
    return order[0] < order[1] if earlier else order[0] > order[1]


def _kind(call) -> str:
    return events.PLOT if call.name.endswith("plot_sample") else events.IMAGE


def _samples(call, metric: str | None) -> list[tuple[int, str, str | None]]:
    """Iteration, metric and (for images) variant of each sample, in order."""
    variant = "variant" if _kind(call) == events.IMAGE else "NULL"
    rows = call.db.execute(
        f"SELECT DISTINCT iter, metric, {variant} AS variant FROM {STANDING} "
        "WHERE iter = last AND ifnull(? = metric, 1) ORDER BY iter, metric, variant",
        (call.data["task"], _kind(call), metric),
    )
    return [tuple(row) for row in rows]


def _answer(call, sample, samples, place: dict) -> dict:
    """The events of a sample, or none; the place stays where there is none."""
    found, ends = [], {"min_iteration": None, "max_iteration": None}
    if sample is not None:
        iteration, metric, variant = sample
        rows = call.db.execute(
            "SELECT doc FROM events WHERE task = ? AND type = ? AND iter = ? "
            "AND metric = ? AND ifnull(? = variant, 1) ORDER BY variant, id",
            (call.data["task"], _kind(call), iteration, metric, variant),
        )
        found = [json.loads(row["doc"]) for row in rows]
        same = [s[0] for s in samples if s[1:] == sample[1:]]
        ends = {"min_iteration": same[0], "max_iteration": same[-1]}
        place = place | {"iter": iteration, "metric": metric, "variant": variant}
    one = found[0] if found else None
    content = {"events": found} if _kind(call) == events.PLOT else {"event": one}
    # a place without an iteration is of no use to anybody
    scroll = json.dumps(place) if "iter" in place else None
    return content | ends | {"scroll_id": scroll}


def _is_place(place) -> bool:
    try:
        texts = (place["metric"], place["variant"] or "", place.get("only") or "")
        return isinstance(place["iter"], int) and all(isinstance(t, str) for t in texts)
    except (KeyError, TypeError, AttributeError):
        return False


def _read(scroll_id: str, fits):
    """What a scroll id says.

    Raises:
        ApiError: It was not made here.
    """
    try:
        place = json.loads(scroll_id)
    except (ValueError, RecursionError):
        place = None
    if not fits(place):
        raise ApiError("invalid_scroll_id", scroll_id=scroll_id[:100])
    return place
