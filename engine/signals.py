"""The first SIGINT or SIGTERM ends a command with one line, whatever it is at; others do nothing.

Nothing has to be undone: files are written whole or not at all, training processes go with their
parent, and a run that was cut short is completed by replaying it. So the command ends on the
spot, unless it is at work that a flag can end well. A thread sees to it, because a signal handler
of Python has to wait for the main thread, which may be deep in a library.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event as Flag
from threading import Thread
from types import FrameType, TracebackType
from typing import Self

STOPPING = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 3.0
"""How long work that was told to end by its flag may take, unless somebody says otherwise."""


class Stop:
    """Ends the process when a signal comes; without its ``with`` it does nothing.

    The attribute `hint` says what can be done then, for the line that is left behind. A command
    enters it once, around all that it does: after it signals are ignored, as all is done by then.

    Parameters
    ----------
    code
        The process's exit code then; without one it is 128 + signal.
    grace
        How many seconds work that was told to end by its flag may take.

    Examples
    --------
    >>> stop = Stop()
    >>> stop.hint = "go on with: make demo"
    >>> stop.number  # no signal came
    0
    """

    def __init__(self, code: int | None = None, grace: float = GRACE_SECONDS) -> None:
        self.code, self.grace = code, grace
        self.hint = "nothing was written"
        self.number = 0
        self._flag: Flag | None = None
        self._over = Flag()

    def __enter__(self) -> Self:
        """Listen to signals from here on."""
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        for number in STOPPING:
            signal.signal(number, _ignored)
        signal.set_wakeup_fd(self._mouth.fileno())
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Listen no longer; if a signal came, however the block went, the process ends here."""
        signal.set_wakeup_fd(-1)
        self._mouth.close()
        self._over.set()
        self._thread.join()
        self._ear.close()
        for number in STOPPING:  # not the handlers of before: there is nothing left to stop,
            signal.signal(number, signal.SIG_IGN)  # and no moment at which a signal may do harm

    @contextmanager
    def by(self, flag: Flag) -> Iterator[None]:
        """Have signals set a flag that ends the block in good time; the command ends after it."""
        self._flag = flag
        try:
            yield
        finally:
            self._flag = None
        if self.number:
            sys.exit(self._exit_code())

    def _watch(self) -> None:
        came = self._ear.recv(1)
        while came and came[0] not in STOPPING:
            came = self._ear.recv(1)
        if not came:
            return
        self.number = came[0]
        flag = self._flag
        if flag is not None:
            flag.set()
            self._over.wait(self.grace)
        self._end()

    def _end(self) -> None:
        line = f"stopped by {signal.Signals(self.number).name}; {self.hint}\n"
        with suppress(OSError):
            clean = "\n\x1b[?25h" if os.isatty(2) else ""  # a progress bar hides the cursor
            os.write(2, os.fsencode(clean + line))
        os._exit(self._exit_code())

    def _exit_code(self) -> int:
        return 128 + self.number if self.code is None else self.code


def _ignored(number: int, frame: FrameType | None) -> None:
    """Do nothing: Python has told the thread."""
