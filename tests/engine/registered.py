"""A run with several models, and the registry that it is registered in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

from engine.registry import Registry
from engine.serving.app import Desk, make
from engine.serving.figures import Figures
from engine.serving.logbook import Logbook
from engine.serving.watching import Watcher
from engine.sources.file import FileSource

ROWS = 900
SCENARIO = """\
source: {kind: file, path: table.csv, label: y}
model: {kind: catboost, iterations: 8, depth: 3}
policy: {kind: every, records: 200}
retraining: {first: 200, window: 200, judge: {holdout: 50}}
"""


def write_table(path: Path) -> None:
    """Write a table with numbers, texts and holes, whose concept turns round in the middle."""
    lines = ["x,z,colour,size,y"]
    for at in range(ROWS):
        x = "" if at % 17 == 0 else f"{(at * 7919 % 1000) / 250 - 2:.3f}"
        z, colour = f"{at * 104729 % 97}", "" if at % 23 == 0 else "rgb"[at * 31 % 3]
        size = ("small", "large", "7")[at * 17 % 3]
        high = (float(x or 0) > 0) != (colour == "r")
        lines.append(f"{x},{z},{colour},{size},{'no' if high == (at > 450) else 'yes'}")
    path.write_text("\n".join(lines) + "\n", "utf-8")


@dataclass(frozen=True)
class Registered:
    """A finished run, and a registry that holds it."""

    registry: Registry
    out: Path
    table: Path
    cache: Path

    @property
    def name(self) -> str:
        """The registered model."""
        return "stable-0000"

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table as a client would send them."""
        found = []
        for block in FileSource(self.table, label="y").blocks():
            table = block.table
            numbers = {name: table.number(name).tolist() for name in table.schema.numeric}
            texts = {name: table.texts(name).tolist() for name in table.schema.categorical}
            columns: dict[str, list[Any]] = {**numbers, **texts}
            for at in range(len(table)):
                row = {name: cells[at] for name, cells in columns.items()}
                found.append({k: None if v != v else v for k, v in row.items()})
        return found

    def events(self) -> list[dict[str, Any]]:
        """Return the events of the run."""
        lines = (self.out / "events.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]


class Client:
    """Asks a server, over one connection."""

    def __init__(self, port: int) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return the code and the content of an answer."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        self.connection.request(method, path, data, dict(headers or {}))
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.headers["content-type"].startswith("application/json"):
            return answer.status, json.loads(content)
        return answer.status, content.decode()


@contextmanager
def serving(
    name: str,
    connect: Callable[[], Registry],
    logbook: Logbook | None = None,
    *,
    look: bool = True,
) -> Iterator[tuple[Client, Watcher]]:
    """Serve a model on loopback, without looking at the registry unless told."""
    import uvicorn

    from engine.serving.running import Server, listen

    watcher = Watcher(name, connect)
    if look:
        watcher.look()
    ear = listen("127.0.0.1", 0)
    app = make(Desk(watcher, Figures(), logbook))
    server = Server(uvicorn.Config(app, log_level="error", access_log=False))
    thread = Thread(target=server.run, args=([ear],))
    thread.start()
    while not server.started:
        sleep(0.01)
    client = Client(ear.getsockname()[1])
    try:
        yield client, watcher
    finally:
        client.connection.close()
        server.should_exit = True
        thread.join()
        watcher.close()
        if logbook is not None:
            logbook.close()
