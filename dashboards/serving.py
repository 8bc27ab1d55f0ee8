"""The web server of the replay app: who may ask, what a page may load, and how it ends."""

from __future__ import annotations

import hmac
import signal
import socket
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

from engine.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "driftline"
"""Holds the token of a reader who has shown it once."""
POLICY = (
    "default-src 'none'; script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a page may load: nothing that does not come from this server."""
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def check_reach(host: str, token: str | None) -> None:
    """Refuse to show runs to other machines without a token.

    Raises
    ------
    InputError
        If `host` is reached from elsewhere and there is no token.

    Examples
    --------
    >>> check_reach("127.0.0.1", None)
    >>> check_reach("0.0.0.0", None)
    Traceback (most recent call last):
    engine.errors.InputError: --host 0.0.0.0: other machines can reach this: give a --token too
    """
    if host not in LOOPBACK and not token:
        text = "other machines can reach this: give a --token too"
        raise InputError(text, f"--host {host}")


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises
    ------
    InputError
        If the port is taken, or the host is not this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ear = socket.socket(family, socket.SOCK_STREAM)
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        ear.bind((host, port))
        ear.listen(64)
    except OSError as error:
        ear.close()
        text = f"cannot be listened on ({error.strerror or error}); try --port {port + 1 or 8051}"
        raise InputError(text, f"--port {port}") from None
    return ear


def address(ear: socket.socket, host: str, token: str | None) -> str:
    """Return what a reader puts into the browser."""
    name = f"[{host}]" if ":" in host else host
    query = f"?{urlencode({'token': token})}" if token else ""
    return f"http://{name}:{ear.getsockname()[1]}/{query}"


def allowed_hosts(host: str) -> set[str] | None:
    """Return the names under which a browser may ask; None if any: the token is asked for."""
    return {*LOOPBACK, host} if host in LOOPBACK else None


def guard(server: Any, host: str, token: str | None, hashes: Sequence[str]) -> None:
    """Have each request to a Flask server checked, and each answer carry its policy.

    Parameters
    ----------
    server
        The Flask server.
    host
        Where it listens. On loopback a page of the internet may not pass for this one.
    token
        What a reader has to show: once as `?token=`, or as `Authorization: Bearer`.
    hashes
        Of the inline scripts that the pages themselves have.
    """
    from flask import Response, redirect, request

    names = allowed_hosts(host)
    policy = POLICY.format(hashes=" ".join(hashes))

    def refuse(text: str, code: int) -> Response:
        return Response(f"{text}\n", code, mimetype="text/plain")

    @server.before_request  # type: ignore[untyped-decorator, unused-ignore]
    def check() -> Any:
        asked = urlsplit(f"//{request.host}").hostname
        if names is not None and asked not in names:
            return refuse("This app answers on loopback only.", 403)
        if not token or same(request.cookies.get(COOKIE, ""), token):
            return None
        if same(request.headers.get("Authorization", "").removeprefix("Bearer "), token):
            return None
        if not same(request.args.get("token", ""), token):
            return refuse("Open the address with ?token=... once; it was given to --token.", 401)
        rest = urlencode([(k, v) for k, v in request.args.items(multi=True) if k != "token"])
        answer = redirect(f"{request.path}?{rest}" if rest else request.path)
        answer.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
        return answer

    @server.after_request  # type: ignore[untyped-decorator, unused-ignore]
    def seal(answer: Response) -> Response:
        answer.headers.setdefault("Content-Security-Policy", policy)
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer


def same(one: str, other: str) -> bool:
    """Return whether two secrets are the same, in a time that tells nothing.

    Examples
    --------
    >>> same("ü", "ü"), same("", "ü")
    (True, False)
    """
    return hmac.compare_digest(one.encode(), other.encode())


def end_on_signals() -> None:
    """Have SIGINT and SIGTERM end the process with exit code 0: to stop looking is no failure."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def serve(server: Any, ear: socket.socket, ready: Callable[[], None]) -> None:
    """Answer requests on a socket until a signal comes."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # one connection for many requests

        def log(self, type: str, message: str, *args: Any) -> None:
            """Say nothing of each request."""

    host, port = ear.getsockname()[:2]
    answering = make_server(
        host, port, server, threaded=True, request_handler=Quiet, fd=ear.fileno()
    )
    ready()
    answering.serve_forever()
