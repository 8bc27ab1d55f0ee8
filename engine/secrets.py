"""Where secrets come from: the environment, a file of its owner's, or one that sops encrypted.

What is decrypted stays in memory: it is in no file, no message, and no environment of a child.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from engine.errors import InputError

FILE, ENCRYPTED = "secrets.yaml", "secrets.enc.yaml"
MASK = "***"
SHORTEST = 8
"""What is shorter is no secret worth hiding, and would hide half the text."""
SOPS_SECONDS = 30.0
"""How long decrypting may take: it may have to ask a key service."""
KEYS = ("SOPS_AGE_KEY", "SOPS_AGE_KEY_FILE", "SOPS_AGE_KEY_CMD")
"""The variables in which sops looks for an age key."""
ENVIRONMENT = "environment"
AWS = {
    "AWS_ACCESS_KEY_ID": "aws_access_key_id",
    "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
    "AWS_SESSION_TOKEN": "aws_session_token",
}
"""The credentials of AWS: their names here, and those of a boto3 session's arguments."""
OWN_AWS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
)  # fmt: skip
"""Variables by which the environment has credentials of its own."""


def secret(name: str, config_folder: Path) -> str | None:
    """Return a secret, or None if there is none.

    The environment comes first; then the file ``secrets.yaml``, a flat mapping of names to
    texts, beside the configuration file or in ``config/`` below it; then ``secrets.enc.yaml``
    in the same places, which sops decrypts.

    Parameters
    ----------
    name
        Its name, in the environment and in the file alike, such as ``NEWSAPI_KEY``.
    config_folder
        The folder of the configuration file.

    Raises
    ------
    InputError
        If the file can be read by others, is no such mapping, or cannot be decrypted; the
        message tells no secret.
    """
    return located(name, config_folder)[0]


def located(name: str, config_folder: Path) -> tuple[str | None, str]:
    """Return a secret, or None, and where it came from: ``environment``, or a file.

    Raises
    ------
    InputError
        As `secret` does.
    """
    given = os.environ.get(name, "").strip()
    if given:
        return given, ENVIRONMENT
    for path in files(config_folder):
        found = _content(path).get(name, "").strip()
        if found:
            return found, str(path)
    return None, ""


def files(config_folder: Path) -> list[Path]:
    """Return the files of secrets that are there, in the order in which they are asked."""
    places = (config_folder, config_folder / "config")
    named = [place / name for name in (FILE, ENCRYPTED) for place in places]
    return [path for path in named if path.is_file()]


def aws_credentials(config_folder: Path) -> dict[str, str]:
    """Return AWS credentials as arguments of ``boto3.Session``; empty: boto3 finds its own.

    It does if the environment has any; files are asked only otherwise, and a pair is never put
    together from two sources.

    Raises
    ------
    InputError
        If a file holds half a pair; or as `secret` does.
    """
    if any(os.environ.get(name, "").strip() for name in OWN_AWS):
        return {}
    for path in files(config_folder):
        content = _content(path)
        found = {to: content[name].strip() for name, to in AWS.items() if content.get(name)}
        if not found:
            continue
        for name in list(AWS)[:2]:
            if not found.get(AWS[name]):
                raise InputError(f"holds AWS credentials without {name}", str(path))
        return found
    return {}


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


def _content(path: Path) -> Mapping[str, str]:
    """Return what a file of secrets holds."""
    if path.name == ENCRYPTED:
        return _decrypted(path)
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
    return _flat(data, path)


def _flat(data: Mapping[str, object], path: Path) -> dict[str, str]:
    """Return names and texts, if that is what a file holds."""
    found = {}
    for name, value in data.items():
        if not isinstance(value, str):
            message = f"{name} must be a text: put its value in quotes"
            raise InputError(message, str(path))
        found[name] = value
    return found


# --- what sops encrypted --------------------------------------------------------------------


def _decrypted(path: Path) -> Mapping[str, str]:
    """Return what an encrypted file holds; it is opened once, unless file or key change."""
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from None
    keys = tuple(os.environ.get(name, "") for name in (*KEYS, "PATH"))
    return _opened(path.absolute(), path, state.st_mtime_ns, state.st_size, hash_of(keys))


def hash_of(texts: Iterable[str]) -> str:
    """Return what tells texts from others, and nothing about them."""
    from hashlib import sha256

    return sha256("\0".join(texts).encode("utf-8", "surrogateescape")).hexdigest()


def default_key() -> Path:
    """Return where `config/setup_secrets.sh` puts the age key unless it is told otherwise."""
    home = os.environ.get("XDG_CONFIG_HOME")
    base = Path(home) if home else Path(os.environ.get("HOME", "/")) / ".config"
    return base / "driftline" / "age.key"


@lru_cache(maxsize=8)
def _opened(path: Path, shown: Path, changed: int, size: int, keys: str) -> Mapping[str, str]:
    """Have sops decrypt a file."""
    place = str(shown)
    if b"ENC[" not in path.read_bytes():
        message = (
            "is not encrypted: make it with config/setup_secrets.sh, and replace what it holds"
        )
        raise InputError(message, place)
    surroundings = dict(os.environ)
    if not any(surroundings.get(name) for name in KEYS) and default_key().is_file():
        surroundings["SOPS_AGE_KEY_FILE"] = str(default_key())
    try:
        done = subprocess.run(
            ["sops", "decrypt", "--output-type", "json", str(path)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=surroundings,
            timeout=SOPS_SECONDS,
        )
    except FileNotFoundError:
        message = "sops is not on the PATH: install it, or give the secrets in the environment"
        raise InputError(message, place) from None
    except OSError as error:
        raise InputError(f"sops cannot be started: {error.strerror}", place) from None
    except subprocess.TimeoutExpired:
        raise InputError(f"sops did not answer within {SOPS_SECONDS:g} s", place) from None
    if done.returncode:
        raise InputError(_why(done.returncode, done.stderr, surroundings), place)
    try:
        data = json.loads(done.stdout)
    except ValueError:
        raise InputError("sops gave back something that is no JSON", place) from None
    if not isinstance(data, dict):
        raise InputError("does not hold NAME: text, a line each", place)
    return _flat(data, shown)


def _why(code: int, said: bytes, surroundings: Mapping[str, str]) -> str:
    """Return why sops failed, without quoting it: nobody knows what is in there."""
    text = said.decode("utf-8", "replace").lower()
    if "mac mismatch" in text or "authentication failed" in text:
        return "was changed by hand after it was encrypted: edit it with sops edit"
    named = surroundings.get("SOPS_AGE_KEY_FILE", "")
    if named and not surroundings.get("SOPS_AGE_KEY") and not Path(named).is_file():
        return "the age key is missing: SOPS_AGE_KEY_FILE names no file"
    if any(word in text for word in ("data key", "identit", "master key", "no key could")):
        if any(surroundings.get(name) for name in KEYS):
            return "the age key does not open it: it was encrypted for another one"
        return "the age key is missing: set SOPS_AGE_KEY_FILE to its file, or SOPS_AGE_KEY to it"
    return f"sops cannot decrypt it (exit code {code}): try sops decrypt on it"
