"""What can happen to what an interrupted run left behind, before it is resumed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.simulation.faults import Scene


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _tear(chance: Random, files: list[Path]) -> None:
    """Cut some bytes off some files, or put garbage at their ends or in their midst."""
    for path in files:
        if chance.random() < 0.5:
            continue
        data = path.read_bytes()
        at = chance.randint(0, len(data))
        garbage = chance.randbytes(chance.randint(1, 40))
        torn = [data[:at], data + garbage, data[:at] + garbage + data[at:], b""]
        path.write_bytes(chance.choice(torn))


def tear_parts(chance: Random, scene: Scene) -> None:
    _tear(chance, _files(scene.out / ".state/parts"))


def tear_results(chance: Random, scene: Scene) -> None:
    """Damage what was brought into its lasting form already; it is not finished yet."""
    _tear(chance, [*_files(scene.out / "outcomes"), *scene.out.glob("events.jsonl")])


def tear_own_models(chance: Random, scene: Scene) -> None:
    _tear(chance, _files(scene.out / ".state/models"))


def tear_shared_models(chance: Random, scene: Scene) -> None:
    _tear(chance, _files(scene.cache / "models"))


def lose_state(chance: Random, scene: Scene) -> None:
    if (scene.out / "run.json").exists():  # without both it is no run directory
        shutil.rmtree(scene.out / ".state", ignore_errors=True)


def lose_some_state(chance: Random, scene: Scene) -> None:
    for path in _files(scene.out / ".state"):
        if chance.random() < 0.5:
            path.unlink()


def lose_run_json(chance: Random, scene: Scene) -> None:
    if (scene.out / ".state").exists():
        (scene.out / "run.json").unlink(missing_ok=True)


def lose_cache(chance: Random, scene: Scene) -> None:
    shutil.rmtree(scene.cache, ignore_errors=True)


def lose_summary(chance: Random, scene: Scene) -> None:
    """Make an unfinished run of a finished one."""
    (scene.out / "summary.json").unlink(missing_ok=True)


def bring_stale_state(chance: Random, scene: Scene) -> None:
    """Put back the state that an earlier interruption left; keep this one for a later time."""
    state, kept, now = scene.out / ".state", scene.folder / "stale", scene.folder / "now"
    if state.exists():
        shutil.copytree(state, now)
    if kept.exists():
        shutil.copytree(kept, state, dirs_exist_ok=True)
        shutil.rmtree(kept)
    if now.exists():
        now.rename(kept)


def litter(chance: Random, scene: Scene) -> None:
    """Leave the half-written files of a run that ended in the midst of writing them."""
    if not (scene.out / "run.json").exists():
        return
    streams = [f"outcomes/.{name}.parquet.partial" for name in scene.streams]
    for name in [".run.json.partial", ".events.jsonl.partial", ".summary.json.partial", *streams]:
        path = scene.out / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randint(0, 200)))
    for root in (scene.out / ".state/models", scene.cache / "models"):
        draft = root / ".draft-0123abcd"
        draft.mkdir(parents=True, exist_ok=True)
        (draft / "meta.json").write_bytes(chance.randbytes(20))


DAMAGES: dict[Callable[[Random, Scene], None], int] = {
    tear_parts: 4,
    tear_results: 2,
    tear_own_models: 2,
    tear_shared_models: 2,
    lose_state: 2,
    lose_some_state: 2,
    lose_run_json: 1,
    lose_cache: 1,
    lose_summary: 2,
    bring_stale_state: 2,
    litter: 2,
}
"""All damages, and how often they are drawn."""


def draw_damages(chance: Random) -> list[Callable[[Random, Scene], None]]:
    """Return a few random damages, mostly none."""
    many = chance.choice([0, 0, 1, 1, 2])
    return chance.choices([*DAMAGES], [*DAMAGES.values()], k=many)
