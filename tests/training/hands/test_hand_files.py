"""The hand networks are fetched once, and none but the right ones are used."""

import os
import shutil
import socket
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from coloured_data import write_dataset

from data_prep.errors import InputError
from data_prep.paths import ROOT
from training.config import RunConfig, TrainConfig
from training.hands.files import FILES, WHEEL, find_hand_networks
from training.run import train_dataset


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "asl-recognition" / "hand-networks"


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A function that offers pip one wheel, with these files, and nothing else."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)

    def offer(files: dict[str, bytes]) -> None:
        name, version = WHEEL.split("==")
        about = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(wheels / f"{name}-{version}-py3-none-any.whl", "w") as w:
            for path, data in files.items():
                w.writestr(path, data)
            head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            w.writestr(f"{about}/METADATA", head)
            w.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            w.writestr(f"{about}/RECORD", "")

    return offer


def right_files(networks) -> dict[str, bytes]:
    return {
        inside: (networks / name).read_bytes() for name, (_, inside) in FILES.items()
    }


def test_the_files_are_fetched_by_pip_once(networks, registry, cache):
    registry(right_files(networks))
    assert find_hand_networks() == cache
    assert {path.name for path in cache.iterdir()} == set(FILES)
    for name in FILES:
        assert (cache / name).read_bytes() == (networks / name).read_bytes()
    before = [(cache / name).stat().st_mtime_ns for name in FILES]
    assert find_hand_networks() == cache
    assert [(cache / name).stat().st_mtime_ns for name in FILES] == before


def test_a_damaged_file_of_the_cache_is_replaced(networks, registry, cache):
    cache.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(networks / name, cache / name)
    name = list(FILES)[1]
    (cache / name).write_bytes((cache / name).read_bytes()[:-1])
    registry(right_files(networks))
    find_hand_networks()
    assert (cache / name).read_bytes() == (networks / name).read_bytes()


@pytest.mark.parametrize("fault", ["other content", "a file missing"])
def test_a_wheel_of_other_files_is_refused_and_nothing_of_it_kept(
    registry, cache, fault
):
    files = {inside: b"other" for _, inside in FILES.values()}
    if fault == "a file missing":
        files = {}
    registry(files)
    with pytest.raises(InputError, match="not the file .* package registry") as caught:
        find_hand_networks()
    assert "\n" not in str(caught.value)
    assert not cache.exists() or not list(cache.iterdir())


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.timeout(200)  # it gives up at once, and does not retry for minutes
def test_without_a_registry_one_line_says_what_to_do(cache):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    environment |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"http://127.0.0.1:{closed_port()}/simple",
    }
    done = subprocess.run(
        [sys.executable, "-m", "training.hands.files"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 2 and done.stdout == ""
    fetching, error = done.stderr.splitlines()
    assert fetching.startswith("fetching the hand networks")
    assert error.startswith("error: the hand networks cannot be fetched")
    assert WHEEL in error and error.endswith("name their folder by --hand-networks")


@pytest.mark.parametrize("fault", ["missing", "foreign"])
def test_a_folder_without_the_right_files_is_refused_before_anything_is_made(
    tmp_path, fault
):
    folder = tmp_path / "networks"
    folder.mkdir()
    if fault == "foreign":
        for name in FILES:
            (folder / name).write_bytes(b"other")
    dataset = write_dataset(tmp_path / "data", size=192, train=8)
    run_config = RunConfig(
        find_hand="yes", hand_networks=str(folder), skip_baselines=True
    )
    with pytest.raises(InputError) as caught:
        train_dataset(dataset, tmp_path / "out", run_config, TrainConfig(), {})
    message = str(caught.value)
    assert message.startswith(f"--hand-networks {folder}: {next(iter(FILES))}")
    assert WHEEL in message and "\n" not in message
    assert not (tmp_path / "out").exists()


def test_a_folder_with_the_right_files_is_used_as_it_is(networks, cache, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    for name in FILES:
        shutil.copyfile(networks / name, folder / name)
    assert find_hand_networks(folder) == folder
    assert not cache.exists()
    assert np.all([(folder / name).stat().st_size > 1_000_000 for name in FILES])
