from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.news.articles import (
    COLUMNS,
    REASONS,
    TEXT_MAX,
    Article,
    Reading,
    Sorted,
    article_of,
    key_of,
    read_answer,
    read_body,
    read_rows,
    sort_out,
    write_rows,
)

GOOD: dict[str, Any] = {
    "source": {"id": None, "name": "The Daily Invention"},
    "author": "Ada Nobody",
    "title": "Bridge opens at last",
    "description": "It took nine years.",
    "url": "https://news.example/bridge?id=1#top",
    "urlToImage": "https://news.example/bridge.jpg",
    "publishedAt": "2024-02-29T12:30:00Z",
    "content": "It took nine years [+200 chars]",
}
ARTICLE = article_of(GOOD, "general", 7)
assert isinstance(ARTICLE, Article)


def body_of(*entries: Any, **more: Any) -> bytes:
    answer = {"status": "ok", "totalResults": len(entries), "articles": list(entries), **more}
    return json.dumps(answer).encode()


def sorted_of(*entries: Any, seen: set[bytes] = frozenset()) -> Sorted:  # type: ignore[assignment]
    return sort_out(read_body(body_of(*entries)), "general", 7, seen.__contains__)


# --- bodies -----------------------------------------------------------------------------------


def test_an_answer_is_its_entries() -> None:
    reading = read_body(body_of(GOOD, 5, [GOOD], None, {}, totalResults=999))
    assert reading == Reading("ok", "", "", (GOOD, {}, {}, {}, {}), 999)
    assert read_body(body_of()) == Reading("ok", "", "", (), 0)
    assert read_body(b"\xef\xbb\xbf" + body_of(GOOD)).entries == (GOOD,)


@pytest.mark.parametrize("total", [None, "7", -1, True, 1.5, 1e300, 2**70, [], float("nan")])
def test_a_total_that_is_no_count_is_none(total: Any) -> None:
    assert read_body(body_of(GOOD, totalResults=total)).total is None


def test_an_error_is_told_in_newsapis_words() -> None:
    said = {"status": "error", "code": "rateLimited", "message": "Too many\n requests. " * 99}
    for answer in (said, {**said, "articles": [GOOD]}):
        reading = read_body(json.dumps(answer).encode())
        assert (reading.status, reading.code, reading.entries) == ("error", "rateLimited", ())
        assert reading.message.startswith("Too many requests. Too") and len(reading.message) == 300
    odd = read_body(b'{"status": "error", "code": 7, "message": {"a": "\\ud800"}}')
    assert (odd.status, odd.code, odd.message) == ("error", "unknown", "")


BODIES = [
    (b"", "empty"),
    (b" \r\n\t", "empty"),
    (b"<!DOCTYPE html><title>502</title>", "html"),
    (b"  <html>", "html"),
    (body_of(GOOD)[:-30], "truncated"),
    (b'{"status":"ok"', "truncated"),
    (b"{'status': 'ok'}", "not_json"),
    (b"Bad Gateway", "not_json"),
    (b"\xff\xfe\xff", "not_json"),
    (b'{"status": "ok", "articles": [{"title": "\xff"}]}', "not_json"),
    (b"[" * 200_000 + b"]" * 200_000, "not_json"),
    (b'{"articles":' * 100_000 + b"1" + b"}" * 100_000, "not_json"),
    (b'{"articles": ' + b"9" * 5000 + b"}", "not_json"),
    (b"\x1f\x8b\x08\x00", "not_json"),
    (b"{}", "no_articles"),
    (b"[]", "no_articles"),
    (b"null", "no_articles"),
    (b"3", "no_articles"),
    (b"NaN", "no_articles"),
    (b'"articles"', "no_articles"),
    (b'{"status": "ok", "totalResults": 3}', "no_articles"),
    (b'{"status": "ok", "articles": null}', "no_articles"),
    (b'{"status": "ok", "articles": {"0": {}}}', "no_articles"),
    (b'{"status": "ok", "articles": "none"}', "no_articles"),
    (b'{"status": ["error"], "articles": NaN}', "no_articles"),
]


@pytest.mark.parametrize(("body", "code"), BODIES, ids=range(len(BODIES)))
def test_an_unusable_body_is_told_without_its_text(body: bytes, code: str) -> None:
    reading = read_body(body)
    assert (reading.status, reading.code, reading.entries) == ("unusable", code, ())
    assert reading.message.startswith("the body ") and len(reading.message) < 60


def test_constants_that_are_not_json_are_nothing() -> None:
    body = body_of({**GOOD, "author": float("nan"), "urlToImage": float("inf")})
    (article,) = sort_out(read_body(body), "general", 7, lambda key: False).articles
    assert (article.author, article.image) == ("", "")


# --- entries ----------------------------------------------------------------------------------


def test_a_row_holds_what_is_asked_for() -> None:
    moment = int(datetime(2024, 2, 29, 12, 30, tzinfo=UTC).timestamp()) * 1_000_000
    assert sorted_of(GOOD).articles == (
        Article(
            "general", 7, "Ada Nobody", "Bridge opens at last", "It took nine years.",
            "https://news.example/bridge?id=1#top", "https://news.example/bridge.jpg", moment,
        ),
    )  # fmt: skip
    assert isinstance(ARTICLE, Article)
    calendar = (ARTICLE.published_year, ARTICLE.published_month, ARTICLE.published_day)
    assert (*calendar, ARTICLE.published_weekday) == (2024, 2, 29, 3)
    assert (ARTICLE.title_word_count, ARTICLE.description_word_count) == (4, 4)


BLANK: list[Any] = [None, "", " \n\u3000", 5, False, ["x"], {}]
NO_MOMENT: list[Any] = [
    None, "", "soon", 5, 1.5e9, "2024-02-30T00:00:00Z", "2024-13-01", "29 Feb 2024", "2024", {},
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9500-01-01", "\ud800",
]  # fmt: skip
DROPPED: list[tuple[dict[str, Any], str]] = [
    ({}, "not_an_article"),
    ({"title": "[Removed]", "url": None, "publishedAt": "1970-01-01T00:00:00Z"}, "removed"),
    ({**GOOD, "description": " [Removed]\n"}, "removed"),
    ({**GOOD, "url": "https://removed.com"}, "removed"),
    ({**GOOD, "url": "https://removed.com/?x", "title": None}, "removed"),
    *(({**GOOD, "title": bad}, "no_title") for bad in BLANK),
    *(({**GOOD, "description": bad}, "no_description") for bad in BLANK),
    *(({**GOOD, "url": bad}, "no_url") for bad in BLANK),
    *(({k: v for k, v in GOOD.items() if k != n}, f"no_{n}") for n in ("title", "url")),
    ({**GOOD, "title": None, "description": None, "url": "x"}, "no_title"),
    ({**GOOD, "description": None, "url": "x"}, "no_description"),
    *(({**GOOD, name: "x" * (TEXT_MAX + 1)}, "too_long") for name in GOOD if name in (
        "title", "description", "url", "author", "urlToImage")),
    *(({**GOOD, "url": bad}, "bad_url") for bad in (
        "news.example/a", "/a", "//news.example/a", "ftp://news.example/a", "mailto:a@b.example",
        "http://", "https:///a", "https://:80/a", "http://?q", "http://.", "javascript:alert(1)",
        "http://[::1", "http://a.example:port/", "http://a.example:99999/", "http://a b.example/",
        "http://a.example/\n", "http://a.example/\0x", "http://a.example/\r\nHost: b", "https:a.b",
        "http://\u2100.example/", "data:text/plain,http://a.example")),
    *(({**GOOD, "publishedAt": bad}, "bad_published") for bad in NO_MOMENT),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "reason"), DROPPED, ids=range(len(DROPPED)))
def test_an_entry_is_dropped_for_one_reason(entry: dict[str, Any], reason: str) -> None:
    if "url" in entry and isinstance(entry["url"], str) and entry["url"].endswith("\n"):
        entry = {**entry, "url": entry["url"] + "x"}  # what is around an address does not count
    found = sorted_of(entry, GOOD)
    assert dict(found.dropped) == {reason: 1} and len(found.articles) == 1


def test_every_reason_is_tried() -> None:
    assert {reason for _, reason in DROPPED} == {*REASONS} - {"duplicate"}
    assert REASONS[-1] == "duplicate"


@pytest.mark.parametrize("url", [
    "http://a.example", "HTTPS://A.example/x", " https://a.example/x\n", "https://1.2.3.4:80/",
    "https://[2001:db8::1]/x", "https://a.example/b c#d~e f", "https://bücher.example/ä",
    "https://user@a.example/",
])  # fmt: skip
def test_web_addresses_pass(url: str) -> None:
    (article,) = sorted_of({**GOOD, "url": url}).articles
    assert article.url == url.strip()


@pytest.mark.parametrize("moment", [
    "2024-02-29T12:30:00Z", "2024-02-29T12:30:00.000000Z", "2024-02-29T12:30:00+00:00",
    "2024-02-29T14:00:00+01:30", "2024-02-29 12:30", " 2024-02-29T12:30Z ", "20240229T123000",
])  # fmt: skip
def test_moments_pass_without_a_zone_as_utc(moment: str) -> None:
    assert isinstance(ARTICLE, Article)
    (article,) = sorted_of({**GOOD, "publishedAt": moment}).articles
    assert article.published == ARTICLE.published


def test_what_is_optional_may_be_anything() -> None:
    odds: list[Any] = [None, 5, [], {"a": 1}, "", " "]
    for odd in odds:
        (article,) = sorted_of({**GOOD, "author": odd, "urlToImage": odd, "source": odd}).articles
        assert (article.author, article.image) == ("", "")


def test_halves_of_characters_are_replaced() -> None:
    (article,) = sorted_of({**GOOD, "title": "a\ud800b \U0001f600", "author": "\udfff"}).articles
    assert (article.title, article.author) == ("a\ufffdb \U0001f600", "\ufffd")


def test_duplicates_are_dropped_within_a_response_and_across() -> None:
    twin = {**GOOD, "description": "Told otherwise.", "publishedAt": "2024-03-01T00:00:00Z"}
    other = {**GOOD, "url": "https://news.example/other"}
    found = sorted_of(GOOD, twin, other, {**GOOD, "title": "Bridge closed"})
    assert dict(found.dropped) == {"duplicate": 1} and len(found.articles) == 3
    assert found.keys == tuple(key_of(one.title, one.url) for one in found.articles)
    assert all(len(key) == 16 for key in found.keys)
    again = sorted_of(GOOD, twin, other, seen=set(found.keys))
    assert dict(again.dropped) == {"duplicate": 3} and again.keys == ()


def test_an_invalid_entry_does_not_take_the_key_of_a_valid_one() -> None:
    found = sorted_of({**GOOD, "publishedAt": None}, GOOD)
    assert dict(found.dropped) == {"bad_published": 1} and len(found.articles) == 1


# --- anything at all --------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(st.characters(), max_size=12),
    st.sampled_from(["[Removed]", "https://removed.com", "http://", "2024-02-29T12:30:00Z", "\0"]),
    st.text("[]:/@?#.%0aA\n\r\t ", max_size=12).map(lambda text: f"http://{text}"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.one_of(
    JSON,
    st.fixed_dictionaries({}, optional={name: JSON | st.just(GOOD[name]) for name in GOOD}),
    st.fixed_dictionaries({name: st.just(GOOD[name]) | TEXTS for name in GOOD}),
)
ANSWER = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"articles": st.lists(ENTRY, max_size=6)},
        optional={"status": JSON, "totalResults": JSON, "code": JSON, "message": JSON},
    ),
)


@settings(max_examples=150, deadline=None)
@given(ANSWER, st.sets(st.binary(min_size=16, max_size=16), max_size=2))
def test_whatever_comes_each_entry_is_a_row_or_dropped_once(answer: Any, seen: set[bytes]) -> None:
    body = json.dumps(answer).encode()
    reading = read_body(body)
    assert (reading.status == "ok") == (reading.code == "")
    seen |= {key_of(GOOD["title"], GOOD["url"])} if len(body) % 2 else set()
    found = sort_out(reading, "topic", 7, seen.__contains__)
    assert len(reading.entries) == len(found.articles) + sum(found.dropped.values())
    assert len(set(found.keys)) == len(found.articles) == len(found.keys)
    assert not seen & set(found.keys)
    assert set(found.dropped) <= set(REASONS) and 0 not in found.dropped.values()
    text = write_rows(found.articles)
    assert read_rows(text.encode("utf-8").decode("utf-8")) == list(found.articles)
    for article in found.articles:
        assert article.title.strip() and article.description.strip()
        assert article.url.lower().startswith(("http://", "https://"))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_no_bytes_make_reading_fail(body: bytes) -> None:
    assert read_body(body).status in ("ok", "error", "unusable")
    at = len(body) % len(body_of(GOOD))
    cut = body_of(GOOD)[:at] + body + body_of(GOOD)[at:]
    sort_out(read_body(cut), "topic", 0, lambda key: False)


def test_parsed_answers_are_read_alike() -> None:
    for body, _ in BODIES[14:]:
        assert read_answer(json.loads(body)) == read_body(body)


# --- rows -------------------------------------------------------------------------------------

ODD = [
    'quotes " and "" and \'', "commas, and; semicolons\tand tabs", "lines\nand\r\nand\r", "\r",
    "\n", "\0", "\x01\x1a\x1b\x7f\x85", "\ufeffmark", "\u2028\u2029", " blanks ", "\\n \\", "=1+1",
    "\U0001f600", "x" * TEXT_MAX, "\ud800 half", '"', ",",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_rows_come_back_as_they_were(text: str) -> None:
    assert isinstance(ARTICLE, Article)
    rows = [
        replace(ARTICLE, topic=text, author=text, title=text, description=text),
        replace(ARTICLE, author="", image=text, fetched=-1, published=1),
        ARTICLE,
    ]
    assert read_rows(write_rows(rows)) == rows
    assert read_rows("\ufeff" + write_rows(rows)) == rows


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.text(st.characters(), max_size=8)] * 6), max_size=4))
def test_any_texts_come_back(texts: list[tuple[str, ...]]) -> None:
    rows = [Article(a, 5, b, c, d, e, f, 10**15) for a, b, c, d, e, f in texts]
    assert read_rows(write_rows(rows)) == rows


def test_the_columns_are_as_promised() -> None:
    assert isinstance(ARTICLE, Article)
    header, row, rest = write_rows([ARTICLE]).split("\n")
    assert header == ",".join(f'"{name}"' for name in COLUMNS)
    assert row == (
        '"general","1970-01-01T00:00:00.000007Z","Ada Nobody","Bridge opens at last",'
        '"It took nine years.","https://news.example/bridge?id=1#top",'
        '"https://news.example/bridge.jpg","2024-02-29T12:30:00.000000Z",2024,2,29,3,4,4'
    )
    assert rest == ""
    assert write_rows([]) == f"{header}\n"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: "", "the first line must name the columns topic, fetched_at"),
        (lambda text: text.replace("topic", "subject", 1), "the first line must name the columns"),
        (lambda text: text[:-9], "line 2: no processed article"),
        (lambda text: text[:-60], "line 2: no processed article"),
        (
            lambda text: text.replace("2024-02-29T", "yesterday "),
            "line 2: no processed article: mus",
        ),
        (lambda text: text + '"a","b"\n', "line 3: no processed article"),
        (lambda text: text.replace(",4,4", ",4,4,4"), "line 2: no processed article: 15 cells"),
    ],
)
def test_a_damaged_file_is_told(damage: Any, said: str) -> None:
    assert isinstance(ARTICLE, Article)
    with pytest.raises(InputError, match=said):
        read_rows(damage(write_rows([ARTICLE])))
