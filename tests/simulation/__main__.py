"""Runs seeds until one fails: `python -m tests.simulation --seed 7`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from tests.simulation.drive import Simulation
from tests.simulation.planted import PLANTED
from tests.simulation.processes import Trouble, import_all

PREFIX = "driftline-simulation-"


def seeds_of(text: str) -> list[int]:
    """Return the numbers in a text such as ``1,5,10-20``."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def simulate(seed: int, planted: str, keep: bool) -> bool:
    """Run one seed, tell what came of it, and return whether all was well."""
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{seed}-"))
    simulation = Simulation(seed, folder, planted)
    began = time.monotonic()
    try:
        simulation.go()
    except Exception as error:
        if not isinstance(error, Trouble):
            traceback.print_exc()
        report(simulation, error)
        return False
    finally:
        simulation.clear()
    seconds = time.monotonic() - began
    told = f"{simulation.faults} faults, {simulation.runs} runs, {seconds:.1f} s: the same bytes"
    print(f"seed {seed}: {told}", flush=True)
    if keep:
        print("\n".join(story(simulation)))
    else:
        shutil.rmtree(folder)
    return True


def story(simulation: Simulation) -> list[str]:
    """Return what happened, and where."""
    lines = [f"  {number}. {line}" for number, line in enumerate(simulation.story)]
    return [f"what happened in {simulation.folder}:", *lines]


def report(simulation: Simulation, trouble: Exception) -> None:
    """Print what went wrong, how it came to that, and how to see it again."""
    said = simulation.folder / f"said-{simulation.runs:02d}"
    last = said.read_text("utf-8", "replace").splitlines()[-20:] if said.exists() else []
    planted = f" --planted {simulation.planted}" if simulation.planted else ""
    lines = [
        f"seed {simulation.seed} FAILED: {trouble}",
        *story(simulation),
        "what the last run said:",
        *(f"  {line}" for line in last),
        f"replay: .venv/bin/python -m tests.simulation --seed {simulation.seed}{planted}",
    ]
    print("\n".join(lines), flush=True)


def work(seeds: Iterator[int], planted: str, keep: bool, go_on: bool) -> int:
    """Run seeds until one fails (or all of them), and return the exit code."""
    code = 0
    try:
        for seed in seeds:
            if not simulate(seed, planted, keep):
                code = 1
                if not go_on:
                    break
        return code
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 1


def share(seeds: list[int] | None, first: int, job: int, jobs: int) -> Iterator[int]:
    """Return the seeds of one of several jobs."""
    return iter(seeds[job::jobs]) if seeds is not None else count(first + job, jobs)


def main() -> int:
    """Read the command line and run the jobs, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed, or the first with --count")
    parser.add_argument("--count", type=int, default=1, help="so many seeds from --seed on")
    parser.add_argument("--seeds", type=seeds_of, help="seeds such as 1,5,10-20")
    parser.add_argument("--jobs", type=int, default=1, help="so many seeds at a time")
    parser.add_argument("--keep", action="store_true", help="keep the folders of good seeds too")
    parser.add_argument("--planted", choices=sorted(PLANTED), default="", help="a bug to be found")
    parser.add_argument("--go-on", action="store_true", help="do not stop at a failure")
    given = parser.parse_args()
    seeds: list[int] | None = given.seeds
    if seeds is None and given.seed is not None:
        seeds = list(range(given.seed, given.seed + given.count))
    first = int(time.time())
    if seeds is None:
        print(f"seeds from {first} on, until Ctrl-C or a failure", flush=True)
    import_all()
    jobs = []
    for job in range(given.jobs):
        pid = os.fork()
        if pid == 0:
            os.setpgrp()  # Ctrl-C is for the parent to pass on
            mine = share(seeds, first, job, given.jobs)
            os._exit(work(mine, given.planted, given.keep, given.go_on))
        jobs.append(pid)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # here only: runs must not inherit it
    return watch(jobs, given.go_on)


def watch(jobs: list[int], go_on: bool) -> int:
    """Wait for all jobs; if one fails, stop the others unless they are to go on."""
    worst = 0
    while jobs:
        try:
            pid, status = os.wait()
        except KeyboardInterrupt:
            worst = worst or 130
            stop(jobs)
            continue
        jobs.remove(pid)
        code = os.waitstatus_to_exitcode(status)
        if code and not worst:
            worst = code
            if not go_on:
                stop(jobs)
    return worst


def stop(jobs: list[int]) -> None:
    """Stop jobs as Ctrl-C does."""
    for job in jobs:
        os.kill(job, signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
