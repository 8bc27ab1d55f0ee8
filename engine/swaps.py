"""Jobs begin, challengers come in: the first model, retraining, and the change of champion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.batch import Batch, Ints
from engine.challengers import Challenger, challenge, verdict, window_bounds
from engine.events import Alarm, Kind
from engine.extras import SAMPLES_MAX, TracePoint, sample
from engine.history import Moment
from engine.policies import Wake
from engine.standing import Standing
from engine.state import Champion, Desk, Segment
from engine.training.jobs import Failed, Fitted


def tell(desk: Desk, segment: Segment, arrival: int) -> None:
    """Write down the marks, alarms and trace points up to `arrival`."""
    while segment.told < len(segment.news) and segment.news[segment.told].seq <= arrival:
        item = segment.news[segment.told]
        segment.told += 1
        time = int(segment.batch.times[item.seq - segment.batch.first])
        if isinstance(item, TracePoint):
            desk.effects.traces.append(item)
        elif isinstance(item, Alarm):
            _sample(desk, item)
            desk.emit("alarm", item.seq, time, item.details())
            desk.state.heard += (item,)
        else:
            desk.emit(item.kind, item.seq, time, item.details)


def _sample(desk: Desk, alarm: Alarm) -> None:
    """Write down what the stream looks like at an alarm that is about to be told."""
    state = desk.state
    if state.champion is not None and state.sampled < SAMPLES_MAX:
        arrived = state.history.arrived(alarm.seq)
        found = sample(alarm, state.events, arrived, state.champion.profile)
        desk.effects.samples.append(found)
        state.sampled += 1


def await_first(desk: Desk, segment: Segment) -> int:
    """Ask for the first model once enough labels are known."""
    state, stop = desk.state, segment.batch.end
    missing = state.first_due - state.labels
    if state.challenger is None and missing <= len(segment.label_arrivals):
        arrival = int(segment.label_arrivals[missing - 1]) if missing > 0 else segment.batch.first
        tell(desk, segment, arrival)
        stop = start(desk, segment, arrival, None, "first model")
    tell(desk, segment, stop - 1)
    return stop


def start(desk: Desk, segment: Segment, arrival: int, window: int | None, reason: str) -> int:
    """Start a job at `arrival`; return the arrival within the segment at which it is ready."""
    state, moment = desk.state, segment.moment(arrival)
    rows = state.history.window(moment, desk.window(window))
    state.challenger = challenge(
        desk.engine,
        desk.trainer,
        desk.pace,
        rows,
        number=state.jobs,
        asked=moment,
        labels=state.labels + segment.labels(arrival),
        seed=desk.model_seed,
        code_root=desk.code_root,
        first=state.champion is None,
    )
    state.jobs += 1
    state.started += state.champion is not None
    details = {
        "model": state.challenger.number,
        "first": state.champion is None,
        "job": state.challenger.job_id[:16],
        "reason": reason,
        "window": window_bounds(rows),
        "fit_rows": len(state.challenger.job.table),
    }
    time = int(segment.batch.times[arrival - segment.batch.first])
    desk.emit("job_started", arrival, time, details)
    return segment.arrival(state.challenger.ready)


def swap(desk: Desk, batch: Batch, now: Ints) -> bool:
    """Bring in the challenger if it is due; return False if its job is not finished yet."""
    state = desk.state
    challenger = state.challenger
    at = Moment(batch.first, int(now[0]))
    if challenger is None or at.seq < challenger.ready.seq or at.now < challenger.ready.now:
        return True
    result = desk.trainer.result(challenger.job_id)
    if result is None:
        return False
    state.challenger, state.wake = None, Wake(seq=at.seq)
    time, model = int(batch.times[0]), {"model": challenger.number}
    if isinstance(result, Failed):
        desk.emit("job_failed", at.seq, time, {**model, "reason": result.reason})
        if state.champion is None:
            state.first_due = state.labels + desk.engine.retraining.first
        return True
    details = {**model, "asked": challenger.extent.asked.seq, **result.details}
    desk.emit("job_ready", at.seq, time, details)
    for note in result.notes:
        desk.emit("anomaly", at.seq, time, {**model, "what": note})
    promote, figures = _judge(desk, challenger, result)
    replaces = {"replaces": state.champion.number if state.champion else None}
    kind: Kind = "promoted" if promote else "rejected"
    desk.emit(kind, at.seq, time, {**model, **(replaces if promote else {}), **figures})
    if promote:
        _promote(desk, challenger, result, at)
    return True


def _judge(desk: Desk, challenger: Challenger, fitted: Fitted) -> tuple[bool, Mapping[str, Any]]:
    """Hold the challenger against the champion, on what is known before this arrival."""
    state = desk.state
    if state.champion is None:
        return True, {"judge": "first"}
    champion, extent = desk.models[state.champion.job_id], state.champion.extent
    until = Moment(state.seq - 1, state.now)
    return verdict(desk.engine, challenger, fitted, champion, extent, state.history, until)


def _promote(desk: Desk, challenger: Challenger, fitted: Fitted, at: Moment) -> None:
    """Make the challenger champion; its errors and the detectors start afresh."""
    state = desk.state
    if state.champion is None:
        state.baseline = challenger.job_id
    if state.champion is not None and state.champion.job_id != state.baseline:
        del desk.models[state.champion.job_id]
    state.champion = Champion(
        challenger.number,
        challenger.job_id,
        at,
        challenger.labels,
        challenger.extent,
        challenger.profile,
    )
    desk.models[challenger.job_id] = fitted.predictor
    state.standing, state.heard = Standing(), ()
    state.error_watch.reset()
    if challenger.reference is not None:
        state.feature_watch.refer(challenger.reference)
        state.referred = True
    state.ahead, state.watched = [], at.seq


def models_ready(desk: Desk) -> bool:
    """Load the models that answer; return whether all are there (a restart may take time)."""
    state = desk.state
    needed = {state.champion.job_id if state.champion else None, state.baseline} - {None}
    for job_id in needed - desk.models.keys():
        result = desk.trainer.result(str(job_id))
        if not isinstance(result, Fitted):
            return False
        desk.models[str(job_id)] = result.predictor
    return True
