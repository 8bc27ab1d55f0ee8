"""What all commands share: how they print, how errors become messages and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from engine.errors import EngineError, InputError

if TYPE_CHECKING:
    from rich.console import Console

P = ParamSpec("P")
FILE = click.Path(path_type=Path)


def cache_folder() -> Path:
    """Return the folder of results that runs share: fits, synthesizers, samples."""
    from engine.configuration import configured

    return configured().cache


def console(*, stderr: bool = False) -> Console:
    """Return a console that also prints wide tables whole when piped."""
    from rich.console import Console

    piped = not (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=160 if piped else None, soft_wrap=stderr)


def one_line(error: Exception) -> str:
    """Return an error as a line that a terminal can be given, not endlessly long."""
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(error))
    return text if len(text) <= 2000 else f"{text[:1000]} ... {text[-900:]}"


class Commands(click.Group):
    """The commands; a mistake in how one is called is told in one line too."""

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command that `ctx` names."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            error.ctx = None  # which would have the usage printed as well
            raise


def reported(command: Callable[P, None]) -> Callable[P, None]:
    """Turn errors that a user can act on into a message and an exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except InputError as error:
            click.echo(one_line(error), err=True)
            sys.exit(2)
        except EngineError as error:
            click.echo(f"failed: {error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            sys.exit(130)
        except BrokenPipeError:
            sys.stdout = None
            sys.exit(1)
        except OSError as error:
            click.echo(f"failed: {error}", err=True)
            sys.exit(1)

    return run
