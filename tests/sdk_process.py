"""One process of ClearML's SDK that runs many pieces of Python.

Importing the SDK takes seconds. It keeps global state, so what makes tasks its own, by
`Task.init`, needs a process of its own, as `Place.show` gives it.
"""

import json
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = """
import contextlib, io, json, os, sys, traceback
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the SDK says at any time is no answer
from pipelines.tracking.connection import ensure_clearml, report_from_threads
ensure_clearml()
report_from_threads()
import clearml
names = {"json": json, "Dataset": clearml.Dataset, "Task": clearml.Task}
for line in sys.stdin:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            exec(json.loads(line), dict(names))
            failed = ""
        except BaseException:
            failed = traceback.format_exc()
    print(json.dumps([said.getvalue(), failed]), file=answers, flush=True)
"""


@contextmanager
def sdk_process(
    python: str, checkout: Path, environment: dict[str, str]
) -> Iterator[Callable[[str], str]]:
    """Give a function: run Python with ClearML ready; return the last line it prints.

    Args:
        python: The program.
        checkout: Whose code it runs.
        environment: Says which server it talks to; that stays as long as this lasts.
    """
    process = subprocess.Popen(
        [python, "-c", PROGRAM],
        cwd=checkout,
        env=environment | {"PYTHONPATH": str(checkout)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(program: str) -> str:
        print(json.dumps(textwrap.dedent(program)), file=process.stdin, flush=True)
        said, failed = json.loads(process.stdout.readline())
        assert not failed, said + failed
        return said.strip().splitlines()[-1]

    try:
        yield run
    finally:
        process.communicate(timeout=60)
