"""Writes the JSON Schema of live configurations, for editors: ``python -m engine.news.schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.news.live import Live

FILE = Path(__file__).parent.parent.parent / "config" / "schemas" / "live.schema.json"


def live_schema() -> dict[str, Any]:
    """Return the JSON Schema of a live configuration; its name may be left to the file's."""
    schema = Live.model_json_schema()
    schema["required"] = [key for key in schema["required"] if key != "name"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def text() -> str:
    """Return the schema as it is written to `FILE`."""
    return json.dumps(live_schema(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")
