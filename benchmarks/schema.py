"""Writes the JSON Schema of benchmark files, for editors: ``python -m benchmarks.schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.spec import Bench

FILE = Path(__file__).parent.parent / "config" / "schemas" / "bench.schema.json"


def bench_schema() -> dict[str, Any]:
    """Return the JSON Schema of a benchmark file; its name may be left to the file's."""
    schema = Bench.model_json_schema()
    schema["required"] = [key for key in schema["required"] if key != "name"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def text() -> str:
    """Return the schema as it is written to `FILE`."""
    return json.dumps(bench_schema(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
