"""What a limit of generation makes impossible, said before a model answers."""

from typing import TYPE_CHECKING

from common.errors import say

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def warn_of_cut_references(references: dict[str, list[str]], tokenizer: "PreTrainedTokenizerBase", max_new_tokens: int) -> None:
    """Says how many references are longer than an answer may be: no model could be right there.

    Args:
        references: The right answers as text, by the name of their set.
        tokenizer: Counts their tokens; the token that ends an answer is one more.
        max_new_tokens: Where an answer is cut.
    """
    for name, texts in references.items():
        lengths = [len(tokens) + 1 for tokens in tokenizer(texts, add_special_tokens=False)["input_ids"]] if texts else []
        cut = sum(length > max_new_tokens for length in lengths)
        if cut:
            say(
                f"Warning: max_new_tokens {max_new_tokens} cuts {cut} of {len(texts)} references of {name}, so none of these "
                f"can be answered right; the longest needs {max(lengths)}."
            )
