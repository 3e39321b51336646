"""Malformed requests beside innocent ones, on the server of all tests."""

import random

import pytest

from benchmarks import broken_requests
from benchmarks.broken_requests import (
    HARMFUL,
    HTTP,
    KINDS,
    broken_photograph,
    short_element,
)
from benchmarks.mutated_requests import pictures, run, table
from pipelines.repository.model_config import Settings
from pipelines.serving import deployment

pytestmark = pytest.mark.slow


def test_the_server_stays_and_every_innocent_request_is_answered_right(server):
    result = run(server.http_url, server.grpc_url, pictures(), 6 * len(KINDS), seed=7)

    assert result.good, table(result)
    assert result.asked > 5
    assert server.process.poll() is None
    kinds = {name for name, counts in result.answers.items() if counts.total() == 6}
    assert len(kinds) == len(KINDS)
    assert set(result.answers["HTTP closed calls"]) == {"403"}
    assert set(result.answers["gRPC closed calls"]) == {"UNAVAILABLE"}


def test_one_by_one_no_request_costs_another_its_answer(server, artifacts, redeploy):
    """Gathered, a photograph that claims more bytes than are there would."""
    urls = {"grpc": server.grpc_url}
    settings = Settings(instances=1, one_by_one=True)
    deployment.deploy(artifacts, server.repository, {}, settings, urls)
    kinds = [(HTTP, short_element), (HTTP, broken_photograph)]

    result = run(server.http_url, server.grpc_url, pictures(), 200, kinds=kinds)

    assert result.good, table(result)
    assert result.asked > 5
    assert set(result.answers["HTTP short element"]) == {"400"}


@pytest.mark.parametrize("kind", sorted({kind.__name__ for _, kind in KINDS + HARMFUL}))
def test_the_same_seed_makes_the_same_requests(kind):
    (photograph,) = pictures(1)
    make = getattr(broken_requests, kind)
    first, second = (make(random.Random("7 1"), photograph) for _ in range(2))
    assert first == second
