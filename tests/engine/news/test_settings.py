"""The settings of NewsAPI: each limit, and one that breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from engine.news.settings import NewsApi, Plan, Topic


def test_a_topic_asks_with_newsapis_own_names() -> None:
    topic = Topic.model_validate(
        {
            "name": "Künstliche Intelligenz", "endpoint": "everything", "q": "ai OR ki",
            "sources": "cnn, bbc-news", "excludeDomains": ("a.example", "b.example"),
            "searchIn": "title", "language": "de", "sortBy": "popularity",
        }
    )  # fmt: skip
    assert topic.parameters() == {
        "q": "ai OR ki", "sources": "cnn,bbc-news", "excludeDomains": "a.example,b.example",
        "searchIn": "title", "language": "de", "sortBy": "popularity",
    }  # fmt: skip
    headlines = Topic(name="business", category="business", country="us")
    assert headlines.parameters() == {"category": "business", "country": "us"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "top-headlines needs one of q, category, country, sources"),
        (
            {"endpoint": "everything", "language": "en"},
            "everything needs one of q, sources, domains",
        ),
        ({"category": "sports", "sources": "cnn"}, "sources cannot stand beside category"),
        ({"country": "us", "sources": "cnn"}, "sources cannot stand beside category or country"),
        ({"q": "a", "domains": "a.example"}, "domains: only for endpoint: everything"),
        ({"q": "a", "sortBy": "relevancy"}, "sortBy: only for endpoint: everything"),
        ({"endpoint": "everything", "q": "a", "country": "us"}, "only for endpoint: top-headlines"),
        ({"q": "x" * 501}, "at most 500"),
        ({"q": ""}, "at least 1"),
        ({"sources": ",".join("abcdefghijklmnopqrstu")}, "at most 20"),
        ({"sources": "a,,b"}, "should match"),
        ({"category": "politics"}, "Input should be 'business'"),
        ({"country": "USA"}, "should match"),
        ({"q": "a", "language": "xx"}, "Input should be 'ar'"),
        ({"q": "a", "pages": 0}, "greater than or equal to 1"),
        ({"q": "a", "apiKey": "x"}, "Extra inputs are not permitted"),
        ({"q": "a", "name": " x"}, "should match"),
        ({"q": "a", "name": "a\nb"}, "should match"),
        ({"endpoint": "everything", "q": "a", "searchIn": "title,bodies"}, "Input should be"),
    ],
)
def test_what_a_topic_cannot_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Topic.model_validate({"name": "x", **given})


@pytest.mark.parametrize(
    "url",
    [
        "newsapi.org/v2", "ftp://newsapi.org", "https://", "https://a b/", "https://[", "https://a:x",
        "https://me:secret@newsapi.org/v2", "https://newsapi.org/v2?apiKey=x", "https://a/#b",
        "http://newsapi.org/v2", "http://api.newsapi.org/v2",
    ],
)  # fmt: skip
def test_what_an_address_cannot_be(url: str) -> None:
    with pytest.raises(ValidationError, match="must be"):
        NewsApi(base_url=url)


@pytest.mark.parametrize(
    "given",
    [
        {"page_size": 0}, {"page_size": 101}, {"tries": 0}, {"tries": 11}, {"timeout": "0s"},
        {"timeout": "soon"}, {"timeout": "367d"}, {"overlap": "-1h"}, {"bytes_max": 0},
        {"pages": 0}, {"key": "x"},
    ],
)  # fmt: skip
def test_what_else_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NewsApi.model_validate(given)


@pytest.mark.parametrize("given", [{"requests": 0}, {"per": "0s"}, {"per": "day"}, {"per": 12}])
def test_what_a_plan_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate(given)


def test_the_free_plan_is_the_default() -> None:
    assert (NewsApi().plan.requests, NewsApi().plan.per, NewsApi().page_size) == (50, "12h", 100)
    assert NewsApi(base_url="http://127.0.0.1:8000/v2/").base_url == "http://127.0.0.1:8000/v2"
