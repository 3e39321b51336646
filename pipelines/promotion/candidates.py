"""Which of several trainings should serve: the rules, without ClearML."""

from dataclasses import dataclass

import numpy as np

HEADINGS = ("", "task", "model", "external", "test", "worst class", "remark")
# Comparisons on less than this share of the test split say little.
LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Candidate:
    """A training's answers on the yardstick.

    Attributes:
        task_id, model: Which training.
        predicted: Class named for each test photograph, int ``(N,)``.
        seen: Test photographs that it was trained on, bool ``(N,)``.
        external: Accuracy on other people's photographs, 0 to 1; None without.
    """

    task_id: str
    model: str
    predicted: np.ndarray
    seen: np.ndarray
    external: float | None = None


@dataclass(frozen=True)
class Score:
    """What counts of a candidate; accuracies and recalls in 0 to 1.

    Attributes:
        worst: The class of the least recall, and that recall.
    """

    task_id: str
    model: str
    external: float | None
    test: float
    worst: tuple[str, float]

    @property
    def main(self) -> float:
        """What decides: other people's photographs first, where there are any."""
        return self.test if self.external is None else self.external

    @property
    def order(self) -> tuple[float, float]:
        return self.main, self.test


@dataclass(frozen=True)
class Decision:
    """Who should serve.

    Attributes:
        task_id: The winner, "" if nobody is fit.
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
                f"was trained on {share:.0f} % of these test photographs"
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
                candidate.task_id,
                candidate.model,
                candidate.external,
                float(right.mean()),
                (name, recall),
            )
        )
    return scores, left_out, int(unseen.sum())


def decide(
    scores: list[Score], current: str, min_gain: float, min_recall: float
) -> Decision:
    """Choose the model that should serve.

    Args:
        scores: Of comparable candidates.
        current: Task that serves now, "" for none; it may be missing in ``scores``.
        min_gain: Least difference to the current one of what decides.
        min_recall: Least recall of any class.
    """
    known = {score.task_id: score for score in scores}
    fit = [score for score in scores if score.worst[1] >= min_recall]
    if not fit:
        name, recall = max((s.worst for s in scores), key=lambda w: w[1])
        fault = f"a recall of at least {min_recall:g} is wanted of every class"
        return Decision(
            current,
            f"no candidate is fit: {fault}, and the best has {recall:.2f} for {name}",
        )
    # of equals the current one stays
    best = max(fit, key=lambda score: (*score.order, score.task_id == current))
    told = f"{_kind(best)} {best.main:.4f}"
    if not current:
        return Decision(best.task_id, f"{told}, the highest; there was no best one yet")
    if current not in known:
        return Decision(
            best.task_id, f"{told}, the highest; the best one so far does not compare"
        )
    now = known[current]
    if best.task_id == current:
        return Decision(current, f"{told}: no candidate is better than the current one")
    gain = f"{best.main - now.main:+.4f} to the current one's {now.main:.4f}"
    if now not in fit:
        name, recall = now.worst
        return Decision(
            best.task_id,
            f"{told} ({gain}); the current one has a recall of {recall:.2f} for {name}",
        )
    if best.main - now.main < min_gain - 1e-9:
        return Decision(
            current, f"the best other one has {told}: {gain}, {min_gain:+g} is wanted"
        )
    return Decision(best.task_id, f"{told}: {gain}")


def _kind(score: Score) -> str:
    return "test accuracy" if score.external is None else "external accuracy"


def rows(
    scores: list[Score], left_out: dict[str, str], current: str, winner: str
) -> list[list[str]]:
    """The candidates as cells, the best first, below `HEADINGS`."""
    table = []
    for score in sorted(scores, key=lambda score: score.order, reverse=True):
        remarks = [
            word
            for word, holds in (
                ("wins", score.task_id == winner != current),
                ("stays", score.task_id == winner == current),
                ("the best so far", score.task_id == current != winner),
            )
            if holds
        ]
        external = "-" if score.external is None else f"{score.external:.4f}"
        name, recall = score.worst
        table.append(
            [
                str(len(table) + 1),
                score.task_id,
                score.model,
                external,
                f"{score.test:.4f}",
                f"{name} {recall:.2f}",
                *(remarks or [""]),
            ]
        )
    table += [["-", id_, "", "", "", "", why] for id_, why in left_out.items()]
    return table


def as_text(table: list[list[str]]) -> str:
    """Columns side by side."""
    lines = [list(HEADINGS), *table]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
        for line in lines
    )
