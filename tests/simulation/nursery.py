"""Children in readiness: what `multiprocessing` spawns begins at once, with everything imported.

A process that will spawn others forks them ahead, while it has no threads. Each waits to be told
which code to run with which open files, exactly what a fresh interpreter would have been told, and
is the true child of who asks. It goes if nobody asks.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import util
from pathlib import Path
from typing import Any

MARK = "spawned"
"""What a child that got work is called."""
FILES_MAX = 16
"""How many open files it may be passed."""
_waiting: list[tuple[int, socket.socket]] = []


def prepare(many: int, each: int = 0) -> None:
    """Have `many` children in readiness, which have `each` of their own once they get work."""
    _waiting.clear()
    for _ in range(many):
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                ours.close()
                for _, other in _waiting:
                    other.close()
                code = _serve(theirs, each)
            finally:
                os._exit(code)
        theirs.close()
        _waiting.append((pid, ours))
    util.spawnv_passfds = _spawn  # type: ignore[assignment]


def _spawn(path: Any, words: Sequence[Any], files: Sequence[int]) -> int:
    """Do what `spawnv_passfds` does, with a child in readiness while there is one."""
    code = next((str(word) for word in words if "spawn_main" in str(word)), "")
    while code and _waiting:
        pid, channel = _waiting.pop(0)
        with suppress(OSError), channel:
            socket.send_fds(channel, [json.dumps([code, [*files]]).encode()], [*files])
            return pid
    return int(_really_spawn(path, words, files))


_really_spawn: Any = util.spawnv_passfds


def _serve(channel: socket.socket, each: int) -> int:
    """Wait for work, do it, and return the exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    told, received, _, _ = socket.recv_fds(channel, 10_000, FILES_MAX)
    channel.close()
    if not told:
        return 0
    code, wanted = json.loads(told)
    _renumber(received, wanted)
    limits = resource.prlimit(os.getppid(), resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    Path("/proc/self/comm").write_text(MARK, "utf-8")
    prepare(each)
    sys.argv = ["-c", "--multiprocessing-fork"]
    try:
        exec(code, {})
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _renumber(received: Sequence[int], wanted: Sequence[int]) -> None:
    """Give files the numbers that whoever passed them knows them by."""
    aside = [fcntl.fcntl(file, fcntl.F_DUPFD, 500) for file in received]
    for file in received:
        os.close(file)
    for file, number in zip(aside, wanted, strict=True):
        os.dup2(file, number, inheritable=False)
        os.close(file)
