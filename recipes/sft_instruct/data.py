"""Questions and answers: letters to shareholders on the hub, a file of your own, or letters of invented companies."""

import reprlib
from collections.abc import Iterable
from functools import partial

from common.data.conversations import BadRow, Conversation, load_conversations
from common.data.lesson import check_size, import_lesson
from common.data.splits import check_num_held_out, hold_out, question_of

from arguments import InstructArguments

# --- Any data -----------------------------------------------------------------------------------------------------------


def to_conversation(row: dict, system_prompt: str) -> Conversation:
    """Makes a conversation of a row.

    Args:
        row: `question` and `answer`, or a conversation as it is: `messages`, perhaps with `tools`.
        system_prompt: Put before a question; a row with `messages` brings its own.

    Raises:
        BadRow: If a column is not there, or has no text.
    """
    if "messages" in row:
        return {key: row[key] for key in ("messages", "tools") if key in row}
    for column in ("question", "answer"):
        if column not in row:
            raise BadRow(
                f"no `{column}` (found: {', '.join(map(str, row)) or 'nothing'}); write `question` and `answer`, or `messages`"
            )
        if not isinstance(row[column], str) or not row[column].strip():
            raise BadRow(f"`{column}` must be a text, not {reprlib.repr(row[column])}; fill it in or remove the row")
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    user, assistant = {"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}
    return {"messages": [*system, user, assistant]}


def load_data(
    args: InstructArguments, seed: int
) -> tuple[list[Conversation], list[Conversation], dict[str, list[Conversation]]]:
    """Loads conversations to train on, conversations to choose by, and conversations that are reported on.

    Args:
        args: Names the data and says how many conversations to train on and to hold out.
        seed: Seed of the order of the generated training questions.

    Returns:
        The training and validation conversations, and the held-out sets by name; see `common.data.splits`. Of generated letters
        there are two: `held_out`, trained facts in wordings that were never trained, and `unseen_facts`, facts that were never
        trained.

    Raises:
        SystemExit: With code 2 and one line if the data cannot be used.
    """
    check_num_held_out(args.num_held_out)
    if args.dataset_name == "synthetic":
        check_size(args)
        return import_lesson("letters").synthetic_splits(args, seed)
    convert = partial(to_conversation, system_prompt=args.system_prompt)
    splits = load_conversations(args.dataset_name, convert, config=args.dataset_config, skip_bad_rows=args.skip_bad_rows)
    train, validation, held_out = hold_out(splits, question_of, args.num_held_out, name=args.dataset_name)
    return train[: args.num_train or None], validation, {"held_out": held_out}


def texts(conversations: Iterable[Conversation]) -> list[str]:
    """Returns what is said in conversations: what the tokenizer of a `tiny:` model is trained on."""
    return [message.get("content", "") for conversation in conversations for message in conversation["messages"]]
