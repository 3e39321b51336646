"""The rules of promotion, on answers made by hand."""

import numpy as np
import pytest

from pipelines.promotion.candidates import (
    Candidate,
    Score,
    as_text,
    decide,
    measure,
    rows,
)

LABELS = np.repeat([0, 1, 2], 20)
CLASSES = ["A", "B", "C"]


def candidate(id_, wrong=0, seen=(), external=None):
    """A training that is wrong on the first photographs of class A."""
    predicted, mask = LABELS.copy(), np.zeros(len(LABELS), bool)
    predicted[:wrong] = 1
    mask[list(seen)] = True
    return Candidate(id_, "net", predicted, mask, external)


def score(id_, test, external=None, worst=0.8):
    return Score(id_, "net", external, test, ("B", worst))


def test_scores_are_accuracy_and_the_least_recall():
    (one,), left_out, count = measure([candidate("a", 5)], LABELS, CLASSES)
    assert (one.test, one.worst, left_out, count) == (55 / 60, ("A", 0.75), {}, 60)


def test_photographs_that_one_was_trained_on_count_for_nobody():
    seen = range(10, 30)
    scores, left_out, count = measure(
        [candidate("a", 5), candidate("b", 10, seen)], LABELS, CLASSES
    )
    assert (left_out, count) == ({}, 40)
    # of class A ten photographs are left: five or ten of them wrong
    assert [s.test for s in scores] == [35 / 40, 30 / 40]


def test_a_candidate_that_knows_most_of_the_photographs_is_left_out():
    compared = [candidate("a"), candidate("b", seen=range(45))]
    scores, left_out, count = measure(compared, LABELS, CLASSES)
    assert [s.task_id for s in scores] == ["a"] and count == 60
    assert left_out == {"b": "was trained on 75 % of these test photographs"}


@pytest.mark.parametrize(
    "scores, current, winner, why",
    [
        ([score("a", 0.5), score("b", 0.6)], "", "b", "no best one yet"),
        ([score("a", 0.5), score("b", 0.6)], "a", "b", "+0.1000"),
        ([score("a", 0.5), score("b", 0.501)], "a", "a", "+0.002 is wanted"),
        ([score("a", 0.5), score("b", 0.502)], "a", "b", "+0.0020"),
        ([score("a", 0.5), score("b", 0.4)], "a", "a", "no candidate is better"),
        ([score("b", 0.5), score("a", 0.5)], "a", "a", "no candidate is better"),
        ([score("a", 0.5), score("b", 0.9, worst=0.1)], "a", "a", "no candidate"),
        ([score("a", 0.9, worst=0.1), score("b", 0.5)], "a", "b", "0.10 for B"),
        ([score("b", 0.5)], "gone", "b", "does not compare"),
        ([score("a", 0.9, worst=0.1)], "", "", "recall of at least 0.3"),
        ([score("a", 0.9, worst=0.1)], "gone", "gone", "no candidate is fit"),
        # other people's photographs come first
        ([score("a", 0.9, 0.4), score("b", 0.8, 0.5)], "a", "b", "external"),
        ([score("a", 0.8, 0.5), score("b", 0.9, 0.5)], "a", "a", "+0.0000"),
    ],
)
def test_the_winner_and_why(scores, current, winner, why):
    decision = decide(scores, current, min_gain=0.002, min_recall=0.3)
    assert decision.task_id == winner
    assert why in decision.reason


def test_the_table_has_the_best_first_and_says_who_is_left_out():
    scores = [score("a", 0.5, 0.25), score("b", 0.4, 0.75)]
    table = rows(scores, {"c": "knows 4 other classes"}, current="a", winner="b")
    assert [row[1] for row in table] == ["b", "a", "c"]
    assert [row[-1] for row in table] == [
        *("wins", "the best so far", "knows 4 other classes")
    ]
    lines = as_text(table).splitlines()
    assert len(lines) == 4 and "0.7500" in lines[1]
