"""Where the tokens of a text stand in it."""

from itertools import chain

from common.data.words import Words

import numpy as np
from transformers import PreTrainedTokenizerBase


class Offsets:
    """Tokens of texts, and which of them lie within spans of a text.

    The tokenizer's own offsets take a third of the time that it takes in all. A token of a vocabulary of bytes (GPT-2's, which
    Llama 3, Qwen, SmolLM and gpt-oss have as well) is as long as it has bytes, so that the sum of the lengths says where it
    stands. If the sum is not the text's length, or a span begins or ends within a token, the tokenizer is asked for offsets.

    Args:
        tokenizer: The model's tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.backend = tokenizer.backend_tokenizer
        self.words = Words(self.backend)
        self.widths: np.ndarray | None = None  # bytes of each token
        if "ByteLevel" in str(self.backend.pre_tokenizer):
            vocabulary = self.backend.get_vocab(with_added_tokens=True)
            self.widths = np.zeros(max(vocabulary.values()) + 1, np.int64)
            for token, number in vocabulary.items():
                self.widths[number] = len(token)  # a letter stands for a byte
            for number, added in self.backend.get_added_tokens_decoder().items():
                self.widths[number] = len(added.content.encode())

    def by_width(self, tokens: np.ndarray, text: str, spans: list[tuple[int, int]]) -> np.ndarray | None:
        """Returns which tokens lie within the spans, or None where the lengths of the tokens do not say it.

        Args:
            tokens: Those of the text, in its order.
            text: The text.
            spans: See `find`.
        """
        is_ascii = text.isascii()
        if not (is_ascii or self.backend.normalizer is None):
            return None
        ends = np.zeros(len(tokens) + 1, np.int64)  # of the tokens, behind one of no length
        self.widths[tokens].cumsum(out=ends[1:])
        if not len(tokens) or ends[-1] != (len(text) if is_ascii else len(text.encode())):
            return None
        # A space before a span may be a token whose offsets leave the space out, so that it stands within the span by them.
        if any(text[begin - 1] == " " for begin, _ in spans if begin):
            return None
        places = spans if is_ascii else [[len(text[:place].encode()) for place in span] for span in spans]
        borders = np.array(places, np.int64).reshape(-1, 2)
        firsts = ends[1:].searchsorted(borders, side="right")  # of each border the first token that ends behind it
        if (ends[firsts] != borders).any():
            return None
        is_within = np.zeros(len(tokens), bool)
        for first, behind in firsts:
            is_within[first:behind] = True
        return is_within

    def find(self, text: str, spans: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the tokens of a text, and which of them lie within spans.

        Args:
            text: The text.
            spans: Where each span begins and ends, in letters; in their order.
        """
        if self.widths is not None:
            tokens = np.array(self.words.encode(text), np.int32)
            if (is_within := self.by_width(tokens, text, spans)) is not None:
                return tokens, is_within
        encoded = self.backend.encode(text, add_special_tokens=False)
        offsets = np.fromiter(chain.from_iterable(encoded.offsets), np.int64).reshape(-1, 2)
        begins, ends = np.array(spans, np.int64).reshape(-1, 2).T
        turns = begins.searchsorted(offsets[:, 0], side="right") - 1  # the last span that begins before each token
        return np.array(encoded.ids, np.int32), (turns >= 0) & (offsets[:, 1] <= ends[turns])
