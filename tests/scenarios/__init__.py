"""What the tests of scripts share: a source in memory, items by their settings, bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from engine.batch import Batch, Labels, Mark, Schema, Table, table_of
from engine.seeds import generator
from engine.sources.blocks import BLOCK, Block
from scenarios import spec

LETTERS = np.array(["a", "b", "c", "d", "e", "f"], dtype=object)


@dataclass(frozen=True)
class MemorySource:
    """Made-up rows: x, y independent normal; c, d letters; the label says whether x > 0."""

    rows: int = 5000
    regression: bool = False
    offset: float = 0.0
    makes: bool = True
    planted: Mapping[int, str | None] = field(default_factory=dict)
    odd: Sequence[Mark] = ()

    @property
    def schema(self) -> Schema:
        return Schema(("x", "y"), ("c", "d"), "regression" if self.regression else "classification")

    @property
    def classes(self) -> tuple[str, ...] | None:
        return None

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"rows": self.rows}

    @property
    def oddities(self) -> Sequence[Mark]:
        return self.odd

    @property
    def notes(self) -> Sequence[str]:
        return ()

    def blocks(self, start: int = 0) -> Iterator[Block]:
        for number in range(start, -(-self.rows // BLOCK)):
            yield self._block(number)

    def _block(self, number: int) -> Block:
        first = number * BLOCK
        size = min(BLOCK, self.rows - first)
        chance = generator(1, "memory", number)
        x, y = chance.normal(size=(2, BLOCK)) + self.offset
        y[chance.random(BLOCK) < 0.05] = np.nan
        c = LETTERS[(number % 3) + chance.integers(0, 3, BLOCK)]
        d = LETTERS[chance.integers(0, 2, BLOCK)]
        c[chance.random(BLOCK) < 0.05] = None
        x, y, c, d = x[:size], y[:size], c[:size], d[:size]
        columns = {"x": x.tolist(), "y": y.tolist(), "c": c.tolist(), "d": d.tolist()}
        table = table_of(columns, categorical=["c", "d"])
        labels: Labels = np.where(x > self.offset, "yes", "no").astype(object)
        if self.offset:
            labels[:] = "new"
        if self.regression:
            labels = 10.0 * x
        for row, label in self.planted.items():
            if first <= row < first + size:
                labels[row - first] = label
        table = Table(self.schema, table.numbers, table.codes, table.levels)
        return Block(first, np.arange(first, first + size) * 1_000_000, table, labels)

    def variant(self, changes: Mapping[str, Any]) -> MemorySource:
        return MemorySource(**{"rows": self.rows, "regression": self.regression, **changes})

    def pool(self, named: Sequence[str], others: bool) -> tuple[Table, Labels] | None:
        if not self.makes:
            return None
        wanted = [name for name in named if name != "never"] + ["third", "fourth"] * others
        labels = np.repeat(np.array(wanted, dtype=object), 2000)
        x = generator(9).random(len(labels)) + np.where(labels == "yes", 50.0, -50.0)
        letters = ["drawn"] * len(x)
        columns = {"x": x.tolist(), "y": x.tolist(), "c": letters, "d": letters}
        return table_of(columns, categorical=["c", "d"]), labels


def item_of(**settings: Any) -> spec.Item:
    item: spec.Item = TypeAdapter(spec.Item).validate_json(TypeAdapter(Any).dump_json(settings))
    return item


def fingerprint(batch: Batch) -> bytes:
    """Return a batch as bytes, its categories as texts."""
    texts = [batch.table.texts(name).tolist() for name in batch.table.schema.categorical]
    columns = [batch.times, batch.table.numbers.T, batch.late_records, batch.late_micros]
    arrays = b"".join(np.ascontiguousarray(column).tobytes() for column in columns)
    return arrays + repr((batch.first, texts, batch.labels.tolist(), batch.marks)).encode()
