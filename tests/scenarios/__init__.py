"""What the tests of scripts share: a source in memory, items by their settings, bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from engine.batch import Batch, Labels, Schema, Table, table_of
from engine.errors import EngineError
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

    @property
    def schema(self) -> Schema:
        return Schema(("x", "y"), ("c", "d"), "regression" if self.regression else "classification")

    @property
    def classes(self) -> tuple[str, ...] | None:
        return None

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"rows": self.rows}

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
        table = Table(self.schema, table.numbers, table.codes, table.levels)
        return Block(first, np.arange(first, first + size) * 1_000_000, table, labels)

    def variant(self, changes: Mapping[str, Any]) -> MemorySource:
        return MemorySource(**{"rows": self.rows, "regression": self.regression, **changes})

    def draw(self, block: Block, wanted: Labels, seed: int) -> Table:
        if "never" in wanted:
            raise EngineError("no such record")
        x = generator(seed).random(len(wanted)) + np.where(wanted == "yes", 50.0, -50.0)
        letters = ["drawn"] * len(wanted)
        columns = {"x": x.tolist(), "y": x.tolist(), "c": letters, "d": letters}
        return table_of(columns, categorical=["c", "d"])


def item_of(**settings: Any) -> spec.Item:
    item: spec.Item = TypeAdapter(spec.Item).validate_json(TypeAdapter(Any).dump_json(settings))
    return item


def fingerprint(batch: Batch) -> bytes:
    """Return a batch as bytes, its categories as texts."""
    texts = [batch.table.texts(name).tolist() for name in batch.table.schema.categorical]
    columns = [batch.times, batch.table.numbers.T, batch.late_records, batch.late_micros]
    arrays = b"".join(np.ascontiguousarray(column).tobytes() for column in columns)
    return arrays + repr((batch.first, texts, batch.labels.tolist(), batch.marks)).encode()
