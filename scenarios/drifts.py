"""DRIFTS and FAULTS: pure transforms of a source's block, one for each kind of script item.

What an item does to a block follows from the seed, the item's number, the block's number and
what the items before it left: arrays of chance are drawn for the full fixed block and looked up
by source row. So neither batches nor restarts can change it. Drifts are applied in the order of
the script, then faults of columns, then of labels, then of whole records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from engine.batch import MISSING, Bools, Codes, Floats, Ints, Labels, Table, concat_tables, known
from engine.errors import EngineError, InputError
from engine.quantities import records_and_micros
from engine.seeds import derive, generator
from engine.sources.blocks import BLOCK, Block, Source
from scenarios import spec
from scenarios.ramps import weight


@dataclass(frozen=True, slots=True)
class Piece:
    """Records made from the rows of one block, in the order of rows.

    Parameters
    ----------
    rows
        The source row that each record comes from, shape `(n,)`.
    times
        Event times in microseconds since 1970, shape `(n,)`.
    table
        The features.
    labels
        The truth, see `engine.batch.Labels`.
    late_records, late_micros
        How late each label is, in arrivals and in microseconds, shape `(n,)`.
    places
        How many source rows later than its own a record arrives, shape `(n,)`.
    """

    rows: Ints
    times: Ints
    table: Table
    labels: Labels
    late_records: Ints
    late_micros: Ints
    places: Ints

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, picked: slice | Ints | Bools) -> Piece:
        return Piece(*(getattr(self, column)[picked] for column in self.__slots__))


def piece_of(block: Block, delay: int | str = 0) -> Piece:
    """Return a block's rows as records whose labels all take `delay` (records or a duration).

    Examples
    --------
    >>> from engine.batch import plain_batch
    >>> b = plain_batch({"x": [1.0, 2.0]}, ["a", "b"])
    >>> piece_of(Block(1024, b.times, b.table, b.labels), delay=48).rows.tolist()
    [1024, 1025]
    """
    records, micros = records_and_micros(delay)
    rows = np.arange(block.row, block.row + len(block), dtype=np.int64)
    return Piece(
        rows,
        block.times,
        block.table,
        block.labels,
        np.full(len(rows), records, dtype=np.int64),
        np.full(len(rows), micros, dtype=np.int64),
        np.zeros(len(rows), dtype=np.int64),
    )


class Around(Protocol):
    """What a transform may look at besides the records that it is given."""

    @property
    def source(self) -> Source:
        """The source of the stream."""
        ...

    def first(self) -> Block:
        """Return the first block of the source, before any script."""
        ...

    def variant(self, item: int, number: int) -> Block | None:
        """Return block `number` of the source as item `item` changes it, if there is one."""
        ...

    def held(self, item: int, now: Piece) -> Table:
        """Return the one record at row `at` of item `item` as the items before it leave it.

        `now` is what they leave of the block at hand.
        """
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transform works.

    Parameters
    ----------
    seed
        The stream's seed.
    item
        The item's number in the script, counted from 0.
    block
        The source's block, before any script.
    around
        What else it may look at; some kinds of items need none of it.
    """

    seed: int
    item: int
    block: Block
    around: Around | None = None

    @property
    def number(self) -> int:
        """The number of the block, counted from 0."""
        return self.block.row // BLOCK

    def chance(self) -> np.random.Generator:
        """Return the generator of this item in this block."""
        return generator(self.seed, "script", self.item, self.number)

    def uniform(self, chance: np.random.Generator, piece: Piece) -> Floats:
        """Draw a number in [0, 1) for each row of the full block; return those of `piece`."""
        drawn: Floats = chance.random(BLOCK)[piece.rows - self.block.row]
        return drawn


def applied(piece: Piece, item: spec.Item, place: Place) -> Piece:
    """Return what one script item makes of `piece`.

    Examples
    --------
    >>> from engine.batch import plain_batch
    >>> b = plain_batch({"x": [1.0, 2.0]}, ["a", "b"])
    >>> block = Block(0, b.times, b.table, b.labels)
    >>> tenfold = {"x": spec.ColumnShift(scale=10)}
    >>> item = spec.CovariateDrift(kind="covariate", at=1, columns=tenfold)
    >>> place = Place(seed=7, item=0, block=block)
    >>> applied(piece_of(block), item, place).table.number("x").tolist()
    [1.0, 20.0]
    """
    if isinstance(item, spec.Drift):
        weights = weight(item, piece.rows)
        return DRIFTS[item.kind](piece, item, weights, place) if weights.any() else piece
    touched = (piece.rows >= item.at) & (piece.rows < item.until)
    return FAULTS[item.kind](piece, item, touched, place) if touched.any() else piece


# --- drifts: (records, drift, weight of the new at each, where) -> records --------------------


def covariate(piece: Piece, drift: spec.CovariateDrift, weights: Floats, place: Place) -> Piece:
    """Scale, offset or remix columns, then reorder one to another correlation."""
    chance = place.chance()
    chosen = place.uniform(chance, piece) < weights
    strength = weights if drift.shape == "incremental" else chosen.astype(np.float64)
    table, schema = piece.table, piece.table.schema
    numbers, codes = table.numbers.copy(order="K"), table.codes.copy(order="K")
    levels = list(table.levels)
    for name, shift in drift.columns.items():
        if shift.mix is None:
            at = schema.numeric.index(name)
            numbers[:, at] = _shifted(numbers[:, at], shift, strength)
        else:
            at = schema.categorical.index(name)
            drawn = place.uniform(chance, piece)
            codes[:, at], levels[at] = _remixed(codes[:, at], levels[at], shift.mix, chosen, drawn)
    if drift.correlation is not None:
        noise = chance.standard_normal(BLOCK)[piece.rows - place.block.row]
        whole = drift.shape == "incremental"
        a, b = (schema.numeric.index(name) for name in drift.correlation.columns)
        rows = ((weights > 0) if whole else chosen) & ~np.isnan(numbers[:, [a, b]]).any(axis=1)
        numbers[rows, b] = _reordered(
            numbers[rows, a], numbers[rows, b], drift.correlation.to, strength[rows], noise[rows]
        )
    return replace(piece, table=Table(schema, numbers, codes, tuple(levels)))


def _shifted(values: Floats, shift: spec.ColumnShift, strength: Floats) -> Floats:
    """Return values × scale + offset where strength is 1, the values where it is 0."""
    partly = values * (1 + (shift.scale - 1) * strength) + shift.offset * strength
    shifted: Floats = np.where(strength == 1, values * shift.scale + shift.offset, partly)
    return np.where(strength == 0, values, shifted)


def _remixed(
    codes: Codes, levels: tuple[str, ...], mix: Mapping[str, float], chosen: Bools, drawn: Floats
) -> tuple[Codes, tuple[str, ...]]:
    """Return codes with levels drawn from `mix` where chosen; the share left keeps its own."""
    extended = (*levels, *(level for level in mix if level not in levels))
    picked = _pick(mix, drawn)
    new = np.array([extended.index(level) for level in mix], dtype=np.int32)
    chosen = chosen & (picked < len(mix))
    codes = codes.copy()
    codes[chosen] = new[picked[chosen]]
    return codes, extended


def _pick(mix: Mapping[str, float], drawn: Floats) -> Ints:
    """Return the position in `mix` that each number in [0, 1) falls to; `len(mix)`: the rest."""
    edges = np.cumsum(list(mix.values()))
    if edges[-1] > 1 - 1e-9:  # shares that add up to 1 but for rounding leave no rest
        edges[edges >= edges[-1]] = 1.0
    picked: Ints = np.searchsorted(edges, drawn, side="right")
    return picked


def _reordered(a: Floats, b: Floats, to: float, strength: Floats, noise: Floats) -> Floats:
    """Return the values of `b` reordered so that their rank correlation with `a` becomes `to`.

    Normal scores with Pearson correlation 2 sin(π ρ / 6) have rank correlation ρ.
    """
    pearson = 2 * np.sin(np.pi * to / 6)
    scores = pearson * _scores(a) + np.sqrt(max(0.0, 1 - pearson**2)) * noise
    scores = strength * scores + (1 - strength) * _scores(b)
    reordered = np.empty_like(b)
    reordered[np.argsort(scores, kind="stable")] = np.sort(b)
    return reordered


def _scores(values: Floats) -> Floats:
    """Return the normal scores of the ranks of `values`; equal values share their mean rank."""
    from scipy.special import ndtri  # a quarter of a second that only this needs

    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    scores: Floats = ndtri((ranks[where] - 0.5) / max(1, len(values)))
    return scores


def prior(piece: Piece, drift: spec.PriorDrift, weights: Floats, place: Place) -> Piece:
    """Draw labels from another mix; where one changes, draw the features that go with it."""
    assert place.around is not None
    chance = place.chance()
    labels, there = piece.labels, known(piece.labels)
    chosen = (place.uniform(chance, piece) < weights) & there
    picked = _pick(drift.mix, place.uniform(chance, piece))
    spare = place.uniform(chance, piece)
    in_mix = np.array([label in drift.mix for label in labels], dtype=bool)
    wanted = labels.copy()
    named = chosen & (picked < len(drift.mix))
    wanted[named] = np.array(list(drift.mix), dtype=object)[picked[named]]
    others = labels[there & ~in_mix]
    if len(others):
        rest = chosen & (picked == len(drift.mix)) & in_mix
        wanted[rest] = others[(spare[rest] * len(others)).astype(np.int64)]
    changed = there & (wanted != labels)
    table, labels = piece.table, labels.copy()
    for label in sorted(set(wanted[changed])):
        rows = changed & (wanted == label)
        seed = derive(place.seed, "script", place.item, place.number, label)
        try:
            drawn = place.around.source.draw(place.block, wanted[rows], seed)
        except EngineError:  # the source has no such record here: these rows stay as they are
            continue
        table = _inserted(table, rows, drawn)
        labels[rows] = label
    return replace(piece, table=table, labels=labels)


def concept(piece: Piece, drift: spec.ConceptDrift, weights: Floats, place: Place) -> Piece:
    """Label by another rule, or take records from a source that has become another."""
    chosen = place.uniform(place.chance(), piece) < weights
    if drift.to is not None:
        return _from_variant(piece, chosen, place)
    inside = np.ones(len(piece), dtype=bool)
    if drift.where is not None:
        inside = _region(piece.table, drift.where)
    if drift.shift is not None:
        strength = weights if drift.shape == "incremental" else chosen.astype(np.float64)
        strength = np.where(inside, strength, 0.0)
        return replace(piece, labels=_shifted(piece.labels, drift.shift, strength))
    if drift.by is not None:
        assert place.around is not None
        reference = place.around.first().table.number(drift.by)
        reference = reference[~np.isnan(reference)]
        bounds = np.quantile(reference, weights) if len(reference) else np.full(len(piece), np.nan)
        chosen = (weights == 1) | (piece.table.number(drift.by) < bounds)
        chosen &= weights > 0
    labels = piece.labels.copy()
    for old, new in (drift.relabel or {}).items():
        labels[chosen & inside & (piece.labels == old)] = new
    return replace(piece, labels=labels)


def _from_variant(piece: Piece, chosen: Bools, place: Place) -> Piece:
    """Return `piece` with the chosen rows' features and labels from the changed source."""
    assert place.around is not None
    if not chosen.any():
        return piece
    other = place.around.variant(place.item, place.number)
    needed = int(piece.rows[chosen].max())
    end = place.block.row if other is None else other.row + len(other)
    if other is None or needed >= end:
        raise InputError(
            f"script[{place.item}].to: the changed source ends before row {needed}, where the "
            "drift still needs it; give it as many rows as the source, or an earlier until"
        )
    rows = piece.rows[chosen] - other.row
    labels = piece.labels.copy()
    labels[chosen] = other.labels[rows]
    return replace(piece, table=_inserted(piece.table, chosen, other.table[rows]), labels=labels)


def _region(table: Table, where: spec.Region) -> Bools:
    """Return which records lie in the region; missing values lie nowhere."""
    if where.levels is not None:
        return np.isin(table.texts(where.column), np.array(where.levels, dtype=object))
    values = table.number(where.column)
    inside = ~np.isnan(values)
    if where.above is not None:
        inside &= values > where.above
    if where.below is not None:
        inside &= values < where.below
    return inside


def _inserted(table: Table, rows: Bools, new: Table) -> Table:
    """Return `table` with its `rows` replaced by those of `new`, whose levels may differ."""
    index = np.arange(len(table), dtype=np.int64)
    index[rows] = len(table) + np.arange(len(new), dtype=np.int64)
    return concat_tables([table, new])[index]


# --- faults: (records, fault, which of them it may touch, where) -> records -------------------


def missing(piece: Piece, fault: spec.Missing, touched: Bools, place: Place) -> Piece:
    """Lose values, each by its own draw."""
    chance, table = place.chance(), piece.table
    numbers, codes = table.numbers.copy(order="K"), table.codes.copy(order="K")
    for name in fault.columns:
        lost = touched & (place.uniform(chance, piece) < fault.share)
        if name in table.schema.numeric:
            numbers[lost, table.schema.numeric.index(name)] = np.nan
        else:
            codes[lost, table.schema.categorical.index(name)] = MISSING
    return replace(piece, table=replace(table, numbers=numbers, codes=codes))


def stuck(piece: Piece, fault: spec.Stuck, touched: Bools, place: Place) -> Piece:
    """Keep the values that the columns had in row `at`."""
    assert place.around is not None
    held = place.around.held(place.item, piece)
    stale = piece.table[touched]
    numbers, codes = stale.numbers.copy(order="K"), stale.codes.copy(order="K")
    levels = list(stale.levels)
    for name in fault.columns:
        if name in stale.schema.numeric:
            at = stale.schema.numeric.index(name)
            numbers[:, at] = held.numbers[0, at]
        else:
            at = stale.schema.categorical.index(name)
            codes[:, at], levels[at] = held.codes[0, at], held.levels[at]
    stale = Table(stale.schema, numbers, codes, tuple(levels))
    return replace(piece, table=_inserted(piece.table, touched, stale))


def swapped(piece: Piece, fault: spec.Swapped, touched: Bools, place: Place) -> Piece:
    """Let two columns of one kind arrive in each other's place."""
    wrong = piece.table[touched]
    numbers = np.arange(len(wrong.schema.numeric))
    codes = np.arange(len(wrong.schema.categorical))
    numeric = fault.columns[0] in wrong.schema.numeric
    names, order = (wrong.schema.numeric, numbers) if numeric else (wrong.schema.categorical, codes)
    a, b = (names.index(name) for name in fault.columns)
    order[[a, b]] = order[[b, a]]
    levels = tuple(wrong.levels[at] for at in codes)
    wrong = Table(wrong.schema, wrong.numbers[:, numbers], wrong.codes[:, codes], levels)
    return replace(piece, table=_inserted(piece.table, touched, wrong))


def late_labels(piece: Piece, fault: spec.LateLabels, touched: Bools, place: Place) -> Piece:
    """Make labels take longer."""
    late = touched & (place.uniform(place.chance(), piece) < fault.share)
    records, micros = records_and_micros(fault.delay)
    return replace(
        piece,
        late_records=piece.late_records + records * late,
        late_micros=piece.late_micros + micros * late,
    )


def missing_labels(piece: Piece, fault: spec.MissingLabels, touched: Bools, place: Place) -> Piece:
    """Lose labels for good."""
    labels = piece.labels.copy()
    lost = touched & (place.uniform(place.chance(), piece) < fault.share)
    labels[lost] = None if labels.dtype == object else np.nan
    return replace(piece, labels=labels)


def outage(piece: Piece, fault: spec.Outage, touched: Bools, place: Place) -> Piece:
    """Drop the records."""
    return piece[~touched]


def duplicates(piece: Piece, fault: spec.Duplicates, touched: Bools, place: Place) -> Piece:
    """Send records again right after themselves."""
    twice = touched & (place.uniform(place.chance(), piece) < fault.share)
    return piece[np.repeat(np.arange(len(piece), dtype=np.int64), 1 + twice)]


def out_of_order(piece: Piece, fault: spec.OutOfOrder, touched: Bools, place: Place) -> Piece:
    """Move records 1 to `by` places later; of several such moves the longest counts."""
    chance = place.chance()
    moved = touched & (place.uniform(chance, piece) < fault.share)
    by = 1 + (place.uniform(chance, piece) * fault.by).astype(np.int64)
    return replace(piece, places=np.maximum(piece.places, np.where(moved, by, 0)))


DriftTransform = Callable[[Piece, Any, Floats, Place], Piece]
FaultTransform = Callable[[Piece, Any, Bools, Place], Piece]

COLUMN_FAULTS: dict[str, FaultTransform] = {"missing": missing, "stuck": stuck, "swapped": swapped}
LABEL_FAULTS: dict[str, FaultTransform] = {
    "late_labels": late_labels,
    "missing_labels": missing_labels,
}
ROW_FAULTS: dict[str, FaultTransform] = {
    "outage": outage,
    "duplicates": duplicates,
    "out_of_order": out_of_order,
}
DRIFTS: dict[str, DriftTransform] = {"covariate": covariate, "prior": prior, "concept": concept}
FAULTS: dict[str, FaultTransform] = COLUMN_FAULTS | LABEL_FAULTS | ROW_FAULTS
