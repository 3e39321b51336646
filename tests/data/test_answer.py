"""--json: standard output has one object, whatever else is printed."""

import json
import subprocess
import sys

import pytest

from data_prep import draw
from data_prep.answer import answering
from data_prep.errors import InputError, exit_2_on_input_error


def test_a_command_answers_a_program_with_one_object_and_people_on_standard_error(
    tmp_path, capfd
):
    out = tmp_path / "hands"
    line = ["--out", str(out), "--per-class", "1", "--classes", "A", "--workers", "1"]

    draw.main([*line, "--size", "32", "--json"])

    said, told = capfd.readouterr()
    assert json.loads(said) == {"folder": str(out), "images": 1, "classes": 1}
    assert told.strip().endswith("1 image of 1 class")
    print("afterwards")
    assert capfd.readouterr().out == "afterwards\n"


def test_what_libraries_and_programs_print_is_not_in_the_answer(capfd):
    with answering(draw.arguments(), ["--out", "x", "--json"]) as answer:
        subprocess.run([sys.executable, "-c", "print('a program')"], check=True)
        answer["number"] = 1

    said, told = capfd.readouterr()
    assert json.loads(said) == {"number": 1}
    assert told == "a program\n"


def test_a_mistake_is_in_the_answer_with_what_was_known_and_the_exit_code_is_the_same(
    capfd,
):
    @exit_2_on_input_error
    def command():
        with answering(draw.arguments(), ["--out", "x", "--json"]) as answer:
            answer["images"] = 3
            raise InputError("no such folder: x")

    with pytest.raises(SystemExit) as end:
        command()

    said, told = capfd.readouterr()
    assert end.value.code == 2
    assert json.loads(said) == {"images": 3, "error": "no such folder: x"}
    assert told == "error: no such folder: x\n"


def test_a_full_disk_is_told_in_one_line(capfd):
    @exit_2_on_input_error
    def command():
        with open("/dev/full", "w", buffering=1) as file:
            file.write("a line\n")

    with pytest.raises(SystemExit) as end:
        command()

    assert end.value.code == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: the disk is full; make room")
