"""Pipelines of the real SDK on the embedded server, run locally.

The steps of one are tasks as strangers make them, which take 10 s each to close, since
they report from processes. Those of the others report from threads, as ours do.
"""

import pytest

pytestmark = pytest.mark.slow

STEP = """
import argparse, sys
from pipelines.tracking.connection import ensure_clearml
ensure_clearml()
from clearml import Task
parser = argparse.ArgumentParser()
parser.add_argument("--value", type=int, default=1)
parser.add_argument("--source", default="")
parser.add_argument("--fail", type=int, default=0)
task = Task.init("Pipe", "step", auto_connect_frameworks=False,
                 auto_resource_monitoring=False)
options = parser.parse_args()
if options.fail:
    sys.exit("this step fails")
task.upload_artifact("out", {"v": options.value * 10}, wait_on_upload=True)
task.close()
"""
PIPELINE = """
from clearml import PipelineController, Task
def factory(name):
    return lambda node: Task.create(project_name="Pipe", task_name=name,
        script=str(Path("step.py").resolve()), add_task_init_call=False)
pipeline = PipelineController(name="letters", project="Pipe", version="1.0")
pipeline._pool_frequency = 0.01
pipeline.add_parameter("value", 7)
pipeline.add_step("one", base_task_factory=factory("one"),
    parameter_override={"Args/value": "${pipeline.value}", "Args/fail": FAIL})
pipeline.add_step("two", parents=["one"], base_task_factory=factory("two"),
    parameter_override={"Args/value": "${one.parameters.Args/value}",
                        "Args/source": "${one.artifacts.out.url}"})
pipeline.start_locally(run_pipeline_steps_locally=True)
steps = pipeline.get_pipeline_dag()
tasks = {name: Task.get_task(node.executed or node.job.task_id())
         for name, node in steps.items() if node.job}
show({
    "steps": {name: node.status for name, node in steps.items()},
    "status": {name: task.status for name, task in tasks.items()},
    "parameters": {name: task.get_parameters()
                   for name, task in tasks.items()},
    "out": {name: task.artifacts["out"].get() for name, task in tasks.items()
            if "out" in task.artifacts},
    "url": {name: task.artifacts["out"].url for name, task in tasks.items()
            if "out" in task.artifacts},
    "pipeline": Task.get_task(pipeline.id).status,
})
"""


@pytest.fixture(scope="module")
def quick(embedded):
    """Environment of programs whose tasks, and whose steps' tasks, close at once."""
    conf = (embedded.home / "clearml.conf").read_text()
    more = "sdk.development.report_use_subprocess: false\n"
    (embedded.folder / "quick.conf").write_text(conf + more)
    return {"CLEARML_CONFIG_FILE": str(embedded.folder / "quick.conf")}


@pytest.fixture
def step(embedded):
    (embedded.folder / "step.py").write_text(STEP)


def test_parameters_and_artifacts_reach_the_next_step(embedded, step):
    shown = embedded.run(PIPELINE.replace("FAIL", "0"))
    assert shown["pipeline"] == "completed"
    assert shown["status"] == {"one": "completed", "two": "completed"}
    assert shown["parameters"]["two"]["Args/value"] == "7"
    assert shown["parameters"]["two"]["Args/source"] == shown["url"]["one"]
    assert shown["out"] == {"one": {"v": 70}, "two": {"v": 70}}


def test_a_failing_step_fails_the_pipeline_and_skips_the_rest(embedded, step, quick):
    shown, _ = embedded.run(PIPELINE.replace("FAIL", "1"), check=False, **quick)
    assert shown["pipeline"] == "failed"
    assert shown["steps"] == {"one": "failed", "two": "skipped"}
    assert shown["status"] == {"one": "failed"}


def test_function_steps_pass_values_and_are_cached(embedded, quick):
    program = """
        from clearml import PipelineController, Task
        def one(v):
            return int(v) + 1
        def two(x):
            return int(x) * 2
        pipeline = PipelineController(name="functions", project="Pipe", version="1")
        pipeline._pool_frequency = 0.01
        pipeline.add_parameter("v", 5)
        pipeline.add_function_step("one", one, function_return=["r"],
            function_kwargs=dict(v="${pipeline.v}"), cache_executed_step=True)
        pipeline.add_function_step("two", two, function_return=["r"],
            function_kwargs=dict(x="${one.r}"))
        pipeline.start_locally(run_pipeline_steps_locally=True)
        steps = pipeline.get_pipeline_dag()
        show({name: [node.status, node.executed, Task.get_task(node.executed)
                     .get_parameters()["return/r"]] for name, node in steps.items()})
        """
    first, second = (embedded.run(program, **quick) for _ in range(2))
    assert [first[name][::2] for name in ("one", "two")] == [
        ["completed", "6"],
        ["completed", "12"],
    ]
    assert second["one"][:2] == ["cached", first["one"][1]]
    assert second["two"][0] == "completed" and second["two"][1] != first["two"][1]


def test_a_decorated_pipeline_runs_its_components_as_tasks(embedded, quick):
    program = """
        from clearml import PipelineDecorator, Task
        @PipelineDecorator.component(return_values=["total"])
        def add(a, b):
            return int(a) + int(b)
        @PipelineDecorator.component(return_values=["square"])
        def square(x):
            return int(x) ** 2
        @PipelineDecorator.pipeline(name="decorated", project="Pipe", version="1",
                                    pool_frequency=0.01)
        def run(a=1, b=2):
            return square(add(a, b)) + 0
        if __name__ == "__main__":
            PipelineDecorator.run_locally()
            result = run(a=3, b=4)
            show({"result": result, "steps": sorted(
                Task.get_task(i).name for i in Task.query_tasks(
                    task_filter={"search_hidden": True, "_allow_extra_fields_": True,
                                 "name": "^(add|square)$"}))})
        """
    shown = embedded.run(program, **quick)
    assert shown == {"result": 49, "steps": ["add", "square"]}
