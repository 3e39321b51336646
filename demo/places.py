"""Few places for many clients: who has to give one up when none is free.

First whoever has been silent, longest first; then whoever has most of them, until all
have about as many.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass


@dataclass(eq=False)
class Place:
    """A place that a client holds.

    Attributes:
        client: Its address.
        end: Called when it has to leave.
        since: When it came, seconds of `time.monotonic`.
        heard: Up to when it has done its part; infinite while it is not its turn.
    """

    client: str
    end: Callable[[], None]
    since: float
    heard: float


class Places:
    """
    Args:
        most: How many there are.
        patience: So many seconds of silence are no reason to leave.
    """

    def __init__(self, most: int, patience: float):
        self.most, self.patience = most, patience
        self.held: list[Place] = []
        self.waiting = 0
        self._freed = asyncio.Event()

    def take(self, client: str, end: Callable[[], None]) -> Place | None:
        """Take a place; None if nobody has to leave for it."""
        if len(self.held) >= self.most:
            other = self._leaves_for(client)
            if other is None:
                return None
            self.leave(other)
            other.end()
        now = time.monotonic()
        place = Place(client, end, since=now, heard=now)
        self.held.append(place)
        return place

    def leave(self, place: Place) -> None:
        if place in self.held:
            self.held.remove(place)
            self._freed.set()

    @asynccontextmanager
    async def taken(self, client: str, end: Callable[[], None]):
        """Wait for a place; it is held until the end of the block."""
        self.waiting += 1
        try:
            while (place := self.take(client, end)) is None:
                self._freed.clear()
                with suppress(TimeoutError):  # somebody may have become silent
                    await asyncio.wait_for(self._freed.wait(), self.patience)
        finally:
            self.waiting -= 1
        try:
            yield place
        finally:
            self.leave(place)

    def _leaves_for(self, client: str) -> Place | None:
        past = time.monotonic() - self.patience
        if silent := [place for place in self.held if place.heard < past]:
            return min(silent, key=lambda place: place.heard)
        number = Counter(place.client for place in self.held)
        first, most = number.most_common(1)[0]
        if most <= number[client] + 1:
            return None
        there = (
            place
            for place in self.held
            if place.client == first and place.since < past and place.heard < math.inf
        )
        return min(there, key=lambda place: place.heard, default=None)
