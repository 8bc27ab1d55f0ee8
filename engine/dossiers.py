"""Dossiers: what a run's events say of each of its jobs, as a registry is to keep it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

TEXT_MAX = 4000
"""A registry takes no longer texts."""
STEPS = ("job_started", "job_ready", "job_failed", "promoted", "rejected", "reused", "rollback")
"""The kinds of event that a registry follows."""
MOVES = ("promoted", "reused", "rollback")
"""Those after which another model is champion."""


@dataclass(frozen=True, slots=True)
class RunId:
    """What tells a run from all others: the content of its `run.json`.

    Parameters
    ----------
    name
        The run's name.
    key
        Hash of all that can change its outcomes: the same run written elsewhere has the same.
    model
        The settings of its models, flat, as texts.
    prefix
        What its registered models are called; None: as its streams.
    streams
        Names of its streams.
    where
        The run directory, as it was written.
    """

    name: str
    key: str
    model: Mapping[str, str]
    prefix: str | None = None
    streams: tuple[str, ...] = ()
    where: str = ""

    @staticmethod
    def of(about: Mapping[str, Any], where: str = "", prefix: str | None = None) -> RunId:
        """Return the id of a run by the content of its `run.json`.

        Examples
        --------
        >>> run = RunId.of({"name": "elec2", "seed": 7, "streams": ["elec2-0000"]})
        >>> run.key, run.registered("elec2-0000")
        ('elec2-7-a62adf51da92', 'elec2-0000')
        """
        name, seed = str(about.get("name", "run")), about.get("seed", 0)
        content = json.dumps(about, sort_keys=True, default=str).encode()
        settings = about.get("scenario", about.get("settings", {}))
        model = settings.get("model", {}) if isinstance(settings, Mapping) else {}
        return RunId(
            name,
            f"{name}-{seed}-{hashlib.sha256(content).hexdigest()[:12]}",
            dict(texts("model", model)),
            prefix,
            tuple(map(str, about.get("streams", ()))),
            where,
        )

    def registered(self, stream: str) -> str:
        """Return the name of the registered model of a stream.

        Examples
        --------
        >>> RunId("a", "a-1", {}, "news", ("a-0000",)).registered("a-0000")
        'news'
        >>> RunId("a", "a-1", {}, "news", ("a-0000", "a-0001")).registered("a-0001")
        'news-0001'
        """
        if self.prefix is None:
            return stream
        if len(self.streams) < 2:
            return self.prefix
        return f"{self.prefix}-{stream.rsplit('-', 1)[-1]}"


@dataclass(frozen=True, slots=True)
class Dossier:
    """A job that came to its end: all there is to be registered of it.

    Parameters
    ----------
    name
        The registered model's name.
    run
        The run's key; with `stream`, `model` and `job` it tells a version from all others.
    stream, model
        The stream, and the model's number in it.
    job
        The first sixteen digits of the job's id, which is a hash of its data and settings.
    failed
        Why there is no model; empty if there is one.
    params, metrics, tags
        What is said about it: settings, figures, and everything else.
    events
        The events that say so.
    began, ended
        When it was seen to begin and to end, seconds since 1970; None if nobody looked.
    """

    name: str
    run: str
    stream: str
    model: int
    job: str
    failed: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    events: Sequence[Mapping[str, Any]] = ()
    began: float | None = None
    ended: float | None = None

    @property
    def key(self) -> str:
        """What tells it from all others.

        Examples
        --------
        >>> Dossier("s-0000", "s-1-5f", "s-0000", 3, "ab12").key
        's-1-5f/s-0000/3/ab12'
        """
        return f"{self.run}/{self.stream}/{self.model}/{self.job}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a model that is registered.

    Parameters
    ----------
    kind
        What happened: one of `MOVES`, or ``rejected``.
    dossier
        The job that the model came of.
    n
        Number of the event within its stream.
    metrics, tags
        What is said about it.
    """

    kind: Literal["promoted", "reused", "rollback", "rejected"]
    dossier: Dossier
    n: int
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


class Follower:
    """Follows the events of a run's streams, each in order, and says what is to be registered.

    Examples
    --------
    >>> follower = Follower(RunId.of({"name": "s", "seed": 1}))
    >>> head = {"event_time": "1970-01-01T00:00:00.000000Z", "stream": "s-0000", "seq": 9}
    >>> begun = {"kind": "job_started", **head, "n": 0, "model": 0, "job": "5f", "fit_rows": 10}
    >>> follower.see(begun), follower.see({"kind": "job_ready", **head, "n": 1, "model": 0})[0].job
    ([], '5f')
    >>> follower.see({"kind": "promoted", **head, "n": 2, "model": 0})[0].kind
    'promoted'
    """

    def __init__(self, run: RunId) -> None:
        self.run = run
        self._begun: dict[tuple[str, int], tuple[Mapping[str, Any], float | None]] = {}
        self._ready: dict[tuple[str, int], Dossier] = {}

    def see(self, event: Mapping[str, Any], seen: float | None = None) -> list[Dossier | Verdict]:
        """Return what follows from an event that was seen at a time (seconds since 1970)."""
        kind, number = event["kind"], event.get("of_model", event.get("model"))
        if kind not in STEPS or not isinstance(number, int):
            return []
        place = (str(event["stream"]), number)
        if kind == "job_started":
            self._begun[place] = (event, seen)
        elif kind in ("job_ready", "job_failed") and place in self._begun:
            begun, began = self._begun.pop(place)
            dossier = dossier_of(self.run, begun, event, began, seen)
            if kind == "job_ready":
                self._ready[place] = dossier
            return [dossier]
        elif kind in (*MOVES, "rejected") and place in self._ready:
            return [verdict_of(self._ready[place], event)]
        return []

    def dossiers(self, events: Iterable[Mapping[str, Any]]) -> Iterator[Dossier | Verdict]:
        """Yield what follows from events that were written down."""
        for event in events:
            yield from self.see(event)


def dossier_of(
    run: RunId,
    begun: Mapping[str, Any],
    ended: Mapping[str, Any],
    began: float | None = None,
    over: float | None = None,
) -> Dossier:
    """Return the dossier of a job from its two events."""
    window = begun.get("window") or {}
    figures = {
        "window.first": window.get("first"),
        "window.last": window.get("last"),
        "window.rows": window.get("rows"),
        "fit_rows": begun.get("fit_rows"),
        "waited_records": int(ended["seq"]) - int(begun["seq"]),
        "seconds": None if began is None or over is None else max(0.0, over - began),
    }
    found = {key: ended[key] for key in list(ended)[5:] if key not in ("model", "asked", "reason")}
    failed = str(ended.get("reason") or "failed") if ended["kind"] == "job_failed" else ""
    tags = {
        "driftline.run": run.key,
        "driftline.run_dir": run.where,
        "driftline.stream": str(begun["stream"]),
        "driftline.model": str(begun["model"]),
        "driftline.job": str(begun["job"]),
        "driftline.reason": str(begun.get("reason", "")),
        "driftline.window": f"{window.get('first')} to {window.get('last')}" if window else "",
        "driftline.first": str(bool(begun.get("first"))).lower(),
        "driftline.asked": f"event {begun['n']}, record {begun['seq']}, {begun['event_time']}",
        "driftline.ended": f"event {ended['n']}, record {ended['seq']}, {ended['event_time']}",
        **({"driftline.failed": failed} if failed else {}),
    }
    return Dossier(
        run.registered(str(begun["stream"])),
        run.key,
        str(begun["stream"]),
        int(begun["model"]),
        str(begun["job"]),
        failed,
        {**run.model, **dict(texts("", found))},
        {**dict(numbers("", figures)), **dict(numbers("", found))},
        {name: text[:TEXT_MAX] for name, text in tags.items() if text},
        (begun, ended),
        began,
        over,
    )


def verdict_of(dossier: Dossier, event: Mapping[str, Any]) -> Verdict:
    """Return what an event says of a model that is there."""
    found = {key: event[key] for key in list(event)[5:] if key not in ("model", "of_model")}
    kind = event["kind"]
    told = json.dumps(found, separators=(",", ":"))
    tags = {
        "driftline.verdict": kind,
        f"driftline.{kind}": f"event {event['n']}, record {event['seq']}, {event['event_time']}",
        "driftline.figures": told[:TEXT_MAX],
    }
    return Verdict(kind, dossier, int(event["n"]), dict(numbers("verdict", found)), tags)


def numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield all numbers within a value, by dotted name.

    Examples
    --------
    >>> dict(numbers("", {"rows": 5, "tuning": {"trials": 3, "best": {"depth": 4}}, "ok": True}))
    {'rows': 5.0, 'tuning.trials': 3.0, 'tuning.best.depth': 4.0}
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from numbers(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield all that is no number within a value, and settings of a model whole, as texts.

    Examples
    --------
    >>> dict(texts("model", {"kind": "catboost", "depth": 6, "initial": None}))
    {'model.kind': 'catboost', 'model.depth': '6'}
    >>> dict(texts("", {"rows": 5, "tuning": {"sampler": "tpe"}, "trials": [1, 2]}))
    {'tuning.sampler': 'tpe', 'trials': '[1, 2]'}
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from texts(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list | tuple):
        if value:
            yield name, json.dumps(value)[:TEXT_MAX]
    elif isinstance(value, str | bool) or (name.startswith("model.") and value is not None):
        yield name, str(value)[:TEXT_MAX]
