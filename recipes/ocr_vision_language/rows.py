"""A row as it was read, in whatever form: its pictures, what is asked about them, and what is learned."""

import reprlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.data.columns import find_columns, heading, misspelt, text_of_cell
from common.data.conversations import check_conversation
from common.data.formats import recognise
from common.data.literals import read_value
from common.data.picture_places import find_picture
from common.data.pictures import Source, name_source
from common.data.questions import question_of
from common.errors import BadRow

from columns import FIELDS, PICTURE, TEXTS, UNREAD, check_unread
from parses import read_answers, read_parse, read_truth
from placeholders import marked, put_pictures, turns_of

# `images` (see common.data.pictures.Source), `messages`, `fields` of a receipt or None, `is_receipt`: whether it is a whole
# one, `where` it was read, `drawn`: whether its pictures are made when they are needed, and `group`: a text that rows which
# belong together share; they are on one side of a split. A held-out row is `seen` if its text was trained in another picture,
# as "TOTAL" was.
Row = dict[str, Any]


@dataclass
class Found:
    """A row as it was read.

    Attributes:
        columns: Its columns.
        images: The pictures that one of them names.
        folders: Where paths in its messages begin.
        where: Its place, if that is not where the picture is.
        receipt_text: What is written on the whole page, if the picture is one with boxes or a part of it.
        is_receipt: Whether it is a whole one; None where it is if it has fields.
    """

    columns: dict[str, Any]
    images: list[Source] = field(default_factory=list)
    folders: list[Path] = field(default_factory=lambda: [Path()])
    where: str | None = None
    receipt_text: str | None = None
    is_receipt: bool | None = None


# --- Columns ------------------------------------------------------------------------------------------------------------


def find_images(value: Any, folders: list[Path]) -> list[Source]:
    """Returns the pictures that a cell names: one, a list of them, or such a list as JSON text.

    Args:
        value: The cell.
        folders: Where paths begin.

    Raises:
        BadRow: If it names something else.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError):  # the name of a file
            value = read_value(value)
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, PICTURE) for item in values):
        raise BadRow(f"its pictures are {reprlib.repr(values)}; write a path in `image`, or a list of paths in `images`")
    return [find_picture(item, folders) for item in values]


def _transcription(row: dict[str, Any], found: dict[str, list[str]], mapped: dict[str, str]) -> str | None:
    """Returns the column with what is written in the picture; None where a conversation, or a question, is answered."""
    if found["messages"] and "answer" not in mapped:
        return None
    if "answer" in mapped:
        return None if found["question"] else next(iter(found["answer"]), None)
    present = {heading(name): name for name, value in reversed(row.items()) if value is not None}
    texts = [present[name] for name in TEXTS if name in present and (name == "text" or isinstance(row[present[name]], str))]
    texts += found["answer"]
    texts = [name for name in texts if row[name] != ""] or texts[:1]
    if len(texts) > 1:
        one, other = texts[:2]
        raise BadRow(f"`{one}` and `{other}` can both be the answer: say which, for example `--columns answer={one}`")
    if texts:
        return None if found["question"] and found["answer"] else texts[0]
    hint = misspelt({name: value for name, value in row.items() if isinstance(value, str)}, TEXTS)
    if hint:
        raise BadRow(f"no `text`{hint}")
    raise BadRow(f"no `text` (found: {', '.join(map(str, row)) or 'nothing'}); write `image` and `text`, or `messages`")


def asked(question: str, answer: str) -> list[dict[str, Any]]:
    """Returns the messages of a question and its answer."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _conversations(
    row: dict[str, Any], fields: Any, mapped: dict[str, str], question: str, pictures: list[Any]
) -> list[tuple[list[dict[str, Any]], Any, bool]]:
    """Returns what is said of a row's pictures: conversations, each with its fields and whether it transcribes all of them.

    Pictures that parts of messages name are added to `pictures`.
    """
    found = find_columns(row, mapped)
    if not found["messages"] and isinstance(row.get("texts"), list) and all(isinstance(pair, dict) for pair in row["texts"]):
        mapped = mapped | {"messages": "texts"}  # FineVision's and the Cauldron's
        found = find_columns(row, mapped)
    is_text = bool(found["question"]) and turns_of(row[found["question"][0]]) is None
    own = text_of_cell(row[found["question"][0]], found["question"][0]) if is_text else question
    is_named = "text" in row or found["messages"] or "answer" in mapped
    truth = read_truth(row["ground_truth"]) if row.get("ground_truth") and not is_named else None
    if truth and "gt_parse" not in truth:
        return [(asked(*pair), None, False) for pair in read_answers(truth["gt_parses"])]
    if truth:
        text, parsed = read_parse(truth["gt_parse"])
        return [(asked(own, text), fields or parsed, own == question)]
    answers = [
        row[name] for name in found["calls"] if isinstance(row[name], list) and all(isinstance(a, str) for a in row[name])
    ]
    if is_text and answers and not found["answer"] and not found["messages"]:  # several that are right
        return [(asked(own, text_of_cell((answers[0] or [""])[0], "answers")), fields, False)]
    column = _transcription(row, found, mapped)
    if column:
        text = row[column]
        if not isinstance(text, str) or not text.strip():
            raise BadRow(f"`{column}` must be a text, not {reprlib.repr(text)}; fill it in or remove the row")
        return [(asked(own, text), fields, own == question)]
    texts = {name: marked(turns, pictures) for name, value in row.items() if (turns := turns_of(value))}
    conversation = recognise(row | texts, mapped).conversation
    check_conversation(conversation)
    messages = conversation["messages"]
    if conversation.get("tools"):
        raise BadRow("there are tools, which this recipe does not show; remove them, or the row")
    if messages[-1]["role"] != "assistant" or not messages[-1]["content"].strip():
        raise BadRow("the last message must be the assistant's, with a text: it is what is learned")
    return [(messages, fields, False)]


# --- The row ------------------------------------------------------------------------------------------------------------


def make_row(
    images: list[Source],
    messages: list[dict[str, Any]],
    *,
    where: str,
    group: str,
    fields: dict[str, Any] | None = None,
    is_receipt: bool = False,
    drawn: bool = False,
) -> Row:
    """Returns a row to train on; see `Row`."""
    row = {"images": images, "messages": messages, "where": where, "group": group, "fields": fields}
    return row | {"is_receipt": is_receipt, "drawn": drawn}


def to_rows(found: Found, question: str, where: str, mapped: dict[str, str] | None = None) -> list[Row]:
    """Makes rows to train on of one as it was read: one, or one for each question about a document.

    Args:
        found: The row. What is learned is a text (`text`, or another of `TEXTS`), a ground truth (see parses.py), an answer to
            a question, or what the assistant says in messages, in which pictures have places, or stand before the first
            question.
        question: What the user says, where the row does not.
        where: File and row.
        mapped: See `common.data.columns.read_columns`.

    Raises:
        BadRow: If there is no text to learn, or there are not as many pictures as places for them.
    """
    row = found.columns
    unread = next((name for name in row if heading(name) in UNREAD and row[name]), None)
    if unread:
        raise BadRow(f"there is a `{unread}`, which this recipe does not read; remove the column, or the row")
    fields = row.get("fields") or {name: row[name] for name in FIELDS if row.get(name)} or None
    if fields is not None and not isinstance(fields, dict):
        raise BadRow(f"`fields` is a {type(fields).__name__}; write an object with {', '.join(FIELDS)}, or leave it out")
    parts: list[Any] = []
    said = _conversations(row, fields, mapped or {}, question, parts)
    # A part that does not say where its picture is stands for the next of the row's.
    named = [find_picture(part, found.folders) if part else None for part in parts]
    own = iter([image for image in found.images if image not in named])
    images = [image or next(own, None) for image in named]
    images = [image for image in images if image is not None] + list(own)
    if images or not any(is_text for *_, is_text in said):
        check_unread(row, mapped or {}, images)
    made = []
    for number, (messages, its_fields, is_text) in enumerate(said, start=1):
        if is_text and not images:
            raise BadRow(f"no picture (found: {', '.join(map(str, row))}); write its path in `image` or `file_name`")
        messages, pages = put_pictures(messages, images, is_text)
        # A picture may be asked about in many rows, and an answer such as "yes" be that of many pictures.
        shown = found.receipt_text or messages[-1]["content"] if is_text else " ".join(map(name_source, pages))
        its_fields = {name: value for name, value in (its_fields or {}).items() if value} or None
        made.append(
            make_row(
                pages,
                messages,
                where=(found.where or where) + (f", question {number}" if len(said) > 1 else ""),
                group=shown or question_of({"messages": messages}),
                fields=its_fields,
                is_receipt=its_fields is not None if found.is_receipt is None else found.is_receipt,
            )
        )
    return made
