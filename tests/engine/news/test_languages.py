"""Languages: told apart where they can be, and nothing claimed where they cannot."""

from __future__ import annotations

import pytest

from engine.news.languages import ALPHABETS, SMALL_WORDS, language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Oil prices rise as the talks over Iran are delayed", "english"),
        ("Bahn streikt: Was das für die Reisenden in der Woche bedeutet", "german"),
        ("Le président est à Rome pour une rencontre avec les maires", "french"),
        ("El Gobierno aprueba la ley y los sindicatos responden con una huelga", "spanish"),
        ("Milan, ecco le ultime notizie della partita con il Napoli", "italian"),
        ("Governo não vai subir os impostos em 2024, diz ministro", "portuguese"),
        ("Kabinet wil het plan niet uitstellen, aldus de minister van Justitie", "dutch"),
        ("Tesla Model 3", "latin"),
        ("Новости дня: главное", "cyrillic"),
        ("أخبار اليوم", "arabic"),
        ("東京の天気は", "kana"),
        ("北京新闻", "han"),
        ("오늘의 뉴스", "hangul"),
        ("123 !", "none"),
        ("", "none"),
    ],
)
def test_headlines_are_told_apart(text: str, language: str) -> None:
    assert language_of(text) == language


def test_ranges_do_not_overlap() -> None:
    ends = [0, *(high for _, high, _ in ALPHABETS)]
    assert all(low >= end for (low, _, _), end in zip(ALPHABETS, ends, strict=False))
    assert all(word == word.lower() for words in SMALL_WORDS.values() for word in words)
