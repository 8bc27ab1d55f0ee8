"""Registering what events tell: in order, many at once, and once however often it is done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from engine.champions import challenge, dismiss, locked, moves_of, promote
from engine.dossiers import MOVES, Dossier, Follower, RunId, Verdict
from engine.errors import EngineError, InputError
from engine.places import Place, RegistryGone, Version, check_name
from engine.registry import KEY, Registry

BATCH_STEPS = 30
"""So many steps are registered together."""
UNREGISTERED = "unregistered"
"""Folder of the cache that keeps what only the run directory had, until it is registered."""
MOVED = "driftline.moved"
"""Tag of a version: number of the newest event that moved `champion` to it."""


@dataclass(frozen=True)
class Work:
    """What a registrar is to do.

    Parameters
    ----------
    place
        The registry.
    run
        The run.
    roots
        Folders of stores, in the order in which a result is looked for.
    private
        The one among them that goes with the run: what is there is put aside at once.
    aside
        Where it is put, until it is registered.
    """

    place: Place
    run: RunId
    roots: tuple[Path, ...]
    private: Path | None
    aside: Path

    @staticmethod
    def of(place: Place, run: RunId, out: Path, cache: Path) -> Work:
        """Return the work of registering a run directory."""
        aside = cache / UNREGISTERED / run.key
        private = out / ".state" / "models"
        return Work(place, run, (private, out / "models", cache / "models", aside), private, aside)

    def entry(self, job: str) -> Path | None:
        """Return the folder that holds a job's result."""
        for root in self.roots:
            for path in (root / job[:2]).glob(f"{job}*"):
                if (path / "meta.json").is_file():
                    return path
        return None

    def keep(self, dossier: Dossier) -> None:
        """Put a result aside that would go with the run."""
        if self.private is None or dossier.failed:
            return
        for path in (self.private / dossier.job[:2]).glob(f"{dossier.job}*"):
            kept = self.aside / dossier.job[:2] / path.name
            if not kept.exists():
                with suppress(OSError):
                    shutil.copytree(path, kept)

    def let_go(self, dossier: Dossier) -> None:
        """Remove what was put aside."""
        for path in (self.aside / dossier.job[:2]).glob(f"{dossier.job}*"):
            shutil.rmtree(path, ignore_errors=True)
        for folder in (self.aside / dossier.job[:2], self.aside, self.aside.parent):
            with suppress(OSError):
                folder.rmdir()


class Registering:
    """Registers steps, in order and many at once.

    Parameters
    ----------
    registry
        The registry.
    work
        What is to be done.
    claim
        Whether a champion that somebody else made, another run or a hand, gives way to this run's.
    """

    def __init__(self, registry: Registry, work: Work, *, claim: bool) -> None:
        self.registry, self.work, self.claim = registry, work, claim
        self.registered = 0
        self._versions: dict[str, dict[str, Version]] = {}
        self._runs: dict[str, str] | None = None
        self._moved: dict[str, int] = {}
        self._yields: dict[str, bool] = {}

    def take(self, steps: Sequence[Dossier | Verdict]) -> list[str]:
        """Register steps; taking them twice is taking them once.

        Of several champions in a row only the last two move aliases.

        Returns
        -------
        What could not be registered, a sentence each.

        Raises
        ------
        RegistryGone
            If the registry cannot be reached: try all of them again later.
        """
        problems: list[str] = []
        verdicts = [step for step in steps if isinstance(step, Verdict)]
        follows = {verdict.dossier.key: verdict for verdict in reversed(verdicts)}
        dossiers: dict[str, list[Dossier]] = {}
        for step in steps:
            if isinstance(step, Dossier):
                dossiers.setdefault(step.name, []).append(step)
        for name, mine in dossiers.items():
            with locked(self.registry, check_name(name)):
                for one in mine:
                    with gathering(problems):
                        self._add(one, follows.get(one.key))
            self._challenge(name, [one for one in mine if one.key not in follows])
        moves: dict[str, list[int]] = {}
        for verdict in verdicts:
            if verdict.kind in MOVES:
                moves.setdefault(verdict.dossier.name, []).append(verdict.n)
        for verdict in verdicts:
            with gathering(problems):
                late = moves.get(verdict.dossier.name, [])[-2:]
                self._judge(verdict, moves=verdict.n in late)
        return problems

    def _known(self, name: str) -> dict[str, Version]:
        """Return the versions of a model that came of this run, by key."""
        if name not in self._versions:
            found = self.registry.of_run(name, self.work.run.key)
            self._versions[name] = {one.tags.get(KEY, ""): one for one in found}
        return self._versions[name]

    def _add(self, dossier: Dossier, verdict: Verdict | None) -> None:
        """Register a job with its verdict, if it is not there."""
        known = self._known(dossier.name)
        if self._runs is None:
            self._runs = self.registry.runs_of(self.work.run.key)
        run_id = self._runs.get(dossier.key)
        if dossier.key not in known and not (dossier.failed and run_id):
            tags, metrics = ({}, {}) if verdict is None else (verdict.tags, verdict.metrics)
            entry = self.work.entry(dossier.job)
            made = self.registry.add(dossier, entry, run_id, tags, metrics)
            self.registered += 1
            if made is not None:
                known[dossier.key] = made
        self.work.let_go(dossier)

    def _challenge(self, name: str, dossiers: Sequence[Dossier]) -> None:
        """Let ``challenger`` point at the newest of those that wait for a verdict."""
        known = self._known(name)
        found = [known[one.key] for one in dossiers if one.key in known]
        waiting = [one for one in found if "driftline.verdict" not in one.tags]
        if waiting:
            challenge(self.registry, name, waiting[-1].number)

    def _judge(self, verdict: Verdict, *, moves: bool) -> None:
        """Tell a verdict, and let the aliases follow it if they are to move."""
        dossier = verdict.dossier
        version = self._known(dossier.name).get(dossier.key)
        if version is None:
            raise EngineError(f"{dossier.name}: model {dossier.model} is not registered")
        tags = {key: text for key, text in verdict.tags.items() if version.tags.get(key) != text}
        metrics = verdict.metrics if f"driftline.{verdict.kind}" in tags else {}
        if verdict.kind not in MOVES:
            if tags:
                dismiss(self.registry, dossier.name, version.number)
        elif moves and verdict.n > self._newest(dossier.name):
            if self._may(dossier.name):
                promote(self.registry, dossier.name, version.number, dossier.run)
            tags[MOVED] = str(verdict.n)
            self._moved[dossier.name] = verdict.n
        if tags:
            self.registry.tell(version, tags, metrics)
            told = replace(version, tags={**version.tags, **tags})
            self._known(dossier.name)[dossier.key] = told

    def _newest(self, name: str) -> int:
        """Return the newest event of this run that moved a champion."""
        if name not in self._moved:
            tags = [one.tags for one in self._known(name).values()]
            moved = [int(one[MOVED]) for one in tags if MOVED in one]
            self._moved[name] = max(moved, default=-1)
        return self._moved[name]

    def _may(self, name: str) -> bool:
        """Return whether this run may say who is champion."""
        if self.claim:
            return True
        if name not in self._yields:
            moves = moves_of(self.registry, name)
            self._yields[name] = bool(moves) and moves[-1].by != self.work.run.key
        return not self._yields[name]


@contextmanager
def gathering(problems: list[str]) -> Iterator[None]:
    """Go on after what cannot be registered; a registry that is gone ends it."""
    try:
        yield
    except RegistryGone:
        raise
    except EngineError as error:
        problems.append(str(error))


# --- after a run ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What came of registering a run directory.

    Parameters
    ----------
    registered
        How many jobs were new to the registry.
    jobs
        How many the run had.
    problems
        Why others could not be registered, a sentence each.
    names
        The registered models that it belongs to.
    """

    registered: int
    jobs: int
    problems: tuple[str, ...]
    names: tuple[str, ...]


def reconcile(
    registry: Registry, out: Path, cache: Path, name: str | None = None, *, claim: bool = False
) -> Reconciled:
    """Register whatever of a run is missing: finished, growing or interrupted.

    Parameters
    ----------
    registry
        The registry.
    out
        The run directory.
    cache
        Folder of results that runs share.
    name
        What the registered models are called, instead of as the streams.
    claim
        Whether champions that others made give way.

    Raises
    ------
    InputError
        If it is no run directory.
    RegistryGone
        If the registry cannot be reached.
    """
    run = RunId.of(read_about(out), str(out), name)
    work = Work.of(registry.place, run, out, cache)
    registering = Registering(registry, work, claim=claim)
    steps = Follower(run).dossiers(events_of(out))
    jobs, names, problems = 0, set[str](), list[str]()
    while batch := list(islice(steps, BATCH_STEPS)):
        dossiers = [step for step in batch if isinstance(step, Dossier)]
        jobs, names = jobs + len(dossiers), names | {one.name for one in dossiers}
        problems += registering.take(batch)
    problems = [one for one in problems if not one.endswith("is not registered")]
    return Reconciled(registering.registered, jobs, tuple(problems), tuple(sorted(names)))


def read_about(out: Path) -> dict[str, Any]:
    """Return the content of `run.json`.

    Raises
    ------
    InputError
        If there is none.
    """
    try:
        about: dict[str, Any] = json.loads((out / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise InputError("this is no run directory: it has no run.json", str(out)) from None
    return about


def events_of(out: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a run directory, as far as it has got, each stream's in order."""
    finished = out / "events.jsonl"
    parts: Sequence[Path] = [finished]
    if not finished.exists():
        parts = sorted((out / ".state" / "parts").glob("events-*.jsonl"))
    for part in parts:
        with part.open("rb") as file:
            yield from _whole(file)


def _whole(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the events of whole lines; the last may be half written."""
    for line in lines:
        if line.endswith(b"\n"):
            try:
                event = json.loads(line)
            except ValueError:
                return
            yield event
