"""Which of several trainings should serve: the rules, without ClearML."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binomtest

from data_prep.figures import beside, right_of

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
TEST_IMAGES, EXTERNAL_IMAGES = "test images", "photographs of other people"


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
    """One candidate against the model promoted before.

    Attributes:
        verdict: 1 if it should serve instead, -1 if it is worse, 0 if neither is clear.
        said: The figures of both that decide, in words.
    """

    verdict: int
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
        least = max(min_gain, HELD_OUT_GAIN)
        if abs(ours - theirs) >= least - 1e-9:
            what = f"{100 * ours:.1f} % right of signers left out of the training"
            said = f"{what}, {_to_current(ours, theirs, least)}"
            return Comparison(1 if ours > theirs else -1, said)
    ways = [(TEST_IMAGES, new.right, current.right)]
    if new.external is not None and current.external is not None:
        ways.insert(0, (EXTERNAL_IMAGES, new.external, current.external))
    figures = []
    for name, ours, theirs in ways:
        gain, p = float(ours.mean() - theirs.mean()), mcnemar(ours, theirs)
        figures.append(
            f"{right_of(int(ours.sum()), len(ours), name)}, "
            + _to_current(float(ours.mean()), float(theirs.mean()), min_gain)
            + f", p = {beside(p, significance, kind='g')}"
        )
        if p <= significance and abs(gain) >= min_gain - 1e-9:
            said = f"{figures[-1]}, more than chance explains"
            return Comparison(1 if gain > 0 else -1, said)
    return Comparison(0, "; ".join(figures))


def _to_current(ours: float, theirs: float, least: float) -> str:
    """The figure of the model promoted before, and how many points ours is higher."""
    points = beside(100 * (ours - theirs), 100 * least, 1)
    sign = "+" if ours >= theirs else ""
    return f"the model promoted before {100 * theirs:.1f} %: {sign}{points} points"


def decide(
    scores: list[Score],
    current: str,
    min_gain: float,
    min_recall: float,
    significance: float,
    why_not: str = "",
) -> Decision:
    """Choose the model that should serve.

    Args:
        scores: Of comparable candidates.
        current: Task that serves now, "" for none; it may be missing in ``scores``.
        min_gain: Least gain of accuracy on the current one, 0 to 1.
        min_recall: Least recall of any class, 0 to 1.
        significance: Largest p-value of a gain that counts, 0 to 1.
        why_not: Why the current one is missing in ``scores``.
    """
    fit = [score for score in scores if score.worst[1] >= min_recall]
    if not fit:
        worst = max((s.worst for s in scores), key=lambda w: w[1])
        return Decision(
            current,
            f"no model is good enough: of every class {100 * min_recall:g} % must be "
            f"right (--min-recall), and the best has {_of_class(worst, min_recall)}",
        )
    now = next((score for score in scores if score.task_id == current), None)
    best = ranked(fit)[0]
    if now is None:
        most = f", the most of {len(fit)} models" if len(fit) > 1 else ""
        why = "no model was promoted before"
        if current:
            reason = f", because {why_not}" if why_not else ""
            why = (
                f"it takes the place of the model promoted before ({current}), which "
                f"cannot be compared{reason}"
            )
        return Decision(best.task_id, f"{_shown(best)}{most}; {why}")
    if now not in fit:
        why = (
            f"the model promoted before ({current}) has only "
            f"{_of_class(now.worst, min_recall)}, and {100 * min_recall:g} % are wanted"
        )
        return Decision(best.task_id, f"{_shown(best)}; {why}")
    compared = {
        score: compare(score, now, min_gain, significance)
        for score in ranked([score for score in fit if score is not now])
    }
    better = [score for score, found in compared.items() if found.verdict > 0]
    if better:
        return Decision(better[0].task_id, compared[better[0]].said)
    if not compared:
        return Decision(
            current,
            f"{_shown(now)}; it was promoted before, and is the only one that can be "
            "compared",
        )
    found = next(iter(compared.values()))
    if found.verdict < 0:
        return Decision(current, f"the best of the others is worse: {found.said}")
    wanted = f"p of at most {significance:g}, above which chance may explain it"
    if min_gain:
        wanted = f"+{100 * min_gain:g} points, and " + wanted
    return Decision(
        current,
        f"the best of the others is not clearly better: {found.said}; it takes "
        + wanted,
    )


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
    """How good a model is, in words."""
    if score.external is not None:
        right, what = score.external, EXTERNAL_IMAGES
    else:
        right, what = score.right, TEST_IMAGES
    return right_of(int(right.sum()), len(right), what)


def _of_class(worst: tuple[str, float], least: float) -> str:
    """The recall of the worst class, in words."""
    name, recall = worst
    return f"{beside(100 * recall, 100 * least, 0)} % of {name} right"


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
