"""Computes expressions of `promql` from a `History`, as Prometheus would."""

import math
import re
from collections.abc import Callable
from functools import lru_cache

from data_prep.errors import InputError
from pipelines.monitoring import promql
from pipelines.monitoring.history import History, Labels

Vector = dict[Labels, float]
NAME = "__name__"
COMPARE = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def evaluate(node: promql.Node, history: History, now: float) -> Vector | float | str:
    """Compute an expression at a time, seconds since 1970.

    Returns:
        The value of each series, by its labels; or a number.

    Raises:
        InputError: Series of the two sides of an operator do not match one to one.
    """
    match node:
        case promql.Number(value) | promql.Text(value):
            return value
        case promql.Selector():
            return select(node, history, now)
        case promql.Aggregate():
            inner = evaluate(node.inner, history, now)
            return aggregate(node, inner)
        case promql.Call():
            return call(node, history, now)
        case promql.Binary():
            left = evaluate(node.left, history, now)
            right = evaluate(node.right, history, now)
            return binary(node, left, right)
    raise InputError(f"{node!r} cannot be computed")


def select(node: promql.Selector, history: History, now: float) -> Vector:
    at = now - node.offset_s
    return {
        labels | {(NAME, node.name)}: value
        for labels, value in history.last(node.name, at)
        if matches(labels, node.matchers)
    }


@lru_cache(maxsize=10_000)
def matches(labels: Labels, matchers: tuple) -> bool:
    have = dict(labels)
    for label, operator, value in matchers:
        found = have.get(label, "")
        same = (
            re.fullmatch(value, found) is not None
            if "~" in operator
            else found == value
        )
        if same == operator.startswith("!"):
            return False
    return True


def increases(node: promql.Selector, history: History, now: float) -> Vector:
    """How much counters have grown over a range, extrapolated to its ends.

    A value below the one before means that the counter began anew. The extrapolation
    is that of Prometheus (promql/functions.go, extrapolatedRate).
    """
    end = now - node.offset_s
    start = end - node.range_s
    grown = {}
    for labels, times, values in history.ranges(node.name, start, end):
        if len(times) < 2 or not matches(labels, node.matchers):
            continue
        pairs = list(zip(values, values[1:]))
        growth = values[-1] - values[0] + sum(a for a, b in pairs if b < a)
        before, after = times[0] - start, end - times[-1]
        sampled = times[-1] - times[0]
        if before < 0:  # a range that was stretched
            grown[labels] = growth
            continue
        if growth > 0 and values[0] >= 0:  # a counter is never below zero
            before = min(before, sampled * values[0] / growth)
        mean = sampled / (len(times) - 1)
        more = sum(x if x < 1.1 * mean else mean / 2 for x in (before, after))
        grown[labels] = growth * (sampled + more) / sampled
    return grown


def call(node: promql.Call, history: History, now: float) -> Vector | float:
    if node.function == "time":
        return now
    if node.function in promql.OVER_RANGES:
        selector = node.arguments[0]
        grown = increases(selector, history, now)
        if node.function == "increase":
            return grown
        return {labels: x / selector.range_s for labels, x in grown.items()}
    values, *others = (evaluate(x, history, now) for x in node.arguments)
    if not isinstance(values, dict):
        raise InputError(f"{node.function}() takes series")
    if node.function == "absent":
        if values:
            return {}
        inner = node.arguments[0]
        known = inner.matchers if isinstance(inner, promql.Selector) else ()
        return {Labels((label, x) for label, sign, x in known if sign == "="): 1.0}
    if node.function == "label_replace":
        return replace_label(values, *others)
    # NaN stays NaN, whatever it is compared with
    bound = others[0] if others and isinstance(others[0], float) else 0.0
    functions: dict[str, Callable[[float], float]] = {
        "ln": _ln,
        "abs": abs,
        "clamp_min": lambda x: bound if x < bound else x,
        "clamp_max": lambda x: bound if x > bound else x,
    }
    compute = functions[node.function]
    return {nameless(labels): compute(x) for labels, x in values.items()}


def replace_label(values: Vector, target, replacement, source, pattern) -> Vector:
    changed = {}
    for labels, value in values.items():
        have = dict(labels)
        if found := re.fullmatch(pattern, have.get(source, "")):
            text = re.sub(r"\$(\d)", lambda group: found[int(group[1])], replacement)
            have[target] = text
        changed[Labels((key, x) for key, x in have.items() if x)] = value
    if len(changed) < len(values):
        raise InputError("label_replace() would make two series the same")
    return changed


def aggregate(node: promql.Aggregate, values) -> Vector:
    groups: dict[Labels, list[float]] = {}
    for labels, value in values.items():
        key = Labels(pair for pair in labels if pair[0] in node.by)
        groups.setdefault(key, []).append(value)
    functions: dict[str, Callable[[list[float]], float]] = {
        "sum": sum,
        "max": max,
        "min": min,
        "count": lambda x: float(len(x)),
        "avg": lambda x: sum(x) / len(x),
    }
    compute = functions[node.operator]
    return {labels: compute(group) for labels, group in groups.items()}


def binary(node: promql.Binary, left, right) -> Vector | float:
    operator = node.operator
    if operator in promql.SETS:
        return combine(node, left, right)
    if not isinstance(left, dict) and not isinstance(right, dict):
        return arithmetic(operator, left, right)
    if not isinstance(right, dict):
        pairs = [(labels, x, right, x) for labels, x in left.items()]
    elif not isinstance(left, dict):
        pairs = [(labels, left, x, x) for labels, x in right.items()]
    else:
        pairs = match(node, left, right)
    if operator in promql.COMPARISONS:
        compare = COMPARE[operator]
        return {labels: x for labels, a, b, x in pairs if compare(a, b)}
    return {nameless(labels): arithmetic(operator, a, b) for labels, a, b, _ in pairs}


def match(node: promql.Binary, left: Vector, right: Vector) -> list[tuple]:
    """Pair the series of two sides; ``(labels of the result, left, right, kept)``."""
    many_left = node.many != "right"
    many, one = (left, right) if many_left else (right, left)
    ones: dict[Labels, tuple[Labels, float]] = {}
    for labels, value in one.items():
        key = matching_labels(node, labels)
        if key in ones:
            raise InputError(f"two series on one side of {node.operator}: {set(key)}")
        ones[key] = labels, value
    pairs, seen = [], set()
    for labels, value in many.items():
        key = matching_labels(node, labels)
        if key not in ones:
            continue
        if not node.many and key in seen:
            raise InputError(f"two series on one side of {node.operator}: {set(key)}")
        seen.add(key)
        other_labels, other = ones[key]
        result = labels
        if node.many:
            lent = {pair for pair in other_labels if pair[0] in node.included}
            kept = (pair for pair in labels if pair[0] not in node.included)
            result = Labels(kept) | lent
        elif node.labels is not None:
            result = key
        a, b = (value, other) if many_left else (other, value)
        pairs.append((result, a, b, a))
    return pairs


def combine(node: promql.Binary, left: Vector, right: Vector) -> Vector:
    """``and``, ``or`` and ``unless``."""
    rights = {matching_labels(node, labels) for labels in right}
    if node.operator == "or":
        lefts = {matching_labels(node, labels) for labels in left}
        more = {k: x for k, x in right.items() if matching_labels(node, k) not in lefts}
        return left | more
    wanted = node.operator == "and"
    return {
        labels: x
        for labels, x in left.items()
        if (matching_labels(node, labels) in rights) == wanted
    }


def matching_labels(node: promql.Binary, labels: Labels) -> Labels:
    if node.labels is None:
        return nameless(labels)
    if node.ignoring:
        return Labels(p for p in labels if p[0] not in (*node.labels, NAME))
    return Labels(pair for pair in labels if pair[0] in node.labels)


def nameless(labels: Labels) -> Labels:
    return Labels(pair for pair in labels if pair[0] != NAME)


def arithmetic(operator: str, a: float, b: float) -> float:
    if operator == "+":
        return a + b
    if operator == "-":
        return a - b
    if operator == "*":
        return a * b
    if b == 0:
        return (
            math.nan
            if a == 0 or a != a or operator == "%"
            else math.copysign(math.inf, a)
        )
    return a / b if operator == "/" else math.fmod(a, b)


def _ln(x: float) -> float:
    if x > 0:
        return math.log(x)
    return -math.inf if x == 0 else math.nan
