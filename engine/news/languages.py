"""Guess the language of a headline from its alphabet and its small words, without a model.

What this can see: another alphabet (Russian, Arabic, Chinese, ...), and among texts in Latin
letters the seven languages whose small words are listed. What it cannot see: a language in Latin
letters that is not listed (it is ``latin``, as are texts too short to tell), languages that share
another alphabet (Russian and Ukrainian), and a single text for certain. It is meant for the mix
of many texts, where such errors are the same before and after.
"""

from __future__ import annotations

import re
from collections import Counter

LATIN_END = 0x250
"""Code points below this that are letters are Latin."""
ALPHABETS: tuple[tuple[int, int, str], ...] = (
    (0x370, 0x400, "greek"),
    (0x400, 0x530, "cyrillic"),
    (0x530, 0x590, "armenian"),
    (0x590, 0x600, "hebrew"),
    (0x600, 0x780, "arabic"),
    (0x900, 0x980, "devanagari"),
    (0x980, 0xA00, "bengali"),
    (0xA00, 0xB80, "indian"),
    (0xB80, 0xC00, "tamil"),
    (0xC00, 0xD80, "indian"),
    (0xE00, 0xE80, "thai"),
    (0x1E00, 0x1F00, "latin"),
    (0x3040, 0x3100, "kana"),
    (0x3400, 0xA000, "han"),
    (0xAC00, 0xD7B0, "hangul"),
)
"""Ranges of code points and the alphabet that their letters belong to."""
SMALL_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "english": "the of and to in for on with is at by from as after his her are was has be it "
        "that this how what who why says will not you your over new an its up out",
        "german": "der die das und ist im den von zu mit auf für nicht ein eine sich dem des nach "
        "bei aus wie auch wird sind vor zum zur über noch hat als",
        "french": "le la les des et est dans du une pour pas sur au avec qui que par plus ce ses "
        "son sa aux après selon leur être ont cette",
        "spanish": "el la los las y es en del una para por con que no su se más al lo como sus "
        "este sobre tras entre ha fue cómo según desde",
        "italian": "il la gli di e è del della dei delle per con che non una nel alla da al si "
        "sono come più ecco dopo anche ha sul le lo nella dal",
        "portuguese": "o os as e é em do da dos das no na para por com que não uma um mais ao se "
        "são pela pelo após como sobre diz vai à",
        "dutch": "de het een en is van in op voor met niet te zijn aan dat die door bij naar om "
        "ook als uit nog over wordt na heeft meer",
    }.items()
}
"""Frequent small words of the languages that are told apart."""
LANGUAGES_OF = {
    word: [name for name, small in SMALL_WORDS.items() if word in small]
    for word in frozenset().union(*SMALL_WORDS.values())
}
"""Languages that each small word belongs to."""
HITS_LEAST = 2
"""A text needs so many small words of a language to count as it."""
WORD = re.compile(r"[^\W\d_]+")


def alphabet_of(letter: str) -> str:
    """Return the alphabet of a letter.

    Examples
    --------
    >>> alphabet_of("é"), alphabet_of("ж"), alphabet_of("本")
    ('latin', 'cyrillic', 'han')
    """
    code = ord(letter)
    if code < LATIN_END:
        return "latin"
    return next((name for low, high, name in ALPHABETS if low <= code < high), "other")


def language_of(text: str) -> str:
    """Return the likeliest language of a text, or only its alphabet; ``none`` without letters.

    Examples
    --------
    >>> language_of("What is the plan for the next year?"), language_of("Was ist mit der Bahn?")
    ('english', 'german')
    >>> language_of("Новости дня"), language_of("Tesla"), language_of("2024")
    ('cyrillic', 'latin', 'none')
    """
    alphabets: Counter[str] = Counter()
    for letter, count in Counter(text).items():
        if letter.isalpha():
            alphabets[alphabet_of(letter)] += count
    if not alphabets:
        return "none"
    alphabet = min(alphabets, key=lambda name: (-alphabets[name], name))
    if alphabet != "latin":
        return "kana" if alphabet == "han" and alphabets["kana"] else alphabet
    hits: Counter[str] = Counter()
    for word in WORD.findall(text.lower()):
        hits.update(LANGUAGES_OF.get(word, ()))
    best = min(hits, key=lambda name: (-hits[name], name), default="")
    return best if hits[best] >= HITS_LEAST else alphabet
