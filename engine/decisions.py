"""When the policy is called, what it sees, and what its decision sets off."""

from __future__ import annotations

from engine.challengers import window_bounds
from engine.events import Alarm
from engine.history import Moment
from engine.policies import Decision, View
from engine.state import Desk, Segment
from engine.swaps import begin, tell


def decide(desk: Desk, segment: Segment) -> int:
    """Call the policy wherever it could act; return the arrival at which a swap cuts in."""
    state, stop = desk.state, segment.batch.end
    arrival = segment.batch.first
    if state.queued is not None and state.challenger is None:
        tell(desk, segment, arrival)
        decision, state.queued = state.queued, None
        stop = min(stop, begin(desk, segment, arrival, decision))
    while (arrival := _next_call(desk, segment, arrival)) < stop:
        tell(desk, segment, arrival)
        view = _view(desk, segment, arrival)
        decision, state.memory = desk.policy.decide(view, state.memory)
        state.wake = desk.policy.wake(view, state.memory)
        state.heard = ()
        if decision.action == "retrain":
            stop = min(stop, _request(desk, segment, arrival, decision))
        arrival += 1
    tell(desk, segment, stop - 1)
    return stop


def _next_call(desk: Desk, segment: Segment, arrival: int) -> int:
    """Return the next arrival from `arrival` on at which the policy has to be called."""
    wake, due = desk.state.wake, [segment.batch.end]
    if desk.state.heard:
        due.append(arrival)
    due += [item.seq for item in segment.news[segment.told :] if isinstance(item, Alarm)][:1]
    if wake.seq is not None:
        due.append(wake.seq)
    if wake.time is not None:
        due.append(segment.arrival(Moment(arrival, wake.time)))
    if wake.errors is not None:
        due.append(segment.outlook.arrival_of(wake.errors))
    soonest = max(arrival, min(due))
    late = (soonest + 1 - desk.engine.retraining.first) % desk.engine.decide_every
    return soonest + (desk.engine.decide_every - late if late else 0)


def _view(desk: Desk, segment: Segment, arrival: int) -> View:
    """Return what is known at `arrival`, and nothing else."""
    state = desk.state
    assert state.champion is not None
    standing, moment = segment.outlook.at(arrival), segment.moment(arrival)
    return View(
        seq=arrival,
        time=moment.now,
        alarms=state.heard,
        errors=standing.recent,
        reference=standing.reference,
        known=standing.known,
        error_max=segment.error_max,
        blocks=standing.blocks,
        block=desk.engine.block,
        served=arrival - state.champion.since.seq + 1,
        since=moment.now - state.champion.since.now,
        labels=state.labels + segment.labels(arrival) - state.champion.labels,
        features=state.feature_watch.count,
        started=state.started,
        pending=state.challenger is not None,
        window=desk.engine.retraining.window,
        prices=desk.engine.prices,
    )


def _request(desk: Desk, segment: Segment, arrival: int, decision: Decision) -> int:
    """Write a decision down and act on it; return the arrival at which a swap cuts in."""
    state = desk.state
    time = int(segment.batch.times[arrival - segment.batch.first])
    rows = state.history.window(segment.moment(arrival), desk.window(decision.window))
    details = {
        **({} if decision.of_seq is None else {"of_seq": decision.of_seq}),
        "policy": desk.engine.policy.kind,
        "action": decision.action,
        "reason": decision.reason,
        "saw": decision.saw,
        "window": window_bounds(rows),
    }
    desk.emit("decision", arrival, time, details)
    if state.challenger is None:
        return begin(desk, segment, arrival, decision)
    if decision.queue and state.queued is None:
        state.queued = decision
    else:
        desk.emit("request_dropped", arrival, time, {"pending": state.challenger.number})
    return segment.batch.end
