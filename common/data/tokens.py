"""Conversations as tokens, of which only what the assistant writes is trained."""

from collections.abc import Callable
from itertools import groupby

from common.data.conversations import BadRow, Conversation
from common.errors import fail, say

from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import get_training_chat_template

IGNORED = -100  # the label of a token that is read and not trained; torch's default


def use_training_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Replaces the chat template by TRL's training variant of it, where there is one.

    Some templates write an assistant's turn in one way when it is the last and in another when more follows (Qwen3 drops the
    empty thoughts). What is trained would then differ from what is asked later, so the variant is saved with the model.
    """
    try:
        tokenizer.chat_template = get_training_chat_template(tokenizer) or tokenizer.chat_template
    except ValueError:  # no variant is known: `_trained_spans` checks that this template needs none
        return


def _trained_spans(
    conversation: Conversation, tokenizer: PreTrainedTokenizerBase, render_prompt: Callable[[list, list | None], str]
) -> tuple[str, list[tuple[int, int]]]:
    """Returns a conversation as text, and where in it the assistant's turns are, from first letter to end of turn."""
    messages, tools = conversation["messages"], conversation.get("tools") or None
    text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
    spans = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = render_prompt(messages[:index], tools)
        is_last = index == len(messages) - 1
        whole = text if is_last else tokenizer.apply_chat_template(messages[: index + 1], tools=tools, tokenize=False)
        whole = whole.rstrip("\n")
        if not whole.startswith(prompt) or not text.startswith(whole):
            raise BadRow(f"message {index + 1}: the chat template writes this turn differently once others follow")
        spans.append((len(prompt), len(whole)))
    return text, spans


def tokenize(
    conversations: list[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    where: str,
    skip_bad_rows: bool = False,
) -> Dataset:
    """Turns conversations into tokens and labels; only what the assistant writes is trained, its end of turn included.

    Args:
        conversations: Checked conversations; `where` of one names it in an error.
        tokenizer: The model's tokenizer, with its chat template.
        max_length: Longest conversation in tokens.
        where: Name of the data, for the others.
        skip_bad_rows: Leave out longer conversations, and say how many, instead of ending at the first.

    Returns:
        `input_ids` and `labels`, one token each; a label is -100 where nothing is trained.

    Raises:
        SystemExit: With code 2 for a conversation that is too long: cutting it would cut the answer or what it rests on.
    """
    input_ids, labels, first = [], [], None
    known: list = [None, None]

    def render_prompt(messages: list, tools: list | None) -> str:
        if known[0] != (messages, tools):  # the same question often comes again and again, with every picture for example
            text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
            known[:] = (messages, tools), text
        return known[1]

    for number, conversation in enumerate(conversations, start=1):
        try:
            text, spans = _trained_spans(conversation, tokenizer, render_prompt)
            encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            tokens, offsets = encoded["input_ids"], encoded["offset_mapping"]
            trained = [
                token if any(start <= begin and end <= stop for start, stop in spans) else IGNORED
                for token, (begin, end) in zip(tokens, offsets, strict=True)
            ]
            if len(tokens) > max_length:
                raise BadRow(
                    f"the conversation has {len(tokens)} tokens and max_length is {max_length}; raise it, shorten the "
                    "conversation, or leave such rows out with `--skip_bad_rows true`"
                )
            last = next((token for token in reversed(trained) if token != IGNORED), None)
            if last is None:
                raise BadRow("no token is trained: the chat template does not show what the assistant writes")
            if last != tokenizer.eos_token_id:
                raise BadRow(
                    f"the last trained token is `{tokenizer.decode([last])}`, not the end of turn `{tokenizer.eos_token}`: "
                    "the model would never learn to stop; use a tokenizer whose eos_token ends a turn"
                )
        except BadRow as error:
            if not skip_bad_rows:
                fail(f"{conversation.get('where', f'{where}, conversation {number}')}: {error}")
            first = first or f"{conversation.get('where', f'conversation {number}')}: {error}"
            continue
        input_ids.append(tokens)
        labels.append(trained)
    if first:
        left_out = len(conversations) - len(input_ids)
        say(f"Left out {left_out} of {len(conversations)} conversations of {where}. The first: {first}")
    if not input_ids:
        fail(f"{where} has no conversation that can be used. The first: {first}")
    return Dataset.from_dict({"input_ids": input_ids, "labels": labels})


def show_trained(row: dict[str, list[int]], tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns a row of `tokenize` as text, with what is trained between » and «."""
    pairs = zip(row["input_ids"], row["labels"], strict=True)
    runs = [(trained, [token for token, _ in run]) for trained, run in groupby(pairs, lambda pair: pair[1] != IGNORED)]
    return "".join(f"»{tokenizer.decode(tokens)}«" if trained else tokenizer.decode(tokens) for trained, tokens in runs)
