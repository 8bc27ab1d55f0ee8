"""What tests of secrets share: a project of their own, with sops or what stands in for it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
STUB = Path(__file__).parent / "sops_stub.py"
SYSTEM = ":".join(("/usr/local/bin", "/usr/bin", "/bin", "/opt/homebrew/bin"))
KEY = "9c1f5e07b2d84a63" + "0f9be17c52d8a463"
"""A key such as NewsAPI's, and none of anybody's."""


def missing(sops: str) -> str:
    """Return why secrets cannot be tried here; empty if they can."""
    if shutil.which("age") is None or shutil.which("age-keygen") is None:
        return "age is not installed"
    if sops == "real" and shutil.which("sops") is None:
        return "sops is not installed; what stands in for it is tried"
    return ""


@dataclass
class Project:
    """A project of its own, with nothing in it but the script that keeps its secrets."""

    folder: Path
    tools: Path
    surroundings: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def made(folder: Path, sops: str) -> Project:
        """Lay one out; `sops` is ``real`` or ``stub``."""
        project, tools = folder / "project", folder / "tools"
        (project / "config").mkdir(parents=True)
        tools.mkdir()
        shutil.copy(ROOT / "config" / "setup_secrets.sh", project / "config")
        if sops == "real":
            (tools / "sops").symlink_to(str(shutil.which("sops")))
        else:
            script = tools / "sops"
            script.write_text(f'#!/bin/sh\nexec {sys.executable} -I {STUB} "$@"\n')
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
        for name in ("age", "age-keygen"):
            (tools / name).symlink_to(str(shutil.which(name)))
        home = folder / "home"
        home.mkdir()
        return Project(project, tools, {"PATH": f"{tools}:{SYSTEM}", "HOME": str(home)})

    @property
    def key(self) -> Path:
        return Path(self.surroundings["HOME"]) / ".config" / "driftline" / "age.key"

    @property
    def secrets(self) -> Path:
        return self.folder / "config" / "secrets.enc.yaml"

    def set_up(self, *words: str, **values: str) -> subprocess.CompletedProcess[str]:
        """Run the script without a terminal."""
        return subprocess.run(
            ["bash", "config/setup_secrets.sh", *words],
            cwd=self.folder,
            env={**self.surroundings, **values},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def files(self) -> dict[str, bytes]:
        """Return all that is in the project and in its user's home."""
        places = (self.folder, Path(self.surroundings["HOME"]))
        found = [path for place in places for path in place.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in found}


def git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run git in a folder, as somebody without settings of their own."""
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    return subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True,
        env={**os.environ, **own},
    )  # fmt: skip
