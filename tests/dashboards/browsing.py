"""Drives a real browser over the app, as a reader does; says why if there is none."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from werkzeug.serving import make_server

from dashboards.app import make

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1280,720",
)  # fmt: skip
CHROMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 20.0


def missing() -> str:
    """Return what a browser test lacks here; empty if it lacks nothing."""
    if not any(map(shutil.which, CHROMES)) or not shutil.which("chromedriver"):
        return "no Chromium with its driver here; on Debian: apt-get install chromium-driver"
    return ""


@contextmanager
def served(*paths: Path) -> Iterator[str]:
    """Serve the app over some paths, and give its address."""
    server = make_server("127.0.0.1", 0, make(paths).server, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


class Reader:
    """A browser that looks at the app.

    Parameters
    ----------
    home
        Address of the app.
    profile
        A new folder for what the browser keeps.
    """

    def __init__(self, home: str, profile: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = next(filter(None, map(shutil.which, CHROMES)))
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.add_experimental_option("prefs", {"download.default_directory": str(profile)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver: Any = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        self.home, self.profile = home, profile

    def open(self, path: str) -> None:
        """Go to a page of the app."""
        self.driver.get(self.home + path)

    def js(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page, and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def until(self, script: str, *arguments: Any) -> Any:
        """Wait until a script in the page returns something true, and return it."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            found = self.js(f"return {script}", *arguments)
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"in vain: {script}; the page says: {self.text('body')[:500]}")

    def replay(self, query: str) -> None:
        """Open a replay, and wait until its lanes are drawn."""
        self.open(f"/replay?{query}")
        self.drawn()

    def drawn(self) -> None:
        """Wait until lanes are drawn, fill their place, and follow the pointer."""
        self.until("window.dl && dl.state.runs.length > 0 && dl.stage.box() !== null")
        self.until("dl.stage.graph().dataset.heard === 'yes'")
        self.until("document.querySelector('#numbers .value')")
        self.until(
            "Math.abs(dl.stage.graph()._fullLayout.height - "
            "document.getElementById('stage').clientHeight) < 2"
        )

    def text(self, css: str) -> str:
        """Return the text of an element."""
        return str(self.js("return document.querySelector(arguments[0])?.textContent || ''", css))

    def numbers(self, run: int = 0) -> dict[str, str]:
        """Return the numbers at the playhead, as they are written."""
        found: dict[str, str] = self.js(
            "return Object.fromEntries([...document.querySelectorAll("
            "`#numbers .value[data-run='${arguments[0]}'][data-name]`)]"
            ".map(one => [one.dataset.name, one.textContent]))",
            run,
        )
        return found

    def press(self, css: str) -> None:
        """Click on an element."""
        self.driver.find_element("css selector", css).click()

    def type(self, *keys: str, held: str = "") -> None:
        """Press keys, on nothing in particular, while another is held."""
        from selenium.webdriver.common.action_chains import ActionChains

        self.js("document.activeElement?.blur()")
        hand = ActionChains(self.driver)
        hand = hand.key_down(held).send_keys(*keys).key_up(held) if held else hand.send_keys(*keys)
        hand.perform()

    def point_at(self, kind: str, seq: int, click: bool = False) -> None:
        """Move the pointer to a record in a lane, and click there if asked."""
        from selenium.webdriver.common.action_chains import ActionChains

        place: list[float] = self.js(
            "const box = dl.stage.box(), home = document.getElementById('stage')"
            ".getBoundingClientRect(), row = box.meta.rows.find(one => one.kind === arguments[0]);"
            "return [home.left + dl.stage.x(box, arguments[1]),"
            " home.top + box.top + (1 - (row.domain[0] + row.domain[1]) / 2) * box.height]",
            kind,
            seq,
        )
        mouse: Any = ActionChains(self.driver)
        finger: Any = mouse.w3c_actions.pointer_action
        finger.move_to_location(round(place[0]), round(place[1]))
        if click:
            finger.click()
        mouse.perform()

    def click_lane(self, kind: str, seq: int) -> None:
        """Click on a record in a lane."""
        self.point_at(kind, seq, click=True)

    def downloaded(self, name: str) -> bytes:
        """Wait for a file that the browser saves, take it away, and return its content."""
        file = self.profile / name
        wait(lambda: file.exists() and not list(self.profile.glob("*.crdownload")))
        content = file.read_bytes()
        file.unlink()
        return content

    def complaints(self) -> list[str]:
        """Return errors and warnings on the console, and requests to other machines."""
        found = [
            line["message"]
            for line in self.driver.get_log("browser")
            if line["level"] in ("SEVERE", "WARNING")
        ]
        for line in self.driver.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if not url.startswith((self.home, "data:", "blob:", "chrome:", "about:")):
                    found.append(f"asked for {url}")
        return found


def wait(ready: Callable[[], Any]) -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if found := ready():
            return found
        time.sleep(0.05)
    raise AssertionError("in vain")
