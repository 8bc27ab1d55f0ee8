"""Ends with 0 only if a version's evaluation let it in: the model gate of .github/workflows.

Usage: driftline models show NAME/3 --json > version.json && python deploy/gate.py version.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

PASSED = ("promoted", "reused")
"""Verdicts of the evaluation after which a version may serve; the others are reasons not to."""


def main(path: str) -> str | None:
    """Return why a version may not be promoted; None if it may."""
    version = json.loads(Path(path).read_text("utf-8"))
    name = f"{version.get('name')}/{version.get('version')}"
    verdict = version.get("verdict")
    if verdict in PASSED:
        return None
    return f"{name} was not let in by its evaluation: {verdict or 'it has not been judged'}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
