"""The server as a process: it listens, answers, and ends in peace."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread

import uvicorn

from engine.errors import InputError
from engine.places import Place, check_name
from engine.registry import Registry
from engine.serving.app import Desk, make
from engine.serving.figures import Figures
from engine.serving.logbook import Logbook
from engine.serving.watching import Watcher

GRACE_SECONDS = 10
"""So long requests may go on after a signal."""


class Server(uvicorn.Server):
    """Ends on SIGINT and SIGTERM once requests are answered: to stop serving is no failure."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to signals, and do not raise them again afterwards."""
        if current_thread() is main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self.handle_exit)
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises
    ------
    InputError
        If the port is taken, or the host is not this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ear = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # so: no Nagle
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        ear.bind((host, port))
        ear.listen(512)
    except OSError as error:
        ear.close()
        text = f"cannot be listened on ({error.strerror or error}); try --port {port + 1 or 8001}"
        raise InputError(text, f"--port {port}") from None
    return ear


def choose(registry: Registry) -> str:
    """Return the only model of a registry.

    Raises
    ------
    InputError
        If there is none, or more than one.
    """
    names = registry.names()
    if len(names) == 1:
        return names[0]
    shown = registry.place.shown
    if not names:
        hint = "name the one to wait for with --model NAME"
        raise InputError(f"there is no model in this registry yet; {hint}", shown)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    listed = f"{', '.join(names[:12])}{more}"
    raise InputError(f"choose one of its models with --model NAME: {listed}", shown)


def serve(
    place: Place,
    model: str | None,
    host: str,
    port: int,
    log: Path | None,
    tell: Callable[[str], None],
    every: float = 0.5,
) -> None:
    """Answer requests with the champion of a model until a signal comes.

    Parameters
    ----------
    place
        The registry.
    model
        The registered model; None: the only one.
    host, port
        Where to listen.
    log
        Folder to write answers to, if any.
    tell
        Gets the lines for the user.
    every
        Seconds from one look at the registry to the next.

    Raises
    ------
    InputError
        If the user's input is at fault.
    EngineError
        If the registry cannot be reached, and no model was named to wait for.
    """
    ear = listen(host, port)
    logbook = Logbook(log) if log is not None else None
    registry = Registry(place) if model is None else None
    model = choose(registry) if registry is not None else check_name(str(model))
    watcher = Watcher(model, lambda: Registry(place), every, registry)
    watcher.look()
    watcher.start()
    app = make(Desk(watcher, Figures(), logbook, host))
    config = uvicorn.Config(
        app, log_level="error", access_log=False, timeout_graceful_shutdown=GRACE_SECONDS
    )
    now = watcher.current
    what = f"version {now.version.number}" if now is not None else f"waits: {watcher.trouble}"
    name = f"[{host}]" if ":" in host else host
    tell(f"http://{name}:{ear.getsockname()[1]}/ answers with {model}, {what}; Ctrl-C ends it")
    try:
        Server(config).run([ear])
    finally:
        watcher.close()
        if logbook is not None:
            logbook.close()
