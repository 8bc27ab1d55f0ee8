"""Jobs begin, challengers come in: the first model, retraining, and the change of champion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.archive import kept, try_archive
from engine.batch import Batch, Ints
from engine.challengers import Challenger, challenge, verdict, window_bounds
from engine.events import Alarm, Kind
from engine.extras import SAMPLES_MAX, TracePoint, sample
from engine.history import Moment
from engine.pace import Declared
from engine.policies import Decision, Wake
from engine.settings import CatBoostModel, Shadow
from engine.standing import Standing
from engine.state import Champion, Desk, Segment, State, Trial
from engine.training.jobs import Failed, Fitted, Params


def tell(desk: Desk, segment: Segment, arrival: int) -> None:
    """Write down the marks, alarms and trace points up to `arrival`."""
    while segment.told < len(segment.news) and segment.news[segment.told].seq <= arrival:
        item = segment.news[segment.told]
        segment.told += 1
        time = int(segment.batch.times[item.seq - segment.batch.first])
        if isinstance(item, TracePoint):
            desk.effects.traces.append(item)
            desk.watch_over(item, time)
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


def begin(desk: Desk, segment: Segment, arrival: int, decision: Decision) -> int:
    """Let an earlier champion come back or start a job; return the arrival at which it is ready."""
    state, rule = desk.state, desk.engine.retraining.archive
    if rule is None or not state.archive or state.champion is None:
        return start(desk, segment, arrival, decision.window, decision.reason, decision.tune)
    moment = segment.moment(arrival)
    tried = try_archive(
        rule,
        state.archive,
        state.champion,
        desk.models,
        state.history.window(moment, rule.window),
        segment.outlook.at(arrival).reference,
        desk.engine.labels.scale,
    )
    one, window = tried.chosen, decision.window
    if one is None:
        figures = {"archive": tried.figures}
        return start(desk, segment, arrival, window, decision.reason, decision.tune, figures)
    state.challenger = Challenger(
        one.number,
        None,
        one.job_id,
        one.extent,
        Declared(rule.latency).ready(one.number, moment, 0),
        one.labels,
        one.reference,
        one.profile,
        returns={"reason": decision.reason, "asked": arrival, **tried.figures},
    )
    return segment.arrival(state.challenger.ready)


def start(
    desk: Desk,
    segment: Segment,
    arrival: int,
    window: int | None,
    reason: str,
    tune: bool | None = None,
    figures: Mapping[str, Any] | None = None,
) -> int:
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
        warm=_warm(desk) if _tunes(desk, tune) else None,
    )
    state.jobs += 1
    state.started += state.champion is not None
    assert state.challenger.job is not None
    tuning = state.challenger.tuning
    details = {
        "model": state.challenger.number,
        "first": state.champion is None,
        "job": state.challenger.job_id[:16],
        "reason": reason,
        "window": window_bounds(rows),
        "fit_rows": len(state.challenger.job.table),
        **({} if tuning is None else {"tuning": tuning}),
        **(figures or {}),
    }
    time = int(segment.batch.times[arrival - segment.batch.first])
    desk.emit("job_started", arrival, time, details)
    return segment.arrival(state.challenger.ready)


def _tunes(desk: Desk, wanted: bool | None) -> bool:
    """Return whether the next job is tuned: never the first, then as asked, or every so many."""
    tuning = desk.engine.retraining.tuning
    if tuning is None or desk.state.champion is None:
        return False
    return desk.state.started % tuning.every == 0 if wanted is None else wanted


def _warm(desk: Desk) -> tuple[Params, ...]:
    """Return the champion's settings and the best earlier ones, where tuning found them."""
    champion, best = desk.state.champion, desk.state.best
    found = [champion.params if champion else None, best[1] if best else None]
    return tuple(params for params in found if params is not None)


# --- swaps ----------------------------------------------------------------------------------


def swap(desk: Desk, batch: Batch, now: Ints) -> bool:
    """Bring in the challenger if it is due; return False if its job is not finished yet."""
    state = desk.state
    challenger, trial = state.challenger, state.trial
    at = Moment(batch.first, int(now[0]))
    if challenger is None or at.seq < challenger.ready.seq or at.now < challenger.ready.now:
        return True
    if trial is not None and trial.missing > 0:
        return True
    time = int(batch.times[0])
    if challenger.returns is not None:
        replaces = {"replaces": state.champion.number if state.champion else None}
        desk.emit(
            "reused", at.seq, time, {"model": challenger.number, **replaces, **challenger.returns}
        )
        _settle(desk, at, None)
        return True
    result = desk.trainer.result(challenger.job_id)
    if result is None:
        return False
    if trial is None:
        if isinstance(result, Failed):
            _fail(desk, challenger, result, at, time)
            return True
        _tell_ready(desk, challenger, result, at, time)
    assert isinstance(result, Fitted)
    rule = desk.engine.retraining.judge
    if trial is None and isinstance(rule, Shadow) and state.champion is not None:
        state.trial = Trial(at.seq, rule.shadow)
        return True
    _decide(desk, challenger, result, at, time)
    return True


def _fail(desk: Desk, challenger: Challenger, failed: Failed, at: Moment, time: int) -> None:
    """Give a challenger up that could not be trained."""
    state = desk.state
    state.challenger, state.wake = None, Wake(seq=at.seq)
    desk.emit("job_failed", at.seq, time, {"model": challenger.number, "reason": failed.reason})
    if state.champion is None:
        state.first_due = state.labels + desk.engine.retraining.first


def _tell_ready(desk: Desk, challenger: Challenger, fitted: Fitted, at: Moment, time: int) -> None:
    """Write down that a challenger is trained, and what tuning found."""
    assert challenger.extent is not None
    model = {"model": challenger.number}
    details = {**model, "asked": challenger.extent.asked.seq, **fitted.details}
    desk.emit("job_ready", at.seq, time, details)
    for note in fitted.notes:
        desk.emit("anomaly", at.seq, time, {**model, "what": note})
    tuning, best = fitted.details.get("tuning"), desk.state.best
    if tuning and tuning["best"]:  # 0 is the model as configured, None no model at all
        gain = tuning["default_value"] - tuning["value"] if tuning["default_value"] else 0.0
        if best is None or gain > best[0]:
            desk.state.best = (gain, tuning["params"])


def _decide(desk: Desk, challenger: Challenger, fitted: Fitted, at: Moment, time: int) -> None:
    """Let the judge decide: the challenger takes over, goes, or waits for more labels."""
    state, rule = desk.state, desk.engine.retraining.judge
    figures: Mapping[str, Any]
    if state.champion is None or isinstance(rule, str):
        answer, figures = "promote", {"judge": "first" if state.champion is None else rule}
    else:
        since, looks = (state.trial.first, state.trial.looks) if state.trial else (0, ())
        found, figures = verdict(
            desk.engine,
            (desk.models[state.champion.job_id], fitted.predictor),
            (state.champion.extent, challenger.extent),
            state.history,
            Moment(state.seq - 1, state.now),
            size=_size(desk, fitted),
            since=since,
            looks=len(looks),
        )
        answer = found.answer
        if answer == "extend":
            assert rule.extend is not None
            look = {"seq": at.seq, **found.figures(rule)}
            state.trial = Trial(since, rule.extend, (*looks, look))
            return
        figures |= {"extensions": list(looks)} if rule.extend is not None else {}
    replaces = {"replaces": state.champion.number if state.champion else None}
    kind: Kind = "promoted" if answer == "promote" else "rejected"
    model = {"model": challenger.number, **(replaces if answer == "promote" else {})}
    desk.emit(kind, at.seq, time, {**model, **figures})
    if answer == "promote":
        desk.models[challenger.job_id] = fitted.predictor
        _settle(desk, at, fitted)
    else:
        _leave(desk, at)


def _size(desk: Desk, fitted: Fitted) -> int | None:
    """Return a challenger's trees × depth: what an answer takes, without a clock."""
    model, trees = desk.engine.model, fitted.details.get("trees")
    if not isinstance(model, CatBoostModel) or trees is None:
        return None
    params = fitted.details.get("tuning", {}).get("params", {})
    return int(trees) * int(params.get("depth", model.depth))


def _leave(desk: Desk, at: Moment) -> None:
    """Let a challenger go, whatever came of it, and the models that nobody needs any more."""
    state = desk.state
    state.challenger, state.trial, state.wake = None, None, Wake(seq=at.seq)
    needed = needed_models(state)
    for job_id in [one for one in desk.models if one not in needed]:
        del desk.models[job_id]


def _settle(desk: Desk, at: Moment, fitted: Fitted | None) -> None:
    """Make the challenger champion; its errors and the detectors start afresh."""
    state, challenger = desk.state, desk.state.challenger
    assert challenger is not None
    tuning = fitted.details.get("tuning") if fitted is not None else None
    champion = Champion(
        challenger.number,
        challenger.job_id,
        at,
        challenger.labels,
        challenger.extent,
        challenger.profile,
        challenger.reference,
        tuning["params"] if tuning and tuning["best"] else _params_of(state, challenger.number),
    )
    rule = desk.engine.retraining.archive
    if state.champion is None:
        state.baseline = challenger.job_id
    elif rule is not None:
        state.archive = kept(state.archive, state.champion, champion, rule.keep)
    state.champion = champion
    state.standing, state.heard = Standing(), ()
    state.error_watch.reset()
    if challenger.reference is not None:
        state.feature_watch.refer(challenger.reference)
        state.referred = True
    state.ahead, state.watched = [], at.seq
    _leave(desk, at)


def _params_of(state: State, number: int) -> Params | None:
    """Return what tuning found for an earlier champion."""
    return next((one.params for one in state.archive if one.number == number), None)


def needed_models(state: State) -> set[str]:
    """Return the job ids of the models that answer, or may be asked to again."""
    needed = {one.job_id for one in state.archive}
    needed |= {state.champion.job_id} if state.champion else set()
    return needed | ({state.baseline} if state.baseline else set())


def models_ready(desk: Desk) -> bool:
    """Load the models that answer; return whether all are there (a restart may take time)."""
    for job_id in sorted(needed_models(desk.state) - desk.models.keys()):
        result = desk.trainer.result(job_id)
        if not isinstance(result, Fitted):
            return False
        desk.models[job_id] = result.predictor
    return True
