"""Writes the JSON Schema of scenario files, for editors: ``python -m scenarios.schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scenarios.spec import Scenario

FILE = Path(__file__).parent.parent / "config" / "schemas" / "scenario.schema.json"


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file; its name may be left to the file's."""
    schema = Scenario.model_json_schema()
    schema["required"] = [key for key in schema["required"] if key != "name"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def text() -> str:
    """Return the schema as it is written to `FILE`."""
    return json.dumps(scenario_schema(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text(), encoding="utf-8")
