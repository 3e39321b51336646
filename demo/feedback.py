"""What people say was wrong, and what is kept of their requests: only with --log.

GET    /log            what is kept, for the page to say
POST   /correct?label  a photograph, and what it really shows
DELETE /log/ID         one entry, for whoever knows its id
"""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse

from data_prep.errors import InputError
from demo.model import Away, Refused

OFF = "nothing is kept here: scripts/demo runs without --log"


async def about(request: Request):
    """Say what is kept."""
    log = request.app.state.log
    if log is None:
        return JSONResponse({"keeps": False})
    policy = log.policy
    try:
        labels = (await request.app.state.model.served()).labels
    except Away:
        labels = ()
    return JSONResponse(
        {
            "keeps": True,
            "share": policy.share,
            "photographs": policy.photographs,
            "days": policy.days,
            "labels": labels,
        }
    )


async def correct(request: Request, photograph: bytes):
    """Keep a photograph with its right label, asked about once more."""
    state, label = request.app.state, request.query_params.get("label", "")
    if state.log is None:
        return JSONResponse({"error": OFF}, 403)
    try:
        answer = await state.model.ask(photograph, None)
    except Refused as error:
        return JSONResponse({"error": str(error)}, 400)
    except Away as error:
        return JSONResponse({"error": str(error)}, 503)
    if label not in answer.served.labels:
        known = " ".join(answer.served.labels)
        return JSONResponse({"error": f"label must be one of {known}"}, 400)
    id_ = await asyncio.to_thread(state.log.add, answer.as_json(), photograph, label)
    return JSONResponse({"id": id_})


async def forget(request: Request):
    """Delete an entry."""
    log = request.app.state.log
    if log is None:
        return JSONResponse({"error": OFF}, 403)
    try:
        found = await asyncio.to_thread(log.delete, request.path_params["id"])
    except InputError as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse({"deleted": found}, 200 if found else 404)


async def keep(state, found: dict, photograph: bytes) -> None:
    """Keep an answer if it is one that is sampled; its id is then in it."""
    if state.log is not None and state.log.sampled():
        found["id"] = await asyncio.to_thread(state.log.add, found, photograph)
