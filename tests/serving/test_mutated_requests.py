"""Malformed requests beside innocent ones, on the server of all tests."""

import random

import pytest

from benchmarks import broken_requests
from benchmarks.broken_requests import HARMFUL, KINDS
from benchmarks.mutated_requests import pictures, run, table

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


@pytest.mark.parametrize("kind", sorted({kind.__name__ for _, kind in KINDS + HARMFUL}))
def test_the_same_seed_makes_the_same_requests(kind):
    (photograph,) = pictures(1)
    make = getattr(broken_requests, kind)
    first, second = (make(random.Random("7 1"), photograph) for _ in range(2))
    assert first == second
