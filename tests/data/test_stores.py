"""Datasets in stores of the user's choice, on a stand-in of S3 on this machine."""

import importlib.util
import os
import subprocess
import sys

import pytest
from raw_sets import write_raw_set

from data_prep.paths import ROOT

pytestmark = pytest.mark.slow
has_s3 = all(importlib.util.find_spec(name) for name in ("boto3", "moto", "flask_cors"))
needs_s3 = pytest.mark.skipif(not has_s3, reason="boto3 and moto are not installed")
KEY, SECRET = "the-name-of-a-key", "a-secret-that-no-log-may-show"


def run(home, *code):
    """Run Python with the embedded ClearML server of `home`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CLEARML", "AWS"))}
    return subprocess.run(
        [sys.executable, *map(str, code)],
        env={**kept, "ASL_HOME": str(home), "HOME": str(home)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture
def store():
    """The address of an empty S3 bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    ).create_bucket(Bucket="photographs")
    yield f"{host}:{port}"
    server.stop()


PROGRAM = """if True:
    import os, runpy, sys
    from pathlib import Path
    from pipelines.tracking.connection import ensure_clearml

    raw, store, key, secret = sys.argv[1:]
    ensure_clearml()
    conf = Path(os.environ["CLEARML_CONFIG_FILE"])
    mine = Path(raw).with_name("mine.conf")
    mine.write_text(conf.read_text() + '''
        sdk.aws.s3.credentials: [{host: "%s", bucket: photographs, secure: false,
            region: us-east-1, key: "%s", secret: "%s"}]
    ''' % (store, key, secret))
    os.environ["CLEARML_CONFIG_FILE"] = str(mine)
    place = f"s3://{store}/photographs"
    sys.argv = ["validate", "--raw", raw, "--register", "--output-uri", place]
    runpy.run_module("data_prep.validate", run_name="__main__")

    from clearml import Dataset

    (found,) = Dataset.list_datasets("ASL", only_completed=True)
    dataset = Dataset.get(found["id"])
    photographs = Path(dataset.get_local_copy()).rglob("*.jpg")
    print(len(list(photographs)), dataset.get_default_storage())
"""


@needs_s3
def test_a_set_goes_to_an_s3_store_and_comes_back(store, tmp_path):
    raw = write_raw_set(tmp_path / "raw", count=3)
    done = run(tmp_path, "-c", PROGRAM, raw, store, KEY, SECRET)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"9 s3://{store}/photographs"
    assert SECRET not in done.stdout + done.stderr


def refusal(tmp_path, place):
    """The one line by which preparation refuses a place, before any work."""
    raw = write_raw_set(tmp_path / "raw", count=3)
    options = ("--raw", raw, "--output-uri", place)
    done = run(tmp_path, "-m", "data_prep.prepare", *options)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("runs/*/prepared*"))
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert line.startswith(f"error: --output-uri {place} ")
    return line


@needs_s3
def test_a_store_without_keys_is_refused_before_any_work(store, tmp_path):
    line = refusal(tmp_path, f"s3://{store}/photographs")
    assert "cannot be written" in line and "check the address and the keys" in line


@pytest.mark.skipif(has_s3, reason="boto3 is installed")
def test_without_boto3_one_line_says_how_to_get_it(tmp_path):
    assert "pip install boto3" in refusal(tmp_path, "s3://127.0.0.1:9/photographs")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = refusal(tmp_path, f"file://{tmp_path}/file/store")
    assert "cannot be made (Not a directory)" in line
