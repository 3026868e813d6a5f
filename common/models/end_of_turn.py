"""How a turn ends: the token that is learned and at which generation stops, and padding, which is another one."""

from common.data.templates import END_OF_DOCUMENT
from common.data.tokens import render
from common.errors import BadRow

from transformers import PreTrainedTokenizerBase

# What families with no padding token of their own (Llama 3) keep for it.
PAD_TOKENS = ["<|finetune_right_pad_id|>", "<|endoftext|>", "<|end_of_text|>", "<pad>"]


def _end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns the token with which the chat template ends what the assistant says."""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    text = render(turns, tokenizer).rstrip()
    if not all(turn["content"] in text for turn in turns):
        raise BadRow("the chat template does not show what is said")
    return tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"][-1])


def set_end_of_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    """Makes the end of turn the token at which generation stops, and padding another token, if the tokenizer has one.

    Base models end a document (`<|end_of_text|>`) and know no turns: tuned on turns, they would never stop. A template that
    ends a conversation of several turns in this way leaves it out if its turns have an end of their own.

    Args:
        tokenizer: The model's tokenizer, with its chat template as one text.

    Raises:
        BadRow: If the template cannot write a conversation, or leaves out what is said.
    """
    template = tokenizer.chat_template
    tokenizer.chat_template = END_OF_DOCUMENT.sub(r"\1", template)
    last = _end_of_turn(tokenizer)
    if last not in tokenizer.get_added_vocab():
        tokenizer.chat_template = template
        last = _end_of_turn(tokenizer)
    if last in tokenizer.get_added_vocab():
        tokenizer.eos_token = last
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        spare = [token for token in PAD_TOKENS if token in tokenizer.get_added_vocab() and token != tokenizer.eos_token]
        tokenizer.pad_token = spare[0] if spare else tokenizer.eos_token
