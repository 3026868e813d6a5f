"""The parts of a recipe's data: what is trained, what is chosen by and what is reported on."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from common.data.arguments import DataArguments
from common.data.conversations import load_conversations
from common.data.formats import Conversation, Recognised
from common.data.questions import content_of, group_of
from common.data.sources import mix
from common.data.splits import hold_out


def is_lesson(args: DataArguments) -> bool:
    """Returns whether the data are the recipe's own lesson; with rows of one's own to report on nothing of it is."""
    return args.dataset_name == "synthetic" and not args.test_dataset_name


def load_parts(
    args: DataArguments,
    convert: Callable[[Recognised, dict[str, Any]], Conversation] | None = None,
    *,
    preferred: str | None = None,
) -> tuple[Sequence[Conversation], Sequence[Conversation], Sequence[Conversation]]:
    """Loads conversations and holds some out, as `common.data.splits.hold_out` says.

    Args:
        args: Says which data, and how much of it.
        convert: See `conversations.load_conversations`.
        preferred: See `formats.recognise`.

    Returns:
        The training, validation and held-out conversations.

    Raises:
        SystemExit: With code 2 and one line if the data cannot be used.
    """
    splits = load_conversations(args, convert, preferred=preferred)
    train, validation, held_out = hold_out(
        splits,
        group_of,
        args.num_held_out,
        name=args.dataset_name if args.dataset_name != "synthetic" else args.test_dataset_name,
        content=content_of,
        drop_duplicates=args.drop_duplicates,
    )
    return mix(train, args.dataset_name, itemgetter("source"), group_of)[: args.num_train or None], validation, held_out
