"""Which of several trainings should serve: the rules, without ClearML."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binomtest

HEADINGS = (
    "",
    "task",
    "model",
    "signers left out",
    "external",
    "test",
    "worst class",
    "remark",
)
# Comparisons on less than this share of the test split say little.
LEAST_SHARE = 0.5
# Accuracies on signers left out are means, which no paired test can compare: nearer
# than this, the photographs that both have answered decide.
HELD_OUT_GAIN = 0.01


@dataclass(frozen=True, eq=False)
class Candidate:
    """A training's answers on the comparison set.

    Attributes:
        task_id, model: Which training.
        predicted: Class named for each test photograph, int ``(N,)``.
        seen: Test photographs that it was trained on, or that have a twin among those
            that it was trained on, bool ``(N,)``.
        external: Which of other people's photographs it names rightly, bool ``(M,)``,
            the same photographs for all candidates; None without.
        held_out: Accuracy on each source (signer) by a training that left it out, 0 to
            1, by the source's name; empty where that was not measured.
    """

    task_id: str
    model: str
    predicted: np.ndarray
    seen: np.ndarray
    external: np.ndarray | None = None
    held_out: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Score:
    """A candidate's results on the photographs that count.

    Attributes:
        task_id, model, held_out: As of the candidate.
        right: For each test photograph that counts: is it named rightly, bool ``(n,)``.
        external: The same for other people's photographs, bool ``(M,)``; or None.
        worst: The class of the least recall on the test photographs, and that recall,
            0 to 1.
    """

    task_id: str
    model: str
    right: np.ndarray
    external: np.ndarray | None
    held_out: Mapping[str, float]
    worst: tuple[str, float]

    def held_out_accuracy(self, sources: Collection[str]) -> float:
        """Mean accuracy on some of the sources, each left out of the training."""
        return float(np.mean([self.held_out[source] for source in sources]))

    @property
    def test_accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def external_accuracy(self) -> float | None:
        return None if self.external is None else float(self.external.mean())


@dataclass(frozen=True)
class Comparison:
    """One candidate against another.

    Attributes:
        is_better: Whether the first should serve rather than the second.
        said: The figures that decide, in words.
    """

    is_better: bool
    said: str


@dataclass(frozen=True)
class Decision:
    """Which model should serve.

    Attributes:
        task_id: The winner, "" if no model is good enough.
        reason: Why, in one sentence.
    """

    task_id: str
    reason: str


def measure(
    candidates: list[Candidate], labels: np.ndarray, classes: list[str]
) -> tuple[list[Score], dict[str, str], int]:
    """Score candidates on the test photographs that none of them was trained on.

    Args:
        candidates: The more important first: one that leaves too few photographs for
            those before it is left out.
        labels: ``(N,)`` int64, the truth.
        classes: Names of the labels.

    Returns:
        Their scores; why others are left out, by task; how many photographs counted.
    """
    unseen, kept, left_out = np.ones(len(labels), bool), [], {}
    for candidate in candidates:
        if (unseen & ~candidate.seen).mean() < LEAST_SHARE:
            share = 100 * candidate.seen.mean()
            left_out[candidate.task_id] = (
                f"was trained on {share:.0f} % of these test photographs, or on twins "
                "of them"
            )
            continue
        unseen &= ~candidate.seen
        kept.append(candidate)
    scores = []
    for candidate in kept:
        right = (candidate.predicted == labels)[unseen]
        recalls = [
            (float(right[labels[unseen] == i].mean()), name)
            for i, name in enumerate(classes)
            if (labels[unseen] == i).any()
        ]
        recall, name = min(recalls)
        scores.append(
            Score(
                task_id=candidate.task_id,
                model=candidate.model,
                right=right,
                external=candidate.external,
                held_out=candidate.held_out,
                worst=(name, recall),
            )
        )
    return scores, left_out, int(unseen.sum())


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """The exact test of McNemar (1947) for two classifiers on the same photographs.

    Of the photographs that only one of them names rightly, each is as often that of the
    first as that of the second if both are equally good.

    Args:
        first, second: Which photographs each names rightly, bool ``(N,)``.

    Returns:
        The two-sided p-value, 0 to 1: how probable such a difference is, or a larger
        one, between equally good classifiers.
    """
    only_first = int((first & ~second).sum())
    only_one = only_first + int((second & ~first).sum())
    return float(binomtest(only_first, only_one).pvalue) if only_one else 1.0


def compare(
    new: Score, current: Score, min_gain: float, significance: float
) -> Comparison:
    """Say whether a candidate should serve rather than another one.

    Three figures are compared; the first with a clear difference decides: the mean
    accuracy on signers left out, of those that both know; other people's photographs;
    the test photographs.

    Args:
        min_gain: Least difference of the accuracies, 0 to 1.
        significance: Largest p-value of a difference that counts, 0 to 1.
    """
    if sources := _common_sources([new, current]):
        ours, theirs = (x.held_out_accuracy(sources) for x in (new, current))
        gain = ours - theirs
        if abs(gain) >= max(min_gain, HELD_OUT_GAIN) - 1e-9:
            said = (
                f"accuracy on signers left out {ours:.4f}, {gain:+.4f} to the current "
                f"one's {theirs:.4f}"
            )
            return Comparison(gain > 0, said)
    ways = [("test", new.right, current.right)]
    if new.external is not None and current.external is not None:
        ways.insert(0, ("external", new.external, current.external))
    figures = []
    for name, ours, theirs in ways:
        gain, p = float(ours.mean() - theirs.mean()), mcnemar(ours, theirs)
        figures.append(
            f"{name} accuracy {ours.mean():.4f}, {gain:+.4f} to the current one's "
            f"{theirs.mean():.4f} (p = {p:.2g})"
        )
        if p <= significance and abs(gain) >= min_gain - 1e-9:
            return Comparison(gain > 0, figures[-1])
    return Comparison(False, "; ".join(figures))


def decide(
    scores: list[Score],
    current: str,
    min_gain: float,
    min_recall: float,
    significance: float,
) -> Decision:
    """Choose the model that should serve.

    Args:
        scores: Of comparable candidates.
        current: Task that serves now, "" for none; it may be missing in ``scores``.
        min_gain: Least gain of accuracy on the current one, 0 to 1.
        min_recall: Least recall of any class, 0 to 1.
        significance: Largest p-value of a gain that counts, 0 to 1.
    """
    fit = [score for score in scores if score.worst[1] >= min_recall]
    if not fit:
        name, recall = max((s.worst for s in scores), key=lambda w: w[1])
        fault = f"a recall of at least {min_recall:g} is wanted of every class"
        return Decision(
            current,
            f"no candidate is fit: {fault}, and the best has {recall:.2f} for {name}",
        )
    now = next((score for score in scores if score.task_id == current), None)
    best = ranked(fit)[0]
    if now is None:
        why = (
            "the best one so far does not compare"
            if current
            else "there was no best one yet"
        )
        return Decision(best.task_id, f"{_shown(best)}, the highest; {why}")
    if now not in fit:
        name, recall = now.worst
        why = f"the current one has a recall of {recall:.2f} for {name}"
        return Decision(best.task_id, f"{_shown(best)}; {why}")
    compared = {
        score: compare(score, now, min_gain, significance)
        for score in ranked([score for score in fit if score is not now])
    }
    better = [score for score, comparison in compared.items() if comparison.is_better]
    if better:
        return Decision(better[0].task_id, compared[better[0]].said)
    if not compared:
        return Decision(current, f"{_shown(now)}: there is no other candidate")
    said = next(iter(compared.values())).said
    wanted = f"a gain of p at most {significance:g}"
    if min_gain:
        wanted += f" and at least {min_gain:g}"
    return Decision(current, f"the best other one: {said}; {wanted} is wanted")


def ranked(scores: list[Score]) -> list[Score]:
    """The best first: by signers left out where all have them, external, test."""
    sources = _common_sources(scores)
    return sorted(
        scores,
        key=lambda score: (
            score.held_out_accuracy(sources) if sources else 0,
            score.external_accuracy or 0,
            score.test_accuracy,
        ),
        reverse=True,
    )


def _common_sources(scores: list[Score]) -> list[str]:
    """The sources that all candidates left out once."""
    if not scores:
        return []
    return sorted(set.intersection(*(set(score.held_out) for score in scores)))


def _shown(score: Score) -> str:
    if score.external_accuracy is not None:
        return f"external accuracy {score.external_accuracy:.4f}"
    return f"test accuracy {score.test_accuracy:.4f}"


def rows(
    scores: list[Score], left_out: dict[str, str], current: str, winner: str
) -> list[list[str]]:
    """The candidates as cells, the best first, below `HEADINGS`."""
    table = []
    for score in ranked(scores):
        remarks = [
            word
            for word, holds in (
                ("wins", score.task_id == winner != current),
                ("stays", score.task_id == winner == current),
                ("the best so far", score.task_id == current != winner),
            )
            if holds
        ]
        name, recall = score.worst
        table.append(
            [
                str(len(table) + 1),
                score.task_id,
                score.model,
                _cell(
                    score.held_out_accuracy(score.held_out) if score.held_out else None
                ),
                _cell(score.external_accuracy),
                _cell(score.test_accuracy),
                f"{name} {recall:.2f}",
                *(remarks or [""]),
            ]
        )
    table += [["-", id_, "", "", "", "", "", why] for id_, why in left_out.items()]
    return table


def figures(scores: list[Score]) -> list[dict]:
    """The candidates' figures for programs, the best first; None for what is unknown.

    Accuracies and recalls are 0 to 1.
    """
    return [
        {
            "task_id": score.task_id,
            "model": score.model,
            "held_out_accuracy": (
                score.held_out_accuracy(score.held_out) if score.held_out else None
            ),
            "external_accuracy": score.external_accuracy,
            "test_accuracy": score.test_accuracy,
            "worst_class": score.worst[0],
            "worst_recall": score.worst[1],
        }
        for score in ranked(scores)
    ]


def _cell(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{accuracy:.4f}"
