"""The gateway between browsers and Triton: the page, frames in, answers out.

GET  /            the page
GET  /model       which model answers, and how it does
POST /predict     photographs, raw or as a form, to JSON
WS   /frames      frames in, answers out; of the frames that wait, the newest counts
POST /roll-back   to the version before; with --admin and its token only
GET  /metrics     for Prometheus
and, with --log, what demo/feedback.py says
"""

import asyncio
import json
import math
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from starlette.applications import Starlette
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from data_prep.errors import InputError
from demo import counts, feedback, spelling
from demo.guard import Guard
from demo.model import Answer, Away, Model, Refused
from demo.places import Place, Places
from demo.tabs import learn, model_page
from pipelines.monitoring.request_log import RequestLog

PAGE = Path(__file__).resolve().parent / "page"
MAX_FRAME_BYTES = 1 << 20
MAX_BODY_BYTES = 32 << 20
MAX_PHOTOGRAPHS = 32
MAX_CONNECTIONS = 32  # browsers that show frames
SILENT_S = 10.0  # without a frame, after which one of them makes room for another
AT_ONCE = 8  # bodies that are read and answered; others wait
WAITING = 32  # of them, at most
# A body that falls so far behind BODY_RATE (bytes a second) is given up, and makes room
# for another earlier than that.
BODY_RATE, BODY_BEHIND_S, BODY_YIELDS_S = 16 << 10, 10.0, 2.0
BODY_TIMEOUT_S = 60
RETRY_S = 1.0
# Of a frame: when it was taken, milliseconds of the browser's clock; width and height.
HEADER = struct.Struct("<dHH")


def create(
    model: Model,
    hosts: frozenset[str],
    token: str | None = None,
    front: str = "",
    admin: "model_page.Admin | None" = None,
    server: "model_page.Server | None" = None,
    log: RequestLog | None = None,
):
    """Make the ASGI application.

    Args:
        model: Is asked.
        hosts: Names by which browsers may ask for the page.
        token: Wanted of everybody; None: of nobody.
        front: Origin of the proxy that may pass requests on; "": none may.
        admin: Who may roll back; None: nobody.
        server: Where metrics and the model repository are, as far as they are known.
        log: Of what is asked and answered; None: nothing is kept.
    """

    @asynccontextmanager
    async def lifespan(app):
        yield
        await model.close()

    app = Starlette(
        routes=[
            Route("/", _page),
            Route("/model", model_page.show),
            Route("/signs.json", learn.signs),
            Route("/signs/{letter}/{side}.png", learn.drawing),
            Route("/predict", _predict, methods=["POST"]),
            Route("/roll-back", model_page.roll_back, methods=["POST"]),
            Route("/metrics", counts.show),
            Route("/log", feedback.about),
            Route("/log/{id}", feedback.forget, methods=["DELETE"]),
            Route("/correct", _correct, methods=["POST"]),
            WebSocketRoute("/frames", _frames),
            Mount("/page", StaticFiles(directory=PAGE)),
        ],
        lifespan=lifespan,
    )
    app.state.model = model
    app.state.browsers = Places(MAX_CONNECTIONS, SILENT_S)
    app.state.bodies = Places(AT_ONCE, BODY_YIELDS_S)
    app.state.log, app.state.counts = log, counts.Counts()
    app.state.admin, app.state.server = admin, server or model_page.Server()
    return Guard(app, hosts, token, front)


async def _page(request: Request):
    return FileResponse(PAGE / "index.html")


async def _predict(request: Request):
    """One photograph as the body, or several in a form; one object, or a list."""
    return await _received(request, _predicted)


async def _received(
    request: Request, answer: Callable[[Request, bytes | list], Awaitable]
):
    """Read the photographs of a request and answer it, when it is its turn."""
    bodies = request.app.state.bodies
    if bodies.waiting >= WAITING:
        return _error(503, "too many requests at once", {"retry-after": "1"})
    limit = asyncio.timeout(None)  # begins to count with the first byte

    def give_up():
        if not limit.expired():
            limit.reschedule(time.monotonic())

    async with bodies.taken(_client(request), give_up) as place:
        try:
            async with limit:
                photographs = await _photographs(request, place, limit)
        except TimeoutError:
            return _error(
                408,
                f"the request came too slowly: {BODY_RATE >> 10} KiB a second are "
                f"wanted, and all of it within {BODY_TIMEOUT_S} s",
            )
        except (InputError, MultiPartException) as error:
            return _error(400, str(getattr(error, "message", error)))
        except ClientDisconnect:
            return _error(400, "the request ended early")
        place.heard = math.inf  # from now on it waits for us
        return await answer(request, photographs)


def _client(connection: Request | WebSocket) -> str:
    return connection.client.host if connection.client else ""


async def _predicted(request: Request, photographs):
    single = not isinstance(photographs, list)
    if single:
        photographs = [("", photographs)]
    state = request.app.state

    async def answer(name, data):
        try:
            found = (await state.model.ask(data, None)).as_json()
            await feedback.keep(state, found, data)
            state.counts.add("photograph", "answered")
        except Refused as error:
            state.counts.add("photograph", "refused")
            found = {"error": str(error)}
        return {"image": name, **found} if name else found

    try:
        answers = await asyncio.gather(*(answer(*one) for one in photographs))
    except Away as error:
        state.counts.add("photograph", "away")
        return _error(503, str(error), {"retry-after": "1"})
    failed = any("error" in one for one in answers)
    if single:
        return JSONResponse(answers[0], 400 if failed else 200)
    return JSONResponse(answers, 200)


async def _correct(request: Request):
    """One photograph as the body, and by ``label`` what it shows."""
    return await _received(request, _corrected)


async def _corrected(request: Request, photograph):
    if isinstance(photograph, list):
        return _error(400, "send one photograph, as the body")
    return await feedback.correct(request, photograph)


async def _photographs(request: Request, place: Place, limit: asyncio.Timeout):
    """The body's bytes, or ``[(name, bytes), ...]`` of a form.

    Raises:
        InputError: There is none, or there are too many or too large ones.
        TimeoutError: It comes too slowly.
    """
    pieces = _bounded(request, place, limit)
    if not request.headers.get("content-type", "").startswith("multipart/"):
        body = b"".join([piece async for piece in pieces])
        if not body:
            raise InputError("the request is empty; send a photograph")
        return body
    parser = MultiPartParser(
        request.headers, pieces, max_files=MAX_PHOTOGRAPHS, max_fields=MAX_PHOTOGRAPHS
    )
    form = await parser.parse()
    try:
        found = [
            (file.filename or "photograph", await file.read())
            for _, file in form.multi_items()
            if not isinstance(file, str)
        ]
    finally:
        await form.close()
    if not found:
        raise InputError("the form has no file; send photographs as its files")
    return found


async def _bounded(request: Request, place: Place, limit: asyncio.Timeout):
    """The pieces of a body, as long as it is neither too large nor too slow."""
    size, end = 0, place.since + BODY_TIMEOUT_S
    limit.reschedule(place.heard + BODY_BEHIND_S)
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise InputError(f"the request has more than {MAX_BODY_BYTES >> 20} MiB")
        place.heard = min(time.monotonic(), place.heard + len(piece) / BODY_RATE)
        limit.reschedule(min(end, place.heard + BODY_BEHIND_S))
        yield piece


def _error(status: int, text: str, headers: dict | None = None):
    return JSONResponse({"error": text}, status, headers)


async def _frames(socket: WebSocket):
    state, limit = socket.app.state, asyncio.timeout(None)
    await socket.accept()

    def give_up():
        if not limit.expired():
            limit.reschedule(time.monotonic())

    place = state.browsers.take(_client(socket), give_up)
    if place is None:
        await socket.close(1013, "too many browsers at once; close one")
        return
    try:
        async with limit:
            await Session(socket, state, place).run()
    except TimeoutError:
        await socket.close(1013, "too many browsers at once; another one has its turn")
    except WebSocketDisconnect:
        pass
    finally:
        state.browsers.leave(place)


class Frame(NamedTuple):
    """What a browser sent: when by its clock, milliseconds; width and height; the
    encoded picture; and when it arrived, seconds."""

    sent: float
    size: tuple[int, int]
    photograph: bytes
    arrived: float


class Session:
    """One browser that shows frames and is told what they spell."""

    def __init__(self, socket: WebSocket, app_state, place: Place):
        self.socket, self.app_state, self.place = socket, app_state, place
        self.newest: Frame | None = None  # that is asked about next
        self.arrived = asyncio.Event()
        self.state = spelling.State()

    async def run(self) -> None:
        """Receive and answer until one of the two ends, for whatever reason."""
        both = {
            asyncio.create_task(self._receive_all()),
            asyncio.create_task(self._answer_all()),
        }
        try:
            ended, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
        for task in ended:
            task.result()

    async def _receive_all(self) -> None:
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            frame = message.get("bytes")
            if frame is None or not HEADER.size < len(frame) <= MAX_FRAME_BYTES:
                await self.socket.close(1009, "this is no frame of at most 1 MiB")
                return
            sent, width, height = HEADER.unpack_from(frame)
            if not math.isfinite(sent) or not (width and height):
                await self.socket.close(1007, "a frame has a time, width and height")
                return
            photograph, now = frame[HEADER.size :], time.monotonic()
            self.newest = Frame(sent, (width, height), photograph, now)
            self.place.heard = now
            self.arrived.set()

    async def _answer_all(self) -> None:
        while True:
            await self.arrived.wait()
            self.arrived.clear()
            if self.newest is None:
                continue
            sent, size, photograph, arrived = self.newest
            try:
                answer = await self.app_state.model.ask(photograph, size)
            except Refused as error:
                self.app_state.counts.add("frame", "refused")
                await self._tell({"error": str(error), "sent": sent})
                continue
            except Away as error:
                self.app_state.counts.add("frame", "away")
                await self._tell({"away": str(error), "sent": sent})
                await asyncio.sleep(RETRY_S)
                continue
            taken = time.monotonic() - arrived
            self.app_state.counts.add("frame", "answered")
            found = self._spelled(answer, sent, size)
            await feedback.keep(self.app_state, found, photograph)
            await self._tell(found, sent, taken)

    def _spelled(self, answer: Answer, sent: float, size: tuple[int, int]) -> dict:
        found = answer.as_json()
        points = answer.landmarks
        if points is not None:  # one unit, the frame's width
            height = size[1] / size[0]
            points = points * np.array([1.0, height, 1.0])
        frame = spelling.Frame(sent / 1000, found["all_predictions"], points)
        self.state, event = spelling.step(self.state, frame)
        found["holding"] = self.state.holding
        found["progress"] = round(self.state.progress, 3)
        if event:
            found["event"] = event._asdict()
        return found

    async def _tell(self, found: dict, sent=None, taken=None) -> None:
        if taken is not None:
            found |= {"sent": sent, "server_ms": round(1000 * taken, 1)}
        await self.socket.send_text(json.dumps(found))
