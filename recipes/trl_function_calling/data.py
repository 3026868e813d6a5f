"""Conversations with tools: from the hub, a file of your own, BFCL, or generated."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.conversations import BadRow, Conversation, load_conversations
from common.errors import fail

from arguments import CallingArguments
from bfcl import load_bfcl
from metrics import Answer, Call, answers_of

# Who speaks, in data sets of the ShareGPT form and as chat templates name it.
SPEAKERS = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "tool": "tool"}


@dataclass(frozen=True)
class Request:
    """What a model is asked, and what is right.

    Attributes:
        messages: The conversation up to the turn that the model has to write.
        tools: The tools it may call.
        answers: The calls that are right; none where nothing is to be called.
        reply: The reference's text.
        kind: `call`, `no_call`, or the kind of a generated conversation.
    """

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    answers: list[Answer]
    reply: str
    kind: str


def to_request(conversation: Conversation) -> Request:
    """Returns the last assistant turn of a conversation as a request."""
    messages = conversation["messages"]
    last = max(index for index, message in enumerate(messages) if message["role"] == "assistant")
    calls = [call.get("function", call) for call in messages[last].get("tool_calls") or []]
    return Request(
        messages=messages[:last],
        tools=conversation.get("tools") or [],
        answers=answers_of([Call(call["name"], call["arguments"]) for call in calls]),
        reply=messages[last].get("content") or "",
        kind=conversation.get("kind") or ("call" if calls else "no_call"),
    )


# --- Rows of others -----------------------------------------------------------------------------------------------------


def _from_sharegpt(turns: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Turns ShareGPT turns, with calls written as <tool_call> blocks in the text, into messages."""
    messages = []
    for turn in turns:
        role, text = SPEAKERS.get(turn.get("from", ""), turn.get("from")), turn.get("value") or ""
        calls = []
        if role == "assistant" and "<tool_call>" in text:
            text, *blocks = text.split("<tool_call>")
            for block in blocks:
                try:
                    call = json.loads(block.split("</tool_call>")[0])
                    calls.append({"type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}})
                except (ValueError, KeyError, TypeError):
                    raise BadRow(f"a <tool_call> that is not JSON with a name and arguments: {block.strip()[:80]}") from None
        elif role == "tool":
            text = text.replace("<tool_response>", "").replace("</tool_response>", "").strip()
        elif role == "system":
            continue  # it describes the tools in words; the chat template writes its own description
        messages.append({"role": role, "content": text.strip()} | ({"tool_calls": calls} if calls else {}))
    return messages


def convert(row: dict[str, Any]) -> Conversation:
    """Makes a conversation of a row with `messages` or (ShareGPT) `conversations`, and `tools`, perhaps as JSON text.

    Raises:
        BadRow: If the row has neither, or something in it is not JSON.
    """
    tools = row.get("tools") or []
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except ValueError:
            raise BadRow("`tools` is a text that is not JSON") from None
    if "conversations" in row:
        return {"messages": _from_sharegpt(row["conversations"]), "tools": tools}
    if "messages" not in row:
        raise BadRow(f"no `messages` (found: {', '.join(row)}); write a list of {{role, content}}")
    return {"messages": row["messages"], "tools": tools}


# --- Loading --------------------------------------------------------------------------------------------------------------


def _mix(train: list[Conversation], chat: list[Conversation], seed: int) -> list[Conversation]:
    """Puts chat in the place of as many training conversations, at random."""
    train = list(train)
    for position, conversation in zip(random.Random(seed).sample(range(len(train)), len(chat)), chat, strict=True):
        train[position] = conversation
    return train


def load_data(
    args: CallingArguments, seed: int
) -> tuple[list[Conversation], dict[str, list[Conversation]], list[Conversation]]:
    """Loads conversations to train on, held-out ones, and plain chat to see what is forgotten.

    Args:
        args: Names the data and says how much to use.
        seed: Seed of the generated training conversations; the held-out ones are the same for every seed.

    Returns:
        The training conversations, the held-out ones by the name of the set, and the plain chat (perhaps none).

    Raises:
        SystemExit: With code 2 and one line if the data cannot be used.
    """
    if not 0 <= args.chat_share < 1 or (args.chat_share and args.dataset_name != "synthetic" and not args.chat_dataset_name):
        fail(f"chat_share is {args.chat_share:g}; use at least 0 and less than 1, with a chat_dataset_name to take it from")
    if args.num_held_out < 1:
        fail(f"num_held_out is {args.num_held_out}: without held-out requests nothing can be measured; use at least 1")
    if args.dataset_name == "synthetic":
        if args.num_train < 1:
            fail(f"num_train is {args.num_train}: say how many conversations to generate, for example --num_train 7200")
        # A copy of the recipe may do without the folder.
        from lesson.plain_chat import generate_chat
        from lesson.synthetic import generate_conversations, generate_unseen

        held_out = generate_conversations(args.num_held_out, seed=1, held_out=True)
        unseen = generate_unseen(max(1, args.num_held_out // 4), seed=2)
        train = generate_conversations(args.num_train, seed=1000 + seed)
        chat = generate_chat(args.num_chat, seed=3, held_out=True)
        train = _mix(train, generate_chat(round(args.chat_share * len(train)), seed=2000 + seed), seed)
        return train, {"held_out": held_out, "unseen_tools": unseen}, chat
    chat, kept = [], []
    if args.chat_dataset_name:
        found = load_conversations(args.chat_dataset_name, convert, skip_bad_rows=args.skip_bad_rows)["train"]
        chat, kept = found[: args.num_chat], found[args.num_chat :]
    splits = load_conversations(args.dataset_name, convert, config=args.dataset_config, skip_bad_rows=args.skip_bad_rows)
    train, held_out = splits["train"], splits.get("test", [])[: args.num_held_out]
    if not held_out:
        if len(train) <= args.num_held_out:
            fail(
                f"{args.dataset_name} has {len(train)} rows, of which num_held_out {args.num_held_out} would be held out; "
                "lower num_held_out or add rows"
            )
        train, held_out = train[: -args.num_held_out], train[-args.num_held_out :]
    train = train[: args.num_train or None]
    return _mix(train, kept[: round(args.chat_share * len(train))], seed), {"held_out": held_out}, chat


def load_requests(args: CallingArguments, seed: int) -> tuple[dict[str, list[Request]], list[Conversation]]:
    """Loads what evaluate.py asks: the held-out conversations of the training data, or the questions of a BFCL folder.

    Args:
        args: Names the data.
        seed: As in `load_data`.

    Returns:
        Requests by the name of the set, and plain chat (perhaps none).
    """
    if list(Path(args.dataset_name).glob("BFCL_*.json")):
        rows = load_bfcl(args.dataset_name)
        sets = {
            name: [
                Request(row["messages"], row["tools"], row["answers"], "", "call" if row["answers"] else "no_call")
                for row in found[: args.num_held_out]
            ]
            for name, found in rows.items()
        }
        return sets, []
    _, held_out, chat = load_data(args, seed)
    return {name: [to_request(conversation) for conversation in found] for name, found in held_out.items()}, chat
