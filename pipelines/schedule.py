"""Start the pipeline automatically: for new photographs, or at a time of day.

    python -m pipelines.schedule --on-new-data [--set train.epochs=30 ...]
    python -m pipelines.schedule --daily 02:30 --dataset-id ID|--raw DIR

Runs until it is stopped. Each start is a clone of one task of the pipeline, of the code
as it was when this command began, run by an agent of the queue ``services``. New
photographs are a new completed version of the ClearML Dataset ``ASL_raw`` (of another
model NAME, ``NAME_raw``); the clock is UTC. Further options are those of
pipelines.asl that say what is run.
"""

import argparse
import datetime

from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.stopping import until_stopped
from pipelines.orchestration import controller, run_options, steps
from pipelines.tracking.connection import ensure_clearml, report_from_threads
from pipelines.tracking.datasets import PROJECT, prepared_name, raw_name
from pipelines.tracking.task import pin_requirements

NAME = "schedule"


def arguments() -> argparse.ArgumentParser:
    parser = command_parser(
        "python -m pipelines.schedule",
        description="Start the pipeline on new photographs or by the clock.",
        parents=[run_options.run_arguments()],
        conflict_handler="resolve",
        example="--daily 02:30 --raw photographs",
    )
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument(
        "--on-new-data",
        action="store_true",
        help="at each new version of the raw Dataset",
    )
    when.add_argument("--daily", metavar="HH:MM", help="every day at this time (UTC)")
    parser.add_argument(
        "--now",
        action="store_true",
        help="with --daily: also start once at the beginning",
    )
    parser.add_argument(
        "--poll",
        type=float,
        default=1.0,
        metavar="MINUTES",
        help="with --on-new-data: how often to look (default 1)",
    )
    return parser


def watch(pipeline, minutes: float, name: str):
    """A scheduler that starts the pipeline on each new version of a model's raw
    Dataset."""
    from clearml.automation import TriggerScheduler

    scheduler = TriggerScheduler(
        pooling_frequency_minutes=minutes,
        force_create_task_name=NAME,
        force_create_task_project=PROJECT,
    )
    scheduler.add_dataset_trigger(
        name="new photographs",
        trigger_name=f"^{raw_name(prepared_name(name))}$",
        schedule_task_id=pipeline.id,
        schedule_queue=run_options.SERVICES,
        task_parameters={"Args/dataset_id": "${dataset.id}"},
    )
    return scheduler


def follow_the_clock(pipeline, time: datetime.time, now: bool):
    """A scheduler that starts the pipeline every day, unless it still runs."""
    from clearml.automation import TaskScheduler

    scheduler = TaskScheduler(
        force_create_task_name=NAME, force_create_task_project=PROJECT
    )
    scheduler.add_task(
        name="daily",
        schedule_task_id=pipeline.id,
        queue=run_options.SERVICES,
        day=1,
        hour=time.hour,
        minute=time.minute,
        single_instance=True,
        execute_immediately=now,
    )
    return scheduler


def wait_for_code_analysis() -> None:
    """Let ClearML finish looking at the repository.

    It kills a search that still runs when the program ends, which prints a traceback.
    """
    from clearml import Task

    Task.current_task().get_requirements()


@exit_2_on_input_error
def main() -> None:
    args = arguments().parse_args()
    steps.parse_settings(args.set)
    run_options.make_absolute(args)
    if args.on_new_data:
        if args.raw or args.dataset_id:
            raise InputError(
                "--on-new-data takes what is new, no --raw or --dataset-id"
            )
        if args.poll <= 0:
            raise InputError(f"--poll is {args.poll:g}; it must be above 0")
        if args.now:
            raise InputError("--now goes with --daily; leave it out")
        ensure_clearml()
        report_from_threads()
        pin_requirements()
        scheduler = watch(controller.draft(args), args.poll, args.name)
    else:
        run_options.check_source(args.raw, args.dataset_id)
        try:
            time = datetime.datetime.strptime(args.daily, "%H:%M").time()
        except ValueError:
            raise InputError(f"--daily {args.daily} is no time such as 02:30") from None
        ensure_clearml()
        report_from_threads()
        pin_requirements()
        scheduler = follow_the_clock(controller.draft(args), time, args.now)
    wait_for_code_analysis()
    # in place of ClearML's own handler, which tidies up and then goes on waiting
    with until_stopped():
        print("waiting; Ctrl-C stops it", flush=True)
        scheduler.start()


if __name__ == "__main__":
    main()
