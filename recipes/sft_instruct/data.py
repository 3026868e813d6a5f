"""Questions and answers: letters to shareholders on the hub, a file of your own, or letters of invented companies."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from common.data.formats import Conversation, Recognised
from common.data.lesson import check_size, import_lesson
from common.data.parts import is_lesson, load_parts
from common.data.splits import check_num_held_out
from common.data.turns import last_asked
from common.measure.problems import with_boxed_answer

from arguments import InstructArguments

# --- Any data -----------------------------------------------------------------------------------------------------------


def with_system_prompt(recognised: Recognised, row: dict[str, Any], system_prompt: str) -> Conversation:
    """Puts the system prompt before a question.

    Args:
        recognised: What a row was read as, see `common.data.formats`.
        row: The row.
        system_prompt: Not put before messages, nor before a question with a system prompt of its own.
    """
    conversation = recognised.conversation
    if not system_prompt or recognised.form == "messages" or conversation["messages"][0]["role"] == "system":
        return conversation
    return conversation | {"messages": [{"role": "system", "content": system_prompt}, *conversation["messages"]]}


def with_box(conversation: Conversation, column: str) -> Conversation:
    """Writes the last answer of a conversation, read from a column, as it is rewarded: see `problems.with_boxed_answer`."""
    *turns, last = conversation["messages"]
    solution = last.get("content") or "" if last["role"] == "assistant" else ""
    return conversation | {"messages": [*turns, last | {"content": with_boxed_answer(solution, column)}]}


def load_data(
    args: InstructArguments, seed: int
) -> tuple[Sequence[Conversation], Sequence[Conversation], dict[str, Sequence[Conversation]]]:
    """Loads conversations to train on, conversations to choose by, and conversations that are reported on.

    Args:
        args: Names the data and says how many conversations to train on and to hold out.
        seed: Seed of the order of the generated training questions.

    Returns:
        The training and validation conversations, and the held-out sets by name (see `common.data.splits`), whose conversations
        end with the last answer that is learned. Of generated letters there are two: `held_out`, trained facts in wordings that
        were never trained, and `unseen_facts`, facts that were never trained.

    Raises:
        SystemExit: With code 2 and one line if the data cannot be used.
    """
    check_num_held_out(args.num_held_out)
    if is_lesson(args):
        check_size(args)
        return import_lesson("letters").synthetic_splits(args, seed)

    def convert(recognised: Recognised, row: dict[str, Any]) -> Conversation:
        conversation = with_system_prompt(recognised, row, args.system_prompt)
        return with_box(conversation, recognised.answer) if args.boxed_answers else conversation

    train, validation, held_out = load_parts(args, convert)
    return train, validation, {"held_out": [row | {"messages": last_asked(row["messages"])} for row in held_out]}


def texts(conversations: Iterable[Conversation]) -> Iterator[str]:
    """Yields what is said in conversations: what the tokenizer of a `tiny:` model is trained on."""
    for conversation in conversations:
        yield from (message.get("content", "") for message in conversation["messages"])
