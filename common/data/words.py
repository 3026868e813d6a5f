"""Tokens of texts whose words come again and again: each is encoded once."""

import json
import re
from itertools import chain

from tokenizers import Tokenizer, models

MOST = 2**20  # letters of the words that are kept
FEW = 1 / 5  # of a text's words: to encode a word by itself takes some three times as long as within a text
# A text from a space behind another sign to the next such space; the space is no tab, line end or wide one.
WORD = re.compile(r"\s*\S+(?:[^\S ]\s*\S*)*|\s+")
NEVER = re.compile("(?!)")

# --- Tokenizers for which it is so ----------------------------------------------------------------------------------------

# Parts of a regular expression that match no space, those that may match one sign before them, and those of white space alone.
KIND = r"\\p\{[LMNPS]\w?\}"
SPACELESS = rf"(?:{KIND}|\[(?:{KIND}|\\r|\\n|/)+\]|\[\^\\s(?:{KIND})*\]|\(\?i:'s(?:\|'\w+)+\))(?:[?*+]|\{{1,3\}})?"
FIRST = rf"(?: \?|\[\^\\r\\n(?:{KIND})*\]\?)"
BLANK = r"(?:(?:\\s|\[\\r\\n\])[*+])+(?:\(\?!\\S\))?"
AT_SPACES = re.compile(rf"(?:(?:{FIRST}?(?:{SPACELESS})+|{BLANK})\|)+\\s\+")


def splits_at_spaces(backend: Tokenizer) -> bool:
    r"""Returns whether no token goes over a space behind another sign, so that the text on either side is encoded alone.

    It is so if the text is first cut by a regular expression each match of which has a space as its first sign only or is white
    space alone, and which by its last part, `\s+`, matches at every space. So are those of GPT-2, Llama 3, Qwen and gpt-oss.

    Args:
        backend: The tokenizer.
    """
    model, added = backend.model, backend.get_added_tokens_decoder().values()
    if not isinstance(model, models.BPE) or model.dropout or backend.encode_special_tokens:
        return False
    if any(" " in token.content or token.lstrip or token.rstrip or token.single_word for token in added):
        return False
    described = Tokenizer(models.BPE())  # as JSON without the vocabulary, which is long
    described.normalizer, described.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    parts = json.loads(described.to_str())
    if parts["normalizer"] not in (None, {"type": "NFC"}):  # no character is composed with a space
        return False
    stages = parts["pre_tokenizer"] or {}
    *before, last = stages.get("pretokenizers") or [stages]
    if last.get("type") != "ByteLevel" or last["add_prefix_space"]:
        return False
    splits = [stage for stage in before if stage["type"] != "Digits"]
    if any(stage["type"] != "Split" or stage["behavior"] != "Isolated" or stage["invert"] for stage in splits):
        return False
    patterns = [stage["pattern"].get("Regex", "") for stage in splits]
    return all(map(AT_SPACES.fullmatch, patterns)) and (bool(patterns) or last["use_regex"])


# --- Words ----------------------------------------------------------------------------------------------------------------


class Words:
    """Encodes texts, word for word where that makes the same tokens; a word that was encoded before is looked up.

    Args:
        backend: The tokenizer, which is to cut and pad nothing.
    """

    def __init__(self, backend: Tokenizer):
        self.backend = backend
        self.is_by_word = splits_at_spaces(backend)
        # These are found in a text before anything else, the longest where several begin at one place.
        added = [token.content for token in backend.get_added_tokens_decoder().values() if not token.normalized]
        marks = "|".join(map(re.escape, sorted(added, key=len, reverse=True)))
        self.marks = re.compile(f"({marks})") if marks else NEVER
        self.known: dict[str, list[int]] = {}
        self.letters = 0

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return [encoded.ids for encoded in self.backend.encode_batch_fast(texts, add_special_tokens=False)]

    def encode(self, text: str) -> list[int]:
        """Returns the tokens of a text; it adds none."""
        if not self.is_by_word:
            return self._encode([text])[0]
        words = [word for part in self.marks.split(text) for word in WORD.findall(part)]
        new = list(set(words).difference(self.known))
        is_full = self.letters > MOST
        if is_full and len(new) > FEW * len(words):
            return self._encode([text])[0]
        if new:
            self.known.update(zip(new, self._encode(new), strict=True))
        tokens = list(chain.from_iterable(map(self.known.get, words)))
        if is_full:
            for word in new:
                del self.known[word]
        else:
            self.letters += sum(map(len, new))
        return tokens
