"""Articles as numbers: calendar, lengths, and words hashed into columns.

Nothing is fitted on data, for that would look ahead: a row depends on its article alone, whatever
is beside it. How many columns are worth their time was measured; see the guide.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from engine.batch import Floats, Schema, Table
from engine.news.articles import Article
from engine.settings import Settings

PLAIN = (
    "published_year", "published_month", "published_day", "published_weekday",
    "title_word_count", "description_word_count",
)  # fmt: skip
"""The columns that are not made of hashed words."""
DAY_MICROS = 86_400_000_000
LETTERS = (3, 4)
"""Lengths of the pieces that words are cut into where letters are counted."""


class TextFeatures(Settings):
    """How titles and descriptions become numbers.

    `columns` is how many columns the words of title and description are hashed into: each word
    adds 1 to one of them or takes 1 away, a word of the title 2. `ngrams: 2` counts pairs of words
    too. `tokens: letters` counts pieces of words, for languages without blanks between words.
    """

    columns: Annotated[int, Field(ge=8, le=4096)] = 256
    ngrams: Annotated[int, Field(ge=1, le=3)] = 1
    tokens: Literal["words", "letters"] = "words"


def schema_of(features: TextFeatures) -> Schema:
    """Return the columns of articles: all numeric, those of `PLAIN` first.

    Examples
    --------
    >>> schema_of(TextFeatures(columns=16)).numeric[5:8]
    ('description_word_count', 'words_00', 'words_01')
    """
    return _schema(features.columns)


def table_of_articles(articles: Sequence[Article], features: TextFeatures) -> Table:
    """Return the features of articles; a row depends on nothing but its article.

    Examples
    --------
    >>> article = Article("sports", 0, "", "Rain stops play", "Again", "https://a.example", "", 0)
    >>> table = table_of_articles([article], TextFeatures(columns=8))
    >>> table.number("published_weekday").tolist(), table.numbers[0, 4:].tolist()
    ([3.0], [3.0, 1.0, 2.0, 0.0, -2.0, 0.0, 2.0, -1.0, 0.0, 0.0])
    """
    schema = schema_of(features)
    numbers: Floats = np.zeros((len(articles), len(schema.numeric)), order="F")
    if articles:
        numbers[:, :4] = _calendar(np.array([one.published for one in articles], dtype=np.int64))
        numbers[:, 4] = [one.title_word_count for one in articles]
        numbers[:, 5] = [one.description_word_count for one in articles]
        texts = [f"{one.title}\n{one.title}\n{one.description}" for one in articles]
        hashed = _hasher(features.columns, features.ngrams, features.tokens).transform(texts)
        numbers[:, len(PLAIN) :] = hashed.toarray()
    return Table(schema, numbers, np.empty((len(articles), 0), dtype=np.int32), ())


@cache
def _schema(columns: int) -> Schema:
    width = len(str(columns - 1))
    return Schema((*PLAIN, *(f"words_{at:0{width}}" for at in range(columns))), ())


@cache
def _hasher(columns: int, ngrams: int, tokens: str) -> Any:
    """Return what turns texts into counts of hashed words."""
    from sklearn.feature_extraction.text import HashingVectorizer

    words = tokens == "words"
    return HashingVectorizer(
        n_features=columns,
        analyzer="word" if words else "char_wb",
        ngram_range=(1, ngrams) if words else LETTERS,
        alternate_sign=True,
        norm=None,
    )


def _calendar(times: Any) -> Floats:
    """Return year, month, day of the month and weekday (0 = Monday) of times, in UTC."""
    days = times // DAY_MICROS
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    year = months.astype("datetime64[Y]").astype(np.int64) + 1970
    month = months.astype(np.int64) % 12 + 1
    day = (dates - months).astype(np.int64) + 1
    return np.stack([year, month, day, (days + 3) % 7], axis=1).astype(np.float64)
