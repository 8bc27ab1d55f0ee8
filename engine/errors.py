"""The errors that a caller can act on; everything else is a bug and keeps its traceback."""

from __future__ import annotations


class EngineError(Exception):
    """Something went wrong that one clear sentence explains (exit code 1)."""


class InputError(EngineError):
    """The user's input is at fault (exit code 2).

    Parameters
    ----------
    message
        What was given and what is allowed, in one sentence.
    place
        Where, as ``file:line:column`` or a command-line option; empty if there is no place.
    key
        The setting at fault, such as ``("source", "label")``, for who knows where it stands.

    Examples
    --------
    >>> print(InputError("seed: must be a whole number", place="drift.yaml:2:7"))
    drift.yaml:2:7: seed: must be a whole number
    """

    def __init__(self, message: str, place: str = "", key: tuple[str | int, ...] = ()) -> None:
        super().__init__(f"{place}: {message}" if place else message)
        self.message = message
        self.place = place
        self.key = key


class MachineError(EngineError):
    """The machine failed, not the input: a full disk, a process that keeps dying.

    It ends the run without an outcome, so that no outcome depends on the machine; the run can
    be resumed.
    """
