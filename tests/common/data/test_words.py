"""Texts encoded word for word make the tokens of whole texts, with the pre-tokenizers of many families."""

import random

from common.data.words import Words
from common.models.tiny import WORDS, tiny_tokenizer

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

ENGLISH = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA = rf"{ENGLISH}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}{TAIL}"
QWEN = LLAMA.replace("{1,3}", "")
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
GPT_OSS = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+{ENGLISH}?|[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*{ENGLISH}?|\p{{N}}{{1,3}}"
    + TAIL.replace(r"[\r\n]*", r"[\r\n/]*")
)
GPT_2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
KNOWN = {
    "llama": LLAMA,
    "qwen": QWEN,
    "gpt_oss": GPT_OSS,
    "tiny": WORDS,
    "gpt_2": GPT_2,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), GPT_2]),
}
SIGNS = list("aBc's'LL1234.,!?/()<>|=_-" + " " * 12 + "\n\n\r\t\u00a0\u3000\u2028\x1c\x85\u180e\u200b\u00e9\u0301\u212b")
SIGNS += "e\u0301|\u4e2d\u6587|\u0915\u094d\u0937|\U0001f600|don't|the |  |\n | \n|!\n|/\n|:\n\n".split("|")
SIGNS += ["<|eot_id|>", "<|start_header_id|>", "<think>", "</think>", "<|eot_id", "|>", "<|eot_id|>x"]


def texts(count: int) -> list[str]:
    rng = random.Random(0)
    return ["".join(rng.choices(SIGNS, k=rng.randrange(1, 60))) for _ in range(count)]


def backend(words: str | pre_tokenizers.PreTokenizer) -> Tokenizer:
    """Returns a tokenizer in which what stands often together is one token, over spaces and signs too where it may be."""
    learned = ["".join(random.Random(1).choices(SIGNS, k=5000)), *["the a\n Bc's (the) \n\n the\n"] * 50]
    made = tiny_tokenizer(learned, "llama", 700, words=words if isinstance(words, str) else r"[^<]+").backend_tokenizer
    if not isinstance(words, str):
        made.pre_tokenizer = words
    made.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=True)])
    made.add_special_tokens(["<|eot_id|>x"])
    return made


def whole(made: Tokenizer, text: str) -> list[int]:
    return made.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("family", KNOWN)
def test_the_same_tokens(family: str, composed: bool, monkeypatch: pytest.MonkeyPatch):
    made = backend(KNOWN[family])
    if composed:
        made.normalizer = normalizers.NFC()
    words = Words(made)
    assert words.is_by_word
    monkeypatch.setattr("common.data.words.MOST", 1000)  # so that most words are not kept
    some_new = [f"the the{' the' * 9} x{number}" for number in range(9)]
    for text in ["the the", *texts(400), *some_new, "", " ", "a", " a", "a ", "\n"]:
        assert words.encode(text) == whole(made, text), repr(text)
    assert 1000 < sum(map(len, words.known)) == words.letters < 3000


PREFIXED = pre_tokenizers.ByteLevel(add_prefix_space=True)
OTHERS = {
    "over spaces": r"[^<]+|\s+",
    "space behind": r"\p{L}+ ?|[^\s\p{L}]+|\s+",
    "any letter": r" ?.|\s+",
    "separators": r"[\p{L}\p{Z}]+|\s+",
    "no white space": r" ?\p{L}+| ?[^\s\p{L}]+",
    "not cut": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    "prefix": PREFIXED,
    "joined": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA), "merged_with_next"), GPT_2]),
    "inverted": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA), "isolated", invert=True), GPT_2]),
    "by words": pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), GPT_2]),
    "none": None,
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_encoded_whole(name: str):
    made = backend(OTHERS[name] or GPT_2)
    if OTHERS[name] is None:
        made.pre_tokenizer = pre_tokenizers.Sequence([])
    words = Words(made)
    assert not words.is_by_word
    assert all(words.encode(text) == whole(made, text) for text in texts(30))


@pytest.mark.parametrize("how", [{"content": "a B"}, {"lstrip": True}, {"rstrip": True}, {"single_word": True}], ids=str)
def test_added_tokens_that_look_around(how: dict):
    made = backend(LLAMA)
    made.add_tokens([AddedToken(**{"content": "<x>"} | how)])
    assert not Words(made).is_by_word


def test_settings_that_change_tokens():
    made = backend(LLAMA)
    made.normalizer = normalizers.NFKC()  # makes a space of wide ones
    assert not Words(made).is_by_word
    made = backend(LLAMA)
    made.model = models.BPE(made.get_vocab(), [], dropout=0.1)
    assert not Words(made).is_by_word
    made = backend(LLAMA)
    made.encode_special_tokens = True
    assert not Words(made).is_by_word


def test_a_word_is_encoded_once():
    made, text = backend(GPT_2), "the cat and the<|eot_id|>\n the cat"
    words = Words(made)
    found = words.encode(text)
    assert sorted(words.known) == ["\n the", " and", " cat", " the", "<|eot_id|>", "the"]
    words.backend = None  # it is not asked again
    assert words.encode(text) == found
