from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.news.articles import Article
from engine.news.features import PLAIN, TextFeatures, schema_of, table_of_articles

SMALL = TextFeatures(columns=16)
DAY = 86_400_000_000
RAIN = Article("w", 0, "", "Rain stops play", "It rains, and rains", "https://a.example", "", DAY)
GOLDEN = [
    *[1970.0, 1.0, 2.0, 4.0, 3.0, 4.0],
    *[0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 0.0, -2.0, 0.0, 0.0, -3.0, 1.0, 0.0],
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ARTICLES = st.builds(
    Article, TEXTS, st.integers(), TEXTS, TEXTS, TEXTS, TEXTS, TEXTS,
    st.integers(-62_135_596_800_000_000, 221_845_392_000_000_000),
)  # fmt: skip


def test_the_columns_are_the_settings() -> None:
    schema = schema_of(SMALL)
    assert schema.numeric == (*PLAIN, *(f"words_{at:02}" for at in range(16)))
    assert (schema.categorical, schema.task) == ((), "classification")
    assert schema_of(TextFeatures(columns=1000)).numeric[-1] == "words_999"
    assert schema_of(SMALL) == table_of_articles([], SMALL).schema


def test_each_word_is_counted_in_one_column_with_its_sign() -> None:
    words = table_of_articles([RAIN], SMALL).numbers[0, 6:]
    assert np.abs(words).sum() <= 10 and np.count_nonzero(words) >= 3
    twice = replace(RAIN, description="It rains, and rains. It rains, and rains")
    added = table_of_articles([twice], SMALL).numbers[0, 6:] - words
    said = table_of_articles([replace(RAIN, title="")], SMALL).numbers[0, 6:]
    headed = table_of_articles([replace(RAIN, title=RAIN.description, description="")], SMALL)
    assert added.tolist() == said.tolist() == (headed.numbers[0, 6:] / 2).tolist()


@settings(max_examples=40, deadline=None)
@given(st.lists(ARTICLES, min_size=1, max_size=6), st.data())
def test_a_row_depends_on_its_article_alone(articles: list[Article], data: st.DataObject) -> None:
    whole = table_of_articles(articles, SMALL)
    at = data.draw(st.integers(0, len(articles) - 1))
    alone = table_of_articles(articles[at : at + 1], SMALL)
    assert whole.numbers[at].tobytes() == alone.numbers[0].tobytes()
    one = articles[at]
    told = [whole.number(name)[at] for name in PLAIN]
    assert told == [getattr(one, name) for name in PLAIN]
    assert np.isfinite(whole.numbers).all()


def test_topic_author_and_address_are_no_features() -> None:
    other = replace(RAIN, topic="x", author="y", url="https://z.example", image="i", fetched=9)
    assert (
        table_of_articles([RAIN], SMALL).numbers.tobytes()
        == table_of_articles([other], SMALL).numbers.tobytes()
    )


def test_pairs_and_letters_are_others_than_words() -> None:
    forms = [SMALL, TextFeatures(columns=16, ngrams=2), TextFeatures(columns=16, tokens="letters")]
    rows = {table_of_articles([RAIN], form).numbers.tobytes() for form in forms}
    assert len(rows) == 3
    chinese = replace(RAIN, title="北京今天下大雨了", description="比赛被取消")
    for form, least in ((forms[0], 1), (forms[2], 6)):
        assert np.count_nonzero(table_of_articles([chinese], form).numbers[0, 6:]) >= least


def test_the_numbers_are_the_same_everywhere() -> None:
    row = table_of_articles([RAIN], SMALL).numbers[0].tolist()
    assert row == GOLDEN


@pytest.mark.parametrize("settings", [
    {"columns": 7}, {"columns": 4097}, {"ngrams": 0}, {"ngrams": 4}, {"tokens": "lines"}, {"x": 1},
])  # fmt: skip
def test_settings_out_of_bounds_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TextFeatures.model_validate(settings)
