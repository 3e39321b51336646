"""Who makes room when all places are taken."""

import asyncio
from types import SimpleNamespace

import pytest

from demo import places
from demo.places import Places


@pytest.fixture
def clock(monkeypatch):
    """Seconds; a test moves them on."""
    clock = [0.0]
    time = SimpleNamespace(monotonic=lambda: clock[0])
    monkeypatch.setattr(places, "time", time)
    return clock


@pytest.fixture
def ended():
    return []


@pytest.fixture
def held(ended, clock):
    """Takes places for clients, a letter each, a second apart; `end` says who."""

    def held(all_places, clients):
        found = []
        for number, client in enumerate(clients):
            clock[0] += 1
            found.append(
                all_places.take(client, lambda number=number: ended.append(number))
            )
        return found

    return held


def test_while_all_do_their_part_nobody_of_the_same_client_is_let_in(held, ended):
    assert held(Places(3, 10), "aaaa")[-1] is None
    assert ended == []


def test_whoever_has_been_silent_longest_leaves(held, ended, clock):
    few = Places(3, 10)
    first, second, third = held(few, "abc")
    clock[0] = 20
    first.heard = third.heard = 19.0
    assert few.take("c", print)
    assert ended == [1] and second not in few.held


def test_whoever_has_most_gives_one_up_to_one_who_has_fewer(held, ended, clock):
    few = Places(3, 10)
    found = held(few, "aab")
    clock[0] = 20
    for place in found:
        place.heard = 20
    assert few.take("b", print) is None  # two and two would be no fairer
    assert few.take("c", print)
    assert ended == [0]


def test_nobody_leaves_who_has_just_come_or_waits_for_us(held, ended, clock):
    few = Places(3, 10)
    found = held(few, "aaa")
    assert few.take("b", print) is None
    clock[0] = 20
    for place in found:
        place.heard = float("inf")
    assert few.take("b", print) is None
    assert ended == []


def test_a_place_that_is_left_goes_to_who_waits():
    async def wait_in_turn():
        one, order = Places(1, 60), []

        async def hold(name, seconds):
            async with one.taken(name, print):
                order.append(name)
                await asyncio.sleep(seconds)

        await asyncio.gather(*(hold(name, 0.01) for name in "abc"))
        return order, one.held, one.waiting

    assert asyncio.run(asyncio.wait_for(wait_in_turn(), 10)) == (list("abc"), [], 0)
