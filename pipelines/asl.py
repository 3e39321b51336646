"""The whole pipeline, each step a ClearML task.

    validate -> prepare -> train -> evaluate -> promote -> deploy -> verify

    python -m pipelines.asl --raw DIR --local             on this machine
    python -m pipelines.asl --raw DIR --queue default       steps on agents
    python -m pipelines.asl --raw DIR --remote              its controller as well

Step options are set by --set, such as --set train.model=resnet18 prepare.image-size=96.
In the web UI, this and the other options are parameters of the pipeline. A step before
deployment is taken from an earlier run if code, input and options are the same
(pipelines/orchestration/step_cache.py). What promote chooses is deployed: this run's
model, or, if that is no better, the one that serves already.
"""

import argparse
import os
import sys
from pathlib import Path

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep.answer import add_json, answering
from data_prep.errors import exit_2_on_input_error
from data_prep.sources import name_folders
from pipelines.orchestration import class_check, controller, presets
from pipelines.orchestration.run_display import RunDisplay, log_file
from pipelines.orchestration.run_options import (
    SERVICES,
    add_verbose,
    all_layers,
    all_settings,
    check_source,
    make_absolute,
    run_arguments,
)
from pipelines.tracking.connection import ensure_clearml, report_from_threads
from pipelines.tracking.task import exit_code_for_agents


def arguments() -> argparse.ArgumentParser:
    parser = run_arguments()
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print all options of all steps and where each comes from, do nothing "
        "else",
    )
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--local", action="store_true", help="run the steps on this machine, one by one"
    )
    place.add_argument(
        "--remote",
        action="store_true",
        help=f"run the controller on an agent too, of the queue {SERVICES}, and do not "
        "wait for it",
    )
    add_verbose(parser)
    add_json(parser, "the ClearML tasks of the steps, and the log file")
    return parser


def options() -> argparse.Namespace:
    """The command line's options; where an agent runs this, those of the task."""
    args = arguments().parse_args()
    all_layers(args)  # misspelt ones, before anything is started
    if "CLEARML_TASK_ID" not in os.environ:
        check_source(args.raw, args.dataset_id)
        name_folders(args.raw or ())  # are they there?
    ensure_clearml()
    report_from_threads()
    from clearml import Task

    if not Task.running_locally():
        Task.init(auto_resource_monitoring=False)
    # Only now does ClearML see it: to record the options, or to replace them.
    args = arguments().parse_args()
    if Task.running_locally():
        presets.locate(presets.load(args.preset), args)
        make_absolute(args)
    return args


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    if args.print_config:
        with answering(arguments()) as answer:
            answer.update(presets.configuration(all_layers(args)))
            print(presets.describe(answer))
        return
    with answering(arguments()) as answer, exit_code_for_agents():
        args = options()
        from clearml import Task

        settings = all_settings(args)
        if args.local and args.raw:
            class_check.check_raw(controller.all_raw(args.raw, settings), settings)
        if args.remote:
            answer["page"] = controller.enqueue(args)
            print(f"pipeline: {answer['page']}")
            return
        queue = None if args.local else args.queue
        # without an address, verify starts a server, which agents may not have
        alone = queue is not None and not settings["verify"].get("url")
        leave_out = ("verify",) if alone else ()
        # an agent keeps everything that is printed on the controller's task
        shows_all = args.verbose or not Task.running_locally()
        display = RunDisplay(None if shows_all else log_file(controller.NAME))
        with display.quiet():
            ids = controller.run(
                raw=args.raw or [],
                dataset_id=args.dataset_id,
                settings=settings,
                queue=queue,
                leave_out=leave_out,
                display=display,
            )
        answer.update(steps=ids, log=str(display.log or ""))
        for name, task_id in ids.items():
            print(f"{name}: {task_id}")
        if display.log:
            print(f"everything that was printed: {display.log}")


if __name__ == "__main__":
    main()
