"""Where secrets come from: the environment, or a file that only its owner can read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from engine.errors import InputError

FILE = "secrets.yaml"
MASK = "***"
SHORTEST = 8
"""What is shorter is no secret worth hiding, and would hide half the text."""


def secret(name: str, config_folder: Path) -> str | None:
    """Return a secret, or None if there is none.

    The environment comes first; then the file ``secrets.yaml``, a flat mapping of names to
    texts, beside the configuration file or in ``config/`` below it.

    Parameters
    ----------
    name
        Its name, in the environment and in the file alike, such as ``NEWSAPI_KEY``.
    config_folder
        The folder of the configuration file.

    Raises
    ------
    InputError
        If the file can be read by others or is no such mapping; the message tells no secret.
    """
    given = os.environ.get(name, "").strip()
    if given:
        return given
    for path in (config_folder / FILE, config_folder / "config" / FILE):
        if path.is_file():
            found = _content(path).get(name, "").strip()
            if found:
                return found
    return None


def masked(text: str, secrets: Iterable[str | None]) -> str:
    """Return a text with all secrets in it made unreadable.

    Examples
    --------
    >>> masked("no key 0123456789abcdef", ["0123456789abcdef", None])
    'no key ***'
    """
    for one in secrets:
        if one and len(one) >= SHORTEST:
            text = text.replace(one, MASK)
    return text


def _content(path: Path) -> dict[str, str]:
    """Return what a secrets file holds; an encrypted one would be opened here."""
    from engine.documents import read

    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from None
    if mode & 0o077:
        raise InputError(f"others may read this file: run chmod 600 {path}", str(path))
    try:
        data = read(path, "secrets file").data
    except InputError as error:  # its message may quote the file
        place = error.place or str(path)
        raise InputError("cannot be read as YAML (NAME: text, a line each)", place) from None
    for name, value in data.items():
        if not isinstance(value, str):
            message = f"{name} must be a text: put its value in quotes"
            raise InputError(message, str(path))
    return dict(data)
