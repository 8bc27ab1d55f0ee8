"""Measures the engine and its peers in one run: ``python -m benchmarks.speed``."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import click

from benchmarks.speed.arms import ARMS, Tools, can_use_processes, fit_champion, set_kernels
from benchmarks.speed.cases import GROUPS, Case, all_cases, chosen
from benchmarks.speed.hotspots import profile as profile_of
from benchmarks.speed.report import plot, text
from benchmarks.speed.results import collected, machine
from benchmarks.speed.turns import in_turns, preload

RECORDS = 1 << 19
QUICK_RECORDS = 1 << 13
FILE = click.Path(path_type=Path)
tell = partial(click.echo, err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--records", type=click.IntRange(1 << 12), help="Of a fast arm.  [default: 524288]")
@click.option("--rounds", type=click.IntRange(1), help="Samples of each case.  [default: 5]")
@click.option("--arms", help="Only these cases or groups, with commas; * stands for anything.")
@click.option("--out", type=FILE, default=Path("runs/speed"), show_default=True)
@click.option("--quick", is_flag=True, help="Only show that everything works.")
@click.option("--profile", metavar="CASE", help="Say where the time of one case goes instead.")
@click.option("--list", "listing", is_flag=True, help="Say what the cases are instead.")
def main(
    records: int | None,
    rounds: int | None,
    arms: str | None,
    out: Path,
    quick: bool,
    profile: str | None,
    listing: bool,
) -> None:
    """Measure how fast the engine is, beside what else one could use.

    Cases take turns within their group, each in a process of its own. Writes results.json and
    speed.svg.
    """
    records = records or (QUICK_RECORDS if quick else RECORDS)
    records = 1 << (records.bit_length() - 1)  # a power of two: streams and batches divide it
    cases = all_cases(records, quick=quick, processes=can_use_processes())
    cases = chosen(cases, arms.split(",") if arms else [])
    if listing:
        click.echo("\n".join(f"{one.group:10}{one.name:34}{one.about}" for one in cases))
        return
    if not cases:
        raise click.BadParameter(f"nothing is called {arms}; see --list", param_hint="--arms")
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        if profile is not None:
            click.echo(hot(cases, profile, Path(folder)))
            return
        failed = measure(cases, Path(folder), rounds or (1 if quick else 5), out, quick)
    sys.exit(1 if failed else 0)


def measure(cases: list[Case], folder: Path, rounds: int, out: Path, quick: bool) -> bool:
    """Measure the cases, write the results, and return whether some case failed."""
    began, before, outcomes = time.monotonic(), machine(), []
    tell(f"fitting the champion, and getting ready: {len(cases)} cases, {rounds} rounds")
    fit_champion(folder)
    preload()
    for group, about in GROUPS.items():
        mine = [case for case in cases if case.group == group]
        if mine:
            tell(f"{group}: {about}")
            outcomes += in_turns(group, mine, folder, rounds, tell)
    seconds = time.monotonic() - began
    results = collected(outcomes, before=before, seconds=seconds, quick=quick)
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    plot(results, out / "speed.svg")
    click.echo(text(results))
    tell(f"{seconds:.0f} s; wrote {out / 'results.json'} and {out / 'speed.svg'}")
    return bool(results["failed"])


def hot(cases: list[Case], name: str, folder: Path) -> str:
    """Return the profile of a case, once it is warm."""
    case = next((one for one in cases if one.name == name), None)
    if case is None:
        raise click.BadParameter(f"no case is called {name}; see --list", param_hint="--profile")
    fit_champion(folder)
    set_kernels(case.kernels)
    sample = ARMS[case.arm](case, Tools(folder))
    sample()
    return profile_of(name, sample)


if __name__ == "__main__":
    main()
