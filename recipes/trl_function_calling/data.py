"""Conversations with tools: from the hub, a file of your own, BFCL, or generated."""

import json
import random
from pathlib import Path
from typing import Any

from common.data.conversations import BadRow, Conversation, check_conversation, load_conversations
from common.data.lesson import import_lesson
from common.data.splits import check_num_held_out, find_splits, hold_out, question_of, size_of_part, take
from common.errors import fail

from arguments import CallingArguments
from bfcl import load_bfcl
from metrics import check_gold

# Who speaks, in data sets of the ShareGPT form and as chat templates name it.
SPEAKERS = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "tool": "tool"}


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
        BadRow: If the row has neither, something in it is not JSON, or a call is wrong by the rules of the score.
    """
    tools = row.get("tools") or []
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except ValueError:
            raise BadRow("`tools` is a text that is not JSON") from None
    if "conversations" in row:
        conversation = {"messages": _from_sharegpt(row["conversations"]), "tools": tools}
    elif "messages" in row:
        conversation = {"messages": row["messages"], "tools": tools}
    else:
        raise BadRow(f"no `messages` (found: {', '.join(row)}); write a list of {{role, content}}")
    check_conversation(conversation)
    check_gold(conversation)
    return conversation


# --- Loading --------------------------------------------------------------------------------------------------------------


def _mix(train: list[Conversation], chat: list[Conversation], seed: int) -> list[Conversation]:
    """Puts chat in the place of as many training conversations, at random."""
    train = list(train)
    for position, conversation in zip(random.Random(seed).sample(range(len(train)), len(chat)), chat, strict=True):
        train[position] = conversation
    return train


def load_data(
    args: CallingArguments, seed: int
) -> tuple[list[Conversation], list[Conversation], dict[str, list[Conversation]]]:
    """Loads conversations to train on, conversations to choose by, and conversations that are reported on.

    Args:
        args: Names the data and says how much to use.
        seed: Seed of the generated training conversations; the held-out ones are the same for every seed.

    Returns:
        The training and validation conversations, and the held-out sets by name (see `common.data.splits`). `plain_chat`, where
        there is chat, shows what is forgotten. A folder of BFCL has held-out sets alone, whose rows have `answers`.

    Raises:
        SystemExit: With code 2 and one line if the data cannot be used.
    """
    if not 0 <= args.chat_share < 1 or (args.chat_share and args.dataset_name != "synthetic" and not args.chat_dataset_name):
        fail(f"chat_share is {args.chat_share:g}; use at least 0 and less than 1, with a chat_dataset_name to take it from")
    check_num_held_out(args.num_held_out)
    if list(Path(args.dataset_name).glob("BFCL_*.json")):
        return [], [], {name: rows[: args.num_held_out] for name, rows in load_bfcl(args.dataset_name).items()}
    if args.dataset_name == "synthetic":
        if args.num_train < 1:
            fail(f"num_train is {args.num_train}: say how many conversations to generate, for example --num_train 7200")
        train, validation, held_out = import_lesson("synthetic").synthetic_splits(args.num_train, args.num_held_out, seed)
        generate_chat = import_lesson("plain_chat").generate_chat
        held_out["plain_chat"] = generate_chat(args.num_chat, seed=3, held_out=True)
        chat = generate_chat(round(args.chat_share * len(train)), seed=2000 + seed)
    else:
        splits = load_conversations(args.dataset_name, convert, config=args.dataset_config, skip_bad_rows=args.skip_bad_rows)
        train, validation, requests = hold_out(splits, question_of, args.num_held_out, name=args.dataset_name)
        train, held_out, chat = train[: args.num_train or None], {"held_out": requests}, []
        if args.chat_dataset_name:
            held_out["plain_chat"], chat = load_chat(args)
        chat = chat[: round(args.chat_share * len(train))]
    return _mix(train, chat, seed), validation, {name: rows for name, rows in held_out.items() if rows}


def load_chat(args: CallingArguments) -> tuple[list[Conversation], list[Conversation]]:
    """Loads plain chat to see what is forgotten, taken by the hash of its question, and plain chat that may be trained on.

    Args:
        args: Names the data and says how many conversations to hold out at most.
    """
    splits = load_conversations(args.chat_dataset_name, convert, skip_bad_rows=args.skip_bad_rows)
    rows = splits[find_splits(splits)["train"]]
    return take(rows, question_of, size_of_part(len(rows), args.num_chat), questions_left=1)
