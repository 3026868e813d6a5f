"""What rows ask, as hashes: which ask the same, and which are taken by them, whatever the order of the rows and the seed."""

import json
import unicodedata
from collections.abc import Callable, Hashable, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from common.data.files import Written
from common.data.stored import DIGEST, Stored, select

import numpy as np

Row = TypeVar("Row")


def normalize_question(question: str) -> str:
    """Returns a question without what makes no other question of it: case, white space and compatible forms of characters."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split())


def question_of(conversation: dict[str, Any]) -> str:
    """Returns what is asked first: all that the user says before the first answer, or, without a user, all that is said."""
    asked = []
    for message in conversation["messages"]:
        if message["role"] == "assistant":
            break
        asked += [message.get("content", "")] * (message["role"] == "user")
    return "\n".join(asked or [str(message.get("content")) for message in conversation["messages"]])


def group_of(conversation: dict[str, Any]) -> str:
    """Returns what decides whether a conversation is held out: its `group` if it has one, else its question."""
    return conversation.get("group") or question_of(conversation)


def content_of(conversation: dict[str, Any]) -> str:
    """Returns all that is said in a conversation, to find those that are the same."""
    return normalize_question(json.dumps(conversation["messages"], ensure_ascii=False, sort_keys=True, default=str))


def digest_of(question: str) -> bytes:
    """Returns the hash of a question, 16 bytes: the same for all that `normalize_question` does not tell apart."""
    return blake2b(normalize_question(question).encode(errors="replace"), digest_size=DIGEST).digest()


def digest_of_content(content: Hashable) -> bytes:
    """Returns the hash of a content, 16 bytes: a text, or anything by what Python writes of it."""
    text = content if isinstance(content, str) else repr(content)
    return blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST).digest()


def exact_of(conversation: dict[str, Any]) -> str:
    """Returns all that a conversation's tokens depend on: 1.50 and 1.5 are the same number, and other tokens."""
    return json.dumps(_lossless([conversation["messages"], conversation.get("tools")]))


def _lossless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lossless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_lossless(item) for item in value]
    return {"written": str(value)} if isinstance(value, Written) else value


# The hashes that rows on disk have beside them, made as they were read; of those in memory they are made when asked for.
HASHES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], bytes]]] = {
    "question": (group_of, digest_of),
    "content": (content_of, digest_of_content),
    "exact": (exact_of, digest_of_content),
}


def digests(rows: Sequence[Row], of: Callable[[Row], Any], digest: Callable[[Any], bytes]) -> np.ndarray:
    """Returns a hash of something in each row, as two numbers in the order of its bytes: of shape (rows, 2).

    Args:
        rows: The rows.
        of: Returns what it is a hash of.
        digest: Returns the hash.
    """
    kept = next((name for name, made in HASHES.items() if made == (of, digest)), None)
    found = rows.digests(kept) if isinstance(rows, Stored) and kept else None
    if found is None:
        found = bytearray()
        for row in rows:
            found += digest(of(row))
        found = np.frombuffer(found, ">u8").reshape(-1, 2)
    return found.astype(np.uint64)


class Questions:
    """The rows of each question, in the order of the questions' hashes.

    A question that a tenth of all rows share stands last, whatever its hash: with it hardly anything would be left to train.
    """

    def __init__(self, rows: Sequence[Row], question: Callable[[Row], str]):
        keys = digests(rows, question, digest_of)
        order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable: rows of a question stay in their order
        keys = keys[order]
        begins = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)]) if len(keys) else np.zeros(0, np.int64)
        self.counts = np.diff(np.r_[begins, len(keys)])
        self.is_common = self.counts > max(1, len(keys) // 10)
        by_rank = np.argsort(self.is_common, kind="stable")
        self.rows, self.keys = order, keys[begins]
        self.begins, self.counts, self.keys = begins[by_rank], self.counts[by_rank], self.keys[by_rank]
        self.is_common = self.is_common[by_rank]

    def __len__(self) -> int:
        return len(self.begins)

    def within(self, low: float, high: float) -> np.ndarray:
        """Returns which questions' hashes lie in a share of all hashes."""
        edges = [divmod(int(edge * 2**128), 2**64) for edge in (low, high)]
        is_less = [
            (self.keys[:, 0] < first) | ((self.keys[:, 0] == first) & (self.keys[:, 1] < second)) for first, second in edges
        ]
        return ~is_less[0] & is_less[1]

    def rows_of(self, question: int) -> np.ndarray:
        return self.rows[self.begins[question] :][: self.counts[question]]


def partition(rows: Sequence[Row], taken: Sequence[np.ndarray]) -> tuple[Sequence[Row], Sequence[Row]]:
    """Returns the rows that are taken and the others, both in their order.

    Args:
        rows: The rows.
        taken: The numbers of rows that are taken, in several arrays.
    """
    is_taken = np.zeros(len(rows), bool)
    is_taken[np.concatenate([np.zeros(0, np.int64), *taken])] = True
    return select(rows, np.flatnonzero(is_taken)), select(rows, np.flatnonzero(~is_taken))


def order_by_hash(rows: Sequence[Row], question: Callable[[Row], str]) -> np.ndarray:
    """Returns the numbers of rows in the order of the hashes of their questions."""
    keys = digests(rows, question, digest_of)
    return np.lexsort((keys[:, 1], keys[:, 0]))


def take(
    rows: Sequence[Row], question: Callable[[Row], str], count: int, *, questions_left: int = 0
) -> tuple[Sequence[Row], Sequence[Row]]:
    """Takes the rows whose questions have the smallest hashes; those of a question stay together.

    So it depends on the questions alone which rows are taken, not on a seed, a recipe, a format or the order of the rows, and
    fewer rows are a part of more.

    Args:
        rows: The rows.
        question: Returns what is asked in a row; rows that differ only as `normalize_question` ignores ask the same.
        count: How many to take at most; all rows of the first question are taken even if they are more.
        questions_left: At least so many questions are not taken.

    Returns:
        The rows taken and the others, both in their order.
    """
    questions, taken, left = Questions(rows, question), [], count
    for number in range(len(questions) - questions_left):
        if count < 1 or (taken and questions.counts[number] > left):
            break
        taken.append(questions.rows_of(number))
        left -= questions.counts[number]
    return partition(rows, taken)
