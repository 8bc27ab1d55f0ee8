"""DRIFTS and FAULTS: pure transforms of a source's block, one for each kind of script item.

What an item does to a block follows from the seed, the item's number, the block's number and
what the items before it left: arrays of chance are drawn for the full fixed block and looked up
by source row. So neither batches nor restarts can change it. Prior drifts come first: they say
which records there are. Then come other drifts, faults of columns, of labels, of whole records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from engine.batch import MISSING, Bools, Codes, Floats, Ints, Table, concat_tables, known
from engine.errors import InputError
from engine.quantities import records_and_micros
from engine.seeds import generator
from engine.sources.blocks import BLOCK, Block
from scenarios import spec
from scenarios.donors import Donors, groups
from scenarios.pieces import Piece
from scenarios.ramps import weight


class Around(Protocol):
    """What a transform may look at besides the records that it is given."""

    def first(self) -> Block:
        """Return the first block of the source, before any script."""
        ...

    def undrawn(self, item: int, block: Block, now: Piece) -> Piece:
        """Return `now`, what the items before `item` leave of `block`, without prior drifts.

        It is `now` itself where none is.
        """
        ...

    def donors(self, item: int, number: int) -> Donors:
        """Return what item `item`, a prior drift, may draw records from in block `number`."""
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
    >>> from scenarios.pieces import piece_of
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
    mixes = {name: shift.mix for name, shift in drift.columns.items() if shift.mix is not None}
    drawn = {name: place.uniform(chance, piece) for name in mixes}

    def moved(table: Table) -> Table:
        numbers, codes = table.numbers.copy(order="K"), table.codes.copy(order="K")
        levels = list(table.levels)
        for name, shift in drift.columns.items():
            if name in mixes:
                at = table.schema.categorical.index(name)
                found = _remixed(codes[:, at], levels[at], mixes[name], chosen, drawn[name])
                codes[:, at], levels[at] = found
            else:
                at = table.schema.numeric.index(name)
                numbers[:, at] = _shifted(numbers[:, at], shift, strength)
        return Table(table.schema, numbers, codes, tuple(levels))

    table = moved(piece.table)
    if drift.correlation is not None:
        assert place.around is not None
        noise = chance.standard_normal(BLOCK)[piece.rows - place.block.row]
        a, b = drift.correlation.columns
        undrawn = place.around.undrawn(place.item, place.block, piece)
        model = table if undrawn is piece else moved(undrawn.table)
        there = (weights > 0) if drift.shape == "incremental" else chosen
        new = _correlated(table, model, (a, b), drift.correlation.to, there, strength, noise)
        table.numbers[:, table.schema.numeric.index(b)] = new
    return replace(piece, table=table)


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


def _correlated(
    table: Table,
    model: Table,
    pair: tuple[str, str],
    to: float,
    chosen: Bools,
    strength: Floats,
    noise: Floats,
) -> Floats:
    """Return column `b` of a pair, reordered until its rank correlation with `a` is `to`.

    Normal scores with Pearson correlation 2 sin(π ρ / 6) have rank correlation ρ. Ranks and
    values are those of `model`, the same records where no prior drift drew them: later records
    decide over earlier ones here, and which were drawn depends on labels.
    """
    pearson = 2 * np.sin(np.pi * to / 6)
    apart = np.sqrt(max(0.0, 1 - pearson**2))

    def scores(a: Floats, b: Floats, rows: Bools) -> Floats:
        new = pearson * _scores(a[rows], among[0]) + apart * noise[rows]
        mixed: Floats = strength[rows] * new + (1 - strength[rows]) * _scores(b[rows], among[1])
        return mixed

    columns, models = [[t.number(name) for name in pair] for t in (table, model)]
    rows, like = [chosen & ~np.isnan(one).any(axis=0) for one in (columns, models)]
    among = [column[like] for column in models]
    found = columns[1].copy()
    if like.any():
        order = np.sort(scores(models[0], models[1], like))
        places = np.searchsorted(order, scores(columns[0], columns[1], rows))
        found[rows] = np.sort(among[1])[np.minimum(places, len(order) - 1)]
    return found


def _scores(values: Floats, among: Floats) -> Floats:
    """Return the normal scores of the ranks of `values` among others; equals share a rank."""
    from scipy.special import ndtri  # a quarter of a second that only this needs

    ordered = np.sort(among)
    below = np.searchsorted(ordered, values) + np.searchsorted(ordered, values, side="right")
    half = 0.5 / len(ordered)
    scores: Floats = ndtri(np.clip(below * half, half, 1 - half))
    return scores


def prior(piece: Piece, drift: spec.PriorDrift, weights: Floats, place: Place) -> Piece:
    """Let records arrive by another mix of labels.

    Each is drawn anew, features and label, whatever its own label is: else its features would
    give away the label before it is known. Where nothing can be drawn a record stays as it is,
    and one without a label stays without.
    """
    assert place.around is not None
    chance = place.chance()
    chosen = place.uniform(chance, piece) < weights
    shares = _pick(drift.mix, place.uniform(chance, piece))
    drawn = place.uniform(chance, piece)
    donors = place.around.donors(place.item, place.number)
    picked = np.full(len(piece), -1, dtype=np.int64)
    for number, group in enumerate(groups(donors.labels, tuple(drift.mix))):
        rows = chosen & (shares == number)
        picked[rows] = donors.pick(piece.rows[rows] - place.block.row, group, drawn[rows])
    found = picked >= 0
    labels, there = piece.labels.copy(), found & known(piece.labels)
    labels[there] = donors.labels[picked[there]]
    return replace(
        piece, table=_inserted(piece.table, found, donors.table[picked[found]]), labels=labels
    )


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
PRIOR_DRIFTS: dict[str, DriftTransform] = {"prior": prior}
OTHER_DRIFTS: dict[str, DriftTransform] = {"covariate": covariate, "concept": concept}
DRIFTS = PRIOR_DRIFTS | OTHER_DRIFTS
FAULTS: dict[str, FaultTransform] = COLUMN_FAULTS | LABEL_FAULTS | ROW_FAULTS
