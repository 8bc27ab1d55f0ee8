"""The feed: what the ledger names must be there, whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.batch import Batch
from engine.errors import InputError
from engine.news.feed import LedgerFeed
from engine.news.ledger import Ledger
from engine.news.live import Live
from engine.news.lookout import Lookout
from tests.engine.news.test_ledger import NOW, ingest

LIVE = Live.model_validate({"name": "x", "topics": ({"name": "science", "q": "a"},)})


def read(ledger: Ledger, size: int = 100) -> list[Batch]:
    lookout = Lookout.of((), ledger, lambda: pytest.fail("looked"), lambda: NOW)
    found = LedgerFeed(LIVE, ledger, lambda: True, lookout).batches(size)
    return [item for item in found if isinstance(item, Batch)]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_all_articles_come_in_order_however_they_are_cut(tmp_path: Path, size: int) -> None:
    with Ledger.open(tmp_path) as ledger:
        ingest(ledger, 1, 2, 3)
        ingest(ledger, 4, now=NOW + 5)
        batches = read(ledger, size)
    assert [batch.first for batch in batches] == [*range(0, 4, size)]
    assert [time for batch in batches for time in batch.times] == [NOW, NOW, NOW, NOW + 5]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[:-20], "restore this file"),
        (lambda text: "".join(text.splitlines(True)[:-1]), "has 2 articles, the ledger says 3"),
        (lambda text: "a,b\n1,2\n", "must name the columns"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[str], str], said: str) -> None:
    with Ledger.open(tmp_path) as ledger:
        ingest(ledger, 1, 2, 3)
        (path,) = (tmp_path / "processed").iterdir()
        path.write_text(damage(path.read_text("utf-8")), "utf-8")
        with pytest.raises(InputError, match=said) as caught:
            read(ledger)
    assert caught.value.place == str(path)
