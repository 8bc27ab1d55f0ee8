"""Records made by an SDV Gaussian copula, as a source.

What is fitted and sampled is cached by content: a fitted synthesizer under ``synth/``, rows and
draws under ``samples/``. With a warm cache SDV is not imported at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.batch import Labels, Mark, Schema, Table, concat_tables, known
from engine.errors import InputError
from engine.seeds import derive
from engine.sources.blocks import BLOCK, POOL_ROWS, Block, made_times
from engine.sources.cells import Cells
from engine.sources.file import FileSource, listed
from engine.sources.scans import Kind
from scenarios.copulas import (
    described_kinds,
    fitted,
    load_synthesizer,
    quality,
    quiet,
    sampled,
)
from scenarios.samples import (
    Origin,
    changed,
    identity,
    labels_of,
    replacing,
    stored,
    to_arrow,
    to_table,
)

SYNTHESIS_VERSION = 2
"""Raise this when this module changes what its inputs lead to."""
CHUNK = 16 * BLOCK
"""Rows sampled at a time."""
POOL_CHUNKS_MAX = 32
"""How many chunks are searched for them."""
KDE_ROWS_MAX = 300
"""A ``gaussian_kde`` is fitted on at most so many rows, spread evenly: it samples very slowly."""


class SyntheticSource:
    """A source that samples records from a Gaussian copula.

    Rows are made `CHUNK` at a time, each chunk a pure function of synthesizer, seed and number.
    A saved synthesizer is a pickle: load only files that you trust.

    Parameters
    ----------
    records
        How many records there are.
    origin
        What the synthesizer comes from.
    seed
        Seed of the rows.
    start, interval
        Event time of the first record, and the distance of two, in microseconds.
    cache_dir
        Folder for what is fitted and sampled; it can be deleted at any time.
    resolve
        Turns a path as written into one that can be opened.

    Raises
    ------
    InputError
        If table, synthesizer or columns are not there or do not fit; some of it only on use.

    Examples
    --------
    >>> source = SyntheticSource(
    ...     records=100, origin=Origin("y", table="t.csv"), cache_dir=Path("cache")
    ... )
    >>> source.rows
    100
    """

    def __init__(
        self,
        *,
        records: int,
        origin: Origin,
        cache_dir: Path,
        seed: int = 0,
        start: int = 0,
        interval: Fraction = Fraction(1_000_000),
        resolve: Callable[[str], Path] = Path,
    ) -> None:
        if (origin.table is None) == (origin.synthesizer is None):
            raise InputError("give either table (to fit on) or synthesizer (a saved one)")
        self.records, self.origin, self.cache_dir, self.seed = records, origin, cache_dir, seed
        self.start, self.interval, self.resolve = start, interval, resolve
        self._chunk: tuple[int, Any] | None = None
        self._pools: dict[str, Any] = {}
        self._searched: list[Any] = []

    @cached_property
    def model(self) -> Model:
        """The synthesizer, fitted or loaded at first use."""
        if self.table is not None:
            return fit_model(self.origin, self.table, self.cache_dir)
        return load_model(self.origin, self.resolve(self.origin.path), self.cache_dir)

    @cached_property
    def table(self) -> FileSource | None:
        """The table that the synthesizer is fitted on, if it is not a saved one."""
        origin = self.origin
        if origin.table is None:
            return None
        table = FileSource(
            self.resolve(origin.path),
            label=origin.label,
            task=origin.task,
            ignore=origin.ignore,
            columns=origin.columns,
            shown=origin.path,
        )
        if origin.rows is not None and origin.rows[1] > table.rows:
            low, high = origin.rows
            message = f"[{low}, {high}) reaches beyond the table's {table.rows} rows"
            raise InputError(message, key=("rows",))
        return table

    @property
    def schema(self) -> Schema:
        """The columns: those of the table, or of the saved synthesizer."""
        return self.model.schema if self.table is None else self.table.schema

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes that the table has; None if they are not known."""
        return None if self.table is None else self.table.classes

    @property
    def rows(self) -> int:
        """How many records there are."""
        return self.records

    @property
    def facts(self) -> Mapping[str, Any]:
        """What it was fitted on, how well (SDV's quality score, 1 is best), and the seed."""
        notes = {"notes": list(self.notes)} if self.notes else {}
        return {**self.model.facts, "seed": self.seed, **notes}

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd about the table that it is fitted on."""
        return self.table.notes if self.table is not None else ()

    @property
    def oddities(self) -> tuple[Mark, ...]:
        """Nothing: records are made as they should be."""
        return ()

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield the blocks from number `start` on; only what they need is sampled."""
        schema = self.schema
        for row in range(start * BLOCK, self.records, BLOCK):
            rows = min(BLOCK, self.records - row)
            cells = Cells(self._rows_of(row // CHUNK).slice(row % CHUNK, rows), row, "sample")
            labels = labels_of(cells, self.origin)
            times = made_times(row, rows, self.start, self.interval)
            yield Block(row, times, to_table(cells, schema), labels)

    def variant(self, changes: Mapping[str, Any]) -> SyntheticSource:
        """Return this source, fitted on other `rows` or another `table`, or a `synthesizer`.

        Raises
        ------
        InputError
            If anything else is to change, or the columns become others.
        """
        origin = changed(self.origin, changes)
        if origin.table is not None and self.origin.table is not None:
            schema = self.schema
            kinds: dict[str, Kind] = dict.fromkeys(schema.numeric, "numeric")
            kinds |= dict.fromkeys(schema.categorical, "categorical")
            origin = replace(origin, columns={**self.origin.columns, **kinds})
        other = SyntheticSource(
            records=self.records,
            origin=origin,
            cache_dir=self.cache_dir,
            seed=self.seed,
            start=self.start,
            interval=self.interval,
            resolve=self.resolve,
        )
        if other.schema != self.schema:
            raise InputError(
                f"must have the same columns as {self.origin.path} "
                f"({listed(self.schema.features)}), not {listed(other.schema.features)}",
                origin.path,
            )
        return other

    def pool(self, named: Sequence[str], others: bool) -> tuple[Table, Labels]:
        """Return sampled records by label: the first that come up among `POOL_CHUNKS_MAX` chunks.

        SDV's own conditional sampling holds the label at one point of its latent interval, which
        shifts what it is correlated with; filtering does not.
        """
        labels = self.model.info["labels"]
        parts = [self._pool([label], True) for label in named if labels is None or label in labels]
        if others and (labels is None or set(labels) - set(named)):
            parts.append(self._pool(sorted(named), False))
        if not parts:
            return next(self.blocks()).table[:0], np.array([], dtype=object)
        cells = [Cells(part, 0, "sample") for part in parts]
        table = concat_tables([to_table(each, self.schema) for each in cells])
        return table, np.concatenate([labels_of(each, self.origin) for each in cells])

    def _rows_of(self, number: int) -> Any:
        if self._chunk is None or self._chunk[0] != number:
            path = self._samples("rows") / f"{number:06d}.parquet"
            made = stored(path, lambda: self.model.sample(derive(self.seed, "rows", number)))
            self._chunk = (number, made)
        return self._chunk[1]

    def _pool(self, labels: list[str], inside: bool) -> Any:
        """Return sampled rows whose label is among some, or is none of them."""
        name = identity(labels, inside)
        if name not in self._pools:
            path = self._samples("pool") / f"{name}.parquet"
            self._pools[name] = stored(path, lambda: self._search(labels, inside))
        return self._pools[name]

    def _search(self, labels: list[str], inside: bool) -> Any:
        found, rows = [], 0
        for number in range(POOL_CHUNKS_MAX):
            if number < len(self._searched):
                chunk = self._searched[number]
            else:
                chunk = self.model.sample(derive(self.seed, "pool", number))
                self._searched += [chunk] if number < 4 else []
            own = chunk.column(self.origin.label)
            mine = pc.is_in(own, value_set=pa.array(labels, pa.string()))
            mine = mine if inside else pc.and_(pc.is_valid(own), pc.invert(mine))
            found.append(chunk.filter(mine))
            rows += len(found[-1])
            if rows >= POOL_ROWS:
                break
        return pa.concat_tables(found).slice(0, POOL_ROWS)

    def _samples(self, stream: str) -> Path:
        return self.cache_dir / "samples" / identity(self.model.key, self.seed, CHUNK, stream)


@dataclass
class Model:
    """A synthesizer that is loaded only when something must be sampled.

    Parameters
    ----------
    key
        Its id: a hash of all that its samples depend on.
    path
        Where it is saved.
    info
        What is known of it: ``numeric``, ``categorical``, ``labels`` (None if not known) and
        ``facts``; JSON-ready.
    origin
        What it comes from.
    """

    key: str
    path: Path
    info: Mapping[str, Any]
    origin: Origin

    @property
    def schema(self) -> Schema:
        """The columns."""
        numeric, texts = tuple(self.info["numeric"]), tuple(self.info["categorical"])
        return Schema(numeric, texts, self.origin.task)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What it was fitted on, and how well; paths as written."""
        facts = self.info["facts"]
        where = "table" if self.origin.table is not None else "synthesizer"
        return {**facts, "fitted_on": {where: self.origin.path, **facts["fitted_on"]}}

    @cached_property
    def synthesizer(self) -> Any:
        """SDV's object."""
        return load_synthesizer(self.path, str(self.path))

    def sample(self, seed: int) -> Any:
        """Return `CHUNK` rows as a `pyarrow` table, a pure function of the seed."""
        return to_arrow(sampled(self.synthesizer, CHUNK, seed), self.schema, self.origin)


def fit_model(origin: Origin, source: FileSource, cache_dir: Path) -> Model:
    """Fit a synthesizer on a table, unless that has been done before.

    Raises
    ------
    InputError
        If the table cannot be read or has too few rows.
    EngineError
        If SDV cannot fit it.
    """
    settings = [origin.label, origin.task, origin.rows, origin.ignore, dict(origin.columns)]
    key = identity(source.sha256, *settings, origin.distribution, *versions())
    saved, notes = (cache_dir / "synth" / f"{key}{suffix}" for suffix in (".pkl", ".json"))
    if saved.exists() and notes.exists():
        return Model(key, saved, json.loads(notes.read_text()), origin)
    frame = to_frame(source, origin)
    kinds: dict[str, Kind] = {**source.findings.kinds}
    kinds[origin.label] = "numeric" if origin.task == "regression" else "categorical"
    synthesizer = fitted(frame, kinds, origin)
    with replacing(saved) as unfinished, quiet():
        synthesizer.save(str(unfinished))
    labels = None if origin.task == "regression" else sorted(set(frame[origin.label]))
    info = {
        "numeric": source.schema.numeric,
        "categorical": source.schema.categorical,
        "labels": labels,
        "facts": {
            "fitted_on": {"rows": len(frame), "sha256": source.sha256},
            "distribution": origin.distribution,
            "quality": quality(synthesizer, frame),
        },
    }
    with replacing(notes) as unfinished:
        unfinished.write_text(json.dumps(info))
    return Model(key, saved, json.loads(json.dumps(info)), origin)


def load_model(origin: Origin, path: Path, cache_dir: Path) -> Model:
    """Load a saved synthesizer.

    Raises
    ------
    InputError
        If the file is not one that SDV 2 saved, or its columns do not fit.
    """
    if not path.is_file():
        raise InputError("there is no such file", origin.path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    settings = [origin.label, origin.task, origin.ignore, dict(origin.columns)]
    key = identity(digest, *settings, *versions())
    notes = cache_dir / "synth" / f"{key}.json"
    if notes.exists():
        return Model(key, path, json.loads(notes.read_text()), origin)
    synthesizer = load_synthesizer(path, origin.path)
    kinds = described_kinds(synthesizer, origin)
    info = {
        "numeric": [name for name, kind in kinds.items() if kind == "numeric"],
        "categorical": [name for name, kind in kinds.items() if kind == "categorical"],
        "labels": None,
        "facts": {"fitted_on": {"rows": None, "sha256": digest}, "quality": None},
    }
    with replacing(notes) as unfinished:
        unfinished.write_text(json.dumps(info))
    return Model(key, path, info, origin)


def to_frame(source: FileSource, origin: Origin) -> Any:
    """Return the rows to fit on as a frame: floats, texts, and the label; None is missing."""
    import pandas as pd

    low, high = origin.rows or (0, source.rows)
    blocks = []
    for block in source.blocks(low // BLOCK):
        if block.row >= high:
            break
        blocks.append(block)
    table = concat_tables([block.table for block in blocks])
    labels = np.concatenate([block.labels for block in blocks])
    keep = slice(low - blocks[0].row, high - blocks[0].row)
    table, labels = table[keep], labels[keep]
    table, labels = table[known(labels)], labels[known(labels)]
    if len(labels) < 2:
        message = f"{len(labels)} rows with a label are too few to fit on: give at least 2"
        raise InputError(message, origin.path)
    if origin.distribution == "gaussian_kde" and len(labels) > KDE_ROWS_MAX:
        spread = np.linspace(0, len(labels) - 1, KDE_ROWS_MAX).astype(np.int64)
        table, labels = table[spread], labels[spread]
    columns = {name: table.number(name) for name in table.schema.numeric}
    columns |= {name: table.texts(name) for name in table.schema.categorical}
    return pd.DataFrame({**columns, origin.label: labels})


def versions() -> Sequence[Any]:
    """Return the versions that samples depend on."""
    return [SYNTHESIS_VERSION, *(version(name) for name in ("sdv", "copulas", "rdt"))]
