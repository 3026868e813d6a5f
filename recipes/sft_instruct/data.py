"""Questions and answers: letters to shareholders on the hub, a file of your own, or letters of invented companies."""

from collections.abc import Iterable
from functools import partial

from common.data.conversations import BadRow, Conversation, load_conversations
from common.errors import fail

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
            raise BadRow(f"`{column}` must be a text, not {row[column]!r}; fill it in or remove the row")
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    user, assistant = {"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}
    return {"messages": [*system, user, assistant]}


def load_data(args: InstructArguments, seed: int) -> tuple[list[Conversation], dict[str, list[Conversation]]]:
    """Loads conversations to train on and conversations that are never trained on.

    Args:
        args: Names the data and says how many conversations to train on and to hold out.
        seed: Seed of the order of the generated training questions.

    Returns:
        The training conversations, and the held-out sets by name. Of generated letters there are two: `held_out`, trained facts
        in wordings that were never trained, and `unseen_facts`, facts that were never trained.

    Raises:
        SystemExit: With code 2 and one line if the data cannot be used.
    """
    if args.num_held_out < 1:
        fail(f"num_held_out is {args.num_held_out}: without held-out questions nothing can be measured; use at least 1")
    if args.dataset_name == "synthetic":
        # A copy of the recipe may do without the folder.
        from lesson.letters import HELD_OUT_WORDINGS, TRAINED_WORDINGS, ask, generate_facts

        facts, unseen = generate_facts()
        train = ask(facts, TRAINED_WORDINGS, args.system_prompt, seed)
        held_out = {
            "held_out": ask(facts, HELD_OUT_WORDINGS, args.system_prompt, seed=1)[: args.num_held_out],
            "unseen_facts": ask(unseen, HELD_OUT_WORDINGS, args.system_prompt, seed=2)[: args.num_held_out],
        }
        return train[: args.num_train or None], held_out
    convert = partial(to_conversation, system_prompt=args.system_prompt)
    splits = load_conversations(args.dataset_name, convert, config=args.dataset_config, skip_bad_rows=args.skip_bad_rows)
    train = splits["train"]
    if "test" in splits:
        held_out = splits["test"][: args.num_held_out]
    else:
        if len(train) <= args.num_held_out:
            fail(
                f"{args.dataset_name} has {len(train)} rows, of which num_held_out {args.num_held_out} would be held out; "
                "lower num_held_out or add rows"
            )
        train, held_out = train[: -args.num_held_out], train[-args.num_held_out :]
    return train[: args.num_train or None], {"held_out": held_out}


def texts(conversations: Iterable[Conversation]) -> list[str]:
    """Returns what is said in conversations: what the tokenizer of a `tiny:` model is trained on."""
    return [message["content"] for conversation in conversations for message in conversation["messages"]]
