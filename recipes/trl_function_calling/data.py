"""Conversations with tools: from the hub, a file of your own, BFCL, or generated."""

import random
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from common.data.conversations import load_conversations
from common.data.formats import Conversation, Recognised
from common.data.lesson import check_size, import_lesson
from common.data.notes import note
from common.data.parts import is_lesson, load_parts
from common.data.questions import group_of, take
from common.data.splits import check_num_held_out, find_splits, size_of_part
from common.data.stored import join, select
from common.errors import fail

import numpy as np

from arguments import CallingArguments
from bfcl import load_bfcl
from calls import calls_of, turns_of
from compare import schema_mistake
from metrics import check_gold

# --- Loading --------------------------------------------------------------------------------------------------------------


def convert(recognised: Recognised, row: dict[str, Any]) -> Conversation:
    """Returns what a row was read as, if the calls in it are right by the rules of the score.

    Raises:
        BadRow: If they are not.
    """
    check_gold(recognised.conversation)
    return recognised.conversation


def _say_misfits(rows: Iterable[Conversation]) -> None:
    """Says in how many conversations a right call has a value that its own tool's schema does not allow."""
    misfits: dict[str, str] = {}  # by where the conversation is, which weights may repeat
    for row in rows:
        for number, message in enumerate(row["messages"], start=1):
            for call in calls_of(message) if message.get("weight") != 0 else ():
                mistake = schema_mistake(call, row.get("tools") or [])
                if mistake:
                    misfits.setdefault(row["where"], f"message {number}: `{call.name}`: {mistake}")
    if misfits:
        where, what = next(iter(misfits.items()))
        note(
            f"conversations whose calls have a value that their tool's schema does not allow: {len(misfits)}. They stay as "
            f"they are; mend the call, or the schema. The first: {where}: {what}"
        )


def _mix(train: Sequence[Conversation], chat: Sequence[Conversation], seed: int) -> Sequence[Conversation]:
    """Puts chat in the place of as many training conversations, at random."""
    numbers = np.arange(len(train))
    numbers[random.Random(seed).sample(range(len(train)), len(chat))] = len(train) + np.arange(len(chat))
    return select(join(train, chat), numbers)


def load_data(
    args: CallingArguments, seed: int
) -> tuple[Sequence[Conversation], Sequence[Conversation], dict[str, Sequence[Conversation]]]:
    """Loads conversations to train on, conversations to choose by, and conversations that are reported on.

    Args:
        args: Names the data and says how much to use.
        seed: Seed of the generated training conversations; the held-out ones are the same for every seed.

    Returns:
        The training and validation conversations, and the held-out sets by name (see `common.data.splits`). `plain_chat`, where
        there is chat, shows what is forgotten. A folder of BFCL has held-out sets alone, its whole categories, whose rows have
        `answers`.

    Raises:
        SystemExit: With code 2 and one line if the data cannot be used.
    """
    if not 0 <= args.chat_share < 1 or (args.chat_share and args.dataset_name != "synthetic" and not args.chat_dataset_name):
        fail(f"chat_share is {args.chat_share:g}; use at least 0 and less than 1, with a chat_dataset_name to take it from")
    check_num_held_out(args.num_held_out)
    if list(Path(args.dataset_name).glob("BFCL_*.json")):
        return [], [], load_bfcl(args.dataset_name)  # whole: a part of a category is not the leaderboard's
    if is_lesson(args):
        check_size(args)
        if args.num_train < 1:
            fail(f"num_train is {args.num_train}: say how many conversations to generate, for example --num_train 7200")
        train, validation, held_out = import_lesson("synthetic").synthetic_splits(args.num_train, args.num_held_out, seed)
        generate_chat = import_lesson("plain_chat").generate_chat
        held_out["plain_chat"] = generate_chat(args.num_chat, seed=3, held_out=True)
        chat = generate_chat(round(args.chat_share * len(train)), seed=2000 + seed)
    else:
        train, validation, requests = load_parts(args, convert)
        if args.skip_bad_rows and train and not any(message.get("tool_calls") for row in train for message in row["messages"]):
            fail(f"{args.dataset_name}: no row with a call is left to train on; correct those that were left out")
        _say_misfits(chain(train, validation, requests))
        # The turns of a conversation are no independent evidence: the intervals know which belong together.
        turns = [turn | {"conversation": number} for number, row in enumerate(requests) for turn in turns_of(row)]
        held_out, chat = {"held_out": turns}, []
        if args.chat_dataset_name:
            held_out["plain_chat"], chat = load_chat(args)
        wanted = round(args.chat_share * len(train))
        if len(chat) < wanted:
            note(
                f"chat_share {args.chat_share:g} of {len(train)} conversations are {wanted}, and {args.chat_dataset_name} has "
                f"{len(chat)} to train on: their share is {len(chat) / len(train):.2g}"
            )
        chat = chat[:wanted]
    return _mix(train, chat, seed), validation, {name: rows for name, rows in held_out.items() if rows}


def load_chat(args: CallingArguments) -> tuple[Sequence[Conversation], Sequence[Conversation]]:
    """Loads plain chat to see what is forgotten, taken by the hash of its question, and plain chat that may be trained on.

    Args:
        args: Names the data and says how many conversations to hold out at most.
    """
    splits = load_conversations(args, name=args.chat_dataset_name)
    rows = splits[find_splits(splits)["train"]]
    return take(rows, group_of, size_of_part(len(rows), args.num_chat), questions_left=1)
