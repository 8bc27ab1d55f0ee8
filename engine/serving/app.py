"""The server's pages: what is asked, what is answered, what is refused."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from engine import __version__
from engine.errors import EngineError, InputError
from engine.serving.figures import Figures
from engine.serving.logbook import Answered, Logbook
from engine.serving.rows import ROWS_MAX, parse, rows_of, show, table_of_rows
from engine.serving.watching import Serving, Watcher
from engine.training.jobs import Prediction

BODY_MAX = 32 << 20
"""No request may be larger, in bytes."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ASIDE_ROWS = 200
"""A request of more rows is answered in a thread, so that others need not wait for it."""


@dataclass(frozen=True)
class Desk:
    """What the server works with.

    Parameters
    ----------
    watcher
        Knows who is champion.
    figures
        Counts.
    logbook
        Takes answers down, if anybody does.
    host
        Where it listens: on loopback a page of the internet may not pass for this machine.
    """

    watcher: Watcher
    figures: Figures
    logbook: Logbook | None = None
    host: str = "127.0.0.1"


class Unavailable(EngineError):
    """There is no model yet."""


class TooLarge(EngineError):
    """The request is larger than any may be."""


def make(desk: Desk) -> FastAPI:
    """Return the app."""
    app = FastAPI(title="Driftline", docs_url=None, redoc_url=None, openapi_url=None)
    follow(desk)

    @app.get("/")
    async def info() -> Response:
        return JSONResponse(about(desk))

    @app.get("/healthz")
    async def healthz() -> Response:
        found = health(desk)
        return JSONResponse(found, 200 if found["status"] == "ok" else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(desk.figures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        return await guarded(desk, request, answer)

    @app.post("/labels")
    async def labels(request: Request) -> Response:
        return await guarded(desk, request, take_labels)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    return app


def follow(desk: Desk) -> None:
    """Let the figures follow the champion."""
    watcher, figures = desk.watcher, desk.figures

    def version() -> float:
        now = watcher.current
        return np.nan if now is None else now.version.number

    def age() -> float:
        now = watcher.current
        return np.nan if now is None else time.time() - now.version.created

    figures.follow("champion_version", "The version that answers.", version)
    figures.follow("model_age_seconds", "Since the version was registered.", age)
    figures.follow("swaps", "How often another version took over.", lambda: watcher.swaps)
    up = "Whether the registry answers and its champion serves."
    figures.follow("registry_up", up, lambda: float(not watcher.trouble))
    if (book := desk.logbook) is not None:
        figures.follow("log_lost", "Rows and labels that were not logged.", lambda: book.lost)


async def guarded(
    desk: Desk, request: Request, work: Callable[[Desk, bytes], Awaitable[tuple[Any, int]]]
) -> Response:
    """Answer a request: what it did wrong, what went wrong, or what was asked for."""
    began, rows, headers = time.perf_counter(), 0, {}
    try:
        check_origin(desk.host, request)
        content, rows = await work(desk, await body_of(request))
        code = 200
    except InputError as error:
        content, code = {"error": str(error)}, 422
    except PermissionError as error:
        content, code = {"error": str(error)}, 403
    except TooLarge as error:
        content, code, headers = {"error": str(error)}, 413, {"connection": "close"}
    except Unavailable as error:
        content, code, headers = {"error": str(error)}, 503, {"retry-after": "1"}
    except EngineError as error:
        content, code = {"error": str(error)}, 500
    desk.figures.count(request.url.path, code, time.perf_counter() - began, rows)
    return JSONResponse(content, code, headers)


def check_origin(host: str, request: Request) -> None:
    """Refuse pages of other sites: a browser must not be made to ask or to label for them.

    Raises
    ------
    PermissionError
        If one asks.
    """
    asked = request.headers.get("host", "")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != asked:
        raise PermissionError("pages of other sites may not ask this server")
    if host in LOOPBACK and urlsplit(f"//{asked}").hostname not in (*LOOPBACK, host):
        raise PermissionError("this server answers on loopback only")


async def body_of(request: Request) -> bytes:
    """Return the body of a request.

    Raises
    ------
    TooLarge
        If it is too large.
    """
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > BODY_MAX:
            raise TooLarge(f"the request is larger than {BODY_MAX >> 20} MB")
        pieces.append(piece)
    return b"".join(pieces)


async def answer(desk: Desk, body: bytes) -> tuple[dict[str, Any], int]:
    """Answer rows: by one version, whatever is promoted meanwhile."""
    serving = desk.watcher.current
    if serving is None:
        raise Unavailable(f"no model yet: {desk.watcher.trouble or 'it is being loaded'}")
    asked = parse(body)
    rows = rows_of(asked)
    if len(rows) > ASIDE_ROWS:
        found = await run_in_threadpool(predict_rows, serving, rows)
    else:
        found = predict_rows(serving, rows)
    labels = found.values.tolist()
    scores = [None if score != score else score for score in found.scores.tolist()]
    predictions: list[dict[str, Any]] = [
        {"label": label, "score": score} for label, score in zip(labels, scores, strict=True)
    ]
    if desk.logbook is not None and rows:
        request = uuid.uuid4().hex[:20]
        now = desk.logbook.clock() // 1000
        for at, one in enumerate(predictions):
            one["id"] = f"{request}-{at}"
        version = serving.version
        schema = serving.artifact.schema
        told = Answered(now, request, version.name, version.number, schema, rows, labels, scores)
        desk.logbook.answered(told)
    content = {
        "model": serving.version.name,
        "version": serving.version.number,
        "predictions": predictions,
    }
    return content, len(rows)


def predict_rows(serving: Serving, rows: list[Any]) -> Prediction:
    """Return what a version says to rows."""
    return serving.artifact.answers(table_of_rows(rows, serving.artifact.schema))


async def take_labels(desk: Desk, body: bytes) -> tuple[dict[str, Any], int]:
    """Take down labels of rows that were answered before."""
    if desk.logbook is None:
        raise InputError("this server keeps no log: start it with --log DIR")
    serving = desk.watcher.current
    if serving is None:
        raise Unavailable("no model yet, so nothing can have been answered")
    found = labels_of(parse(body), serving.artifact.schema.task == "regression")
    desk.logbook.labelled(found)
    return {"taken": len(found)}, 0


def labels_of(asked: Any, numeric: bool) -> list[tuple[str, str | float]]:
    """Return pairs of id and label.

    Raises
    ------
    InputError
        If the request is not made of them.

    Examples
    --------
    >>> labels_of({"id": "5f-0", "label": "up"}, numeric=False)
    [('5f-0', 'up')]
    >>> labels_of({"id": "5f-0", "label": "up"}, numeric=True)
    Traceback (most recent call last):
    engine.errors.InputError: label 0: give a number, not "up"
    """
    shape = 'give {"id": ID, "label": LABEL} or {"labels": [{"id": ID, "label": LABEL}, ...]}'
    entries = asked.get("labels", [asked]) if isinstance(asked, dict) else None
    if not isinstance(entries, list):
        raise InputError(shape)
    if len(entries) > ROWS_MAX:
        raise InputError(f"{len(entries):,} labels are too many for one request: {ROWS_MAX:,}")
    found: list[tuple[str, str | float]] = []
    for at, entry in enumerate(entries):
        if not isinstance(entry, dict) or entry.keys() != {"id", "label"}:
            raise InputError(shape)
        of, label = entry["id"], entry["label"]
        if not isinstance(of, str) or not of or len(of) > 100:
            raise InputError(f"label {at}: the id is one that /predict gave, not {show(of)}")
        if numeric:
            if not isinstance(label, int | float) or isinstance(label, bool):
                raise InputError(f"label {at}: give a number, not {show(label)}")
            label = float(label)
        elif not isinstance(label, str) or not label.strip() or len(label) > 1000:
            raise InputError(f"label {at}: give a text, not {show(label)}")
        found.append((of, label))
    return found


def health(desk: Desk) -> dict[str, Any]:
    """Return how the server is: ``ok`` once a champion answers, even if the registry is gone."""
    now, trouble = desk.watcher.current, desk.watcher.trouble
    if now is None:
        waiting = trouble or "the champion is being loaded"
        return {"status": "waiting", "model": desk.watcher.name, "why": waiting}
    found = {"status": "ok", "model": now.version.name, "version": now.version.number}
    return {**found, "registry": trouble or "ok"}


def about(desk: Desk) -> dict[str, Any]:
    """Return what there is to be asked."""
    found = {
        "driftline": __version__,
        **health(desk),
        "ask": {
            "POST /predict": {"rows": [{"column": "value"}]},
            "GET /healthz": "whether a model answers, and which",
            "GET /metrics": "figures for Prometheus",
        },
    }
    if desk.logbook is not None:
        found["ask"]["POST /labels"] = {"id": "of a prediction", "label": "the truth"}
    now = desk.watcher.current
    if now is not None:
        schema = now.artifact.schema
        found["columns"] = {
            "numeric": list(schema.numeric),
            "categorical": list(schema.categorical),
        }
        found["classes"] = list(now.artifact.predictor.classes)
        found["registered"] = now.version.created
        found["source"] = {key: now.artifact.card.get(key) for key in ("run", "stream", "model")}
    return found
