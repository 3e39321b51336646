"""FastAPI; run by uvicorn, which starts the workers.

The event loop computes: a worker has one core, and threads would only take turns.
"""

from contextlib import asynccontextmanager

from classifier import Classifier
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.classifier = Classifier()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/letter")
async def letter(request: Request) -> JSONResponse:
    photograph = await request.body()
    return JSONResponse({"letter": app.state.classifier.letter(photograph)})
