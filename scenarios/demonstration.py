"""Live mode without a key: the synthetic newsroom, served over HTTP on the loopback address."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engine.news.live import LoadedLive, load
from engine.runlog import locked
from scenarios.newsserver import DEMO_ROUNDS, KEY, demo_server

CONFIG = Path(__file__).parent / "data" / "live_demo.yaml"
OUT = Path("runs") / "live-demo"


@dataclass(frozen=True)
class Demonstration:
    """What a live run needs.

    Parameters
    ----------
    loaded
        Its configuration, which asks the server at hand.
    key
        The key that the server takes.
    out
        The run directory, which holds its data too.
    rounds
        After so many rounds all the news have come.
    """

    loaded: LoadedLive
    key: str = field(repr=False)
    out: Path
    rounds: int = DEMO_ROUNDS


@contextmanager
def demonstration(out: Path | None) -> Iterator[Demonstration]:
    """Serve the newsroom while the block runs.

    Its news begins anew each time, so a demonstration of before makes way: the run directory
    `OUT`, unless `out` names another one.
    """
    if out is None:
        out = OUT
        if out.exists():
            locked(out).close()  # not while another demonstration is at it
        shutil.rmtree(out, ignore_errors=True)
    with demo_server() as server:
        data = (out / "data").resolve()
        sets = [("--demo", "newsapi.base_url", server.url), ("--demo", "data", str(data))]
        yield Demonstration(load(CONFIG, sets), KEY, out)
