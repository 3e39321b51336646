"""The command line of the client: what it prints and how it ends."""

import contextlib
import csv
import functools
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from client_command import PROGRAM, ask, ask_here, expected_lines
from matrix_model import expect

from pipelines.repository import versions
from pipelines.serving.triton_server import pick_ports

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_one_line_a_photograph(protocol, server, artifacts, photographs):
    paths = list(photographs.values())

    done = ask(server, "--image", *paths, protocol=protocol)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected_lines(artifacts, paths)
    version = versions.current(server.repository)["version"]
    assert done.stderr == f"model asl, version {version}\n"


def test_more_photographs_than_fit_into_one_request(server, artifacts, photographs):
    paths = list(photographs.values()) * 20

    done = ask(server, "--image", *paths)

    assert done.stdout.splitlines() == expected_lines(artifacts, paths)


def test_top_asks_for_the_next_best_letters_too(server, artifacts, photographs):
    path = photographs["tall.png"]

    done = ask(server, "--image", path, "--top", "3")

    letters = done.stdout.strip().partition(": ")[2].split(", ")
    order = np.argsort(-expect(artifacts, [path.read_bytes()])[0])[:3]
    labels = (artifacts / "classes.txt").read_text().split()
    assert [letter.split(" ")[0] for letter in letters] == [labels[i] for i in order]


def test_json_holds_answers_and_errors_in_the_order_asked(
    server, artifacts, photographs, broken
):
    asked = [photographs["wide.jpg"], broken["text.jpg"], photographs["tall.png"]]

    done = ask(server, "--json", "--image", *asked)

    records = json.loads(done.stdout)
    assert done.returncode == 2
    assert [record["image"] for record in records] == [str(path) for path in asked]
    row = expect(artifacts, [asked[0].read_bytes()])[0]
    labels = (artifacts / "classes.txt").read_text().split()
    assert records[0]["predicted_class"] == labels[row.argmax()]
    assert records[0]["confidence"] == pytest.approx(row.max(), abs=1e-5)
    assert [records[0]["all_predictions"][x] for x in labels] == pytest.approx(
        row.tolist(), abs=1e-5
    )
    assert records[0]["model"]["name"] == "asl"
    assert int(records[0]["model"]["version"]) >= 1
    assert records[1]["error"].startswith("broken image: ")


def test_a_file_name_that_is_no_utf_8_is_shown_with_its_bytes(
    server, photographs, tmp_path
):
    path = os.fsencode(tmp_path) + b"/\xf1.jpg"
    shutil.copy(photographs["wide.jpg"], path)

    done = ask(server, "--image", path, photographs["wide.jpg"])

    first, second = done.stdout.splitlines()
    assert done.returncode == 0
    assert "\\udcf1.jpg: " in first
    assert first.rpartition(": ")[2] == second.rpartition(": ")[2]


def test_the_others_are_answered_when_some_cannot_be(
    server, artifacts, photographs, broken
):
    good = [photographs["wide.jpg"], photographs["tall.png"]]
    asked = [good[0], broken["cut.jpg"], "missing.jpg", broken["empty.png"], good[1]]

    done = ask(server, "--image", *asked)

    assert done.returncode == 2
    assert done.stdout.splitlines() == expected_lines(artifacts, good)
    errors = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert len(errors) == 3
    assert any("cut.jpg: broken image: the JPEG is truncated" in x for x in errors)
    assert any("empty.png: broken image: the file is empty" in x for x in errors)
    assert "error: missing.jpg: No such file or directory" in errors


def test_folders_globs_and_standard_input_are_taken(
    server, artifacts, photographs, tmp_path
):
    below = tmp_path / "set" / "below"
    below.mkdir(parents=True)
    shutil.copy(photographs["wide.jpg"], below / "b.JPG")
    shutil.copy(photographs["tall.png"], tmp_path / "set" / "a.png")
    (tmp_path / "set" / "notes.txt").write_text("no photograph")
    asked = [tmp_path / "set", tmp_path / "set" / "*.p?g"]

    done = ask(server, "--image", *asked)

    wanted = [tmp_path / "set" / "a.png", below / "b.JPG"]
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected_lines(artifacts, wanted)

    with open(photographs["wide.jpg"], "rb") as file:
        done = ask(server, "--image", "-", stdin=file)
    line = expected_lines(artifacts, [photographs["wide.jpg"]])[0]
    assert done.stdout.strip() == "-: " + line.rpartition(": ")[2]


def test_an_empty_folder_is_named(server, photographs, tmp_path):
    done = ask(server, "--image", tmp_path, photographs["wide.jpg"])

    assert done.returncode == 2
    assert "no photographs" in done.stderr and str(tmp_path) in done.stderr
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_many_requests_at_once_keep_the_order(
    protocol, server, artifacts, photographs, broken
):
    paths = list(photographs.values()) * 10
    options = ["--batch-size", 3, "--concurrency", 4]

    done = ask(
        server, *options, "--image", *paths, broken["cut.jpg"], protocol=protocol
    )

    assert done.returncode == 2
    assert done.stdout.splitlines() == expected_lines(artifacts, paths)
    assert re.search(r"41 answered, [0-9.]+ photographs/s", done.stderr)


def test_below_the_threshold_an_answer_is_uncertain(server, artifacts, photographs):
    path = photographs["wide.jpg"]
    best = expect(artifacts, [path.read_bytes()])[0].max()

    for threshold, uncertain in ((best - 0.01, False), (min(1, best + 0.01), True)):
        done = ask_here(server, "--image", path, "--threshold", threshold)
        assert ("uncertain (" in done.stdout) == uncertain


def test_csv_is_a_table_with_a_column_a_class(server, artifacts, photographs, broken):
    done = ask(server, "--csv", "--image", photographs["wide.jpg"], broken["text.jpg"])

    first, second = csv.DictReader(io.StringIO(done.stdout))
    row = expect(artifacts, [photographs["wide.jpg"].read_bytes()])[0]
    labels = (artifacts / "classes.txt").read_text().split()
    assert first["predicted_class"] == labels[row.argmax()]
    assert [float(first[x]) for x in labels] == pytest.approx(row.tolist(), abs=1e-5)
    assert second["error"].startswith("broken image")


def test_a_film_is_told_letter_by_letter_and_recorded(server, tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / "in.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48)
    )
    for _ in range(12):
        writer.write(np.full((48, 64, 3), 120, np.uint8))
    writer.release()

    out = tmp_path / "out.mp4"
    done = ask(server, "--video", tmp_path / "in.avi", "--record", out)

    assert done.returncode == 0, done.stderr
    assert re.match(r" *0.00 s  \w+ \(", done.stdout)
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT) == 12

    done = ask(server, "--video", photographs_of_nothing(tmp_path))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def photographs_of_nothing(folder):
    path = folder / "text.mp4"
    path.write_text("this is no film")
    return path


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize(
    "options",
    [["--url", "127.0.0.1:1"], ["--url", "no.such.host.invalid:8001"], ["--ssl"]],
)
def test_without_a_server_there_is_one_line_and_code_3(
    options, protocol, server, photographs
):
    photograph = photographs["wide.jpg"]
    done = ask_here(server, "--image", photograph, *options, protocol=protocol)

    assert (done.returncode, done.stdout) == (3, "")
    assert "no Triton server answers at" in done.stderr.splitlines()[-1]
    refused = "127.0.0.1:1" in options
    assert (f"by {protocol} (connection refused);" in done.stderr) == refused
    assert "Traceback" not in done.stderr


def ask_nobody(*options, protocol="grpc"):
    nowhere = SimpleNamespace(grpc_url="127.0.0.1:1", http_url="127.0.0.1:1")
    return ask_here(nowhere, *options, protocol=protocol)


def test_a_film_that_is_missing_is_told_before_a_server_is_asked():
    done = ask_nobody("--video", "missing.mp4")

    assert done.returncode == 2
    assert done.stderr == "error: --video missing.mp4: No such file or directory\n"


@pytest.mark.parametrize("option", ["--top=0", "--url=localhost:99999", "--tpo=1"])
def test_a_mistake_in_an_option_is_one_line(option):
    done = ask_nobody("--image", "a.jpg", option)

    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_files_that_are_missing_are_told_before_a_server_is_asked(tmp_path):
    done = ask_nobody("--image", "missing.jpg", tmp_path)

    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: {tmp_path}: no photographs (.jpg, ")
    assert second == "error: missing.jpg: No such file or directory"

    (tmp_path / "there.jpg").write_text("read by the server only")
    done = ask_nobody("--json", "--image", "missing.jpg", tmp_path)
    assert done.returncode == 3
    assert [one["image"] for one in json.loads(done.stdout)] == ["missing.jpg"]


@pytest.mark.parametrize("protocol, port", [("grpc", 8001), ("http", 8000)])
@pytest.mark.parametrize("url", ["localhost", "http://localhost", "::1", "[::1]", ":1"])
def test_an_address_without_a_port_is_refused(url, protocol, port):
    done = ask_nobody("--image", "a.jpg", "--url", url, protocol=protocol)

    assert done.returncode == 2
    said = f": give host:port, such as localhost:{port} (see client.py --help)\n"
    assert done.stderr.endswith(said)


def test_a_server_that_is_away_for_a_moment_is_waited_for(
    server, artifacts, photographs
):
    (port,) = pick_ports(0)
    path = photographs["wide.jpg"]
    with ThreadPoolExecutor() as pool:
        options = ["--image", path, "--retries", 8]
        waiting = pool.submit(ask, server, "--url", f"127.0.0.1:{port}", *options)
        time.sleep(2)
        with forwarding(port, server.grpc_url):
            done = waiting.result()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected_lines(artifacts, [path])


@contextlib.contextmanager
def forwarding(port, url):
    """Pass what comes to a port on to a server."""

    def copy(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                inside, _ = listener.accept()
                host, _, number = url.rpartition(":")
                outside = socket.create_connection((host, int(number)))
                for pair in ((inside, outside), (outside, inside)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

    listener = socket.create_server(("127.0.0.1", port))
    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        listener.close()


def test_a_copy_of_the_folder_answers_anywhere(
    server, artifacts, photographs, tmp_path
):
    folder, path = tmp_path / "copy", photographs["wide.jpg"]
    shutil.copytree(PROGRAM.parent, folder)
    line = [sys.executable, "client.py", "--url", server.grpc_url, "--image", str(path)]
    run = functools.partial(
        subprocess.run, line, cwd=folder, capture_output=True, text=True, timeout=60
    )

    assert run().stdout.splitlines() == expected_lines(artifacts, [path])

    (folder / "output.py").unlink()
    done = run()
    assert done.returncode == 2 and done.stdout == ""
    (said,) = done.stderr.splitlines()
    assert "'output'" in said and "copy the whole folder" in said


def test_without_tritonclient_one_line_says_what_to_install(tmp_path):
    (tmp_path / "tritonclient.py").write_text("raise ImportError('no tritonclient')")
    done = subprocess.run(
        [sys.executable, PROGRAM, "--image", "a.jpg"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "pip install 'tritonclient[grpc,http]'" in line


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize(
    "options, expected",
    [
        (
            ["--model", "nobody"],
            "'nobody'; it serves: asl, asl_classifier, asl_classifier_",
        ),
        (["--model", "asl_classifier"], "does not take encoded images"),
        (["--ca", "ca.pem"], "--ca ca.pem is of use with --ssl only"),
        (["--top", "0"], "--top is 0; it must be at least 1"),
        (["--threshold", "1.5"], "--threshold is 1.5; it must be at most 1"),
        (["--record", "out.mp4"], "--record out.mp4 is for --video and --camera"),
    ],
)
def test_what_cannot_work_ends_with_one_line_and_code_2(
    options, expected, protocol, server, photographs
):
    path = photographs["wide.jpg"]

    done = ask_here(server, "--image", path, *options, protocol=protocol)

    assert done.returncode == 2
    assert done.stdout == ""
    assert expected in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_wrong_port_for_the_protocol_is_told(server, photographs):
    path = photographs["wide.jpg"]

    done = ask(server, "--image", path, "--url", server.http_url)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert "HTTP port, add --protocol http" in done.stderr

    done = ask(server, "--image", path, "--url", server.grpc_url, protocol="http")
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
