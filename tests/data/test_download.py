"""Downloads through kagglehub, from a stand-in of Kaggle on this machine."""

import hashlib
import importlib.util
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from raw_sets import encoded, picture

from data_prep.paths import ROOT

needs_kagglehub = pytest.mark.skipif(
    importlib.util.find_spec("kagglehub") is None, reason="kagglehub is not installed"
)


def archive():
    """A set in Kaggle's nesting, as its service would send it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for n, label in enumerate("AB"):
            for i in range(12):
                name = f"asl_alphabet_train/asl_alphabet_train/{label}/{label}{i}.jpg"
                file.writestr(name, encoded(picture(100 * n + i)))
        file.writestr("notes.bin", random.Random(0).randbytes(4 << 20))
    return buffer.getvalue()


class Kaggle(ThreadingHTTPServer):
    """Speaks the two calls that a download needs.

    kagglehub knows localhost without a port only; so this plays the proxy on the way.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.archive = archive()
        self.cut_after = None  # bytes after which the next answer breaks off
        self.refuse_with = None  # status
        self.log = []


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        call = self.path.rsplit("/", 1)[-1]
        self.server.log.append(call)
        if self.server.refuse_with:
            return self.answer(b"{}", self.server.refuse_with)
        if call == "GetDataset":
            return self.answer(json.dumps({"currentVersionNumber": 3}).encode())
        self.answer(self.server.archive)

    def do_GET(self):  # the rest of a download
        self.server.log.append(self.headers["Range"])
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        self.answer(self.server.archive[start:], 206)

    def answer(self, body, status=200):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        cut = self.server.cut_after if len(body) > 1000 else None
        self.wfile.write(body[:cut])
        if cut:
            self.server.cut_after = None
            self.close_connection = True


@pytest.fixture
def kaggle():
    with Kaggle() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def download(kaggle, tmp_path):
    def run(name="asl-alphabet"):
        environment = {k: v for k, v in os.environ.items() if "CLEARML" not in k}
        environment |= {
            "ASL_HOME": str(tmp_path / "home"),
            "HOME": str(tmp_path),
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "http_proxy": "http://127.0.0.1:%d" % kaggle.server_address[1],
            "no_proxy": "127.0.0.1",
        }
        return subprocess.run(
            [sys.executable, "-m", "data_prep.download", name],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@needs_kagglehub
@pytest.mark.slow
def test_an_interrupted_download_goes_on_and_ends_as_a_dataset(
    download, kaggle, tmp_path
):
    kaggle.cut_after = 3 << 20
    broken = download()
    assert broken.returncode == 2 and "Traceback" not in broken.stderr
    assert "run the command again" in broken.stderr.splitlines()[-1]

    done = download()
    assert done.returncode == 0, done.stderr
    (resumed,) = [call for call in kaggle.log if call.startswith("bytes=")]
    assert int(resumed[6:-1]) >= 1 << 20, "it began anew"
    folder = Path(
        next(x for x in done.stdout.splitlines() if x.startswith("folder: "))[8:]
    )
    sums = (tmp_path / "home/raw/kaggle/asl-alphabet.sha256").read_text("utf-8")
    assert len(sums.splitlines()) == 25
    for line in sums.splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest

    calls = len(kaggle.log)
    again = download()
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
    assert "DownloadDataset" not in kaggle.log[calls:]


@needs_kagglehub
@pytest.mark.parametrize("status, remedy", [(403, "API token"), (500, "try again")])
def test_a_refusal_is_one_line_with_the_remedy(download, kaggle, status, remedy):
    kaggle.refuse_with = status
    done = download("sign-mnist")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert remedy in done.stderr.splitlines()[-1]


@needs_kagglehub
def test_without_a_network_one_line_says_what_to_do(download, kaggle):
    kaggle.shutdown()
    kaggle.server_close()
    done = download("flowers")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "check the network" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(
    importlib.util.find_spec("kagglehub") is not None, reason="kagglehub is installed"
)
def test_without_kagglehub_one_line_says_how_to_get_it(download):
    done = download()
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "pip install kagglehub" in done.stderr.splitlines()[-1]
