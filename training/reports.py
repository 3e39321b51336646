"""Names of the files that a training writes, and its scores on the ClearML task."""

from data_prep import preprocessing
from data_prep.figures import FEW, right_of

GRAPH_FILE = "model.onnx"  # the graph that is served
# What a model repository is made from (pipelines/deploy.py).
DEPLOYABLES = (GRAPH_FILE, "classes.txt", preprocessing.FILE_NAME, "golden.npz")
EVALUATION = "evaluation.json"
TEST_PROBABILITIES = "test_probabilities.npy"  # torch's answers to the test split
PICTURES = ("confusion_matrix.png", "predictions.png")  # that go with it
SCORES = ("accuracy", "macro_f1", "weighted_f1", "top3_accuracy", "loss")
COLUMNS = ("precision", "recall", "f1", "images")


def report_evaluation(logger, result: dict) -> None:
    """Show scores, confusion matrix and the table by class.

    Args:
        logger: Of the ClearML task.
        result: The content of ``evaluation.json`` (training/evaluate.py).
    """
    for name in SCORES:
        logger.report_single_value(f"test {name}", result["overall"][name])
    labels = result["confusion"]["labels"]
    logger.report_confusion_matrix(
        "confusion matrix",
        "test",
        matrix=result["confusion"]["matrix"],
        xaxis="predicted",
        yaxis="true",
        xlabels=labels,
        ylabels=labels,
        yaxis_reversed=True,
    )
    logger.report_table("scores by class", "test", table_plot=table_by_class(result))
    for name, scores in result["slices"].items():
        logger.report_single_value(f"{name} accuracy", scores["accuracy"])
    left_out = result.get("held_out_signers")
    if left_out:
        for name in ("mean", "worst"):
            logger.report_single_value(f"signers left out {name}", left_out[name])
        rows = [
            [name, round(scores["accuracy"], 4), scores["images"]]
            for name, scores in left_out["sources"].items()
        ]
        logger.report_table(
            "signers left out",
            "each source",
            table_plot=[["source", "accuracy", "images"], *rows],
        )


def right_of_test(overall: dict) -> str:
    """Say how many test images were right.

    Args:
        overall: Of ``evaluation.json``.
    """
    count = overall["images"]
    return right_of(round(overall["accuracy"] * count), count, "test images")


def weakest_classes(per_class: dict[str, dict], most: int = 3) -> list[str]:
    """The classes of the least recall: "N 2 of 6"; of many images "N 33 %".

    Args:
        per_class: Of ``evaluation.json``.
    """
    known = {name: scores for name, scores in per_class.items() if scores["images"]}
    found = []
    for name in sorted(known, key=lambda name: known[name]["recall"])[:most]:
        recall, count = known[name]["recall"], known[name]["images"]
        counted = f"{round(recall * count)} of {count}"
        found.append(f"{name} {counted if count < FEW else f'{100 * recall:.0f} %'}")
    return found


def table_by_class(result: dict) -> list[list]:
    """Precision, recall, F1 and images of each class, below a row of headings."""
    rows = [
        [name, *(round(scores[column], 4) for column in COLUMNS)]
        for name, scores in result["per_class"].items()
    ]
    return [["class", *COLUMNS], *rows]
