"""The rules of promotion, on answers made by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from data_prep.packed import ManifestRow
from pipelines.promotion.candidates import (
    Candidate,
    Score,
    decide,
    mcnemar,
    measure,
    rows,
)
from pipelines.promotion.comparison_set import held_out_accuracies, seen

LABELS = np.repeat([0, 1, 2], 20)
CLASSES = ["A", "B", "C"]


def candidate(id_, wrong=0, seen=()):
    """A training that is wrong on the first photographs of class A."""
    predicted, mask = LABELS.copy(), np.zeros(len(LABELS), bool)
    predicted[:wrong] = 1
    mask[list(seen)] = True
    return Candidate(id_, "net", predicted, mask)


def right(count):
    """1000 photographs, the first ones named rightly."""
    return np.arange(1000) < count


def score(id_, test, external=None, worst=0.8, held_out=None):
    outside = None if external is None else right(external)
    left_out = (
        {}
        if held_out is None
        else {"signer_1": held_out - 0.1} | {"signer_2": held_out + 0.1}
    )
    return Score(id_, "net", right(test), outside, left_out, ("B", worst))


def test_scores_are_accuracy_and_the_least_recall():
    (one,), left_out, count = measure([candidate("a", 5)], LABELS, CLASSES)
    assert (one.test_accuracy, one.worst) == (55 / 60, ("A", 0.75))
    assert (left_out, count) == ({}, 60)


def test_photographs_that_one_was_trained_on_count_for_nobody():
    seen = range(10, 30)
    scores, left_out, count = measure(
        [candidate("a", 5), candidate("b", 10, seen)], LABELS, CLASSES
    )
    assert (left_out, count) == ({}, 40)
    # of class A ten photographs are left: five or ten of them wrong
    assert [s.test_accuracy for s in scores] == [35 / 40, 30 / 40]


def test_a_candidate_that_knows_most_of_the_photographs_is_left_out():
    compared = [candidate("a"), candidate("b", seen=range(45))]
    scores, left_out, count = measure(compared, LABELS, CLASSES)
    assert [s.task_id for s in scores] == ["a"] and count == 60
    assert "was trained on 75 % of these" in left_out["b"]


def row(sha256, phash, label="A"):
    return ManifestRow("path", label, "source", sha256, phash, "group", "test")


def test_the_same_bytes_and_twins_of_the_same_class_count_as_seen():
    rows = [
        row("1" * 64, "ffffffffffffffff"),  # the same bytes
        row("2" * 64, "000000000000000f"),  # 4 of 64 bits from the second
        row("3" * 64, "00000000ffffffff"),  # far from all
        row("4" * 64, "0000000000000000", "B"),  # near to another class
    ]
    used = [row("1" * 64, "0f0f0f0f0f0f0f0f"), row("9" * 64, "0000000000000000")]
    assert seen(rows, used).tolist() == [True, True, False, False]


def test_mcnemar_is_the_exact_binomial_test_of_what_only_one_knows():
    first, second = right(500), right(500)
    assert mcnemar(first, second) == 1
    second = first.copy()
    second[490:500], second[500:502] = False, True
    # 10 against 2: the two tails of 12 tosses of a coin
    assert mcnemar(first, second) == pytest.approx(2 * binom.cdf(2, 12, 0.5))


@pytest.mark.parametrize(
    "scores, current, winner, why",
    [
        (
            [score("a", 500), score("b", 600)],
            "",
            "b",
            "the most of 2 models; no model was promoted before",
        ),
        ([score("a", 500), score("b", 600)], "a", "b", "before 50.0 %: +10.0 points"),
        # five photographs that only b knows: p = 2 / 2 ** 5
        ([score("a", 500), score("b", 505)], "a", "a", "p = 0.062"),
        ([score("a", 500), score("b", 506)], "a", "b", "p = 0.031"),
        ([score("a", 500), score("b", 400)], "a", "a", "others is worse: 40.0 % of"),
        ([score("b", 500), score("a", 500)], "a", "a", "not clearly better"),
        ([score("a", 500)], "a", "a", "the only one that can be compared"),
        ([score("a", 500), score("b", 900, worst=0.1)], "a", "a", "the only one"),
        ([score("a", 900, worst=0.1), score("b", 500)], "a", "b", "only 10 % of B"),
        ([score("b", 500)], "gone", "b", "cannot be compared, because it is away"),
        ([score("a", 900, worst=0.1)], "", "", "of every class 30 % must be right"),
        ([score("a", 900, worst=0.1)], "gone", "gone", "no model is good enough"),
        # other people's photographs come first, and the test split where they are even
        ([score("a", 900, 400), score("b", 800, 500)], "a", "b", "of other people"),
        ([score("a", 800, 500), score("b", 900, 500)], "a", "b", "test images"),
        ([score("a", 800, 500), score("b", 900, 400)], "a", "a", "of other people"),
        # before both: signers left out, where both know that figure
        (
            [score("a", 900, 500, held_out=0.6), score("b", 800, 400, held_out=0.7)],
            "a",
            "b",
            "70.0 % right of signers left out",
        ),
        (
            [score("a", 800, held_out=0.7), score("b", 900, held_out=0.6)],
            "a",
            "a",
            "signers left out",
        ),
        (
            [score("a", 800, held_out=0.7), score("b", 900, held_out=0.705)],
            "a",
            "b",
            "test images",
        ),
        ([score("a", 800, held_out=0.9), score("b", 900)], "a", "b", "test images"),
    ],
)
def test_the_winner_and_why(scores, current, winner, why):
    decision = decide(
        scores,
        current,
        min_gain=0,
        min_recall=0.3,
        significance=0.05,
        why_not="it is away" if current == "gone" else "",
    )
    assert decision.task_id == winner
    assert why in decision.reason


def test_of_signers_left_out_those_count_that_both_know():
    ours, theirs = score("b", 500, held_out=0.7), score("a", 500, held_out=0.6)
    easy = theirs.held_out | {"an easy one": 1.0, "another": 1.0}
    theirs = replace(theirs, held_out=easy)
    decision = decide(
        [ours, theirs], "a", min_gain=0, min_recall=0.3, significance=0.05
    )
    assert decision.task_id == "b" and "60.0 %: +10.0 points" in decision.reason
    evaluation = {
        "held_out_signers": {"mean": 0.5, "sources": {"s": {"accuracy": 0.5}}}
    }
    assert held_out_accuracies(evaluation) == {"s": 0.5}
    assert (
        held_out_accuracies({"held_out_signers": None}) == held_out_accuracies({}) == {}
    )


def test_a_gain_may_be_asked_for_besides():
    scores = [score("a", 500), score("b", 520)]
    decision = decide(scores, "a", min_gain=0.05, min_recall=0.3, significance=0.05)
    assert decision.task_id == "a" and "it takes +5 points" in decision.reason


def test_the_table_has_the_best_first_and_says_who_is_left_out():
    scores = [score("a", 500, 250), score("b", 400, 750)]
    table = rows(scores, {"c": "knows 4 other classes"}, current="a", winner="b")
    assert [row[1] for row in table] == ["b", "a", "c"]
    remarks = ["wins", "the best so far", "knows 4 other classes"]
    assert [row[-1] for row in table] == remarks
    assert "0.7500" in table[0]
