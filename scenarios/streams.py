"""Streams: a source's rows as the script lets them arrive, in batches, restartable anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from engine.batch import Batch, Mark, Schema, Table, concat
from engine.errors import EngineError
from engine.quantities import interval_micros, moment_micros
from engine.seeds import derive
from engine.sources.blocks import BLOCK, Block, Source
from scenarios import spec
from scenarios.donors import Donors, Past, everywhere
from scenarios.drifts import (
    COLUMN_FAULTS,
    LABEL_FAULTS,
    OTHER_DRIFTS,
    PRIOR_DRIFTS,
    ROW_FAULTS,
    Place,
    applied,
)
from scenarios.pieces import Piece, joined, piece_of
from scenarios.ramps import switches

Item = TypeVar("Item")
Stages = tuple[Mapping[str, Any], ...]
ARRIVAL: Stages = (LABEL_FAULTS, ROW_FAULTS)
"""What decides when records and labels arrive."""
STAGES: Stages = (PRIOR_DRIFTS, OTHER_DRIFTS, COLUMN_FAULTS, *ARRIVAL)
"""Items are applied stage by stage, within a stage in the order of the script."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two records of a stream, from which it can go on.

    Parameters
    ----------
    block
        The block, counted from 0, with which the next record arrives.
    seq
        Sequence number of the first record that arrives with that block.
    skip
        Records of that block that have arrived already.
    marks
        Marks that were given before that block.

    Examples
    --------
    >>> from dataclasses import asdict
    >>> asdict(Position(block=2, seq=2048))
    {'block': 2, 'seq': 2048, 'skip': 0, 'marks': 0}
    >>> Position(**asdict(Position(skip=5))).next_seq
    5
    """

    block: int = 0
    seq: int = 0
    skip: int = 0
    marks: int = 0

    @property
    def next_seq(self) -> int:
        """Sequence number of the next record."""
        return self.seq + self.skip


@dataclass(frozen=True, slots=True)
class Stream:
    """One copy of a scenario's stream.

    What arrives is a pure function of these fields: neither the size of batches nor restarts
    change it.

    Parameters
    ----------
    name
        Its name, such as ``elec2-0000``.
    index
        Its number among the copies, counted from 0; items may name the copies that they touch.
    seed
        Where its chance comes from.
    source
        Its rows before any script.
    script
        The scenario's whole script.
    delay
        How late every label is: a number of records, or a duration.
    """

    name: str
    index: int
    seed: int
    source: Source
    script: tuple[spec.Item, ...] = ()
    delay: int | str = 0

    @property
    def schema(self) -> Schema:
        """The columns."""
        return self.source.schema

    @property
    def rows(self) -> int:
        """How many rows the source has; faults may let more or fewer records arrive."""
        return self.source.rows

    @property
    def facts(self) -> Mapping[str, Any]:
        """What `run.json` should know of the source, JSON-ready."""
        return self.source.facts

    @property
    def notes(self) -> Sequence[str]:
        """What is odd about the source's data, a line each."""
        return self.source.notes

    def batches(self, size: int, start: Position = Position()) -> Iterator[Batch]:
        """Yield the records from `start` on in batches of `size`; the last may be smaller.

        Raises
        ------
        InputError
            If a drift takes rows from a changed source that has too few of them.

        Examples
        --------
        >>> source = spec.GeneratorSource(kind="generator", name="sea", records=100)
        >>> scenario = spec.Scenario(name="sea", source=source)
        >>> (stream,) = open_streams(scenario, base=Path(), cache=Path())
        >>> [(batch.first, len(batch)) for batch in stream.batches(40)]
        [(0, 40), (40, 40), (80, 20)]
        """
        return (batch for batch, _ in self.walk(size, start))

    def walk(self, size: int, start: Position = Position()) -> Iterator[tuple[Batch, Position]]:
        """Yield what `batches` does, each batch with the position after it.

        Where the source fails, what came before is yielded first: it must not depend on `size`.

        Examples
        --------
        >>> source = spec.GeneratorSource(kind="generator", name="sea", records=100)
        >>> scenario = spec.Scenario(name="sea", source=source)
        >>> (stream,) = open_streams(scenario, base=Path(), cache=Path())
        >>> batch, position = next(stream.walk(40))
        >>> next(stream.batches(40, position)).first
        40
        """
        assert size >= 1, size
        parts: list[Batch] = []
        wanted = size
        failures: list[EngineError] = []
        for begin, arrived in until_failure(self._arrived(start), failures):
            position = begin
            while position.skip < len(arrived):
                part = arrived[position.skip : position.skip + wanted]
                position = replace(position, skip=position.skip + len(part))
                parts.append(part)
                wanted -= len(part)
                if not wanted:
                    yield concat(parts), position
                    parts, wanted = [], size
        if parts:
            yield concat(parts), position
        if failures:
            raise failures[0]

    def _arrived(self, start: Position) -> Iterator[tuple[Position, Batch]]:
        """Yield what arrives with each block from `start.block` on, and where that begins."""
        marks = self._marks()
        position = start
        for number, piece in self._arrivals(start.block):
            found = _placed(marks[position.marks :], piece, position.seq)
            batch = Batch(
                position.seq,
                piece.times,
                piece.table,
                piece.labels,
                piece.late_records,
                piece.late_micros,
                found,
            )
            yield replace(position, block=number), batch
            position = Position(number + 1, batch.end, 0, position.marks + len(found))

    def _marks(self) -> Sequence[Mark]:
        """Return what is to be told, by source rows: the script, then what is odd about rows."""
        marks = [*scripted(self.script, self.index, self.rows), *self.source.oddities]
        for number, item in enumerate(self.script):
            if isinstance(item, spec.ConceptDrift) and item.to and _touches(item, self.index):
                end = self.rows if item.until is None else item.until + item.over
                marks += [
                    replace(mark, details={**mark.details, "script": number})
                    for mark in self.source.variant(item.to).oddities
                    if item.at <= mark.seq < end
                ]
        return sorted(marks, key=lambda mark: mark.seq)

    def _arrivals(self, start: int, stages: Stages = STAGES) -> Iterator[tuple[int, Piece]]:
        """Yield block numbers from `start` on with their records in order of arrival.

        Late records are carried into the next block, no further: `by` is less than a block. So
        to begin at a block it is enough to read the one before.
        """
        reader = _Reader(self, stages)
        carried: Piece | None = None
        for block in self.source.blocks(start - 1 if reader.carries_into(start) else start):
            number, end = block.row // BLOCK, block.row + BLOCK
            piece = reader.piece(block)
            piece = joined(carried, piece) if carried is not None else piece
            carried = None
            if piece.places.any():
                due = piece.rows + piece.places
                order = np.lexsort((piece.places, due))
                here = (due < end)[order] | (end >= self.rows)
                piece, carried = piece[order[here]], piece[order[~here]]
            if number >= start:
                yield number, piece


def ordered(
    script: Sequence[spec.Item], index: int, stages: Stages = STAGES
) -> tuple[tuple[int, spec.Item], ...]:
    """Return the items that touch stream `index` with their numbers, in order of application.

    That is stage by stage; among equals the order of the script counts.

    Examples
    --------
    >>> outage = spec.Outage(kind="outage", at=5, until=9)
    >>> drift = spec.PriorDrift(kind="prior", at=5, mix={"a": 0.5})
    >>> other = spec.Outage(kind="outage", at=5, until=9, streams=(1,))
    >>> [number for number, _ in ordered([outage, drift, other], index=0)]
    [1, 0]
    """
    mine = [(n, item) for n, item in enumerate(script) if _touches(item, index)]
    return tuple(item for stage in stages for item in mine if item[1].kind in stage)


def scripted(script: Sequence[spec.Item], index: int, rows: int) -> tuple[Mark, ...]:
    """Return the truth about stream `index`, by source rows and then by item.

    The marks' `seq` are source rows, as if each row arrived as one record.

    Parameters
    ----------
    script
        The scenario's script.
    index
        The stream's number, counted from 0.
    rows
        How many rows the source has; what begins later is left out.

    Examples
    --------
    >>> drift = spec.PriorDrift(kind="prior", at=5, mix={"a": 0.5}, until=9)
    >>> first, second = scripted([drift], index=0, rows=100)
    >>> dict(second.details)["phase"], second.seq
    ('return', 9)
    """
    marks: list[Mark] = []
    for number, item in enumerate(script):
        head: dict[str, Any] = {"script": number}
        if not _touches(item, index):
            continue
        if isinstance(item, spec.Drift):
            head |= {"drift": item.kind, "shape": item.shape}
            for row, phase in switches(item, rows):
                place = {"phase": phase, "row": row, "over": item.over}
                marks.append(Mark(row, "drift", {**head, **place, **_changes(item)}))
            continue
        head |= {"fault": item.kind}
        about = item.model_dump(mode="json", include={"columns", "share"})
        for edge, row in (("start", item.at), ("end", item.until)):
            if row < rows:
                marks.append(Mark(row, "fault", {**head, "phase": edge, "row": row, **about}))
    return tuple(sorted(marks, key=lambda mark: mark.seq))


def until_failure(items: Iterator[Item], failures: list[EngineError]) -> Iterator[Item]:
    """Yield the items until there are no more, or one fails: then note the failure and end."""
    try:
        yield from items
    except EngineError as error:
        failures.append(error)


def open_streams(scenario: spec.Scenario, base: Path, cache: Path) -> list[Stream]:
    """Return all streams of a scenario.

    Parameters
    ----------
    scenario
        What to run.
    base
        The folder that the scenario's paths are relative to.
    cache
        A folder for what is worth keeping between runs, such as sampled blocks.

    Raises
    ------
    InputError
        If a source cannot be made from its settings.

    Examples
    --------
    >>> source = spec.GeneratorSource(kind="generator", name="sea", records=1500)
    >>> scenario = spec.Scenario(name="sea", source=source, streams=2)
    >>> first, second = open_streams(scenario, base=Path(), cache=Path())
    >>> second.name, [len(batch) for batch in second.batches(1000)]
    ('sea-0001', [1000, 500])
    """
    streams: list[Stream] = []
    for index in range(scenario.count):
        seed = stream_seed(scenario, index)
        if streams and isinstance(scenario.source, spec.FileSource | spec.NewsSource):
            source = streams[0].source  # a file is the same for every seed
        else:
            source = _open_source(scenario, seed, base, cache)
        name, delay = scenario.stream_name(index), scenario.labels.delay
        streams.append(Stream(name, index, seed, source, scenario.script, delay))
    return streams


def stream_seed(scenario: spec.Scenario, index: int) -> int:
    """Return the seed of stream `index`: as given, or derived from the scenario's.

    Examples
    --------
    >>> source = spec.GeneratorSource(kind="generator", name="sea", records=10)
    >>> given = spec.Streams(count=2, seeds=(5, 6))
    >>> stream_seed(spec.Scenario(name="sea", source=source, streams=given), 1)
    6
    """
    streams = scenario.streams
    if isinstance(streams, spec.Streams) and streams.seeds is not None:
        return streams.seeds[index]
    return derive(scenario.seed, "stream", index)


def _open_source(scenario: spec.Scenario, seed: int, base: Path, cache: Path) -> Source:
    """Make the source that the settings describe; only its own library is imported."""
    given, task = scenario.source, scenario.labels.task
    if isinstance(given, spec.NewsSource):
        from engine.sources.news import NewsSource
        from engine.sources.recordings import Layout

        return NewsSource(
            base / given.path,
            text=given.text,
            layout=Layout(given.label, given.time, given.columns, given.topics),
            limit=given.limit,
            shown=given.path,
            resolve=base.joinpath,
        )
    start, interval = moment_micros(given.start), interval_micros(given.rate)
    if isinstance(given, spec.GeneratorSource):
        from engine.sources.generator import GeneratorSource

        return GeneratorSource(
            given.name,
            records=given.records,
            params=given.params,
            seed=seed,
            start=start,
            interval=interval,
        )
    if isinstance(given, spec.FileSource):
        from engine.sources.file import FileSource

        return FileSource(
            base / given.path,
            label=given.label,
            task=task,
            ignore=given.ignore,
            time=given.time,
            start=start,
            interval=interval,
            columns=given.columns,
            limit=given.limit,
            shown=given.path,
            resolve=base.joinpath,
        )
    from scenarios.samples import Origin
    from scenarios.synthesis import SyntheticSource

    fields = ("label", "table", "synthesizer", "rows", "ignore", "columns", "distribution")
    return SyntheticSource(
        records=given.records,
        origin=Origin(task=task, **{name: getattr(given, name) for name in fields}),
        cache_dir=cache,
        seed=seed,
        start=start,
        interval=interval,
        resolve=base.joinpath,
    )


class _Reader:
    """Turns blocks into pieces; remembers open variants and held values, which change nothing."""

    def __init__(self, stream: Stream, stages: Stages) -> None:
        self.source = stream.source
        self._stream = stream
        self._items = ordered(stream.script, stream.index, stages)
        self._pasts: dict[int, Past] = {}
        self._pools: dict[int, Donors] = {}
        self._variants: dict[int, Source] = {}
        self._open: dict[int, tuple[int, Iterator[Block]]] = {}
        self._held: dict[int, Table] = {}
        self._first: Block | None = None

    def carries_into(self, number: int) -> bool:
        """Whether records of the block before may arrive with block `number`."""
        begin = number * BLOCK
        return any(
            isinstance(item, spec.OutOfOrder) and item.at < begin and item.until > begin - BLOCK
            for _, item in self._items
        )

    def piece(self, block: Block, before: int | None = None) -> Piece:
        """Apply the script, or what of it is applied before item `before`, to a block."""
        piece = piece_of(block, self._stream.delay)
        for number, item in self._items:
            if number == before:
                break
            piece = applied(piece, item, Place(self._stream.seed, number, block, self))
        return piece

    def first(self) -> Block:
        if self._first is None:
            self._first = next(self.source.blocks())
        return self._first

    def undrawn(self, item: int, block: Block, now: Piece) -> Piece:
        if not any(other.kind in PRIOR_DRIFTS for _, other in self._items):
            return now
        return _Reader(self._stream, (OTHER_DRIFTS,)).piece(block, before=item)

    def donors(self, item: int, number: int) -> Donors:
        drift = self._stream.script[item]
        assert isinstance(drift, spec.PriorDrift)
        named = tuple(drift.mix)
        if item not in self._pools and item not in self._pasts:
            made = self.source.pool(named, others=sum(drift.mix.values()) < 1 - 1e-9)
            if made is not None:
                self._pools[item] = everywhere(*made)
            else:
                self._pasts[item] = Past(self._undrifted, named)
        return self._pools[item] if item in self._pools else self._pasts[item].at(number)

    def _undrifted(self) -> Iterator[Piece]:
        """Walk over the stream as it would arrive without drifts; its columns are whole."""
        return (piece for _, piece in self._stream._arrivals(0, ARRIVAL))

    def variant(self, item: int, number: int) -> Block | None:
        if item not in self._variants:
            drift = self._stream.script[item]
            assert isinstance(drift, spec.ConceptDrift) and drift.to is not None
            self._variants[item] = self.source.variant(drift.to)
        source = self._variants[item]
        if number * BLOCK >= source.rows:
            return None
        due, blocks = self._open.get(item, (-1, iter(())))
        if due != number:
            blocks = source.blocks(number)
        self._open[item] = (number + 1, blocks)
        return next(blocks)

    def held(self, item: int, now: Piece) -> Table:
        if item not in self._held:
            row = self._stream.script[item].at
            if not (now.rows == row).any():
                now = self.piece(next(self.source.blocks(row // BLOCK)), before=item)
            self._held[item] = now.table[now.rows == row]
        return self._held[item]


def _touches(item: spec.Item, index: int) -> bool:
    return item.streams is None or index in item.streams


def _changes(drift: spec.CovariateDrift | spec.PriorDrift | spec.ConceptDrift) -> dict[str, Any]:
    """Return in short what a drift changes."""
    if isinstance(drift, spec.CovariateDrift):
        pair = drift.correlation.columns if drift.correlation is not None else ()
        return {"columns": list(dict.fromkeys([*drift.columns, *pair]))}
    names = {"mix", "relabel", "shift", "to"}
    return drift.model_dump(mode="json", include=names, exclude_none=True)


def _placed(marks: Sequence[Mark], piece: Piece, first: int) -> tuple[Mark, ...]:
    """Return the marks whose record is among these, which begin at seq `first`."""
    highest = np.maximum.accumulate(piece.rows)
    places = np.searchsorted(highest, [mark.seq for mark in marks], side="left")
    return tuple(
        replace(mark, seq=first + int(at))
        for mark, at in zip(marks, places, strict=True)
        if at < len(piece)
    )
