"""Articles from recorded responses of NewsAPI, replayed in the order in which they were published.

A recording is a file or a folder of files: responses as they came (``.json``, or one a line in
``.jsonl``), processed rows of live mode, or any CSV of articles; each may end in ``.gz``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from engine.batch import Labels, Mark, Schema
from engine.errors import InputError
from engine.news.articles import Article
from engine.news.features import TextFeatures, schema_of, table_of_articles
from engine.sources.blocks import BLOCK, Block
from engine.sources.recordings import USUAL, Layout, Recording, read_recording

TEXT = TextFeatures()
"""How texts become numbers unless told otherwise."""


class NewsSource:
    """A source of recorded articles; the label is the topic that they were asked under.

    The recording is read as a whole when it is first needed, because it is put in order of
    publication; what is kept of it is the texts of the articles used. Features are made block by
    block.

    Parameters
    ----------
    path
        The recording: a file, a folder, or the data folder of live mode.
    text
        How titles and descriptions become numbers.
    layout
        Where in the files things stand.
    limit
        Use at most this many articles, the first published ones.
    shown
        The path as the user wrote it, for messages and `facts`; by default `path`.
    resolve
        Turns the path of a `variant`, as written, into one that can be opened.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> lines = ["title,description,url,published_at,topic",
    ...     "Rain,Much of it,https://a.example/1,2024-02-02,weather",
    ...     "Goal,Just one,https://a.example/2,2024-02-01,sports"]
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "news.csv").write_text("\\n".join(lines))
    ...     source = NewsSource(Path(folder))
    ...     block = next(source.blocks())
    >>> block.labels.tolist(), block.table.number("published_day").tolist()
    (['sports', 'weather'], [1.0, 2.0])
    """

    def __init__(
        self,
        path: Path,
        *,
        text: TextFeatures = TEXT,
        layout: Layout = USUAL,
        limit: int | None = None,
        shown: str = "",
        resolve: Callable[[str], Path] = Path,
    ) -> None:
        self.path, self.text, self.layout, self.limit = path, text, layout, limit
        self.shown, self.resolve = shown or str(path), resolve
        self._variants: dict[str, NewsSource] = {}

    @property
    def schema(self) -> Schema:
        """The columns: all numeric, named by the settings of the texts alone."""
        return schema_of(self.text)

    @property
    def rows(self) -> int:
        """Articles that can be used, or `limit` if that is less."""
        found = len(self.recording)
        return found if self.limit is None else min(found, self.limit)

    @property
    def classes(self) -> tuple[str, ...]:
        """The topics of the articles used, in order of first appearance."""
        codes = self.recording.topics[: self.rows].tolist()
        return tuple(self.recording.names[code] for code in dict.fromkeys(codes))

    @property
    def facts(self) -> Mapping[str, Any]:
        """The path as written, the SHA-256 of what was read, and what was kept and dropped."""
        found, notes = self.recording, {"notes": list(self.notes)} if self.notes else {}
        return {
            "path": self.shown,
            "sha256": found.sha256,
            "rows": self.rows,
            **found.facts,
            **notes,
        }

    @property
    def oddities(self) -> Sequence[Mark]:
        """Nothing: what is odd about a recording is told in `notes`."""
        return ()

    @property
    def notes(self) -> Sequence[str]:
        """What of the recording is not used, a line each."""
        return self.recording.notes

    @cached_property
    def recording(self) -> Recording:
        """The recording, read and put in order."""
        return read_recording(self.path, self.shown, self.layout)

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield the blocks from number `start` on."""
        found, names = self.recording, np.array(self.recording.names, dtype=object)
        edges = [*range(start * BLOCK, self.rows, BLOCK), self.rows]
        for row, end in pairwise(edges):
            articles = [
                Article("", time, "", title, description, "", "", time)
                for time, title, description in found.rows(row, end)
            ]
            labels: Labels = names[found.topics[row:end]]
            yield Block(row, found.times[row:end], table_of_articles(articles, self.text), labels)

    def variant(self, changes: Mapping[str, Any]) -> NewsSource:
        """Return the same settings over another recording: ``{"path": ...}``.

        Raises
        ------
        InputError
            If anything else is to change, or the other recording cannot be used.
        """
        path = changes.get("path")
        if set(changes) != {"path"} or not isinstance(path, str):
            raise InputError(f"news can change their path only ({{path: FILE}}), not {changes}")
        if path not in self._variants:
            other = NewsSource(
                self.resolve(path),
                text=self.text,
                layout=self.layout,
                limit=self.limit,
                shown=path,
                resolve=self.resolve,
            )
            assert other.rows  # what is wrong with it is told now
            self._variants[path] = other
        return self._variants[path]

    def pool(self, named: Sequence[str], others: bool) -> None:
        """Make no records: a recording has those only that it has."""
