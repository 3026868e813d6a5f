"""Turns of a conversation as messages in OpenAI's form, whatever they are called: ShareGPT's dialects and OpenAI's in full."""

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from common.data.calls import read_calls, split_calls, split_results
from common.data.literals import read_value
from common.errors import BadRow

# Who speaks, by the names that data sets use.
SPEAKERS = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "bot", "model", "chatgpt", "chatbot", "ai"),
    "call": ("function_call", "tool_call", "tool_calls", "function-call"),
    "tool": ("tool", "observation", "function", "function_response", "tool_response", "ipython"),
}
ROLE_OF = {name: role for role, names in SPEAKERS.items() for name in names}
TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
THOUGHTS = ("thinking", "reasoning_content")
BLOCKS = {"tool_use", "tool_result", "thinking"}
SWITCHES = ("train", "training", "loss")  # what Axolotl and ms-swift call a `weight`, as truth values


def _text(content: Any, where: str) -> Any:
    """Returns a content as one text; what is neither a text nor parts of text is left for `check_conversation` to say."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind not in TEXT_PARTS:
            raise BadRow(f"{where}: a part of type `{kind}`, and this recipe reads texts alone; remove the part or the row")
        text = part.get("refusal" if kind == "refusal" else "text") if isinstance(part, dict) else part
        texts.append(text)
        if not isinstance(text, str):
            raise BadRow(f'{where}: a part without a text; write {{"type": "text", "text": ...}}')
    return "".join(texts)


def _without_pairs(turns: list[Any]) -> list[Any]:
    """Returns turns of which each has one speaker: some data sets write `{"human": ..., "assistant": ...}`."""
    found = []
    for turn in turns:
        speakers = [name for name in turn if str(name).lower() in ROLE_OF] if isinstance(turn, dict) else []
        is_pair = (
            len(speakers) > 1 and not {"role", "from"} & turn.keys() and all(isinstance(turn[name], str) for name in speakers)
        )
        found += [{"role": name, "content": turn[name]} for name in speakers] if is_pair else [turn]
    return found


def _without_blocks(turns: list[Any]) -> list[Any]:
    """Returns turns whose calls, results and thoughts stand beside their texts: Anthropic's are parts of the content."""
    found = []
    for turn in turns:
        parts = turn.get("content") if isinstance(turn, dict) else None
        kinds = [str(part.get("type")) if isinstance(part, dict) else "" for part in parts] if isinstance(parts, list) else []
        if not BLOCKS & set(kinds):
            found.append(turn)
            continue
        texts = [part for part, kind in zip(parts, kinds, strict=True) if kind not in BLOCKS]
        of = {block: [part for part, kind in zip(parts, kinds, strict=True) if kind == block] for block in BLOCKS}
        found += [
            {"role": "tool", "content": part.get("content"), "tool_call_id": part.get("tool_use_id")}
            for part in of["tool_result"]
        ]
        beside = {"tool_calls": of["tool_use"]} if of["tool_use"] else {}
        beside |= {THOUGHTS[-1]: "\n".join(str(part.get("thinking")) for part in of["thinking"])} if of["thinking"] else {}
        found += [turn | {"content": texts or None} | beside] if texts or beside else []
    return found


def _is_result(content: Any) -> bool:
    """Returns whether what a tool gave back is JSON, and no parts of text."""
    parts = content if isinstance(content, list) else [{}]
    return isinstance(content, dict | list) and not all(
        isinstance(part, dict) and part.get("type") in TEXT_PARTS for part in parts
    )


def _assistant(turn: dict[str, Any], content: Any, is_call: bool, offered: list[str], where: str) -> dict[str, Any]:
    calls = read_calls(turn["tool_calls"], where) if turn.get("tool_calls") is not None else []
    if turn.get("function_call") is not None:  # OpenAI's older form
        calls += read_calls(turn["function_call"], where)
    if is_call:
        calls, content = calls + read_calls(content, where), ""
    elif isinstance(content, str) and not calls:
        content, calls = split_calls(content, offered, where)
    message = {"role": "assistant", "content": "" if content is None and calls else content}
    for key in THOUGHTS:
        if turn.get(key) is not None:
            message[key] = turn[key]
    if not message.keys() & set(THOUGHTS) and turn.get("reasoning") is not None:  # vLLM's and OpenRouter's
        message[THOUGHTS[-1]] = turn["reasoning"]
    if any(turn.get(key) is False for key in SWITCHES):
        message["weight"] = 0
    if turn.get("weight") is not None:
        if turn["weight"] not in (0, 1):
            raise BadRow(f"{where}: `weight` is {turn['weight']!r}; write 1 for what is trained, 0 for what is only shown")
        message["weight"] = int(turn["weight"])
    return message | ({"tool_calls": calls} if calls else {})


def read_turns(turns: Any, offered: list[str]) -> list[dict[str, Any]]:
    """Reads the turns of a conversation.

    Args:
        turns: A list of objects with `role` and `content`, or `from` and `value`, perhaps as JSON text. A content may be a
            text, parts of text, or nothing beside calls; a tool's result also an object. Calls stand in `tool_calls`, in
            `function_call`, in a turn or a part of their own, or in the text; see `common.data.calls`.
        offered: Names of the tools, by which calls in a text are known.

    Returns:
        The messages. What has no role that is known is left as it is, for `check_conversation` to say.

    Raises:
        BadRow: If the turns are no list, or something in one cannot be read.
    """
    if isinstance(turns, str):
        try:
            turns = read_value(turns)
        except ValueError:
            turns = None
    if not isinstance(turns, list) or not turns:
        raise BadRow("no `messages`; write a list of {role, content}")
    messages: list[Any] = []
    for number, turn in enumerate(_without_blocks(_without_pairs(turns)), start=1):
        where = f"message {number}"
        said = turn.get("role", turn.get("from")) if isinstance(turn, dict) else None
        role = ROLE_OF.get(said.lower()) if isinstance(said, str) else None
        if role is None:
            messages.append({"role": said} if isinstance(turn, dict) else turn)
            continue
        content = turn.get("content", turn.get("value"))
        if role == "tool" and _is_result(content):
            content = json.dumps(content, ensure_ascii=False)
        content = _text(content, where)
        if role in ("assistant", "call"):
            messages.append(_assistant(turn, content, role == "call", offered, where))
        elif role == "tool":
            named = {key: turn[key] for key in ("tool_call_id", "name") if isinstance(turn.get(key), str)}
            results = split_results(content) if isinstance(content, str) else [content]
            messages += [{"role": "tool", "content": result} | named for result in results]
        else:
            messages.append({"role": role, "content": content})
    return messages


def in_words(messages: Sequence[dict[str, Any]]) -> str:
    """Returns a conversation on one line, shortened."""
    turns = []
    for message in messages:
        calls = [f"{call['function']['name']}({call['function']['arguments']})" for call in message.get("tool_calls", [])]
        turns.append(
            f"{message['role']}: {' '.join([textwrap.shorten(str(message.get('content') or ''), 60), *calls]).strip()}"
        )
    return textwrap.shorten(" | ".join(turns), 240, placeholder=" ...")
