"""Where in a conversation, as the chat template writes it, the assistant's turns stand."""

import re
import reprlib
from itertools import accumulate
from typing import Any

from common.data.formats import Conversation
from common.data.shown import check_shown
from common.errors import BadRow, brief

from transformers import PreTrainedTokenizerBase


def render(
    messages: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    tools: list[dict[str, Any]] | None = None,
    *,
    prompt: bool = False,
) -> str:
    """Returns messages as the chat template writes them.

    Args:
        messages: The messages.
        tokenizer: The model's tokenizer, with its chat template.
        tools: The tools offered.
        prompt: Whether the assistant is to continue them.

    Raises:
        BadRow: If the template cannot write them, or refuses to.
    """
    try:
        return tokenizer.apply_chat_template(messages, tools=tools or None, tokenize=False, add_generation_prompt=prompt)
    except Exception as error:  # a template raises what it likes, and whatever the values of a row make it stumble over
        raise BadRow(f"the chat template cannot write it ({brief(error)}); change the row, or take another model") from None


def _why_no_span(
    before: list[dict[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    tools: list[dict[str, Any]] | None,
    text: str,
    whole: str,
    prompt: str,
) -> str:
    """Returns why a turn cannot be trained: what would be asked for is not how it is written."""
    asked = render(before, tokenizer, tools)
    opening = prompt.removeprefix(asked)
    if not text.startswith(whole) or not whole.startswith(asked) or opening == prompt:
        return (
            "the chat template writes this turn differently once others follow; cut the conversation behind it, or take "
            "another model"
        )
    return (
        f"the chat template asks for this turn with {reprlib.repr(opening)} and then begins it in another way; give the turn "
        "a thought, or take one out of it, or take another model"
    )


def trained_spans(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> tuple[str, dict[int, tuple[int, int]]]:
    """Returns a conversation as text, and where in it the assistant's turns are, from first letter to end of turn.

    The turns are by the number of the message, from 0; those with the weight 0 are only shown and not among them.
    """
    messages, tools = conversation["messages"], conversation.get("tools")
    text = render(messages, tokenizer, tools)
    spans = {}
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or message.get("weight", 1) == 0:
            continue
        if index == 0:
            raise BadRow("message 1: nothing stands before what the assistant says; remove it, or give it `weight` 0")
        prompt = render(messages[:index], tokenizer, tools, prompt=True)
        is_last = index == len(messages) - 1
        whole = (text if is_last else render(messages[: index + 1], tokenizer, tools)).rstrip("\n")
        if not text.startswith(whole) or not whole.startswith(prompt):
            raise BadRow(f"message {index + 1}: {_why_no_span(messages[:index], tokenizer, tools, text, whole, prompt)}")
        spans[index] = (len(prompt), len(whole))
    return text, spans


# --- Of many conversations --------------------------------------------------------------------------------------------------

PLACEHOLDER = "\ue000{}\ue001"  # stands in for a content; letters of nobody's, from the range that Unicode leaves free
LITERAL = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")
SIGNS = re.compile(r"[^\w\s.,:;!?'\"()+-]")  # of a text that a template might look for in a content, such as `</think>`
PLAIN_KEYS = {"role", "content", "weight"}


def _looked_for(template: str) -> re.Pattern:
    """Returns a pattern of the texts that a chat template names and that are no words: it may look for them in a content."""
    written = [(first or second).replace("\\n", "\n").strip() for first, second in LITERAL.findall(template)]
    texts = sorted({text for text in written if SIGNS.search(text)} | {PLACEHOLDER[0]}, key=len)
    return re.compile("|".join(map(re.escape, texts)))


class Frames:
    """What a chat template writes around the contents of conversations, found once for all whose turns have the same roles.

    To find the spans of a conversation each turn is written with all that stands before it, which takes as long as the square
    of the turns. What is written around a content does not depend on it, unless the template looks for something in it. So a
    conversation whose contents hold nothing of what the template names is written once: if that is the known frame around its
    contents, the spans are known; any other conversation is written turn by turn.

    Args:
        tokenizer: The model's tokenizer, with its chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer
        self.looked_for = _looked_for(str(tokenizer.chat_template))
        # Of each sequence of roles the texts between the contents, and of each span the letters of the frame before its begin
        # and its end, each with how many contents; None where there is no such frame.
        self.known: dict[tuple, tuple[list[str], dict[int, list[tuple[int, int]]]] | None] = {}

    def _shape(self, conversation: Conversation) -> tuple | None:
        shape = []
        for message in conversation["messages"]:
            content = message.get("content")
            is_plain = isinstance(content, str) and content and content == content.strip() and message.keys() <= PLAIN_KEYS
            if not is_plain or self.looked_for.search(content):
                return None
            shape.append((message["role"], message.get("weight", 1) == 0))
        return None if conversation.get("tools") else tuple(shape)

    def _find(self, shape: tuple) -> tuple[list[str], dict[int, list[tuple[int, int]]]] | None:
        contents = [PLACEHOLDER.format(number) for number in range(len(shape))]
        messages = [
            {"role": role, "content": content} | ({"weight": 0} if is_shown else {})
            for (role, is_shown), content in zip(shape, contents, strict=True)
        ]
        try:
            text, spans = trained_spans({"messages": messages}, self.tokenizer)
            check_shown({"messages": messages}, text, spans)
        except BadRow:
            return None
        parts = re.split("|".join(map(re.escape, contents)), text)
        if _around(parts, contents) != text:
            return None
        begins = list(accumulate(map(len, parts[:-1])))  # of each content the letters of the frame before it

        def place(position: int) -> tuple[int, int] | None:
            before = [number for number, begin in enumerate(begins) if _end(begin, contents[: number + 1]) <= position]
            letters = position - sum(len(contents[number]) for number in before)
            is_between = len(before) == len(begins) or letters <= begins[len(before)]
            return (letters, len(before)) if is_between else None

        places = {turn: [place(begin), place(end)] for turn, (begin, end) in spans.items()}
        return None if any(None in found for found in places.values()) else (parts, places)

    def spans(self, conversation: Conversation) -> tuple[str, dict[int, tuple[int, int]], bool]:
        """Returns what `trained_spans` does, and whether it is by a frame, which shows all contents."""
        shape = self._shape(conversation)
        if shape is not None and shape not in self.known:
            self.known[shape] = self._find(shape)
        if shape is None or self.known[shape] is None:
            return *trained_spans(conversation, self.tokenizer), False
        parts, places = self.known[shape]
        contents = [message["content"] for message in conversation["messages"]]
        text = render(conversation["messages"], self.tokenizer)
        if text != _around(parts, contents):
            return *trained_spans(conversation, self.tokenizer), False
        lengths = [0, *accumulate(map(len, contents))]
        spans = {turn: tuple(letters + lengths[count] for letters, count in found) for turn, found in places.items()}
        return text, spans, True


def _end(begin: int, contents: list[str]) -> int:
    return begin + sum(map(len, contents))


def _around(parts: list[str], contents: list[str]) -> str:
    """Returns contents with the parts of a frame before, between and behind them; nothing if they are not as many."""
    if len(parts) != len(contents) + 1:
        return ""
    return "".join(text for pair in zip(parts, contents, strict=False) for text in pair) + parts[-1]
