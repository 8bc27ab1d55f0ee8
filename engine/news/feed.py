"""The ledger as a stream of records: what it holds, then what comes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from engine.batch import Batch, Schema
from engine.errors import InputError
from engine.events import Note
from engine.news.articles import Article, read_rows
from engine.news.features import schema_of, table_of_articles
from engine.news.ledger import Entry, Ledger
from engine.news.live import Live
from engine.news.lookout import Lookout
from engine.quantities import records_and_micros
from engine.seeds import derive


@dataclass
class LedgerFeed:
    """The articles of a ledger in the order in which they were ingested, each when it was fetched.

    Parameters
    ----------
    live
        The settings.
    ledger
        Where articles are, and more will be.
    over
        Whether the ledger has got all that it will get.
    lookout
        Looks for alerts that do not come with articles.
    index
        Its number among the run's streams: there is one.
    newest
        When the newest articles came; None as long as there are none.
    """

    live: Live
    ledger: Ledger
    over: Callable[[], bool]
    lookout: Lookout
    index: int = 0
    newest: int | None = None

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.live.stream

    @property
    def seed(self) -> int:
        """Where its chance comes from."""
        return derive(self.live.seed, self.name)

    @property
    def schema(self) -> Schema:
        """The columns."""
        return schema_of(self.live.text)

    @property
    def rows(self) -> int:
        """Nobody knows how many there will be."""
        return 0

    def batches(self, size: int) -> Iterator[Batch | Note | None]:
        """Yield all articles in batches of at most `size`, with notes; None while none come."""
        first, after = 0, 0
        waiting: list[Article] = []
        yield from self.lookout.past(0)
        while True:
            over = self.over()  # asked before the look, so that nothing can come in between
            entries = self.ledger.finished(after)
            for entry in entries:
                after = entry.id
                self.newest = entry.at if entry.rows else self.newest
                waiting += self._articles(entry)
                notes = [Note(entry.at, "anomaly", note) for note in entry.notes]
                notes += self.lookout.past(after)
                while len(waiting) >= size or (waiting and notes):
                    yield self._batch(first, waiting[:size])
                    first, waiting = first + len(waiting[:size]), waiting[size:]
                yield from notes
            if entries:
                continue
            if waiting:
                yield self._batch(first, waiting)
                first, waiting = first + len(waiting), []
            if over:
                return
            yield self.lookout.look(after)

    def _articles(self, entry: Entry) -> list[Article]:
        if not entry.rows:
            return []
        text, place = self.ledger.text(entry), self.ledger.place(entry)
        try:
            articles = read_rows(text)
        except InputError as error:
            raise InputError(f"{error.message}; restore this file", str(place)) from None
        if len(articles) != entry.rows:
            message = f"has {len(articles)} articles, the ledger says {entry.rows}; restore it"
            raise InputError(message, str(place))
        return articles

    def _batch(self, first: int, articles: list[Article]) -> Batch:
        rows = len(articles)
        late_records, late_micros = records_and_micros(self.live.labels.delay)
        return Batch(
            first,
            np.array([article.fetched for article in articles], dtype=np.int64),
            table_of_articles(articles, self.live.text),
            np.array([article.topic for article in articles], dtype=object),
            np.full(rows, late_records, dtype=np.int64),
            np.full(rows, late_micros, dtype=np.int64),
        )
