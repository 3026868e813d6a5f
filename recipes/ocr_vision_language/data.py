"""Pictures and what is written in them: generated lines and receipts, SROIE, a hub data set, or files of your own."""

import reprlib
from math import ceil
from typing import Any

from common.data.conversations import check_conversation
from common.data.lesson import check_size, import_lesson
from common.data.notes import LEFT_OUT, ROWS
from common.data.splits import check_num_held_out, hold_out, question_of, take
from common.errors import BadRow, fail, nearest, say

from arguments import OcrArguments
from images import fitted_size, image_size, name_source, open_image
from metrics import normalize
from receipts import FIELDS, Made, read, read_cord

# `images` (see images.Source), `messages`, `fields` of a receipt or None, `where` it was read, `drawn`: whether its pictures
# are made when they are needed, and `group`: a text that rows which belong together share; they are on one side of a split. A
# held-out row is `seen` if its text was trained in another picture, as "TOTAL" was.
Row = dict[str, Any]
UNITS = {"lines": ["lines"], "receipts": ["receipts"], "both": ["lines", "receipts"]}


# --- One row ------------------------------------------------------------------------------------------------------------


def _check_messages(messages: Any, num_images: int) -> list[dict[str, Any]]:
    """Returns messages in TRL's form: texts, or, where pictures have places, lists of parts in all that the user says."""
    plain, parts, places = [], [], None
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and all(isinstance(part, dict) for part in content):
            # Arrow gives every part the keys of all the others.
            content = [{key: value for key, value in part.items() if value is not None} for part in content]
            places = (places or 0) + (message.get("role") == "user") * sum(part.get("type") == "image" for part in content)
            message = {**message, "content": "".join(part.get("text", "") for part in content)}
        plain.append(message)
        parts.append([{"type": "text", "text": content}] if isinstance(content, str) else content)
    check_conversation({"messages": plain})
    if plain[-1]["role"] != "assistant" or not plain[-1]["content"].strip():
        raise BadRow("the last message must be the assistant's, with a text: it is what is learned")
    if num_images and all(message["role"] != "user" for message in plain):
        raise BadRow("there are pictures, and no message of the user that they could stand in; add one")
    if places is None:  # TRL puts the pictures before the first question
        return plain
    if places != num_images:
        raise BadRow(f"the messages have places for {places} images, and the row has {num_images}; make them as many")
    return [
        {**message, "content": content} if message["role"] == "user" else message
        for message, content in zip(plain, parts, strict=True)
    ]


def to_row(row: dict[str, Any], question: str, where: str) -> Row:
    """Makes a row to train on of one as it was read.

    Args:
        row: `images`, and `text` or CORD's `ground_truth`, with perhaps `fields` or SROIE's four as columns; or `messages`, in
            which pictures (several, or none) have their places, or stand before the first question.
        question: What the user says, where the row has no messages.
        where: File and row.

    Raises:
        BadRow: If there is no text to learn, or no picture to read it in.
    """
    fields = row.get("fields") or {name: row.get(name) for name in FIELDS}
    if not isinstance(fields, dict):
        raise BadRow(f"`fields` is a {type(fields).__name__}; write an object with {', '.join(FIELDS)}, or leave it out")
    fields = {name: str(value) for name, value in fields.items() if value} or None
    found = {"images": row["images"], "fields": fields, "where": where, "drawn": row.get("drawn", False)}
    if row.get("messages") is not None:
        messages = _check_messages(row["messages"], len(row["images"]))
        # A picture may be asked about in many rows, and an answer such as "yes" be that of many pictures.
        shown = " ".join(name_source(source) for source in row["images"])
        return found | {"messages": messages, "group": shown or question_of({"messages": messages})}
    columns = ", ".join(str(column) for column in row if column != "images") or "nothing"
    text = row.get("text")
    if "text" not in row and row.get("ground_truth"):
        text, fields = read_cord(row["ground_truth"])
    elif "text" not in row:
        raise BadRow(f"no `text` (found: {columns}); write `image` and `text`, or `messages`")
    if not isinstance(text, str) or not text.strip():
        raise BadRow(f"`text` must be a text, not {reprlib.repr(text)}; fill it in or remove the row")
    if not row["images"]:
        raise BadRow(f"no picture (found: {columns}); write its path in `image` or `file_name`")
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
    return found | {"messages": messages, "fields": fields, "group": row.get("receipt_text") or text}


def _collect(found: Made, name: str, args: OcrArguments) -> list[Row]:
    """Makes the rows and looks at their pictures: at the headers alone, or, to leave out bad ones, at every pixel."""
    rows, total, bad = [], 0, []
    for where, make in found:
        total += 1
        try:
            made = [to_row(row, args.question, where) for row in make()]
            for source in [source for row in made for source in row["images"]]:
                size = open_image(source).size if args.skip_bad_images else image_size(source)
                fitted_size(size, args.min_pixels, args.max_pixels)
            rows += made
        except BadRow as error:
            bad.append(f"{where}: {error}")
            LEFT_OUT[where] = str(error)
            if not args.skip_bad_images:
                fail(bad[0])
    if bad:
        say(f"Left out {len(bad)} of {total} rows of {name}. The first: {bad[0]}")
    if not rows:
        fail(f"{name} has no row that can be used" + (f". The first: {bad[0]}" if bad else "; it needs at least one"))
    ROWS.extend(rows)
    return rows


# --- All of them --------------------------------------------------------------------------------------------------------


def load_data(args: OcrArguments, seed: int) -> tuple[list[Row], list[Row], dict[str, list[Row]]]:
    """Loads pictures to train on, pictures to choose by, and pictures that are reported on.

    Args:
        args: Names the data and says how many rows to train on and to hold out.
        seed: Seed of the generated training pictures; the held-out ones are the same for every seed.

    Returns:
        The training and validation rows, and the held-out sets by name; see `common.data.splits`. Of generated pictures there
        are two: `held_out`, texts that were never trained in the fonts that are, and `unseen_font`, such texts in fonts that
        are not; of italics `held_out` and `upright`. With `units` both, whole receipts are sets of their own, whose names end
        with `_receipts`.

    Raises:
        SystemExit: With code 2 and one line that names the file and the row, if the data cannot be used.
    """
    check_num_held_out(args.num_held_out)
    if args.units not in UNITS:
        fail(f"units is {args.units}{nearest(args.units, list(UNITS)) or '; use one of ' + ', '.join(UNITS)}")
    if not 0 < args.min_pixels <= args.max_pixels:
        fail(f"min_pixels is {args.min_pixels} and max_pixels {args.max_pixels}: use at least 1, and no less for the second")
    if args.dataset_name == "synthetic":
        check_size(args)
        return import_lesson("synthetic").synthetic_splits(args, seed)
    splits = read(args.dataset_name, args.dataset_config, UNITS[args.units])
    rows = {split: _collect(found, f"{args.dataset_name} ({split})", args) for split, found in splits.items()}
    # A receipt is held out with all its lines, and `num_held_out` is the most of either.
    num_receipts = sum(row["fields"] is not None for found in rows.values() for row in found)
    together = ceil(sum(map(len, rows.values())) / num_receipts) if args.units == "both" and num_receipts else 1
    count = args.num_held_out * together
    train, validation, held_out = hold_out(rows, lambda row: row["group"], count, name=args.dataset_name)
    sets = {"held_out": held_out}
    lines, receipts = ([row for row in held_out if (row["fields"] is not None) == is_one] for is_one in (False, True))
    if args.units == "both" and lines and receipts:
        sets = {"held_out": lines, "held_out_receipts": receipts}
    for name, found in sets.items():
        sets[name], _ = take(found, lambda row: f"{row['group']} {row['messages'][-1]['content']}", args.num_held_out)
    train = train[: args.num_train or None]
    trained = {normalize(row["messages"][-1]["content"]) for row in train}
    for row in (row for found in sets.values() for row in found if trained):
        row["seen"] = normalize(row["messages"][-1]["content"]) in trained
    return train, validation, sets
