"""The command line of the client: what it prints and how it ends."""

import json
import os
import shutil

import numpy as np
import pytest
from client_command import ask, expected_lines
from tiny_model import expect

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_one_line_a_photograph(protocol, server, artifacts, photographs):
    paths = list(photographs.values())

    done = ask(server, "--image", *paths, protocol=protocol)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == expected_lines(artifacts, paths)


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
    probability = records[0]["predictions"][0]["probability"]
    best = expect(artifacts, [asked[0].read_bytes()])[0].max()
    assert probability == pytest.approx(best, abs=1e-5)
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
    errors = sorted(done.stderr.splitlines())
    assert len(errors) == 3
    assert any("cut.jpg: broken image: the JPEG is truncated" in x for x in errors)
    assert any("empty.png: broken image: the file is empty" in x for x in errors)
    assert "error: missing.jpg: No such file or directory" in errors


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize(
    "options, expected",
    [
        (
            ["--model", "nobody"],
            "'nobody'; it serves: asl, asl_classifier, asl_classifier_",
        ),
        (["--model", "asl_classifier"], "does not take encoded images"),
        (["--url", "127.0.0.1:1"], "no Triton server answers at 127.0.0.1:1"),
        (["--url", "no.such.host.invalid:8001"], "no Triton server answers at no.such"),
        (["--ssl"], "no Triton server answers at"),
        (["--ca", "ca.pem"], "--ca ca.pem is of use with --ssl only"),
        (["--top", "0"], "--top is 0; it must be at least 1"),
    ],
)
def test_what_cannot_work_ends_with_one_line_and_code_2(
    options, expected, protocol, server, photographs
):
    path = photographs["wide.jpg"]

    done = ask(server, "--image", path, *options, protocol=protocol)

    assert done.returncode == 2
    assert done.stdout == ""
    assert expected in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_the_wrong_port_for_the_protocol_is_told(server, photographs):
    path = photographs["wide.jpg"]

    done = ask(server, "--image", path, "--url", server.http_url)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)

    done = ask(server, "--image", path, "--url", server.grpc_url, protocol="http")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
