"""Where the time of an arm goes, by function and by line, from samples of its stack.

A tracing profiler would slow Python's own loops down threefold and numpy's not at all. A timer
that looks at the stack every millisecond disturbs both little; what compiled code does is
put down to the line that called it.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

from benchmarks.speed.clock import Sample

TOP = 25
INTERVAL = 0.001
ROOT = Path(__file__).parents[2]


def place(file: str, line: int, name: str) -> str:
    """Return a place in code as a reader finds it, without folders of this machine.

    Examples
    --------
    >>> place("/x/lib/re.py", 7, "sub"), place(__file__, 9, "place")
    ('re.py:7 sub', 'benchmarks/speed/hotspots.py:9 place')
    """
    path = Path(file)
    inside = path.is_relative_to(ROOT) and ".venv" not in path.parts
    return f"{path.relative_to(ROOT) if inside else path.name}:{line} {name}"


class Watcher:
    """Looks at the main thread's stack, over and over (Bytewax's one worker is there too)."""

    def __init__(self) -> None:
        self.own: Counter[CodeType] = Counter()
        self.whole: Counter[CodeType] = Counter()
        self.lines: Counter[tuple[CodeType, int]] = Counter()
        self.looks = 0

    def look(self, number: int, frame: FrameType | None) -> None:
        """Count where the program is; quick, because the next look comes soon."""
        assert frame is not None
        self.looks += 1
        self.own[frame.f_code] += 1
        self.lines[frame.f_code, frame.f_lineno] += 1
        found = set()
        while frame is not None:
            found.add(frame.f_code)
            frame = frame.f_back
        for code in found:
            self.whole[code] += 1

    def during(self, work: Callable[[], Sample]) -> Sample:
        """Watch while `work` goes on, and return what it returns."""
        before = signal.signal(signal.SIGALRM, self.look)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)
        try:
            return work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def profile(name: str, sample: Callable[[], Sample]) -> str:
    """Return a sampled profile of one sample of an arm, as Markdown."""
    watcher = Watcher()
    found = watcher.during(sample)
    record_ns = found.seconds / found.records * 1e9
    unit = record_ns / max(1, watcher.looks)
    lines = [
        f"## {name}: {record_ns:,.0f} ns a record, {watcher.looks:,} looks",
        "",
        "| function | own ns / record | whole ns / record |",
        "|---|--:|--:|",
    ]
    for code, count in watcher.own.most_common(TOP):
        where = place(code.co_filename, code.co_firstlineno, code.co_name)
        lines.append(f"| `{where}` | {count * unit:,.0f} | {watcher.whole[code] * unit:,.0f} |")
    lines += ["", "| line | ns / record |", "|---|--:|"]
    for (code, line), count in watcher.lines.most_common(TOP):
        lines.append(f"| `{place(code.co_filename, line, code.co_name)}` | {count * unit:,.0f} |")
    return "\n".join(lines) + "\n"
