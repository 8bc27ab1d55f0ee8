"""What a user may set about NewsAPI: its address, the plan, the topics and how patient to be."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from engine.quantities import duration_micros
from engine.settings import Count, Settings

QUERY_MAX = 500
"""NewsAPI's limit on the length of a query."""
LONGEST = "366d"
"""No time that is set here may be longer."""
SOURCES_MAX = 20
"""NewsAPI's limit on the number of sources."""
Endpoint = Literal["top-headlines", "everything"]
ONLY: dict[Endpoint, tuple[str, ...]] = {
    "top-headlines": ("category", "country"),
    "everything": ("domains", "excludeDomains", "searchIn", "language", "sortBy"),
}
"""What only one of the endpoints takes."""
ONE_OF: dict[Endpoint, tuple[str, ...]] = {
    "top-headlines": ("q", "category", "country", "sources"),
    "everything": ("q", "sources", "domains"),
}
"""One of these NewsAPI must be given."""
PARAMETERS = (
    "q", "category", "country", "language", "sources", "domains", "excludeDomains", "searchIn",
    "sortBy",
)  # fmt: skip
"""The settings of a topic that go to NewsAPI as they are."""


def check_duration(text: str) -> str:
    """Return `text` if it is a duration of no more than a year; else raise ValueError."""
    try:
        micros = duration_micros(text)
    except ValueError:
        raise ValueError("must be a duration such as 30s, 15m or 12h") from None
    if micros > duration_micros(LONGEST):
        raise ValueError(f"must be at most {LONGEST}")
    return text


def check_some_time(text: str) -> str:
    """Return `text` if it is a duration longer than nothing; else raise ValueError."""
    if duration_micros(check_duration(text)) == 0:
        raise ValueError("must be longer than nothing, such as 12h")
    return text


def check_base_url(url: str) -> str:
    """Return `url` without a slash at its end if it can be the address of a NewsAPI.

    Examples
    --------
    >>> check_base_url("https://newsapi.org/v2/")
    'https://newsapi.org/v2'
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https") or any(map(str.isspace, url)):
        raise ValueError("must be an address such as https://newsapi.org/v2")
    if parts.query or parts.fragment or parts.username is not None or parts.password is not None:
        raise ValueError("must be an address alone: the key comes from NEWSAPI_KEY")
    if parts.scheme == "http" and (host == "newsapi.org" or host.endswith(".newsapi.org")):
        raise ValueError("must begin with https://, or the key would travel in clear text")
    return url.rstrip("/")


def split_names(names: Any) -> Any:
    """Let names be written with commas between them, as NewsAPI does, or as a list.

    Examples
    --------
    >>> split_names("bbc-news, cnn")
    ('bbc-news', 'cnn')
    """
    return tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else names


Duration = Annotated[str, AfterValidator(check_duration)]
Period = Annotated[str, AfterValidator(check_some_time)]
Name = Annotated[str, Field(pattern=r"^[^\s,]+$")]
Names = Annotated[
    tuple[Name, ...], BeforeValidator(split_names, json_schema_input_type=tuple[str, ...] | str)
]
Language = Literal[
    "ar", "de", "en", "es", "fr", "he", "it", "nl", "no", "pt", "ru", "sv", "ud", "zh"
]  # fmt: skip
Category = Literal[
    "business", "entertainment", "general", "health", "science", "sports", "technology"
]


class Topic(Settings):
    """One question to NewsAPI; its `name` is the label of the articles that answer it.

    All but `name`, `endpoint` and `pages` is passed on under NewsAPI's own names. `pages` is the
    most pages that a round takes of this topic; without, it is that of `newsapi`.

    Examples
    --------
    >>> Topic(name="ml", endpoint="everything", q="machine learning", language="en").parameters()
    {'q': 'machine learning', 'language': 'en', 'sortBy': 'publishedAt'}
    """

    name: Annotated[str, Field(pattern=r"^[^\s\x00-\x1f][^\x00-\x1f]*$", max_length=100)]
    endpoint: Endpoint = "top-headlines"
    q: Annotated[str, Field(min_length=1, max_length=QUERY_MAX)] | None = None
    category: Category | None = None
    country: Annotated[str, Field(pattern=r"^[a-z]{2}$")] | None = None
    language: Language | None = None
    sources: Annotated[Names, Field(max_length=SOURCES_MAX)] = ()
    domains: Names = ()
    excludeDomains: Names = ()
    searchIn: Annotated[
        tuple[Literal["title", "description", "content"], ...],
        BeforeValidator(split_names, json_schema_input_type=tuple[str, ...] | str),
    ] = ()
    sortBy: Literal["relevancy", "popularity", "publishedAt"] | None = Field(
        default_factory=lambda data: "publishedAt" if data.get("endpoint") == "everything" else None
    )
    pages: Count | None = None

    @model_validator(mode="after")
    def _fits_its_endpoint(self) -> Topic:
        for endpoint, names in ONLY.items():
            given = [name for name in names if getattr(self, name)]
            if given and endpoint != self.endpoint:
                raise ValueError(f"{' and '.join(given)}: only for endpoint: {endpoint}")
        if not any(getattr(self, name) for name in ONE_OF[self.endpoint]):
            raise ValueError(f"{self.endpoint} needs one of {', '.join(ONE_OF[self.endpoint])}")
        if self.sources and (self.category or self.country):
            raise ValueError("sources cannot stand beside category or country")
        return self

    def parameters(self) -> dict[str, str]:
        """Return what goes to NewsAPI, by its own names."""
        given = {name: getattr(self, name) for name in PARAMETERS if getattr(self, name)}
        return {
            name: ",".join(value) if isinstance(value, tuple) else value
            for name, value in given.items()
        }


class Plan(Settings):
    """How many requests a key may make within any period of so long; 50 per 12 h are free.

    Examples
    --------
    >>> Plan().per_micros // 3_600_000_000
    12
    """

    requests: Count = 50
    per: Period = "12h"

    @property
    def per_micros(self) -> int:
        """The period in microseconds."""
        return duration_micros(self.per)


class NewsApi(Settings):
    """Where NewsAPI is, what the plan allows, and how long to wait and how often to try.

    `timeout` bounds a try from its first byte to its last, `silence` how long nothing may come.
    A request is tried `tries` times, after pauses that grow from `backoff` to `backoff_max`; if
    NewsAPI wants a longer pause, the next request waits for it instead. `everything` is asked for
    articles from the newest known on, less `overlap`, as some are found late.
    """

    base_url: Annotated[str, AfterValidator(check_base_url)] = "https://newsapi.org/v2"
    plan: Plan = Plan()
    page_size: Annotated[int, Field(ge=1, le=100)] = 100
    pages: Count = 5
    overlap: Duration = "6h"
    connect: Period = "10s"
    silence: Period = "20s"
    timeout: Period = "60s"
    tries: Annotated[int, Field(ge=1, le=10)] = 3
    backoff: Duration = "1s"
    backoff_max: Duration = "1m"
    bytes_max: Count = 20_000_000
