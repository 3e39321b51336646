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
import time
from pathlib import Path

if not __package__:  # started as a script, by an agent or by hand
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_prep.answer import add_json, answering
from data_prep.command_line import command_parser
from data_prep.errors import InputError, exit_2_on_input_error
from data_prep.model_name import add_name
from data_prep.paths import REQUIREMENTS, ROOT, data_home
from data_prep.progress import warn
from data_prep.sources import find_images
from pipelines.clearml_server.home import home_folder
from pipelines.orchestration import (
    class_check,
    presets,
    run_report,
    step_cache,
    steps,
)
from pipelines.orchestration.run_display import RunDisplay
from pipelines.tracking import checkout
from pipelines.tracking.agents import check_agents
from pipelines.tracking.connection import (
    ensure_clearml,
    is_configured,
    report_from_threads,
)
from pipelines.tracking.options import as_list
from pipelines.tracking.task import (
    ERROR,
    OUTPUTS,
    PROJECT,
    RESULT,
    exit_code_for_agents,
    set_output,
    warnings_of,
)

NAME = "asl"
SERVICES = "services"  # the queue of agents that run controllers
# The options that say what is run, not where the controller runs.
PARAMETERS = (
    "raw",
    "dataset_id",
    "preset",
    "test_set",
    "val_set",
    "name",
    "external",
    "set",
    "url",
    "http_url",
    "queue",
)


def run_arguments() -> argparse.ArgumentParser:
    """The options of one run, which other commands that start the pipeline have too."""
    parser = command_parser(
        "python -m pipelines.asl",
        description="From photographs to a verified server, as one ClearML pipeline.",
        example="--local --raw photographs --set train.epochs=30",
    )
    # what
    parser.add_argument(
        "--raw", nargs="+", metavar="DIR", help="folders of class folders of images"
    )
    parser.add_argument(
        "--raw-dataset-id",
        "--dataset-id",
        dest="dataset_id",
        metavar="ID",
        default="",
        help="a raw ClearML Dataset instead",
    )
    presets.add_preset(parser)
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print all options of all steps and where each comes from, do nothing "
        "else",
    )
    for split in ("test", "val"):
        parser.add_argument(
            f"--{split}-set",
            nargs="+",
            metavar="DIR",
            default=[],
            help=f"raw folders that are the {split} split, as they are (default: a "
            "part of --raw)",
        )
    add_name(parser, "that is made; with a --preset the default is its name")
    parser.add_argument(
        "--external",
        nargs="+",
        metavar="DIR",
        default=[],
        help="other people's photographs, which then decide what is promoted",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        metavar="STEP.OPTION=VALUE",
        default=[],
        help="options of steps, such as train.epochs=30",
    )
    # which server
    parser.add_argument(
        "--url",
        default="",
        help="host:port (gRPC) of the Triton server to deploy to (default: the "
        "scripts/serve on the model repository, if it runs)",
    )
    parser.add_argument("--http-url", default="", help="host:port (HTTP) of the same")
    # where
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
    parser.add_argument(
        "--queue",
        default="default",
        help="queue of the steps' agents (default default)",
    )
    add_verbose(parser)
    return parser


def arguments() -> argparse.ArgumentParser:
    parser = run_arguments()
    add_json(parser, "the ClearML tasks of the steps, and the log file")
    return parser


def add_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="show all that ClearML and the steps print, too (default: it goes into a "
        "log file, which is named)",
    )


def log_file(name: str) -> Path:
    """The file that keeps what this run prints."""
    moment = time.strftime("%Y-%m-%d_%H.%M.%S")
    return data_home() / "logs" / f"{name}-{moment}-{os.getpid()}.log"


def run(
    raw: list[str],
    dataset_id: str,
    settings: dict[str, dict[str, str]],
    queue: str | None,
    leave_out: tuple[str, ...] = (),
    display: RunDisplay | None = None,
) -> dict[str, str]:
    """Run the pipeline and wait for its end.

    Args:
        raw: Raw folders, or none.
        dataset_id: Of raw images in ClearML, instead of folders.
        settings: Options by step, as `steps.parse_settings` returns them.
        queue: Of the agents that run the steps; None runs them here.
        leave_out: Steps at the end that are not wanted.
        display: Told of each step; None for one that hides nothing.

    Returns:
        The ClearML task id of each step.

    Raises:
        InputError: A step failed, or deploy would refuse the model; the reason is in
            the message.
    """
    check_source(raw, dataset_id)
    ensure_clearml()
    report_from_threads()
    if queue is not None:
        check_agents(queue)
        name_remote()
    from clearml import PipelineController, Task
    from clearml.automation import ClearmlJob

    display = display or RunDisplay()
    # scripts/agents, on the embedded server, shares our model repository
    is_here = queue is None or not is_configured(home_folder())

    def why_undeployable(pipeline) -> str:
        """Why deploy would refuse a model of the prepared classes; "" if not."""
        task = Task.get_task(pipeline.get_pipeline_dag()["prepare"].job.task_id())
        try:
            class_check.check_classes(class_check.prepared(task), settings, is_here)
        except InputError as error:
            set_output(Task.current_task(), ERROR, str(error))
            return str(error)
        return ""

    refused = []

    def before(pipeline, node, parameters: dict) -> bool:
        if not can_run(node, parameters):
            return False
        if node.name == "train" and (reason := why_undeployable(pipeline)):
            refused.append(reason)
            return False
        display.start(node.name)
        return True

    def after(_, node) -> None:
        display.end(node.name, note(node))

    os.chdir(ROOT)  # ClearML starts local steps in the current folder
    ClearmlJob.register_hashing_callback(step_cache.compare_by_content)
    pipeline = PipelineController(
        name=NAME,
        project=PROJECT,
        # Steps stay in the project itself, where deploy and people look for them.
        target_project=PROJECT,
        add_run_number=False,
        abort_on_failure=True,
        pool_frequency=0.005 if queue is None else 0.02,  # minutes between two looks
    )
    source = {"raw": all_raw(raw, settings)} if raw else {"dataset_id": dataset_id}
    previous = []
    for name in (name for name in steps.STEPS if name not in leave_out):
        options = (source if name == "validate" else {}) | settings[name]
        parameters = steps.parameters(name, options)
        pipeline.add_step(
            name=name,
            parents=previous,
            base_task_factory=lambda node: steps.make_task(node.name),
            clone_base_task=False,
            parameter_override=parameters,
            cache_executed_step=step_cache.CONTENT in parameters,
            execution_queue=queue,
            pre_execute_callback=before,
            post_execute_callback=after,
        )
        previous = [name]
    try:
        pipeline.start_locally(run_pipeline_steps_locally=queue is None)
    except KeyboardInterrupt:
        pipeline.stop(mark_aborted=True)  # the running step as well
        raise
    for reason in refused:
        pipeline.task.mark_failed(status_reason=reason, force=True)
        raise InputError(reason)
    return outcome(pipeline)


def all_raw(raw: list[str], settings: dict[str, dict]) -> list[str]:
    """Raw folders, and the sets that are splits, which are checked like the others."""
    prepare = settings["prepare"]
    given = (as_list(prepare.get(name)) for name in ("val_set", "test_set"))
    return [*raw, *(folder for folders in given for folder in folders)]


def check_raw(raw: list[str], settings: dict[str, dict[str, str]]) -> None:
    """Say at once what is wrong with folders, and with their classes.

    Raises:
        InputError: One holds no images, or deploy would refuse these classes.
    """
    found = {image.label for image in find_images(raw).images}
    classes = class_check.chosen(found, settings)
    class_check.check_classes(classes, settings, is_here=True)


def check_source(raw: list[str] | None, dataset_id: str) -> None:
    if bool(raw) == bool(dataset_id):
        raise InputError(
            "give raw images either by --raw DIR or by --raw-dataset-id ID"
        )


def can_run(node, parameters: dict) -> bool:
    """Leave verification out where the model's raw photographs are not known."""
    known = node.name != "verify" or parameters["Args/dataset_id"]
    if not known:
        print(
            "verify is left out: the promoted model's dataset was not prepared from a "
            "registered raw Dataset"
        )
    return bool(known)


def outcome(pipeline) -> dict[str, str]:
    """Read how the steps ended.

    Raises:
        InputError: One did not complete; the reason is in the message.
    """
    ids = {}
    for node in pipeline.get_pipeline_dag().values():
        if node.name == "verify" and node.skip_job and "deploy" in ids:
            continue
        if reason := why_incomplete(node):
            raise InputError(reason)
        ids[node.name] = node.job.task_id()
    return ids


def why_incomplete(node) -> str:
    """Say why a step has not completed, "" if it has."""
    from clearml import Task

    if node.job is None:
        return f"pipeline step {node.name} did not run"
    task = Task.get_task(task_id=node.job.task_id())
    status = task.get_status()
    if status in ("completed", "published"):
        return ""
    reason = task.get_parameter(f"{OUTPUTS}/{ERROR}")
    reason = reason or task.data.status_reason or task.data.status_message
    word = "was stopped" if status == "stopped" else status
    return f"pipeline step {node.name} {word}: {reason} (task {task.id})"


def note(node) -> str:
    """Keep on the controller's task what a step shows, or why it failed: an agent ends
    the process soon after.

    Returns:
        What it came to, in a line.
    """
    from clearml import Task

    task = Task.current_task()
    if reason := why_incomplete(node):
        set_output(task, ERROR, reason)
        return "failed"
    # afresh: the controller's own copy is from before the step ran
    step = Task.get_task(task_id=node.job.task_id())
    for text in warnings_of(step):
        warn(text)
    try:
        run_report.show(node.name, step, task.get_logger())
    except InputError as error:  # a picture less does not end the run
        warn(str(error))
    result = step.get_parameter(f"{OUTPUTS}/{RESULT}") or "done"
    return f"{result} (as in an earlier run)" if node.job.is_cached_task() else result


def enqueue(args: argparse.Namespace) -> str:
    """Hand the whole pipeline to an agent; return the address of its page."""
    check_source(args.raw, args.dataset_id)
    from clearml import Task

    task = draft(args)
    Task.enqueue(task, queue_name=SERVICES)
    return task.get_output_log_web_page()


def draft(args: argparse.Namespace):
    """Create the controller's ClearML task, for an agent to run."""
    ensure_clearml()
    name_remote()
    from clearml import PipelineController, Task

    os.chdir(ROOT)  # the script's path is relative
    values = {key: getattr(args, key) for key in PARAMETERS}
    pipeline = PipelineController.create(
        project_name=PROJECT,
        task_name=NAME,
        script="pipelines/asl.py",
        requirements_file=REQUIREMENTS,
        argparse_args=[(key, str(value)) for key, value in values.items() if value],
        add_run_number=False,
    )
    return Task.get_task(task_id=pipeline.id)


def name_remote() -> None:
    """Make sure that tasks name a git remote, from which agents get the code.

    Raises:
        InputError: There is none that agents of another machine could reach.
    """
    if not checkout.remote() and is_configured(home_folder()):
        raise InputError(
            f"{ROOT} has no git remote, from which agents get the code; add one with "
            "git remote add origin ADDRESS, and push"
        )
    os.environ |= checkout.lend_remote(dict(os.environ))


def options() -> argparse.Namespace:
    """The command line's options; where an agent runs this, those of the task."""
    all_layers(arguments().parse_args())  # misspelt ones, before anything is started
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


def make_absolute(args: argparse.Namespace) -> None:
    """Let folders keep their meaning where steps run in another current folder."""
    for name in ("raw", "test_set", "val_set", "external"):
        folders = getattr(args, name) or []
        setattr(args, name, [str(Path(folder).resolve()) for folder in folders])


def all_settings(args: argparse.Namespace) -> dict[str, dict[str, str]]:
    """The options of all steps: those of --set before those of the whole run.

    Raises:
        InputError: --set is misspelt.
    """
    return presets.resolved(all_layers(args))


def all_layers(args: argparse.Namespace) -> dict[str, dict[str, dict]]:
    """The origins of step options, each with its options; later ones override earlier.

    Raises:
        InputError: --set or a preset is misspelt.
    """
    preset = presets.load(args.preset)
    urls = {"url": args.url, "http_url": args.http_url}
    given = {
        "prepare": {"test_set": args.test_set, "val_set": args.val_set},
        "evaluate": {"external": args.external},
        "promote": {"external": args.external},
        "deploy": urls,
        "verify": urls,
    }
    return presets.layers(preset, args.name, args.set, {"command line": given})


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
            check_raw(all_raw(args.raw, settings), settings)
        if args.remote:
            answer["page"] = enqueue(args)
            print(f"pipeline: {answer['page']}")
            return
        queue = None if args.local else args.queue
        # without an address, verify starts a server, which agents may not have
        alone = queue is not None and not settings["verify"].get("url")
        leave_out = ("verify",) if alone else ()
        # an agent keeps everything that is printed on the controller's task
        shows_all = args.verbose or not Task.running_locally()
        display = RunDisplay(None if shows_all else log_file(NAME))
        with display.quiet():
            ids = run(
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
