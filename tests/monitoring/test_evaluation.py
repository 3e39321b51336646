"""Expressions: as Prometheus computes them, and a simulated day of traffic."""

import json
import math
import re
import subprocess

import numpy as np
import pytest
import yaml
from prometheus import answers as is_ready
from prometheus import program, query, running, wait_until

from data_prep.errors import InputError
from pipelines.monitoring import promql, rules
from pipelines.monitoring.alerts import Alerts
from pipelines.monitoring.evaluation import NAME, evaluate
from pipelines.monitoring.history import History, Labels, parse
from pipelines.serving.triton_server import pick_ports

RULES = rules.load_rules()
CLASSES = [chr(65 + i) for i in range(26)] + ["del", "nothing", "space"]
BOUNDS = {"model": "asl", "version": "7", "job": "triton", "instance": "a"}


def labelled(**labels) -> Labels:
    return Labels((BOUNDS | labels).items())


def test_what_the_parser_does_not_know_it_names():
    for text, word in {
        "quantile_over_time(0.9, x[5m])": "quantile_over_time",
        "sum(x": "where ) is expected",
        "rate(x)": "range",
        "x offset tomorrow": "duration",
        "x ? y": "cannot read",
    }.items():
        with pytest.raises(InputError, match=re.escape(word)):
            promql.parse(text)


def test_counters_that_begin_anew_and_series_that_go():
    history = History()
    own = Labels({("job", "triton")})
    for second, value in enumerate([10, 20, 30, 5, 15]):
        history.add("c", own, 10.0 * second, value)
    # Prometheus: 30 - 10, then 5 of the new one, then 10 more, over 40 s of 40
    (grown,) = evaluate(promql.parse("increase(c[40s])"), history, 40.0).values()
    assert grown == 35
    history.mark_gone(["c"], own, 50.0)
    assert evaluate(promql.parse("c"), history, 50.0) == {}
    assert evaluate(promql.parse("absent(c == 1)"), history, 50.0) == {Labels(): 1.0}


def test_one_who_looks_seldom_computes_over_the_last_two_looks():
    history = History(lookback_s=750, stretch_s=450)
    for minute, value in ((0, 100), (5, 400)):
        history.add("c", Labels(), 60.0 * minute, value)
    (grown,) = evaluate(promql.parse("increase(c[1m])"), history, 300.0).values()
    assert grown == 300


def test_prometheus_text_is_read():
    text = '# HELP a b\na{x="1\\"2",le="+Inf"} 3\nb 1e3\nc{y="z"} NaN 1700\nbroken{\n'
    found = list(parse(text, {"a", "b", "c"}))
    assert found[0] == ("a", Labels({("x", '1"2'), ("le", "+Inf")}), 3.0)
    assert found[1] == ("b", Labels(), 1000.0)
    assert found[2][0] == "c" and math.isnan(found[2][2])


def feed_day(history, minutes, shares, confidences, answers, reference, start=0.0):
    """Count a day of simulated traffic, minute by minute.

    Args:
        shares: ``(minutes, classes)`` counts of each class.
        confidences: ``(minutes,)`` sums.
        answers: ``(minutes,)``.
    """
    totals, sums, images = shares.cumsum(0), confidences.cumsum(), answers.cumsum()
    times = [start + 60.0 * m for m in range(minutes)]

    def add(name, values, **labels):
        kept = history.series.setdefault(name, {})
        kept[labelled(**labels)] = (list(times), np.asarray(values, float).tolist())

    for i, name in enumerate(CLASSES):
        add("asl_predictions_total", totals[:, i], **{"class": name})
        add("asl_reference_share", [reference[i]] * minutes, **{"class": name})
    add("asl_confidence_sum", sums)
    add("asl_images_total", images)
    add("asl_hands_found_total", (0.93 * images).round())
    add("asl_refused_requests_total", (0.004 * images).round())
    add("asl_reference_confidence", [0.85] * minutes)
    add("up", [1] * minutes)
    for name in ("up", "asl_probe_success"):
        kept = history.series.setdefault(name, {})
        kept[Labels({("job", "asl"), ("model", "asl")})] = (times, [1.0] * minutes)


def simulate(random, minutes=1440, requests=10_000_000, drift=None, drift_from=0):
    """Ordinary traffic: day and night, a mix that wanders by the hour, letters in
    runs of 40 frames of a camera; and a tenth of it that is something else.

    Args:
        drift: ``(classes,)`` mix of the tenth, from the minute ``drift_from`` on.

    Returns:
        Counts ``(minutes, classes)``, sums of confidence, answers, and the mix that is
        expected.
    """
    reference = random.dirichlet([40] * len(CLASSES))
    hour = np.arange(minutes) / 60
    weight = 1 + 0.8 * np.sin(2 * np.pi * (hour - 9) / 24)
    runs = random.poisson(requests / 40 * weight / weight.sum())
    wander = random.normal(0, 0.08, (minutes // 60 + 2, len(CLASSES)))
    at = hour.astype(int)
    part = (hour - at)[:, None]
    mix = reference * np.exp((1 - part) * wander[at] + part * wander[at + 1])
    mix /= mix.sum(1, keepdims=True)
    if drift is not None:
        mix[drift_from:] = 0.9 * mix[drift_from:] + 0.1 * drift
    counts = 40 * random.multinomial(runs, mix)
    answers = counts.sum(1)
    mean = 0.85 + 0.008 * np.sin(2 * np.pi * hour / 24)
    confidence = answers * mean + random.normal(0, 0.2 * np.sqrt(40 * answers + 1))
    return counts, confidence, answers, reference


def watch(history, start, end, every=300.0):
    """Compute the rules all along; yields what fires, with its time."""
    alerts = Alerts()
    now = start
    while now <= end:
        alerts.update(rules.apply(RULES, history, now), now)
        for alert in alerts.firing():
            yield now, alert.name
        now += every


@pytest.mark.parametrize("seed", [0, 1])
def test_a_day_of_ten_million_requests_rings_no_false_alarm(seed):
    random = np.random.default_rng(seed)
    history = History()
    counts, confidence, answers, reference = simulate(random)
    assert 9e6 < answers.sum() < 11e6
    feed_day(history, len(answers), counts, confidence, answers, reference)
    assert sorted(set(watch(history, 3600, 86340, every=900))) == []


@pytest.mark.parametrize(
    "letters", [["A"], ["nothing"], ["M", "N", "S"]], ids=lambda x: "".join(x)
)
def test_a_drift_of_a_tenth_of_the_traffic_is_found_within_the_hour(letters):
    random = np.random.default_rng(5)
    history, began = History(), 15 * 60  # in the afternoon
    drift = np.array([name in letters for name in CLASSES]) / len(letters)
    counts, confidence, answers, reference = simulate(
        random, 17 * 60, 7_000_000, drift, began
    )
    feed_day(history, len(answers), counts, confidence, answers, reference)
    fired = list(watch(history, 60.0 * began - 3600, 60.0 * began + 3600, every=120))
    times = [now for now, name in fired if name in ("MixDrift", "MixChanged")]
    assert times, f"{letters} were not found"
    print(f"{letters}: found after {(times[0] - 60 * began) / 60:.0f} min")
    assert 60.0 * began < times[0] <= 60.0 * began + 3600


@pytest.mark.slow
def test_prometheus_computes_the_same(promtool, tmp_path):
    """Three hours in the real Prometheus: every expression of ours, three times."""
    random = np.random.default_rng(2)
    history, start = History(), 1_700_000_000.0
    counts, confidence, answers, reference = simulate(random, 180, 400_000)
    counts[100:, 3] += 500  # something to find
    feed_day(history, 180, counts, confidence, counts.sum(1), reference, start)
    for name in ("success", "failure"):
        kept = history.series.setdefault(f"nv_inference_request_{name}", {})
        for part in ("asl_fused_7", "asl_classifier_7", "flowers_fused_1"):
            steps = np.cumsum(random.poisson(20 if name == "success" else 1, 180))
            steps[90:] -= steps[90]  # it began anew
            times = [start + 60.0 * m for m in range(180)]
            kept[labelled(model=part, version="1")] = (times, steps.tolist())
    instants = [start + 60.0 * m for m in (60, 110, 170)]
    expected = {}
    for now in instants:
        for place, rule in enumerate(RULES):
            value = evaluate(rule.expression, history, now)
            expected[now, place] = value
            if rule.record:
                rules.record(rule, value, history, now)
    write_openmetrics(history, tmp_path / "samples.txt")
    data = tmp_path / "data"
    made = [promtool, "tsdb", "create-blocks-from", "openmetrics"]
    subprocess.run([*made, tmp_path / "samples.txt", data], check=True, timeout=100)
    config = tmp_path / "prometheus.yaml"
    config.write_text("{}\n")
    (port,) = pick_ports(0)
    address = f"http://127.0.0.1:{port}"
    options = [f"--config.file={config}", f"--storage.tsdb.path={data}"]
    options += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    options += ["--storage.tsdb.retention.time=100y"]
    texts = [rule["expr"] for rule in all_rules()]
    with running([program("prometheus"), *options], tmp_path / "log"):
        wait_until(lambda: is_ready(f"{address}/-/ready"))
        compared = 0
        for (now, place), value in expected.items():
            answer = query(address, texts[place], now)
            theirs = {
                Labels((k, x) for k, x in one["metric"].items()): float(one["value"][1])
                for one in answer
            }
            assert set(value) == set(theirs), (texts[place], value, theirs)
            for labels, x in value.items():
                y = theirs[labels]
                assert x == pytest.approx(y, rel=1e-9, nan_ok=True), texts[place]
            compared += len(value)
    assert compared > 200


def all_rules() -> list[dict]:
    groups = yaml.safe_load(rules.RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def write_openmetrics(history: History, path) -> None:
    lines = []
    for name, kept in history.series.items():
        for labels, (times, values) in kept.items():
            text = ",".join(f"{k}={json.dumps(x)}" for k, x in sorted(labels))
            lines += [f"{name}{{{text}}} {x!r} {t}" for t, x in zip(times, values)]
    path.write_text("\n".join([*lines, "# EOF", ""]))


def test_names_of_series_are_no_labels_of_results():
    history = History()
    history.add("a", Labels({("x", "1")}), 0.0, 2.0)
    kept = evaluate(promql.parse("a > 1"), history, 0.0)
    assert kept == {Labels({("x", "1"), (NAME, "a")}): 2.0}
    assert evaluate(promql.parse("a + 1"), history, 0.0) == {Labels({("x", "1")}): 3.0}
