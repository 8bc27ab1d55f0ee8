#!/usr/bin/env python3
"""Stands in for sops where it is not installed: the same words, exit codes and errors, real age.

Each value of a flat YAML file is encrypted with age for the recipients of the rules.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

NO_KEY = """Failed to get the data key required to decrypt the SOPS file.

Recovery failed because no master key was able to decrypt the file.
"""


def age(data: bytes, *words: str) -> bytes | None:
    done = subprocess.run(["age", *words], input=data, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1] if name in words else ""


def encrypt(words: list[str]) -> int:
    rules = Path(option(words, "--config")).read_text()
    assert "path_regex" in rules and option(words, "--filename-override")
    recipients = re.findall(r"age1\w+", rules)
    flags = [part for one in recipients for part in ("-r", one)]
    for line in Path(words[-1]).read_text().splitlines():
        name, _, value = line.partition(": ")
        plain = value[1:-1].replace("''", "'")
        sealed = age(plain.encode(), *flags)
        assert sealed is not None
        print(f"{name}: ENC[AES256_GCM,data:{base64.b64encode(sealed).decode()},type:str]")
    print("sops:\n    age:")
    for one in recipients:
        print(f"        - recipient: {one}")
    print("    version: 3.0.0")
    return 0


def decrypt(words: list[str]) -> int:
    assert option(words, "--output-type") == "json"
    identity = os.environ.get("SOPS_AGE_KEY", "")
    if not identity and os.environ.get("SOPS_AGE_KEY_FILE"):
        path = Path(os.environ["SOPS_AGE_KEY_FILE"])
        identity = path.read_text() if path.is_file() else ""
    found = {}
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(identity)
        file.flush()
        for name, data in re.findall(
            r"^(\w+): ENC\[AES256_GCM,data:(\S+),type:str\]", Path(words[-1]).read_text(), re.M
        ):
            opened = age(base64.b64decode(data), "-d", "-i", file.name) if identity else None
            if opened is None:
                sys.stderr.write(NO_KEY)
                return 128
            found[name] = opened.decode()
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    given = sys.argv[1:]
    if "encrypt" in given:
        sys.exit(encrypt(given))
    if given[:1] == ["--version"]:
        print("sops 3.0.0 (a stub)")
        sys.exit(0)
    sys.exit(decrypt(given))
