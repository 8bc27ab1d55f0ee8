"""The commands `sync up` and `sync down`; `engine.cli` adds them to the others."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.errors import EngineError, InputError
from engine.signals import Stop
from engine.terminal import Commands, one_line, reported

if TYPE_CHECKING:
    from engine.transfers import Order, Tally

GRACE_SECONDS = 10.0
"""How long files that are under way may take when it is stopped."""
SECONDS_BETWEEN_LINES = 10.0
TOLD_MAX = 50
"""Lines about single files; a dry run tells all."""

OPTIONS = (
    click.argument("what", nargs=-1),
    click.option("--bucket", metavar="B", help="The bucket.  [default: s3.bucket]"),
    click.option("--prefix", metavar="P", help="What all keys begin with.  [default: s3.prefix]"),
    click.option("--endpoint", metavar="URL",
                 help="Another S3 than AWS's.  [default: s3.endpoint, $AWS_ENDPOINT_URL]"),
    click.option("--delete", is_flag=True,
                 help="Remove what was in step and is gone on the giving side."),
    click.option("--overwrite", is_flag=True,
                 help="The giving side wins where both have changed."),
    click.option("--dry-run", is_flag=True, help="Tell what would happen, and do nothing."),
    click.option("--jobs", type=click.IntRange(1, 64), default=8, show_default=True, metavar="N",
                 help="Files at a time."),
)  # fmt: skip


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the arguments that both directions take."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.group(cls=Commands, epilog="Example: driftline sync up runs --bucket my-bucket --dry-run")
def sync() -> None:
    """Bring data, registry and runs into an S3 bucket, or out of it.

    Only what differs is carried, by size and SHA-256; nothing is removed unless --delete is given,
    and nothing overwritten that has changed on both sides.
    """


@sync.command("up", epilog="Example: driftline sync up --bucket my-bucket --prefix newsroom")
@shared
@reported
def sync_up(**options: Any) -> None:
    """Bring folders (data, registry and runs, unless named) into the bucket."""
    move(up=True, **options)


@sync.command("down", epilog="Example: driftline sync down registry --bucket my-bucket")
@shared
@reported
def sync_down(**options: Any) -> None:
    """Bring folders (data, registry and runs, unless named) out of the bucket."""
    move(up=False, **options)


def move(
    up: bool,
    what: tuple[str, ...],
    bucket: str | None,
    prefix: str | None,
    endpoint: str | None,
    delete: bool,
    overwrite: bool,
    dry_run: bool,
    jobs: int,
) -> None:
    """Carry out what was asked for, and say what has become of it."""
    with Stop(grace=GRACE_SECONDS) as stop:
        from engine.configuration import configured
        from engine.secrets import aws_credentials
        from engine.sync import Destination
        from engine.transfers import Order

        base, known = Path.cwd(), configured()
        s3 = known.settings.s3
        destination = Destination.of(
            s3.bucket if bucket is None else bucket,
            s3.prefix if prefix is None else prefix,
            endpoint or s3.endpoint or aws_endpoint(),
            s3.region or os.environ.get("AWS_REGION") or None,
        )
        usual = (known.settings.data, known.settings.registry or "registry", known.settings.runs)
        order = Order(
            base=base,
            folders=asked(base, what, usual, up),
            destination=destination,
            credentials=aws_credentials(known.folder or base / "config"),
            up=up,
            delete=delete,
            overwrite=overwrite,
            dry=dry_run,
            jobs=jobs,
        )
        stop.hint = "what was under way is not taken for done; the same command goes on"
        flag = threading.Event()
        with stop.by(flag):
            carry(order, flag)


def aws_endpoint() -> str | None:
    """Return the endpoint that AWS's own variables name."""
    found = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return found or None


def asked(base: Path, what: Sequence[str], usual: Sequence[str], up: bool) -> list[str]:
    """Return the folders that are meant: without those that another one holds.

    Of the usual ones, those that are elsewhere or not there are left out.
    """
    from engine.localfiles import folder_name

    names = [folder_name(text) for text in what]
    for name in names:
        if up and not (base / name).is_dir():
            raise InputError("there is no such folder here", name)
    if not names:
        for text in usual:
            with suppress(InputError):
                names += [folder_name(text)] if "://" not in text else []
        names = [name for name in names if not up or (base / name).is_dir()]
    if not names:
        given = ", ".join(text.rstrip("/") for text in usual)
        raise InputError(f"there is none of the folders {given} here; name one", "sync")
    return [name for name in sorted(set(names)) if not _held(name, names)]


def _held(name: str, names: list[str]) -> bool:
    return any(name.startswith(f"{other}/") for other in names)


def carry(order: Order, flag: threading.Event) -> None:
    """Carry out an order, with progress and a line at the end."""
    from engine.sync import Broken, Stopped
    from engine.transfers import Transfer

    teller = Teller(unbounded=order.dry)
    transfer = Transfer(order, teller, flag)
    try:
        with shown(transfer.tally, "up" if order.up else "down"):
            tally = transfer.run()
    except Stopped:
        hint = "the same command goes on"
        click.echo(f"stopped; {summary(order, transfer.tally)}; {hint}", err=True)
        return
    except Broken as error:
        done = transfer.tally.moved
        rest = f" ({done:,} of {transfer.tally.total:,} files done; the same command goes on)"
        raise EngineError(f"{one_line(error)}{rest if transfer.tally.total else ''}") from None
    teller.close()
    click.echo(summary(order, tally))
    trouble = [
        f"{len(lines):,} {word if len(lines) > 1 else word.removesuffix('s')}"
        for word, lines in (("conflicts", tally.conflicts), ("failures", tally.failures))
        if lines
    ]
    if trouble:
        advice = "; --overwrite lets the giving side win" if tally.conflicts else ""
        raise EngineError(f"not everything is in step: {', '.join(trouble)}{advice}")


class Teller:
    """Prints lines about single files, not endlessly many."""

    def __init__(self, unbounded: bool) -> None:
        self._unbounded, self._told = unbounded, 0

    def __call__(self, line: str) -> None:
        """Print a line."""
        self._told += 1
        if self._unbounded or self._told <= TOLD_MAX:
            click.echo(one_line(EngineError(line)), err=not self._unbounded)

    def close(self) -> None:
        """Say how many were not printed."""
        if not self._unbounded and self._told > TOLD_MAX:
            click.echo(f"... and {self._told - TOLD_MAX:,} more such lines", err=True)


def summary(order: Order, tally: Tally) -> str:
    """Return in one line what has been done."""
    verb = "uploaded" if order.up else "downloaded"
    parts = [f"{tally.moved:,} files {verb} ({size_text(tally.moved_bytes)})"]
    parts.append(f"{tally.same:,} unchanged")
    parts += [f"{tally.kept:,} left as they are"] if tally.kept else []
    parts += [f"{tally.removed:,} removed"] if tally.removed else []
    text = f"{order.destination} {', '.join(order.folders)}: {', '.join(parts)}"
    return f"{text}; a dry run, nothing was done" if order.dry else text


def size_text(size: float) -> str:
    """Return a number of bytes for people.

    Examples
    --------
    >>> size_text(999), size_text(12_345_678)
    ('999 bytes', '12.3 MB')
    """
    if size < 1000:
        return f"{size:,.0f} bytes"
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 1000 or unit == "TB":
            break
    return f"{size:,.1f} {unit}"


@contextmanager
def shown(tally: Tally, description: str) -> Iterator[None]:
    """Show progress on standard error while the block runs; a line now and then if piped."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    console, over = Console(stderr=True), threading.Event()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[state]}"), console=console, disable=not console.is_terminal,
    )  # fmt: skip

    def watch() -> None:
        task = bar.add_task(description, total=None, state="looking")
        seconds = told = 0.0
        while not over.wait(0.2):
            seconds += 0.2
            state = f"{tally.done:,} of {tally.total:,} files, {size_text(tally.moved_bytes)} moved"
            bar.update(task, total=tally.total or None, completed=tally.done, state=state)
            if not console.is_terminal and seconds - told >= SECONDS_BETWEEN_LINES:
                told = seconds
                click.echo(f"{description}: {state}", err=True)

    watcher = threading.Thread(target=watch, daemon=True)
    with bar:
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
