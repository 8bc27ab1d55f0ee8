"""One seed: a scenario, a run that nothing interrupts, one that much happens to, a comparison."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random

from engine.shapes import read_json
from tests.simulation.comparing import content, first_difference
from tests.simulation.damage import DAMAGES, draw_damages, lose_summary
from tests.simulation.faults import Fault, Scene, draw_fault, noting_changes
from tests.simulation.planted import PLANTED
from tests.simulation.processes import Process, Trouble, apart, start
from tests.simulation.scenarios import write_scenario

REAL_SHARE = 0.12
"""So many runs are started as a user does, not forked."""
READY_SHARE = 0.85
"""In so many of those that are forked, trainers and workers begin at once, not as a user's do."""
CHILDREN_READY = 3
HASTY_SHARE = 0.3
"""So often a run that was killed is resumed before what it started had time to go."""
SLOW_BATCHES_RECORDS_MAX = 1500
"""Records to a run at most, if its batches are to be tiny."""
CHANGED = (
    ("--seed", "1000001"),
    ("--set", "prices.retrain=49.5"),
    ("--set", "scoring.window=77", "--set", "block=11"),
    ("--set", "source.rate=7/h"),
)
"""What may not be changed when a run is resumed."""


@dataclass(frozen=True)
class Knobs:
    """How a run is carried out, which may change no outcome."""

    batch_size: int = 1024
    workers: int = 1
    processes: int = 1
    own_cache: bool = True
    compiled: bool | None = None
    nap: float = 0.0
    ready: bool = True
    real: bool = False


class Simulation:
    """What happens for one seed.

    Parameters
    ----------
    seed
        Decides everything but the exact moment at which a signal arrives.
    folder
        An empty folder to work in.
    planted
        Name of a bug to plant; empty for none.
    """

    def __init__(self, seed: int, folder: Path, planted: str = "") -> None:
        self.folder, self.planted = folder, planted
        self.chance = Random(f"faults {seed}")
        self.seed = seed
        self.story: list[str] = []
        self.runs = self.faults = 0
        self.under_way: list[Process] = []
        self.processes_can = can_have_processes()

    def go(self) -> None:
        """Run it all.

        Raises
        ------
        Trouble
            If something was not as it should be.
        """
        chance = self.chance
        apart(partial(write_scenario, Random(f"scenario {self.seed}"), self.folder))
        scene = self.uninterrupted()
        for _ in range(chance.randint(1, 4)):
            if scene.finished and (chance.random() < 0.5 or not self.faults):
                self.tell("lose summary")
                lose_summary(chance, scene)
            if scene.finished:
                break
            self.interrupted(scene, draw_fault(chance))
            self.damaged(scene)
            if chance.random() < 0.3:
                self.refused(scene)
            if chance.random() < 0.1 and not scene.finished:
                self.with_rival(scene)
        if not scene.finished:
            self.interrupted(scene, Fault())
        self.interrupted(scene, Fault(), Knobs())  # which finds it finished
        if not scene.finished:
            raise Trouble("it ended well, and is not finished")
        for process in self.under_way:
            self.checked(process)

    def tell(self, what: str) -> None:
        """Add to the story of what happened."""
        self.story.append(what)

    # --- runs -------------------------------------------------------------------------------

    def uninterrupted(self) -> Scene:
        """Run the scenario as it is meant to be."""
        whole, log = self.folder / "whole", self.folder / "changes.log"
        self.tell("nothing happens")
        began = time.monotonic()
        process = self.launch(whole.name, Knobs(), self.folder / "cache", [noting_changes(log)])
        code = self.ended(process)
        seconds = time.monotonic() - began
        self.checked(process)
        if code not in (0, 1) or not (whole / "summary.json").exists():
            raise Trouble(f"the uninterrupted run ended with code {code}")
        summary = read_json(whole / "summary.json", {}, "no summary")
        return Scene(
            folder=self.folder,
            out=self.folder / "out",
            cache=self.folder / "cache",
            code=code,
            seconds=seconds,
            changes=len(log.read_bytes().splitlines()),
            bytes_max=max(path.stat().st_size for path in whole.rglob("*")),
            records=summary["total"]["records"],
            streams=tuple(summary["streams"]),
        )

    def interrupted(self, scene: Scene, fault: Fault, knobs: Knobs | None = None) -> None:
        """Run or resume while a fault happens, and see that it ends as it may."""
        knobs = knobs or self.draw_knobs(scene)
        knobs = replace(knobs, real=knobs.real and not fault.hooked)
        self.tell(f"{fault} with {knobs}")
        self.faults += type(fault) is not Fault
        scene = replace(scene, cache=self.folder / ("own" if knobs.own_cache else "cache"))
        process = self.launch("out", knobs, scene.cache, fault.hooks(scene))
        fault.act(process, scene)
        code = self.ended(process)
        if code == -signal.SIGKILL and self.chance.random() < HASTY_SHARE:
            self.tell("and at once")
        else:
            self.checked(process)
        allowed = fault.allows(code, scene, process.message)
        if not allowed or process.due not in (None, code):
            raise Trouble(f"exit code {code} was not to be expected")
        if scene.finished and (difference := first_difference(scene.folder / "whole", scene.out)):
            raise Trouble(difference)
        left = [path.name for path in scene.out.rglob(".*")]
        if type(fault) is Fault and left:
            raise Trouble(f"it is finished, and yet there is {' and '.join(sorted(left))}")

    def damaged(self, scene: Scene) -> None:
        """Damage what was left."""
        for damage in draw_damages(self.chance):
            assert damage in DAMAGES
            if not scene.finished or damage is lose_summary:
                self.tell(damage.__name__.replace("_", " "))
                damage(self.chance, scene)

    def refused(self, scene: Scene) -> None:
        """See that another scenario, or the same without --resume, leaves the run alone."""
        if not (scene.out / "run.json").exists():
            return
        change = self.chance.choice([*CHANGED, ()])
        for process in self.under_way:  # what is on its way out may still write
            self.checked(process)
        before = content(scene.out)
        self.tell(f"refused: {change or 'no --resume'}")
        process = self.launch("out", Knobs(), scene.cache, [], change, resume=bool(change))
        code = self.ended(process)
        self.checked(process)
        if code != 2 or len(process.message.splitlines()) != 1:
            raise Trouble(f"it was to be refused in one line, not to end with code {code}")
        if content(scene.out) != before:
            raise Trouble("it was refused, and yet changed the directory")

    def with_rival(self, scene: Scene) -> None:
        """Start a second run on a directory while the first is at work, for certain or perhaps."""
        held = self.chance.random() < 0.5
        self.tell(f"a rival, {'while the first is held' if held else 'in a race'}")
        self.faults += 1
        parts = scene.out / ".state" / "parts"
        shutil.rmtree(parts, ignore_errors=True)
        first = self.launch("out", Knobs(), scene.cache, [])
        if held and first.until(parts.exists):  # it has the lock
            first.send(signal.SIGSTOP)
        elif not held:
            first.pause(self.chance.random() * scene.seconds)
        second = self.launch("out", Knobs(), scene.cache, [])
        codes = [self.ended(second)]
        first.send(signal.SIGCONT)
        codes.append(self.ended(first))
        for process, code in zip((second, first), codes, strict=True):
            self.checked(process)
            lost = code in (1, 2) and "another run is writing" in process.message
            won = Fault().allows(code, scene, process.message)
            if not lost and (not won or (held and process is second)):
                raise Trouble(f"of two runs on a directory one ended with code {code}")
        if difference := first_difference(scene.folder / "whole", scene.out):
            raise Trouble(difference)

    def launch(
        self,
        out: str,
        knobs: Knobs,
        cache: Path,
        hooks: list[Callable[[], None]],
        more: tuple[str, ...] = (),
        *,
        resume: bool = True,
    ) -> Process:
        """Start a run."""
        words = ["run", "scenario.yaml", "--out", out, *more]
        words += ["--batch-size", str(knobs.batch_size), "--workers", str(knobs.workers)]
        words += ["--processes", str(knobs.processes)] if knobs.processes > 1 else []
        words += ["--resume"] if resume else []
        environment = {"DRIFTLINE_CACHE": cache.name, "SIMULATION_NAP": str(knobs.nap)}
        own: list[Callable[[], None]] = [partial(choose_kernels, knobs.compiled)]
        if self.planted:
            own.append(PLANTED[self.planted])
        self.runs += 1
        said = self.folder / f"said-{self.runs:02d}"
        process = start(
            words,
            self.folder,
            said,
            environment,
            [*own, *hooks],
            real=knobs.real,
            ready=CHILDREN_READY if knobs.ready else 0,
            ready_each=CHILDREN_READY if knobs.processes > 1 else 0,
        )
        self.under_way.append(process)
        return process

    def clear(self) -> None:
        """End all that is still under way."""
        for process in self.under_way:
            process.clear()

    def ended(self, process: Process) -> int:
        """Wait for the end of a run, add it to the story, and return the exit code."""
        code = process.wait()
        self.story[-1] += f": code {code} after {time.monotonic() - process.started:.2f} s"
        return code

    def checked(self, process: Process) -> None:
        """See that nothing of a run is left, and that it did not fall over its own feet."""
        if left := process.left_behind():
            process.clear()
            raise Trouble(f"left behind: {'; '.join(left)}")
        if "Traceback" in process.message:
            raise Trouble("a traceback")

    def draw_knobs(self, scene: Scene) -> Knobs:
        """Return random knobs."""
        chance = self.chance
        tiny = [1, 5] if scene.records <= SLOW_BATCHES_RECORDS_MAX else [50]
        many = len(scene.streams) > 1 and self.processes_can and not self.planted
        return Knobs(
            batch_size=chance.choice([*tiny, chance.randint(6, 300), 1024, 5000]),
            workers=chance.choice([1, 1, 2, 4]),
            processes=1 + (chance.random() < 0.4 and many),
            own_cache=chance.random() < 0.6,
            compiled=chance.choice([None, None, True, False]),
            nap=chance.choice([0.0, 0.0, 0.1]),
            ready=chance.random() < READY_SHARE,
            real=(chance.random() < REAL_SHARE) and not self.planted,
        )


def choose_kernels(choice: bool | None) -> None:
    """Use compiled kernels, or not, or when they are worth it."""
    from engine.switch import use_kernels

    use_kernels(choice)


def can_have_processes() -> bool:
    """Return whether a run can be told to use several processes."""
    from engine.cli import run

    return any("--processes" in option.opts for option in run.params)
