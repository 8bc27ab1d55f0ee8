"""What all settings are built of: the base class, and the types that many of them use."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from engine.quantities import HINT, duration_micros


class Settings(BaseModel):
    """Base of all settings: immutable, strict about types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def check_span(span: int | str) -> int | str:
    """Return `span` if it is a number of records or a duration; else raise ValueError."""
    if isinstance(span, str):
        duration_micros(span)
    elif span < 0:
        raise ValueError(f"must not be negative: {HINT}")
    return span


def check_duration(text: str) -> str:
    """Return `text` if it is a duration such as ``6h``; else raise ValueError."""
    try:
        duration_micros(text)
    except ValueError:
        raise ValueError("must be a duration such as 30m, 24h or 7d") from None
    return text


Span = Annotated[int | str, AfterValidator(check_span)]
"""A number of records, or a duration of event time such as ``24h``."""
Duration = Annotated[str, AfterValidator(check_duration)]
"""A duration such as ``24h``."""
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Price = Annotated[float, Field(ge=0)]


def spell_out(short: Any) -> Any:
    """Let a bare name stand for the variant with all defaults: ``adwin`` is ``{kind: adwin}``."""
    return {"kind": short} if isinstance(short, str) else short
