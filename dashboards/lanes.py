"""What the replay draws of one stream: everything in bins, small enough for a browser.

No loop here runs over records: a million of them are a few passes of numpy.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dashboards.happenings import told
from dashboards.runs import Opened
from dashboards.tails import Columns, Series
from dashboards.verdicts import policy_text
from engine.batch import Floats, Ints
from engine.events import iso

Lanes = dict[str, Any]
"""JSON-ready; what it holds is said at `lanes`."""
WINDOW = 500
"""Scored records that the rolling error is the mean of."""
DIGITS = 6
STEPS = np.array([1, 2, 2.5, 3, 4, 5, 6, 8, 10])
"""Widths of bins, times a power of ten: so a growing run's bins seldom change."""


def lanes(opened: Opened, stream: str, bins: int = 2000) -> Lanes:
    """Return the lanes of a stream, JSON-ready.

    Per bin, bin `b` holding the records from `b * bin` on: `time` (of its first record; never
    falls), `error` and `baseline` (means of champion and model 0 within the bin, None without),
    and at its end `window_error` and `window_baseline` (means of the newest 500 scored records),
    `cum_error`, `cum_baseline` and `scored` (sums so far).

    `records` have arrived; of `rows` the outcome is written, of the others the label is awaited.
    `model` is [first record, number] of each stretch, `statistics` and `known_error` (the mean of
    the newest 500 errors *known* by then) are traces, `threshold` the limit that the policy holds
    the error against, as a line with steps, or None. `events` have `i` (their place in the
    stream's events), `seq`, `time`, `kind` and `label`, some `of_seq`, `model`, `until`, `on`,
    and alarms, if `truth_known`, `false` and `drift` (the start of the drift that they belong
    to); `left_out` counts those beyond 5,000. Then `jobs`, `returns` (to earlier models), `drifts`,
    `faults`, `false_alarms` (their number from a record on), `found` (start and first alarm of
    each found drift), `prices`, `scoring_window`, `version`.

    Parameters
    ----------
    opened
        The run.
    stream
        Name of the stream.
    bins
        There are at most so many.

    Raises
    ------
    InputError
        If the run is damaged.
    """
    version = opened.version(stream)  # first: what comes in between is seen the next time
    columns, series = opened.outcomes(stream), opened.traces(stream)
    events, scenario = opened.events(stream), opened.about["scenario"]
    rows = len(columns)
    seen = [rows, *(event["seq"] + 1 for event in events[-1:])]
    records = max(seen + [int(seqs[-1]) + 1 for seqs, _ in series.values() if len(seqs)])
    width = bin_width(records, bins)
    known = opened.truth_known(stream)
    return {
        "stream": stream,
        "name": opened.about["name"],
        "policy": policy_text(scenario["policy"]),
        "task": scenario["labels"]["task"],
        "records": records,
        "rows": rows,
        "bin": width,
        **binned(columns, records, width),
        "model": stretches(columns),
        **traced(series),
        "threshold": threshold(columns, scenario["policy"], records),
        **told(events, known, scenario["scoring"]["window"]),
        "prices": opened.prices,
        "scoring_window": scenario["scoring"]["window"],
        "truth_known": known,
        "version": version,
    }


# --- records in bins ------------------------------------------------------------------------


def bin_width(records: int, bins: int) -> int:
    """Return how many records go into a bin, a round number, so that there are at most `bins`.

    Examples
    --------
    >>> bin_width(1_000_000, 2000), bin_width(45_312, 2000), bin_width(300, 2000)
    (500, 25, 1)
    """
    least = max(1, math.ceil(records / bins))
    widths = STEPS * 10.0 ** math.floor(math.log10(least))
    whole = widths[(widths >= least) & (widths == np.floor(widths))]
    return int(whole[0])


def binned(columns: Columns, records: int, width: int) -> Lanes:
    """Return what is drawn per bin, see `lanes`.

    Examples
    --------
    >>> columns = Columns(np.arange(3) * 10**6, np.array([np.nan, 1, 0]),
    ...                   np.array([np.nan, 1, 1]), np.array([-1, 0, 0]))
    >>> found = binned(columns, 4, 2)
    >>> found["error"], found["cum_error"], found["cum_baseline"], found["scored"]
    ([1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1, 2])
    """
    count = math.ceil(records / width)
    ends = np.minimum((np.arange(count) + 1) * width, len(columns))
    starts = np.minimum(np.arange(count) * width, max(0, len(columns) - 1))
    scored = ~np.isnan(columns.errors)
    amounts = _before(scored.astype(np.int64))
    found: Lanes = {"time": []}
    if len(columns):
        now = np.maximum.accumulate(columns.times)[starts]
        found["time"] = [iso(micros) for micros in now.tolist()]
    for name, values in (("error", columns.errors), ("baseline", columns.baselines)):
        sums = _before(np.where(scored & ~np.isnan(values), values, 0.0))
        at_end, inside = sums[ends], np.diff(sums[ends], prepend=0.0)
        many = np.diff(amounts[ends], prepend=0)
        found[name] = rounded(_ratio(inside, many))
        found[f"cum_{name}"] = rounded(at_end)
        found[f"window_{name}"] = rounded(_rolling(sums, amounts, scored, ends))
    found["scored"] = amounts[ends].tolist()
    return found


def _before(values: Any) -> Any:
    """Return the sum of all values before each place, and of all."""
    return np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)])


def _ratio(sums: Floats, counts: Ints) -> Floats:
    found: Floats = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return found


def _rolling(sums: Floats, amounts: Ints, scored: Any, ends: Ints) -> Floats:
    """Return the mean of the newest `WINDOW` scored records before each end."""
    places = np.append(np.flatnonzero(scored), len(scored))
    many = np.minimum(amounts[ends], WINDOW)
    first = places[amounts[ends] - many]
    return _ratio(sums[ends] - sums[np.minimum(first, ends)], many)


def rounded(values: Floats) -> list[float | None]:
    """Return numbers as JSON holds them, None for those that are none.

    Examples
    --------
    >>> rounded(np.array([1 / 3, np.nan]))
    [0.333333, None]
    """
    found: list[float | None] = np.round(values, DIGITS).tolist()
    for place in np.flatnonzero(~np.isfinite(values)).tolist():
        found[place] = None
    return found


def stretches(columns: Columns) -> list[list[int]]:
    """Return [first record, number] of each stretch that one model answered.

    Examples
    --------
    >>> nothing = np.zeros(5)
    >>> stretches(Columns(np.arange(5), nothing, nothing, np.array([-1, 0, 0, 2, 2])))
    [[1, 0], [3, 2]]
    """
    models = columns.models
    starts = np.flatnonzero(np.diff(models, prepend=-1) != 0)
    return [[int(at), int(models[at])] for at in starts]


def traced(series: Series) -> Lanes:
    """Return the traces: of each detector, and of the error as it was known."""
    found = {
        name: {"seq": seqs.tolist(), "value": rounded(values)}
        for name, (seqs, values) in series.items()
    }
    return {"known_error": found.pop("error", {"seq": [], "value": []}), "statistics": found}


def threshold(columns: Columns, policy: Mapping[str, Any], records: int) -> Lanes | None:
    """Return the limit that the policy holds the error against, as a line; None if it has none.

    Examples
    --------
    >>> columns = Columns(np.arange(4), np.array([0, 1, 0, 1.0]), np.zeros(4), np.zeros(4, int))
    >>> threshold(columns, {"kind": "error_threshold", "window": 2, "rise": 0.25}, 4)
    {'seq': [1, 3], 'value': [0.75, 0.75]}
    >>> threshold(columns, {"kind": "any_of", "of": [{"kind": "adwin"}]}, 4) is None
    True
    """
    if policy["kind"] != "error_threshold":
        inner = (threshold(columns, one, records) for one in policy.get("of", ()))
        return next((one for one in inner if one), None)
    if policy.get("above") is not None:
        return {"seq": [0, max(0, records - 1)], "value": [policy["above"]] * 2}
    seqs, values = list[int](), list[float | None]()
    starts = [at for at, _ in stretches(columns)]
    for start, end in zip(starts, [*starts, records][1:], strict=True):
        own = columns.errors[start:end]
        places = np.flatnonzero(~np.isnan(own))[: policy["window"]]
        if len(places) == policy["window"]:
            level = round(float(np.mean(own[places])) + policy["rise"], DIGITS)
            seqs += [*([seqs[-1]] if seqs else []), start + int(places[-1]), end - 1]
            values += [*([None] if values else []), level, level]
    return {"seq": seqs, "value": values}


# --- the playhead ---------------------------------------------------------------------------


def figures_at(lanes: Lanes, seq: int) -> dict[str, Any]:
    """Return the numbers at a playhead that stands at record `seq`, of whole bins before it.

    `error_now`, `baseline_now`, `errors`, `baseline_errors`, `model`; `drift` (start of the newest
    one) with its `delay` (so far, if no alarm has found it) and `detection` (``open``, ``found``
    or ``missed``), `lost` (errors of the champion since that drift beyond those at the rate
    before it), `false_alarms`, `retrains` and what is `spent` on them, on trials of tuning and on
    returns to earlier models, `cost`. What is undefined is None.

    Parameters
    ----------
    lanes
        What `lanes` returned.
    seq
        The record.

    Examples
    --------
    >>> lanes = {"records": 4, "bin": 2, "window_error": [0.5, 0.5], "window_baseline": [0.5, 1.0],
    ...          "cum_error": [1.0, 2.0], "cum_baseline": [1.0, 3.0], "scored": [2, 4],
    ...          "model": [[0, 0]], "jobs": [], "returns": [], "drifts": [],
    ...          "false_alarms": [[3, 1]],
    ...          "truth_known": True, "scoring_window": 100, "prices": {"error": 2, "retrain": 9}}
    >>> found = figures_at(lanes, 2)
    >>> found["error_now"], found["errors"], found["false_alarms"], found["cost"]
    (0.5, 1.0, 0, 2.0)
    """
    at, prices = last_bin(lanes, seq), lanes["prices"]
    errors = lanes["cum_error"][at] if at >= 0 else 0.0
    jobs = [job for job in lanes["jobs"] if not job["first"] and job["asked"] <= seq]
    trials = sum(job.get("trials", 0) for job in jobs)
    reused = sum(one["kind"] == "reused" and one["seq"] <= seq for one in lanes["returns"])
    spent = len(jobs) * prices["retrain"] + trials * prices.get("trial", 0)
    spent = round(spent + reused * prices.get("reuse", 0), DIGITS)
    false = newest(lanes["false_alarms"], seq)
    return {
        "error_now": lanes["window_error"][at] if at >= 0 else None,
        "baseline_now": lanes["window_baseline"][at] if at >= 0 else None,
        "errors": errors,
        "baseline_errors": lanes["cum_baseline"][at] if at >= 0 else 0.0,
        "model": newest(lanes["model"], seq),
        **_drift_at(lanes, seq),
        "false_alarms": (false or 0) if lanes["truth_known"] else None,
        "retrains": len(jobs),
        "spent": spent,
        "cost": round(errors * prices["error"] + spent, DIGITS),
    }


def last_bin(lanes: Lanes, seq: int) -> int:
    """Return the newest bin that is over at record `seq`; -1 if none is.

    Examples
    --------
    >>> [last_bin({"records": 25, "bin": 10}, seq) for seq in (8, 9, 23, 24)]
    [-1, 0, 1, 2]
    """
    records, width = int(lanes["records"]), int(lanes["bin"])
    return math.ceil(records / width) - 1 if seq >= records - 1 else (seq + 1) // width - 1


def newest(steps: Sequence[Sequence[int]], seq: int) -> int | None:
    """Return the value of the newest [record, value] at or before record `seq`; None if none is.

    Examples
    --------
    >>> newest([[10, 1], [20, 2]], 15), newest([[10, 1]], 9)
    (1, None)
    """
    place = bisect_right([at for at, _ in steps], seq)
    return steps[place - 1][1] if place else None


def _drift_at(lanes: Lanes, seq: int) -> Lanes:
    """Return what is known at record `seq` of the newest drift."""
    begun = [drift for drift in lanes["drifts"] if drift["seq"] <= seq]
    if not begun:
        return {"drift": None, "delay": None, "detection": None, "lost": None}
    start = max(drift["seq"] for drift in begun)
    complete = max(start + drift["over"] for drift in begun if drift["seq"] == start)
    found = next(drift["found"] for drift in begun if drift["seq"] == start)
    if found is not None and found <= seq:
        delay, detection = found - start, "found"
    else:
        delay = seq - start
        detection = "open" if seq <= complete + lanes["scoring_window"] else "missed"
    before, at, lost = last_bin(lanes, start - 1), last_bin(lanes, seq), None
    if before >= 0 and lanes["window_error"][before] is not None:
        more = lanes["cum_error"][at] - lanes["cum_error"][before]
        scored = lanes["scored"][at] - lanes["scored"][before]
        lost = round(more - lanes["window_error"][before] * scored, DIGITS)
    return {"drift": start, "delay": delay, "detection": detection, "lost": lost}
