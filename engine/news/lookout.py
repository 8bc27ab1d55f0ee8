"""Alerts about what only live mode knows: that no data come, that the plan is nearly spent.

They depend on the clock. So each look that led to an alert is kept in the ledger, after the
entries that were there then; a run that starts again takes the same looks in the same places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field

from engine.alerts.rounds import Facts, Sentinel, sentinel_of
from engine.alerts.rules import LIVE_ONLY, AnyRule
from engine.events import Note
from engine.news.ledger import Ledger

KEPT = "looks"
"""What the looks are called in the ledger's memory."""
EVERY_MICROS = 1_000_000
"""How often to look."""


@dataclass
class Lookout:
    """Looks now and then whether an alert is due.

    Parameters
    ----------
    ledger
        Where the looks that led to alerts are kept.
    sentinel
        Knows what was told already; None: there is nothing to look for.
    facts
        Returns what is known now.
    clock
        Returns the microseconds since 1970.
    """

    ledger: Ledger
    sentinel: Sentinel | None
    facts: Callable[[], Facts]
    clock: Callable[[], int]
    _looked: int = 0
    _past: list[tuple[int, Note]] = field(default_factory=list)

    @staticmethod
    def of(
        rules: Sequence[AnyRule],
        ledger: Ledger,
        facts: Callable[[], Facts],
        clock: Callable[[], int],
    ) -> Lookout:
        """Return a lookout for those of the rules that are about live mode."""
        sentinel = sentinel_of([rule for rule in rules if rule.when in LIVE_ONLY])
        lookout = Lookout(ledger, sentinel, facts, clock)
        for after, at, known in ledger.recall(KEPT) or ():
            lookout._past.append((after, Note(at, "tick", known)))
        return lookout

    def past(self, after: int) -> list[Note]:
        """Return the looks that were taken, in an earlier run, right after entry `after`."""
        found = [note for place, note in self._past if place == after]
        self._past = [(place, note) for place, note in self._past if place > after]
        for note in found:
            if self.sentinel is not None:
                self.sentinel.tick(note.time, Facts(**note.details))
        return found

    def look(self, after: int) -> Note | None:
        """Return a look that leads to an alert, to be taken right after entry `after`."""
        now = self.clock()
        if self.sentinel is None or 0 <= now - self._looked < EVERY_MICROS:
            return None
        self._looked = now
        facts, trial = self.facts(), deepcopy(self.sentinel)
        if not trial.tick(now, facts):
            return None  # and it never was: only what is kept can be done again
        self.sentinel = trial
        kept = [*(self.ledger.recall(KEPT) or ()), [after, now, asdict(facts)]]
        self.ledger.remember({KEPT: kept})
        return Note(now, "tick", asdict(facts))
