"""The heart: records in, outcomes and events out, in virtual time.

One `Loop` owns one stream: it predicts, waits for labels, feeds the detectors, asks the policy,
and swaps models. It reads no clock and no file; training is asked of a `Trainer` and its answer
is awaited at the virtual moment at which it is due, however long it takes to come.

Order at one arrival k: (1) a swap that is due, (2) predict k, (3) the feature detectors see k,
(4) labels due by k go to the error detectors, in order of becoming known, then of seq, (5) the
policy is called.

Records are handled in segments without a swap. Within one, predictions and detectors run over
whole columns; the policy is called only at arrivals at which it could act (`Policy.wake`). When
it asks for a model that is ready before the segment ends, the segment is cut there and the rest
done anew; the detectors, which then are ahead, keep what they have already raised.
"""

from __future__ import annotations

import math
from dataclasses import replace
from operator import attrgetter

import numpy as np

from engine.alerts.rounds import Facts, sentinel_of
from engine.batch import FOREVER, Batch, Floats, Ints, Labels, Mark, Schema
from engine.decisions import decide
from engine.errors import EngineError
from engine.events import Alarm, Note
from engine.extras import ERRORS, TracePoint, profile, stride_of
from engine.history import History, Moment
from engine.ledger import NO_MODEL, UNDATED, Coded, Outcomes, in_order, join
from engine.losses import prediction_errors
from engine.pace import OPEN, Declared, Pace
from engine.policies import Policy, Wake, build, with_needed
from engine.seeds import derive
from engine.settings import Engine
from engine.standing import Outlook
from engine.state import INITIAL, Champion, Desk, Effects, Segment, State, first_arrival
from engine.swaps import await_first, models_ready, swap
from engine.training.jobs import Prediction, Predictor, Trainer
from engine.watch import ErrorWatch, FeatureWatch, Reference


class Loop:
    """One stream on its way through the engine.

    Parameters
    ----------
    engine
        The settings.
    stream
        The stream's name.
    schema
        Its columns.
    trainer
        Who fits models.
    seed
        The stream's seed.
    initial
        A model in production to start from, instead of a first fit.
    code_root
        Where a user's model factory may be imported from.
    rows
        How many rows the stream's source has; the longer, the further apart are trace points.
    policy
        Who decides, if it is not the policy that the settings describe.
    pace
        Who says when jobs are ready, if it is not the latency that the settings declare.

    Examples
    --------
    >>> from engine.batch import plain_batch
    >>> from engine.settings import Never, Retraining
    >>> from engine.training.pool import InlineTrainer
    >>> engine = Engine(policy=Never(kind="never"), retraining=Retraining(first=2))
    >>> batch = plain_batch({"x": [0.0, 1.0, 0.0]}, ["a", "a", "a"])
    >>> loop = Loop(engine, "demo-0000", batch.table.schema, InlineTrainer(), seed=1)
    >>> loop.feed(batch)
    >>> [event.kind for event in loop.advance().events]
    ['job_started', 'job_ready', 'anomaly', 'promoted']
    """

    def __init__(
        self,
        engine: Engine,
        stream: str,
        schema: Schema,
        trainer: Trainer,
        seed: int,
        initial: Predictor | None = None,
        code_root: str = "",
        rows: int = 0,
        policy: Policy | None = None,
        pace: Pace | None = None,
    ) -> None:
        detectors = with_needed(engine.detectors, build(engine.policy))
        policy = policy or build(engine.policy, detectors)
        state = State(
            History(engine.retraining.window),
            ErrorWatch(detectors, seed),
            FeatureWatch(detectors, schema, seed),
            policy.initial(),
            first_due=engine.retraining.first,
            sentinel=sentinel_of(engine.alerts),
        )
        models = {} if initial is None else {INITIAL: initial}
        if initial is not None:
            state.champion = Champion(0, INITIAL, Moment(0, UNDATED), 0)
            state.baseline, state.wake, state.jobs = INITIAL, Wake(seq=0), 1
        self.engine, self.state, self.stride = engine, state, stride_of(rows)
        model_seed = derive(seed, "model")
        pace = pace or Declared(engine.retraining.latency)
        self.desk = Desk(
            engine, stream, policy, trainer, pace, state, models, model_seed, code_root
        )

    # --- what callers use ---------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether records lie here that must wait for a job to finish."""
        return bool(self.state.inbox)

    def feed(self, batch: Batch | Note) -> None:
        """Take the next records in, or what befell the stream; `advance` handles them."""
        if isinstance(batch, Note):
            self.state.inbox.append(batch)
            return
        if not len(batch):
            return
        now = np.maximum.accumulate(np.maximum(batch.times, self.state.fed))
        batch = batch.settled()
        self.state.history.add(batch, now)
        self.state.inbox.append((batch, now))
        self.state.fed = int(now[-1])

    def advance(self) -> Effects:
        """Handle what was fed, as far as the trainer allows, and return what came of it."""
        state = self.state
        while state.inbox:
            item = state.inbox[0]
            if isinstance(item, Note):
                self._take_note(item)
                continue
            batch, now = item
            skip = state.seq - batch.first
            batch, now = batch[skip:], now[skip:]
            self._let_in(batch.first)
            if not models_ready(self.desk) or not swap(self.desk, batch, now):
                break
            end = len(batch)
            if state.challenger is not None and state.trial is None:
                end = first_arrival(state.challenger.ready, batch.first, now) - batch.first
            self._segment(batch[:end], now[:end])
            if state.seq == item[0].end:
                state.inbox.pop(0)
        return self.desk.take_effects()

    def abandon(self) -> Effects:
        """Give up what was fed but not handled; return what came of the rest."""
        self.state.inbox.clear()
        return self.desk.take_effects()

    def finish(self, failure: str = "") -> Effects:
        """End the stream: outstanding labels are scored but trigger nothing.

        Parameters
        ----------
        failure
            Why the stream ended before its time, if it did.
        """
        state = self.state
        assert not state.inbox, "finish comes after everything fed has been handled"
        if state.ledger is not None:
            self.desk.effects.outcomes.append(state.ledger.closed(state.seq))
            state.ledger = None
        last = max(0, state.seq - 1)
        if state.champion is None and not self.desk.pace.open_ended:
            what = (
                f"no model was trained: {state.labels} labels came, first needs {state.first_due}"
            )
            self.desk.emit("anomaly", last, state.time, {"what": what})
        if failure:
            self.desk.emit("stream_failed", last, state.time, {"reason": failure})
        return self.desk.take_effects()

    def _take_note(self, note: Note) -> None:
        """Write down what befell the stream after its last arrival."""
        self.state.inbox.pop(0)
        last, sentinel = max(0, self.state.seq - 1), self.state.sentinel
        if note.kind != "tick":
            self.desk.emit(note.kind, last, note.time, note.details)
        elif sentinel is not None:
            self.desk.alert(last, note.time, sentinel.tick(note.time, Facts(**note.details)))

    def _let_in(self, arrival: int) -> None:
        """Let a job in that is done but has no time at which it is due: that is now."""
        state, challenger = self.state, self.state.challenger
        if challenger is not None and challenger.ready == OPEN:
            done = self.desk.trainer.result(challenger.job_id) is not None
            ready = self.desk.pace.arrive(challenger.number, arrival) if done else None
            if ready is not None:
                state.challenger = replace(challenger, ready=ready)

    # --- a segment ----------------------------------------------------------------------

    def _segment(self, batch: Batch, now: Ints) -> None:
        """Handle arrivals up to the segment's end, or to the first swap decided within it."""
        state = self.state
        if state.champion is not None and state.champion.since.now == UNDATED:
            state.champion = replace(state.champion, since=Moment(0, int(now[0])))
        try:
            answers = self._answer(batch, now)
        except EngineError:  # find the very record, so that no outcome depends on the batch
            if len(batch) == 1:
                raise
            return self._segment(batch[: len(batch) // 2], now[: len(batch) // 2])
        rows = answers if state.ledger is None else join([state.ledger, answers])
        prompt = state.ledger is None and batch.prompt
        arrivals = rows.seqs if prompt else rows.arrivals(batch.first, now)
        order = slice(None) if prompt else in_order(arrivals, rows.seqs)
        known = arrivals[order]
        missing = self.engine.retraining.first - state.labels
        refers = state.champion is not None and not state.referred and missing <= len(known)
        if refers and (size := int(known[missing - 1]) + 1 - batch.first) < len(batch):
            return self._segment(batch[:size], now[:size])
        tried = self._tried(rows, order, known)
        if state.trial is not None and state.trial.missing <= len(tried):
            size = int(tried[state.trial.missing - 1]) + 1 - batch.first
            if size < len(batch):
                return self._segment(batch[:size], now[:size])
        own = self._own(rows, order)
        outlook = Outlook(state.standing, arrivals[own], rows.errors[own], self.engine.block)
        found = self._watch(batch, outlook, rows.seqs[own], rows.errors[own], rows.labels[own])
        news = sorted([*batch.marks, *found], key=attrgetter("seq"))
        error_max = 1.0 if batch.table.schema.task == "classification" else math.inf
        segment = Segment(batch, now, known, outlook, news, error_max)
        stop = (
            await_first(self.desk, segment)
            if state.champion is None
            else decide(self.desk, segment)
        )
        state.ahead = [item for item in found if item.seq >= stop]
        self._commit(segment, rows, arrivals, stop)
        if state.trial is not None:
            come = int(np.searchsorted(tried, stop))
            state.trial = replace(state.trial, missing=state.trial.missing - come)
        if refers and state.labels >= self.engine.retraining.first:
            self._refer()
        return None

    def _commit(self, segment: Segment, rows: Outcomes, arrivals: Ints, stop: int) -> None:
        """Make everything before arrival `stop` the past."""
        state, first = self.state, segment.batch.first
        done, state.ledger = rows.parted(arrivals, first, segment.now, stop)
        if len(done):
            self.desk.effects.outcomes.append(done)
        state.standing = segment.outlook.at(stop - 1)
        state.labels += segment.labels(stop - 1)
        state.seq, state.now = stop, segment.moment(stop - 1).now
        state.time = int(segment.batch.times[stop - 1 - first])
        pending = state.challenger.extent if state.challenger is not None else None
        state.history.trim(Moment(state.seq - 1, state.now), pending)

    def _tried(self, rows: Outcomes, order: Ints | slice, known: Ints) -> Ints:
        """Return the arrivals, in order, of the labels that a challenger on trial waits for."""
        trial = self.state.trial
        if trial is None:
            return known[:0]
        return known if not trial.first else known[rows.seqs[order] >= trial.first]

    def _own(self, rows: Outcomes, order: Ints | slice) -> Ints | slice:
        """Return which rows in `order` hold an error of the champion, in that order."""
        if self.state.champion is None:
            return slice(0)
        mine = rows.models[order] == self.state.champion.number
        if self.state.archive:  # it may have served before
            mine &= rows.seqs[order] >= self.state.champion.since.seq
        mine &= ~np.isnan(rows.errors[order])
        return order if mine.all() else np.arange(len(rows))[order][mine]

    def _answer(self, batch: Batch, now: Ints) -> Outcomes:
        """Predict the records of a segment by the champion, and by model 0 for comparison."""
        state, rows = self.state, len(batch)
        seqs = np.arange(batch.first, batch.end, dtype=np.int64)
        if state.champion is None:
            number, errors, coded = NO_MODEL, np.full(rows, np.nan), None
            baseline_errors = errors
            regression = batch.table.schema.task == "regression"
            nothing = np.full(rows, np.nan) if regression else np.full(rows, None, dtype=object)
            answers = Prediction(nothing, np.full(rows, np.nan))
        else:
            number, scale = state.champion.number, self.engine.labels.scale
            model = self.desk.models[state.champion.job_id]
            answers = model.predict(batch.table)
            coded = None if answers.codes is None else Coded(answers.codes, model.classes)
            truth, complete = batch.labels, bool((batch.late_records < FOREVER).all())
            errors = prediction_errors(answers.values, truth, scale, complete=complete)
            baseline_errors = errors
            if number != 0 and state.baseline is not None:
                first = self.desk.models[state.baseline].predict(batch.table)
                baseline_errors = prediction_errors(first.values, truth, scale, complete=complete)
        return Outcomes(
            seqs,
            batch.times,
            answers.values,
            answers.scores,
            batch.labels,
            errors,
            np.full(rows, number, dtype=np.int64),
            baseline_errors,
            seqs + batch.late_records,
            now + batch.late_micros,
            np.full(rows, UNDATED, dtype=np.int64),
            coded,
        )

    def _refer(self) -> None:
        """Give the feature detectors of a brought-along model their reference window."""
        state, window = self.state, self.engine.retraining.window
        rows = state.history.window(Moment(state.seq - 1, state.now), window)
        state.feature_watch.refer(Reference.of(rows.table))
        state.referred = True
        if state.champion is not None:
            reference = Reference.of(rows.table)
            state.champion = replace(
                state.champion, profile=profile(rows.table), reference=reference
            )

    def _watch(
        self, batch: Batch, outlook: Outlook, seqs: Ints, errors: Floats, labels: Labels
    ) -> list[Alarm | TracePoint | Mark]:
        """Feed the detectors with what they have not seen; return alarms and traces in order."""
        state = self.state
        if state.champion is None:
            return []
        start = max(batch.first, state.watched)
        found: list[Alarm | TracePoint | Mark] = []
        found += state.feature_watch.update(start, batch.table[start - batch.first :])
        arrivals, fed = outlook.arrivals, int(np.searchsorted(outlook.arrivals, start))
        number, classes = state.champion.number, self.desk.models[state.champion.job_id].classes
        wrong = fed + np.flatnonzero(errors[fed:])  # a label that was met is known
        news = (arrivals[wrong], seqs[wrong], labels[wrong])
        found += state.strangers.update(number, classes, *news)
        stops = np.arange(start + -start % self.stride, batch.end, self.stride)
        ends = arrivals.searchsorted(stops, side="right")
        new = (arrivals[fed:], seqs[fed:], errors[fed:])
        alarms, statistics = state.error_watch.trace(*new, ends - fed)
        found += alarms
        times = batch.times[stops - batch.first]
        figures = zip(stops.tolist(), times.tolist(), ends.tolist(), statistics, strict=True)
        for at, time, end, values in figures:
            found.append(TracePoint(at, time, {**values, "error": outlook.error(end, ERRORS)}))
        state.watched = max(batch.end, state.watched)
        return state.ahead + sorted(found, key=attrgetter("seq"))
