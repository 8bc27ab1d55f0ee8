"""Who is champion: asked in the background, loaded in the background, swapped in one step."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from threading import Thread

from engine.errors import EngineError
from engine.places import Version
from engine.registry import Registry
from engine.serving.loading import Artifact, load

KEPT = 4
"""So many versions stay loaded: a rollback is there at once."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What answers: a request takes hold of it once and keeps to it.

    Parameters
    ----------
    version
        The version of the registry.
    artifact
        Its model.
    """

    version: Version
    artifact: Artifact


class Watcher:
    """Keeps up with the champion of a model.

    The attribute `current` is what answers; it is replaced as a whole, so that whoever reads it
    once has one version throughout. `trouble` says what is wrong at the moment; empty: nothing.

    Parameters
    ----------
    name
        The registered model.
    connect
        Opens the registry; called again when it was gone.
    every
        Seconds from one look at it to the next.
    registry
        The registry, if it is open already.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Registry],
        every: float = 0.5,
        registry: Registry | None = None,
    ) -> None:
        self.name, self.every = name, every
        self.current: Serving | None = None
        self.trouble, self.swaps = "", 0
        self._connect = connect
        self._registry = registry
        self._kept: OrderedDict[int, Serving] = OrderedDict()
        self._refused: dict[int, str] = {}
        self._over = Flag()
        self._folder = tempfile.TemporaryDirectory(prefix="driftline-serve-")
        self._thread = Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        """Look in the background from here on."""
        self._thread.start()

    def close(self) -> None:
        """Look no longer."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        self._folder.cleanup()

    def look(self) -> bool:
        """Ask who is champion; load it and let it answer if it is another one."""
        try:
            if self._registry is None:
                self._registry = self._connect()
            champion = self._registry.champion(self.name)
            if champion is None:
                self.trouble = f"{self.name} has no champion in the registry"
                return False
            if self._is_current(champion):
                self.trouble = ""
                return False
            serving = self._load(self._registry, champion)
        except EngineError as error:
            self.trouble = str(error)
            return False
        self.current = serving  # the swap
        self.trouble, self.swaps = "", self.swaps + 1
        return True

    def _is_current(self, champion: Version) -> bool:
        now = self.current
        return now is not None and _same(now.version, champion)

    def _load(self, registry: Registry, champion: Version) -> Serving:
        number = champion.number
        kept = self._kept.get(number)
        if kept is not None and _same(kept.version, champion):
            self._kept.move_to_end(number)
            return kept
        try:
            into = Path(self._folder.name, f"{number}-{champion.run_id}")
            artifact = load(registry.fetch(champion, into) / "data")
            serving = Serving(champion, artifact)
        except EngineError as error:
            raise EngineError(f"version {number} of {self.name}: {error}") from error
        self._kept[number] = serving
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return serving

    def _watch(self) -> None:
        while not self._over.wait(self.every):
            try:
                self.look()
            except Exception as error:  # whatever it is, the champion of before goes on
                self.trouble = f"{type(error).__name__}: {error}"


def _same(one: Version, other: Version) -> bool:
    """Return whether two are one version: a deleted model's numbers begin again."""
    return (one.number, one.run_id) == (other.number, other.run_id)
