"""Turn logged photographs into raw data, after a person has looked at them.

    python -m pipelines.collect [--name NAME]            proposes: a sheet and a table
    python -m pipelines.collect --accept proposals.csv   makes them data
    python -m pipelines.collect --delete ID              what somebody wants deleted

The first draws what was corrected on the page, and what was answered uncertainly, with
the proposed labels, and writes a table of them. Look at the sheet; take lines out of
the table, or mend their labels. Only --accept makes data of it: a new version of the
model's raw ClearML Dataset (ASL_raw, or flowers_raw of --name flowers), a child of the
newest one. `python -m pipelines.schedule --on-new-data` then trains on it.

There are photographs in the log only where scripts/demo runs with --log and
--log-photographs.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from data_prep.answer import add_json, answering
from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.figures import counted
from data_prep.model_name import DEFAULT, add_name
from data_prep.paths import data_home
from pipelines.monitoring import collection, request_log
from pipelines.tracking import dataset_versions, datasets
from pipelines.tracking.connection import ensure_clearml

COLLECTED_FILE = "collected.json"


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m pipelines.collect",
        __doc__,
        "--below 0.6 --limit 100",
    )
    parser.add_argument(
        "--log",
        type=Path,
        default=data_home() / request_log.LOG_FOLDER,
        help="folder of the request log",
    )
    # What is proposed
    add_name(parser, "whose answers are looked at, and whose raw Dataset they go into")
    parser.add_argument(
        "--below",
        type=float,
        default=0.6,
        help="confidence under which an answer is uncertain; 0: corrected ones only",
    )
    parser.add_argument("--limit", type=int, default=256, help="photographs at most")
    parser.add_argument(
        "--out",
        type=Path,
        default=data_home() / "collect",
        help="folder for sheet and table, one inside for each call",
    )
    # What becomes of it
    parser.add_argument(
        "--accept",
        type=Path,
        metavar="TABLE",
        help="turn the lines of this table into raw data",
    )
    parser.add_argument(
        "--delete",
        nargs="+",
        metavar="ID",
        default=[],
        help="delete entries, and from a new version of the raw Dataset what they "
        "have become there",
    )
    parser.add_argument(
        "--delete-before", metavar="DAY", help="delete all older entries: 2026-11-28"
    )
    add_json(parser, "the files of a proposal, the new Dataset, what was deleted")
    return parser


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    with answering(arguments()) as answer:
        if not args.log.is_dir():
            raise InputError(
                f"there is no request log in {args.log}; scripts/demo --log keeps one"
            )
        if args.delete or args.delete_before:
            answer.update(forget(args))
        elif args.accept:
            answer.update(accept(args))
        else:
            answer.update(show(args))


def show(args: argparse.Namespace) -> dict:
    """Propose, and write the sheet and the table; return what `main` answers."""
    if args.limit < 1 or not 0 <= args.below <= 1:
        raise InputError("--limit must be at least 1, --below between 0 and 1")
    known = collection.collected(args.log / COLLECTED_FILE)
    proposals = collection.propose(args.log, args.below, args.limit, known, args.name)
    if not proposals:
        raise InputError(
            f"nothing of the model {args.name} in {args.log} is corrected or below "
            f"{args.below:g}, and has a photograph; scripts/demo keeps those with "
            "--log-photographs"
        )
    folder = args.out / time.strftime("%Y%m%d-%H%M%S")
    paths = collection.write_sheets(proposals, folder)
    corrected = sum(one.why == collection.CORRECTED for one in proposals)
    photographs = counted(len(proposals), "photograph", "photographs")
    print(f"{photographs}, {corrected} of them corrected by people")
    for path in paths:
        print(f"  {path}")
    option = "" if args.name == DEFAULT else f"--name {args.name} "
    print("look at them, mend the table, then: python -m pipelines.collect", end=" ")
    print(f"{option}--accept\n  {paths[-1]}")
    return {
        "photographs": len(proposals),
        "corrected": corrected,
        "files": [str(path) for path in paths],
    }


def accept(args: argparse.Namespace) -> dict:
    """Make raw data of a table's lines; return what `main` answers."""
    labels = collection.read_table(args.accept)
    note = args.log / COLLECTED_FILE
    again = labels.keys() & collection.collected(note).keys()
    if again:
        raise InputError(
            f"{len(again)} of these were collected before, such as {min(again)}; take "
            "their lines away"
        )
    with tempfile.TemporaryDirectory(prefix="asl-collect-") as folder:
        count = collection.gather(args.log, labels, Path(folder), args.name)
        ensure_clearml()
        dataset_id, classes = dataset_versions.collect_raw(Path(folder), args.name)
    collection.remember(note, labels, dataset_id)
    raw = datasets.raw_name(datasets.prepared_name(args.name))
    photographs = counted(count, "photograph is", "photographs are")
    print(f"{photographs} data now, in a new version of {raw}:")
    if len(classes) == 1:
        print(
            f"warning: so far only {min(classes)} was collected; a folder of one class "
            "is no set, it counts once there is a second",
            file=sys.stderr,
        )
    print(dataset_id)
    return {"photographs": count, "dataset_id": dataset_id}


def forget(args: argparse.Namespace) -> dict:
    """Delete entries; of those that are data, say where they still are; return what
    `main` answers."""
    answer: dict = {"deleted": [], "not_in_the_log": [], "datasets": {}}
    if args.delete_before:
        days = request_log.delete_before(args.log, args.delete_before)
        answer["days"] = days
        print(f"the entries of {counted(days, 'day', 'days')} were deleted")
    known = collection.collected(args.log / COLLECTED_FILE)
    for id_ in args.delete:
        files = request_log.delete(args.log, id_)
        answer["deleted" if files else "not_in_the_log"].append(id_)
        print(f"{id_}: {'deleted' if files else 'not in the log'}")
    data = {id_: known[id_] for id_ in args.delete if id_ in known}
    if not data:
        return answer
    ensure_clearml()
    by_model = defaultdict(list)
    for id_, dataset_id in data.items():
        by_model[datasets.model_of_raw(dataset_id, args.name)].append(id_)
    for name, ids in by_model.items():
        if without := dataset_versions.forget_raw(ids, name):
            raw = datasets.raw_name(datasets.prepared_name(name))
            answer["datasets"][raw] = without
            print(f"without them: version {without} of {raw}; earlier versions")
            holding = sorted({data[id_] for id_ in ids})
            print("hold them until these are deleted: " + " ".join(holding))
    return answer


if __name__ == "__main__":
    main()
