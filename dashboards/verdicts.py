"""What there is to say of a run: its policy, what became of it, how its settings differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

Colour = Literal["green", "amber", "red", "grey"]


def policy_text(policy: Mapping[str, Any]) -> str:
    """Return a policy and its settings in a few words.

    Examples
    --------
    >>> data_drift = {"kind": "data_drift", "share": 0.5, "queue": False}
    >>> policy_text({"kind": "any_of", "cooldown": 3000, "of": [{"kind": "adwin"}, data_drift]})
    'any_of(adwin, data_drift(share 0.5), cooldown 3000)'
    """
    inner = [policy_text(one) for one in policy.get("of", ())]
    for name, value in policy.items():
        if name not in ("kind", "of") and value is not None and value is not False:
            inner.append(f"{name} {value}")
    return f"{policy['kind']}({', '.join(inner)})" if inner else str(policy["kind"])


def judge(total: Mapping[str, Any], error_price: float, failed: int = 0) -> tuple[Colour, str]:
    """Return the colour of a finished run, and why.

    Parameters
    ----------
    total
        The total entry of its summary.
    error_price
        What an error costs.
    failed
        How many streams failed.

    Examples
    --------
    >>> total = {
    ...     "errors": 10.0, "baseline_errors": 40.0, "cost": {"total": 20.0},
    ...     "retrains": {"started": 2, "failed": 0, "dropped": 0},
    ...     "drifts": {"missed": 0, "true": 1, "found": 1},
    ... }
    >>> judge(total, 1.0)
    ('green', '20 cheaper than never retraining')
    >>> judge({**total, "drifts": {"missed": 1, "true": 3, "found": 2}}, 1.0)
    ('amber', '20 cheaper than never retraining, but 1 of 3 drifts was missed')
    """
    retrains, drifts = total["retrains"], total["drifts"]
    saved = total["baseline_errors"] * error_price - total["cost"]["total"]
    if not retrains["started"]:
        worth = "no retrain was started"
    elif abs(saved) < 0.05:
        worth = "as dear as never retraining"
    else:
        worth = f"{_number(abs(saved))} {'cheaper' if saved > 0 else 'dearer'}"
        worth += " than never retraining"
    bad = [f"{_counted(failed, 'stream')} failed"] if failed else []
    bad += [f"{_counted(retrains['failed'], 'training job')} failed"] if retrains["failed"] else []
    if bad:
        return "red", f"{' and '.join(bad)}; {worth}"
    odd = []
    if missed := drifts["missed"]:
        odd.append(f"{missed} of {drifts['true']} drifts {'was' if missed == 1 else 'were'} missed")
    if retrains["dropped"]:
        odd.append(f"{_counted(retrains['dropped'], 'request')} came while a job was pending")
    if odd:
        return "amber", f"{worth}, but {' and '.join(odd)}"
    if not retrains["started"]:
        return "grey", worth
    return ("green" if saved > 0 else "amber"), worth


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:,.1f}"


def difference(
    about_a: Mapping[str, Any], about_b: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    """Return what differs between two runs: (dotted key, value of a, value of b).

    Parameters
    ----------
    about_a, about_b
        The content of their `run.json`. What one does not have is None.

    Examples
    --------
    >>> one = {"scenario": {"seed": 1, "policy": {"kind": "never"}}}
    >>> difference(one, {"scenario": {"seed": 1, "policy": {"kind": "adwin", "budget": 3}}})
    [('policy.kind', 'never', 'adwin'), ('policy.budget', None, 3)]
    """
    a, b = dict(_settings(about_a)), dict(_settings(about_b))
    keys = dict.fromkeys([*a, *b])
    return [(key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)]


def _settings(about: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from _flat("", about["scenario"])
    yield from _flat("source", about.get("source", {}))
    yield from _flat("versions", about.get("versions", {}))


def _flat(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested settings."""
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        inner = enumerate(value)
    else:
        yield place, value
    for key, part in inner:
        yield from _flat(f"{place}.{key}" if place else str(key), part)
