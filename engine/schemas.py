"""Writes the JSON Schemas of the configuration, for editors: ``python -m engine.schemas``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.configuration import Configuration, Logging

FOLDER = Path(__file__).parent.parent / "config" / "schemas"
DIALECT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def settings_schema() -> dict[str, Any]:
    """Return the schema of ``settings.yaml``, which holds all but the logs."""
    schema = environment_schema()
    del schema["properties"]["logging"]
    kept = {name: one for name, one in schema["$defs"].items() if name in ("Bucket", "Metrics")}
    return {**schema, "title": "Settings", "$defs": kept}


def logging_schema() -> dict[str, Any]:
    """Return the schema of ``logging.yaml``."""
    return {**DIALECT, **Logging.model_json_schema()}


def environment_schema() -> dict[str, Any]:
    """Return the schema of the files in ``environments/``, which may set anything."""
    return {**DIALECT, **Configuration.model_json_schema()}


def secrets_schema() -> dict[str, Any]:
    """Return the schema of ``secrets.yaml``, and of what ``secrets.enc.yaml`` decrypts to."""
    return {
        **DIALECT,
        "title": "Secrets",
        "description": "Names and texts, as the environment would have them.",
        "type": "object",
        "properties": {"sops": {"type": "object"}},
        "patternProperties": {"^[A-Z][A-Z0-9_]*$": {"type": "string"}},
        "additionalProperties": False,
    }


SCHEMAS = {
    "settings": settings_schema,
    "logging": logging_schema,
    "environment": environment_schema,
    "secrets": secrets_schema,
}


def file(name: str) -> Path:
    """Return where a schema is written."""
    return FOLDER / f"{name}.schema.json"


def text(name: str) -> str:
    """Return a schema as it is written.

    Examples
    --------
    >>> '"title": "Logging"' in text("logging")
    True
    """
    return json.dumps(SCHEMAS[name](), indent=2) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in SCHEMAS:
        file(name).write_text(text(name), encoding="utf-8")
