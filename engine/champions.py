"""Champions change: one write is the switch, one mover at a time, and a crash is made good.

An MLflow registry has no transactions. So a move first writes down what it is about to do (in
the model's tag `MOVES`), then lets ``champion`` point at the new version, which is all that a
server looks at, then sees to ``previous`` and ``challenger``. Whoever moves next finishes what
somebody left half done. A file lock keeps movers apart; where a registry is shared by machines, a
registered model does: of two that create the same name, one is refused.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, InputError
from engine.events import iso

if TYPE_CHECKING:
    from engine.registry import Registry

MOVES = "driftline.moves"
"""The tag of a model that holds its newest moves, as JSON."""
MOVES_KEPT = 20
WAIT_SECONDS = 90.0
"""So long a mover waits for its turn."""
STALE_SECONDS = 30.0
"""A lock on a server that stays the same for so long was left behind by a crash."""
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Move:
    """A change of champion.

    Parameters
    ----------
    at
        When, as text.
    was, to
        The version that was champion (None: there was none), and the one that is.
    by
        Who moved it: a run's key, or ``hand``.
    done
        Whether all of it was written.
    """

    at: str
    was: int | None
    to: int
    by: str
    done: bool = True

    def entry(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return {"at": self.at, "was": self.was, "to": self.to, "by": self.by, "done": self.done}


def moves_of(registry: Registry, name: str) -> list[Move]:
    """Return the newest moves of a model, oldest first."""
    return read_moves(registry.state(name)[1].get(MOVES, "[]"))


def read_moves(text: str) -> list[Move]:
    """Return the moves that a tag tells of; what is none of ours tells of none.

    Examples
    --------
    >>> read_moves("[1]")
    []
    """
    try:
        entries = json.loads(text)
        return [Move(**entry) for entry in entries]
    except (ValueError, TypeError):  # somebody else's words
        return []


def promote(registry: Registry, name: str, number: int, by: str = "hand") -> Move:
    """Make a version champion; the champion becomes ``previous``.

    Raises
    ------
    InputError
        If there is no such version.
    """
    with locked(registry, name):
        aliases, moves = _mend(registry, name)
        registry.version(name, number)
        return _move(registry, name, aliases, moves, number, by)


def rollback(registry: Registry, name: str, by: str = "hand") -> Move:
    """Make the previous champion champion again; the champion becomes ``previous``.

    Raises
    ------
    InputError
        If there is no previous one.
    """
    with locked(registry, name):
        aliases, moves = _mend(registry, name)
        before = aliases.get("previous")
        if before is None:
            raise InputError("has no previous champion to go back to", name)
        return _move(registry, name, aliases, moves, before, by)


def challenge(registry: Registry, name: str, number: int) -> None:
    """Let ``challenger`` point at a version, unless it is champion."""
    with locked(registry, name):
        if registry.aliases(name).get("champion") != number:
            with registry.ask() as client:
                client.set_registered_model_alias(name, "challenger", str(number))


def dismiss(registry: Registry, name: str, number: int) -> None:
    """Let ``challenger`` no longer point at a version that was rejected."""
    with locked(registry, name):
        if registry.aliases(name).get("challenger") == number:
            with registry.ask() as client:
                client.delete_registered_model_alias(name, "challenger")


def _move(
    registry: Registry, name: str, aliases: dict[str, int], moves: list[Move], to: int, by: str
) -> Move:
    """Let champion go from one version to another."""
    at, was = iso(int(registry.clock() * 1_000_000)), aliases.get("champion")
    if was == to:
        return Move(at, was, to, by)
    intent = Move(at, was, to, by, done=False)
    _write_moves(registry, name, [*moves, intent])
    with registry.ask() as client:
        client.set_registered_model_alias(name, "champion", str(to))  # the switch
    return _finish(registry, name, aliases, moves, intent)


def _finish(
    registry: Registry, name: str, aliases: dict[str, int], moves: list[Move], intent: Move
) -> Move:
    """Write what follows from a switch that has been made."""
    with registry.ask() as client:
        if intent.was is not None:
            client.set_registered_model_alias(name, "previous", str(intent.was))
        if aliases.get("challenger") == intent.to:
            client.delete_registered_model_alias(name, "challenger")
    done = Move(intent.at, intent.was, intent.to, intent.by)
    _write_moves(registry, name, [*moves, done])
    return done


def _mend(registry: Registry, name: str) -> tuple[dict[str, int], list[Move]]:
    """Return aliases and moves; finish the last, or forget it, if it was left half done."""
    aliases, tags = registry.state(name)
    moves = read_moves(tags.get(MOVES, "[]"))
    if not moves or moves[-1].done:
        return aliases, moves
    if aliases.get("champion") == moves[-1].to:
        _finish(registry, name, aliases, moves[:-1], moves[-1])
    else:
        _write_moves(registry, name, moves[:-1])
    aliases, tags = registry.state(name)
    return aliases, read_moves(tags.get(MOVES, "[]"))


def _write_moves(registry: Registry, name: str, moves: list[Move]) -> None:
    text = json.dumps([move.entry() for move in moves[-MOVES_KEPT:]], separators=(",", ":"))
    with registry.ask() as client:
        client.set_registered_model_tag(name, MOVES, text)


# --- one at a time --------------------------------------------------------------------------


@contextmanager
def locked(registry: Registry, name: str) -> Iterator[None]:
    """Be the only one that writes to a model.

    Raises
    ------
    EngineError
        If somebody else does not come to an end.
    """
    path = registry.place.lock
    with file_lock(path) if path is not None else server_lock(registry, name):
        yield


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which goes with the process that holds it."""
    deadline = time.monotonic() + WAIT_SECONDS
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise EngineError(f"{path}: another process holds this lock") from None
                time.sleep(LOOK_SECONDS)
        yield


@contextmanager
def server_lock(registry: Registry, name: str) -> Iterator[None]:
    """Hold a lock that is a registered model: the server lets one only create it."""
    from engine.places import Refused
    from engine.registry import LOCKS

    lock, mine = f"{LOCKS}{name}", f"held by {registry.token}/{get_ident()}"
    deadline, first_seen, seen = time.monotonic() + WAIT_SECONDS, time.monotonic(), -1
    while True:
        try:
            with registry.ask() as client:
                client.create_registered_model(lock, description=mine)
            break
        except Refused as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
        now = time.monotonic()
        if now > deadline:
            raise EngineError(f"{name}: somebody else does not let go of it ({lock})")
        with suppress(Refused), registry.ask() as client:
            held = client.get_registered_model(lock)
            if held.description == mine:  # the server went away before it could be let go of
                break
            if held.creation_timestamp != seen:
                first_seen, seen = now, held.creation_timestamp
            elif now - first_seen > STALE_SECONDS:
                client.delete_registered_model(lock)
        time.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        with suppress(EngineError), registry.ask() as client:
            client.delete_registered_model(lock)
