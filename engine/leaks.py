"""Finds secrets in files before they are committed: ``python -m engine.leaks [FILE...]``.

Without files it looks at all that git tracks; with ``--staged`` at what the next commit holds. It
needs nothing but Python and git, and never prints what it finds, only where.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from pathlib import Path, PurePosixPath

ALLOWED = "leaks: allow"
"""A line that says so holds no secret, whatever it looks like."""
SIZE_MAX = 5_000_000
"""What is larger is data."""
SPREAD = 2.8
"""Bits a letter from which a text looks drawn by chance; hex keys have 3.3 and more."""

PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----")),
    ("an age secret key", re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]{40,}")),
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    (
        "an AWS secret key",
        re.compile(r"(?i)aws_?secret\w*[\"']?\s*[:=]\s*[\"']?([A-Za-z0-9/+=]{40})(?![\w/+=])"),
    ),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{50,})")),
    ("a Slack token", re.compile(r"\bxox[abprs]-[0-9A-Za-z-]{20,}")),
    (
        "the address of a webhook",
        re.compile(
            r"https://(?:hooks\.slack\.com/(?:services|workflows)/\w+/\w+/\w{8,}"
            r"|(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d+/[\w-]{20,})"
        ),
    ),
    (
        "a password in an address",
        re.compile(
            r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'<>{}$]*:((?=\w*\d)[^\s/:@\"'<>{}$]{8,})@[\w.\[-]"
        ),
    ),
    (
        "a token in an address",
        re.compile(r"(?i)[?&](?:api_?key|(?:\w+_)?token|secret|sig|signature)=([\w%.~+/-]{16,})"),
    ),
    ("a key such as NewsAPI's", re.compile(r"(?<![\w/+=-])([0-9a-f]{32})(?![\w/+=-])")),
)
"""What a secret looks like; a group, where there is one, is what has to look drawn by chance."""

SETTING = re.compile(
    r"(?i)^[\s{,\"'-]*(?:export |ENV |ARG )?[\w.-]*"
    r"(?:api_?key|secret|token|passw(?:or)?d|credentials?|access_?key)[\"']?\s*[:=]\s*"
    r"[\"']?([^\s\"',}#]{12,})[\"']?\s*[,}]?\s*(?:#.*)?$"
)
"""A line of a configuration file that gives a secret a value."""
CONFIGURATION = {".yaml", ".yml", ".json", ".toml", ".ini", ".cfg", ".env", ".conf", ".properties"}
FORBIDDEN = re.compile(
    r"(^|/)(\.env(\.(?!example$|sample$)[^/]*)?|secrets\.(?!enc\.)[^/]*ya?ml|secrets\.ya?ml"
    r"|credentials[^/.]*|id_(rsa|ed25519|ecdsa)|[^/]*\.(age|pem|key|p12|pfx))$"
)
"""Names of files that never enter a repository."""
ENCRYPTED = re.compile(r"(^|/)[^/]*\.enc\.(ya?ml|json|env)$")


@dataclass(frozen=True)
class Leak:
    """A place that looks like a secret.

    Parameters
    ----------
    path
        The file.
    line, column
        Where, from 1.
    what
        What it looks like.
    """

    path: str
    line: int
    column: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: this looks like {self.what}"


def spread(text: str) -> float:
    """Return how varied the letters of a text are, in bits a letter.

    Examples
    --------
    >>> spread("aaaa"), spread("abcd")
    (0.0, 2.0)
    """
    shares = [text.count(letter) / len(text) for letter in set(text)]
    return -sum(share * math.log2(share) for share in shares) + 0.0


def looks_drawn(text: str) -> bool:
    """Return whether a text looks drawn by chance: varied, and no run of neighbours.

    Examples
    --------
    >>> looks_drawn("0123456789abcdef" * 2), looks_drawn("your-key-goes-here")
    (False, False)
    >>> looks_drawn("9c1f" + "5e07b2d84a63" + "0f9be17c52d8a463")
    True
    """
    letters = text.lower()
    neighbours = sum(ord(b) - ord(a) == 1 for a, b in pairwise(letters))
    mixed = any(map(str.isdigit, text)) and any(map(str.isalpha, text))
    return mixed and spread(text) >= SPREAD and neighbours * 3 < len(text)


def suspicions(text: str, setting: bool = False) -> Iterator[tuple[int, str]]:
    """Yield what in a line looks like a secret: its offset, and what it looks like.

    Parameters
    ----------
    text
        The line.
    setting
        Whether it is a line of a configuration file.
    """
    if ALLOWED in text:
        return
    for what, pattern in PATTERNS:
        for found in pattern.finditer(text):
            part = found[pattern.groups]
            if part.endswith(("EXAMPLE", "EXAMPLEKEY")):
                continue
            if what == "a password in an address" or not pattern.groups or looks_drawn(part):
                yield found.start(pattern.groups), what
    value = SETTING.match(text) if setting else None
    reference = ("$", "<", "{", "ENC[")
    if value and looks_drawn(value[1]) and not value[1].startswith(reference):
        yield value.start(1), "a secret given to a setting"


def leaks(path: str, content: bytes) -> list[Leak]:
    """Return what of a file's name and content looks like a secret, one for each line.

    Parameters
    ----------
    path
        Its name in the repository.
    content
        What it holds.
    """
    found = []
    if FORBIDDEN.search(path):
        found.append(Leak(path, 1, 1, "a file of secrets, by its name"))
    if len(content) > SIZE_MAX or b"\0" in content[:8000]:
        return found
    text = content.decode("utf-8", "replace")
    if ENCRYPTED.search(path):
        if not ("sops" in text and "ENC[" in text):
            found.append(Leak(path, 1, 1, "a file that should be encrypted and is not"))
        elif not any(what in text for what in ("AGE-SECRET-KEY-", "PRIVATE KEY")):
            return found  # what sops writes looks drawn by chance all over
    setting = PurePosixPath(path).suffix in CONFIGURATION or ".env" in PurePosixPath(path).name
    for number, line in enumerate(text.splitlines(), 1):
        first = min(suspicions(line, setting), key=itemgetter(0), default=None)
        if first is not None:
            found.append(Leak(path, number, first[0] + 1, first[1]))
    return found


def git(*words: str) -> bytes:
    """Return what git prints.

    Raises
    ------
    SystemExit
        If there is no git, or no repository here.
    """
    try:
        return subprocess.run(["git", *words], capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise SystemExit("leaks: git is not installed; name the files to look at") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines() or ["it failed"]
        raise SystemExit(f"leaks: git: {said[0]}") from None


def names(listed: bytes) -> list[str]:
    """Return file names that git lists with zeros between them."""
    return [name.decode("utf-8", "surrogateescape") for name in listed.split(b"\0") if name]


def tracked() -> Iterator[tuple[str, bytes]]:
    """Yield all files that git tracks, as they lie on the disk."""
    for name in names(git("ls-files", "-z")):
        path = Path(name)
        if path.is_file() and not path.is_symlink():
            yield name, path.read_bytes()


def staged() -> Iterator[tuple[str, bytes]]:
    """Yield the files that the next commit adds or changes, as it holds them."""
    for name in names(git("diff", "--cached", "--name-only", "--diff-filter=ACMRT", "-z")):
        if not git("ls-files", "-s", "--", f":(top){name}").startswith(b"160000"):
            yield name, git("show", f":{name}")


def given(words: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield files by name."""
    for word in words:
        try:
            yield word, Path(word).read_bytes()
        except OSError as error:
            raise SystemExit(f"leaks: {word}: {error.strerror}") from None


def main(words: Sequence[str]) -> int:
    """Look at the files that `words` name; return the exit code."""
    if list(words) == ["--staged"]:
        files = staged()
    elif any(word.startswith("-") for word in words):
        raise SystemExit("usage: python -m engine.leaks [--staged | FILE...]")
    else:
        files = given(words) if words else tracked()
    count, found = 0, []
    for name, content in files:
        count += 1
        found += leaks(name, content)
    for leak in found:
        sys.stderr.write(f"{leak}\n")
    if found:
        sys.stderr.write(
            f"Take it out, and into the environment or config/secrets.enc.yaml (docs/secrets.md); "
            f"what is no secret gets '{ALLOWED}' on its line.\n"
        )
        return 1
    sys.stderr.write(f"no secrets in {count} files\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
