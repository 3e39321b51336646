"""Going through the images or plots of a task one by one.

Relied on by ``APIClient().events`` and by web interfaces. A sample is one image, or all
plots of one metric at one iteration. A scroll id says where somebody is; nothing is
kept here for it.
"""

import json

from ..calls import endpoint
from ..errors import ApiError
from . import events


@endpoint("events.get_debug_image_sample")
@endpoint("events.get_plot_sample")
def get_sample(call):
    """The sample at an iteration (default: the last), and where to go from there."""
    request = call.data
    place = {"metric": request["metric"], "variant": request.get("variant")}
    if request.get("navigate_current_metric", True):
        place["only"] = request["metric"]
    samples = _samples(call, place.get("only"))
    if request.get("scroll_id") and not request.get("refresh"):
        _read(request["scroll_id"])
    here = [s for s in samples if (s[1], s[2]) == (place["metric"], place["variant"])]
    if (wanted := request.get("iteration")) is not None:
        here = [sample for sample in here if sample[0] == wanted]
    return _answer(call, here[-1] if here else None, samples, place)


@endpoint("events.next_debug_image_sample")
@endpoint("events.next_plot_sample")
def next_sample(call):
    """The sample before the one that the scroll id names, or after it."""
    request = call.data
    place = _read(request["scroll_id"])
    samples = _samples(call, place.get("only"))
    here = (place["iter"], place["metric"], place["variant"])
    earlier = request.get("navigate_earlier", True)
    if request.get("next_iteration"):
        found = [s for s in samples if s[1:] == here[1:] and _is_on(s, here, earlier)]
    else:
        found = [s for s in samples if _is_on(s, here, earlier)]
    if not found:
        return {"scroll_id": request["scroll_id"]}
    return _answer(call, found[-1 if earlier else 0], samples, place)


def _is_on(sample, here, earlier: bool) -> bool:
    order = [(s[0], s[1], s[2] or "") for s in (sample, here)]
    return order[0] < order[1] if earlier else order[0] > order[1]


def _kind(call) -> str:
    return events.PLOT if call.name.endswith("plot_sample") else events.IMAGE


def _samples(call, metric: str | None) -> list[tuple[int, str, str | None]]:
    """Iteration, metric and (for images) variant of each sample, in order."""
    variant = "variant" if _kind(call) == events.IMAGE else "NULL"
    rows = call.db.execute(
        f"SELECT DISTINCT iter, metric, {variant} AS variant FROM events "
        "WHERE task = ? AND type = ? AND ifnull(? = metric, 1) "
        "ORDER BY iter, metric, variant",
        (call.data["task"], _kind(call), metric),
    )
    return [tuple(row) for row in rows]


def _answer(call, sample, samples, place) -> dict:
    if sample is None:
        return {}
    iteration, metric, variant = sample
    rows = call.db.execute(
        "SELECT doc FROM events WHERE task = ? AND type = ? AND iter = ? "
        "AND metric = ? AND ifnull(? = variant, 1) ORDER BY variant, id",
        (call.data["task"], _kind(call), iteration, metric, variant),
    )
    found = [json.loads(row["doc"]) for row in rows]
    same = [s[0] for s in samples if s[1:] == sample[1:]]
    place = place | {"iter": iteration, "metric": metric, "variant": variant}
    content = {"events": found} if _kind(call) == events.PLOT else {"event": found[0]}
    return content | {
        "scroll_id": json.dumps(place),
        "min_iteration": same[0],
        "max_iteration": same[-1],
    }


def _read(scroll_id: str) -> dict:
    try:
        place = json.loads(scroll_id)
        texts = (place["metric"], place["variant"] or "", place.get("only") or "")
        if isinstance(place["iter"], int) and all(isinstance(t, str) for t in texts):
            return place
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ApiError("invalid_scroll_id", scroll_id=scroll_id[:100])
