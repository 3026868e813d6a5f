"""Conversations to tune on: read from a hub data set or a file in any form, and checked row by row."""

import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from common.data.arguments import DataArguments
from common.data.calls import read_calls
from common.data.columns import read_columns, text_of_cell
from common.data.formats import Conversation, Recognised, recognise
from common.data.messages import ROLE_OF, THOUGHTS
from common.data.notes import LEFT_OUT, ROWS, note
from common.data.stored import join
from common.data.tools import check_tools
from common.errors import BadRow, fail, nearest

Row, Made = TypeVar("Row"), TypeVar("Made")
ROLES = ["system", "user", "assistant", "tool"]
FORMS = {
    "messages": "conversations",
    "pair": "questions and answers",
    "xlam": "questions and calls",
    "transcript": "conversations in one text",
}


# --- Reading ------------------------------------------------------------------------------------------------------------


def kind_of_mistake(why: str) -> str:
    """Returns what is wrong with a row without its names and numbers, so that rows of the same mistake can be counted."""
    what = re.sub(r"^(message|turn|tool) \d+: ", "", why).partition(";")[0]
    what = re.sub(r"`[^`]*`|\([^)]*\)|'[^']*'|\"[^\"]*\"", "...", what)
    return re.sub(r"\d+", "N", what)


def say_left_out(name: str, num_made: int, bad: dict[str, str]) -> None:
    """Says which rows were left out.

    Args:
        name: Of the data.
        num_made: How many rows were not.
        bad: Why the others cannot be used, by where they are.

    Raises:
        SystemExit: With code 2 and one line if no row is left.
    """
    first = next((f"{where}: {why}" for where, why in bad.items()), None)
    if not num_made:
        fail(f"{name} has no row that can be used; {f'the first: {first}' if first else 'it needs at least one'}")
    if bad:
        LEFT_OUT.update(bad)
        kinds = Counter(map(kind_of_mistake, bad.values())).most_common()
        counts = "; ".join(f"{count} x {kind}" for kind, count in kinds[:5]) + ("; ..." if len(kinds) > 5 else "")
        note(f"Left out {len(bad)} of {num_made + len(bad)} rows of {name}. The first: {first}. By kind: {counts}")


def use(
    rows: Iterable[tuple[str, Row]], make: Callable[[Row], Made], *, name: str, skip_bad_rows: bool = False
) -> Iterator[tuple[str, Made]]:
    """Makes something of each row as `usable` does, whose arguments and errors these are, one row at a time.

    Yields:
        Where a row is, and what was made of it. What was left out is said behind the last one.
    """
    bad, num_made = {}, 0
    for where, row in rows:
        try:
            made = make(row)
        except BadRow as error:
            if not skip_bad_rows:
                fail(f"{where}: {error}")
            bad[where] = str(error)
        else:
            num_made += 1
            yield where, made
    say_left_out(name, num_made, bad)


def usable(
    rows: Iterable[tuple[str, Row]], make: Callable[[Row], Made], *, name: str, skip_bad_rows: bool = False
) -> list[tuple[str, Made]]:
    """Makes something of each row, and ends at the first of which nothing can be made, or leaves such rows out and says so.

    Args:
        rows: Where each row is, and the row.
        make: Makes something of a row; raises `BadRow` where it cannot.
        name: Of the data, for what is printed.
        skip_bad_rows: Leave out the rows that cannot be used, and say how many of which kind, instead of ending at the first.

    Returns:
        Where each row is, and what was made of it.

    Raises:
        SystemExit: With code 2 and one line that names the file and the row.
    """
    return list(use(rows, make, name=name, skip_bad_rows=skip_bad_rows))


def _group_of(row: dict[str, Any], column: str) -> str:
    if row.get(column) is None:
        raise BadRow(f"no `{column}` to group by (found: {', '.join(map(str, row))}); fill it in")
    return text_of_cell(row[column], column)


def _say_recognised(source: str, forms: dict[str, list[Any]], group_by: str | None) -> None:
    for form, (count, first, columns, unread) in forms.items():
        others = [column for column in unread if column not in columns and column != group_by]
        read = ", ".join(columns) + (f"; not read: {', '.join(others)}" if others else "")
        note(f"{source}: {count} rows of {FORMS[form]} ({read}). The first: {first}")


def load_conversations(
    args: DataArguments,
    convert: Callable[[Recognised, dict[str, Any]], Conversation] | None = None,
    *,
    name: str | None = None,
    preferred: str | None = None,
) -> dict[str, Sequence[Conversation]]:
    """Loads conversations in any form that `common.data.formats` knows, checks every row, and says what was recognised.

    Args:
        args: Names the data, its columns and its groups, and says whether bad rows are left out.
        convert: Makes a conversation of what was recognised and of the row as it was read; raises `BadRow` where it cannot.
        name: Of other data than `args.dataset_name`, to be read in the same way.
        preferred: See `formats.recognise`.

    Returns:
        The conversations by split (see `rows.read_splits`), each with `where`, its file and row, `source`, the data set that it
        is of, and perhaps its `group`; a local file is one split. Those of a large file are on disk.

    Raises:
        SystemExit: With code 2 and one line that names the file and the row.
    """
    # These import data sets, which the form of a conversation does without.
    from common.data.collect import add_forms, collect
    from common.data.rows import read_sources

    mapped = read_columns(args.columns)
    if "images" in mapped:
        fail(f"columns images={mapped['images']}: this recipe reads no pictures; leave it out, or use ocr_vision_language")

    def make(row: dict[str, Any]) -> tuple[Conversation, Recognised]:
        recognised = recognise(row, mapped, preferred)
        check_conversation(recognised.conversation)
        conversation = convert(recognised, row) if convert else recognised.conversation
        if args.group_by is not None:
            conversation = conversation | {"group": _group_of(row, args.group_by)}
        return conversation, recognised

    parts: dict[str, list[Sequence[Conversation]]] = {}
    for source, splits in read_sources(args, name):
        forms: dict[str, list[Any]] = {}
        for split, rows in splits.items():
            made, found, bad = collect(rows, make, source, args, convert, preferred)
            say_left_out(f"{source} ({split})", len(made), bad)
            add_forms(forms, found)
            parts.setdefault(split, []).append(made)
            ROWS.extend(made)
        _say_recognised(source, forms, args.group_by)
    return {split: join(*found) for split, found in parts.items()}


# --- Checking -----------------------------------------------------------------------------------------------------------


def _check_calls(calls: list[dict[str, Any]], offered: list[str], where: str) -> None:
    for call in calls:
        name = call["function"]["name"]
        if name not in offered:
            hint = nearest(name, offered) or (
                f"; there is: {', '.join(offered)}"
                if offered
                else "; the row has no `tools`: write its definition there, or remove the row"
            )
            raise BadRow(f"{where}: a call to `{name}`, which is not among the row's tools{hint}")


def check_conversation(conversation: Conversation) -> None:
    """Checks a conversation: known roles, texts, an assistant turn, and calls that fit the tools offered.

    Args:
        conversation: `messages`, and perhaps `tools`, in OpenAI's form (see `common.data.messages.read_turns`).

    Raises:
        BadRow: Says which message is wrong, and the cure.
    """
    messages = conversation.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRow("no `messages`; write a list of {role, content}")
    offered = check_tools(conversation.get("tools") or [])
    for number, message in enumerate(messages, start=1):
        where = f"message {number}"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            word = reprlib.repr(role).strip("'")
            hint = nearest(word.lower(), list(ROLE_OF))
            raise BadRow(f"{where}: unknown role `{word}`{hint or '; use one of ' + ', '.join(ROLES)}")
        calls = read_calls(message.get("tool_calls") or [], where)
        for key in ("content", *THOUGHTS):
            text = message.get(key, "" if key in THOUGHTS or calls else None)
            if not isinstance(text, str):
                raise BadRow(f"{where}: the {key} must be a text, not {type(text).__name__}; write a text or remove the row")
        _check_calls(calls, offered, where)
        if role == "assistant" and not calls and not message.get("content", "").strip():
            raise BadRow(f"{where}: an empty answer, which would be learned; fill it in or remove the row")
    said = [message for message in messages if message["role"] == "assistant"]
    if not said:
        raise BadRow("no assistant turn, so there is nothing to learn from; add one or remove the row")
    if all(message.get("weight", 1) == 0 for message in said):
        raise BadRow("every assistant turn has the weight 0, so there is nothing to learn from; remove the row")
    if len(said) == len(messages):
        raise BadRow("nothing stands before what the assistant says; add what is asked, or remove the row")
