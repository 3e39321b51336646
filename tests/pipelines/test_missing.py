"""What is missing is told before ClearML is asked or a task is made."""

import socket

import pytest

from data_prep.errors import InputError
from pipelines import deploy, promote, tracking, verify
from pipelines.tracking import connection
from training import train


@pytest.mark.parametrize(
    "command, line, said",
    [
        (deploy, "--rollback", "no model has been deployed there"),
        (deploy, "--mix nowhere.json", "--mix nowhere.json: there is no such file"),
        (promote, "--external nowhere", "nowhere does not exist"),
        (verify, "", "no model has been deployed there"),
        (verify, "--raw nowhere", "nowhere does not exist"),
        (deploy, "--url 127.0.0.1:9", "the Triton server at grpc://127.0.0.1:9 does n"),
        (verify, "--url 127.0.0.1:9", "127.0.0.1:9 does not serve 'asl'"),
    ],
)
def test_what_can_be_seen_here_is(command, line, said, monkeypatch, tmp_path):
    monkeypatch.setenv("ASL_HOME", str(tmp_path))
    with pytest.raises(InputError, match=said):
        command.look(command.arguments().parse_args(line.split()))
    assert list(tmp_path.iterdir()) == []  # no server was started


@pytest.mark.parametrize(
    "line, said",
    [
        ("--hand-networks nowhere", "nowhere"),
        ("--weights nowhere", "--weights nowhere: there is no such file"),
    ],
)
def test_what_a_training_needs_beside_its_dataset_is_looked_for_first(
    line, said, monkeypatch, tmp_path
):
    monkeypatch.setenv("ASL_HOME", str(tmp_path))
    with pytest.raises(InputError, match=said):
        train.find_dataset(train.arguments().parse_args(line.split()), tracking)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command, line, said",
    [
        (deploy, "--keep -1", "--keep is -1"),
        (deploy, "--http-url a:1", "--http-url needs --url"),
        (verify, "--limit -1", "--limit is -1"),
    ],
)
def test_options_are_checked_before_that(command, line, said):
    with pytest.raises(InputError, match=said):
        command.check(command.arguments().parse_args(line.split()))


def test_a_server_that_refuses_connections_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "http://127.0.0.1:%d" % server.getsockname()[1]
        connection.check_connection("the store", address, "start it")
    with pytest.raises(InputError, match=f"the store at {address} does not answer"):
        connection.check_connection("the store", address, "start it")
    for elsewhere in ("s3://bucket/folder", "file:///tmp", "/tmp"):
        connection.check_connection("the store", elsewhere, "start it")
    monkeypatch.setenv("http_proxy", "http://proxy.example.org:8080")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    connection.check_connection("the store", address, "start it")  # by the proxy


def test_a_configuration_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("CLEARML_API_HOST", raising=False)
    monkeypatch.setenv("CLEARML_CONFIG_FILE", str(tmp_path / "nowhere.conf"))
    with pytest.raises(InputError, match="CLEARML_CONFIG_FILE is .*nowhere.conf"):
        connection.ensure_clearml()
