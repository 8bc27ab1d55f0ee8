"""What a run has done so far, for whoever looks on; changes no outcome."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event as Flag
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.tallies import Taken, Tallies


@dataclass(slots=True)
class Progress:
    """Figures that the workers keep up to date.

    Parameters
    ----------
    rows
        Source rows of all streams together.
    records
        Records handled, by stream.
    champions
        Number of the model that answers, by stream.
    started
        Jobs started, by stream, the first one included.
    tallies
        What is counted for metrics, by process, if anything is.
    """

    rows: int
    records: dict[str, int] = field(default_factory=dict)
    champions: dict[str, int | None] = field(default_factory=dict)
    started: dict[str, int] = field(default_factory=dict)
    tallies: dict[str, Tallies | Taken] = field(default_factory=dict)

    def take(self, other: Progress) -> None:
        """Take over what another process knows of its streams."""
        self.records.update(other.records)
        self.champions.update(other.champions)
        self.started.update(other.started)
        self.tallies.update(other.tallies)

    def line(self) -> str:
        """Return the current champion (one stream) or how many streams have one.

        Examples
        --------
        >>> Progress(10).line(), Progress(10, {"a-0000": 4}, {"a-0000": 3}, {"a-0000": 5}).line()
        ('starting', 'champion 3, 5 jobs')
        """
        if not self.records:
            return "starting"
        jobs = sum(self.started.values())
        models = list(self.champions.values())
        if len(models) == 1:
            return f"champion {'-' if models[0] is None else models[0]}, {jobs} jobs"
        return f"{sum(model is not None for model in models)} streams served, {jobs} jobs"


@contextmanager
def shown(progress: Progress, description: str) -> Iterator[None]:
    """Show a progress bar on standard error while the block runs; a line now and then if piped."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    over = Flag()
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )

    def watch() -> None:
        task = bar.add_task(description, total=progress.rows, rate="", state="")
        seconds, told = 0.0, 0.0
        while not over.wait(0.2):
            seconds += 0.2
            done = sum(progress.records.values())
            rate = f"{done / seconds:,.0f} records/s"
            bar.update(task, completed=done, rate=rate, state=progress.line())
            if not console.is_terminal and seconds - told >= 10:
                told = seconds
                share = done / progress.rows if progress.rows else 1
                console.print(f"{description}: {share:.0%}, {rate}, {progress.line()}")
        bar.update(task, completed=progress.rows)

    watcher = Thread(target=watch, daemon=True)
    with bar:
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
