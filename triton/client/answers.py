"""Batches of photographs in, answers out; several requests at once."""

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from connection import Refused


def answers(connect, batches, top, concurrency):
    """Yield ``(path, letters or None, version or reason)``, in the order of the files.

    Args:
        connect: Makes a Server; each thread has its own.
        concurrency: Requests that are on their way at once.
    """
    own = threading.local()

    def work(batch):
        if not hasattr(own, "server"):
            own.server = connect()
        return answer_batch(own.server, batch, top)

    with ThreadPoolExecutor(concurrency) as pool:
        on_the_way = deque()
        try:
            for batch in batches:
                on_the_way.append(pool.submit(work, batch))
                while len(on_the_way) >= 2 * concurrency or (
                    on_the_way and on_the_way[0].done()
                ):
                    yield from on_the_way.popleft().result()
            while on_the_way:
                yield from on_the_way.popleft().result()
        finally:
            for future in on_the_way:
                future.cancel()


def answer_batch(server, batch, top):
    """``[(path, letters or None, version or reason), ...]`` of one batch."""
    try:
        rows, version = server.classify([data for _, data in batch], top)
        return [(path, row, version) for (path, _), row in zip(batch, rows)]
    except Refused:
        pass
    found = []
    for path, data in batch:  # one broken image must not cost the others' answers
        try:
            rows, version = server.classify([data], top)
            found.append((path, rows[0], version))
        except Refused as error:
            reason = str(error).replace("in ensemble '%s', " % server.model, "")
            found.append((path, None, reason))
    return found
