"""Placeholders of pictures within messages: parts of them, and marks in a text, as many as there are pictures."""

import re
import reprlib
from typing import Any

from common.data.literals import read_value
from common.data.messages import TEXT_PARTS
from common.data.picture_places import KEYS
from common.data.pictures import Source, pages_of
from common.errors import BadRow

from crops import Crop

PICTURE_PARTS = ("image", "image_url", "input_image")
# A placeholder within a text: LLaVA's, and what Qwen's templates make of one.
MARK = "<image>"
PLACEHOLDER = re.compile(r"<image>|<\|vision_start\|>(?:<\|image_pad\|>)+<\|vision_end\|>|<\|image_pad\|>")
RESERVED = re.compile(r"<\|(?:image_pad|video_pad|vision_start|vision_end)\|>")

# Marks of other models: InternVL's and Qwen-VL's, Phi-3's, Pixtral's, Gemma 3's, MMMU's numbered ones.
OTHERS = re.compile(
    r"<img>|<image>|<image[ _]?\d+>|<\|image_?\d*\|>|\[IMG\]|<start_of_image>|<image_soft_token>", re.IGNORECASE
)


def marked(turns: list[Any], pictures: list[Any]) -> list[Any]:
    """Returns turns in which parts are a text with marks.

    Args:
        turns: The turns; see `turns_of`.
        pictures: To it is added, for each part that is a picture, what the part says of where that is, or None.

    Raises:
        BadRow: If a part is neither a text nor a picture.
    """

    def words_of(part: Any, where: str) -> str:
        if isinstance(part, str):
            return part
        named = {key: part[key] for key in KEYS if part.get(key)} if isinstance(part, dict) else {}
        kind = part.get("type") or ("image" if named else "text") if isinstance(part, dict) else reprlib.repr(part)
        if kind in PICTURE_PARTS:
            pictures.append(named or None)
            return MARK
        if kind not in TEXT_PARTS:
            raise BadRow(f"{where}: a part of type `{kind}`, and this recipe reads texts and pictures; remove it, or the row")
        text = part.get("refusal" if kind == "refusal" else "text")
        if not isinstance(text, str):
            raise BadRow(f'{where}: a part without a text; write {{"type": "text", "text": ...}}')
        return text

    found = []
    for number, turn in enumerate(turns, start=1):
        key = "content" if "content" in turn else "value"
        if isinstance(turn.get(key), list) and turn.get("role") != "tool":
            turn = turn | {key: "".join(words_of(part, f"message {number}") for part in turn[key])}
        found.append(turn)
    return found


def turns_of(value: Any) -> list[Any] | None:
    """Returns a cell of messages, perhaps as JSON text; None for any other."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            value = read_value(value)
        except ValueError:
            return None
    is_turns = isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value)
    return value if is_turns and any({"content", "value"} & turn.keys() for turn in value) else None


def put_pictures(
    messages: list[dict[str, Any]], images: list[Source], is_text: bool
) -> tuple[list[dict[str, Any]], list[Source]]:
    """Puts pictures into their places.

    Args:
        messages: Their contents are texts, with marks.
        images: The pictures.
        is_text: Whether the assistant transcribes: it may write what is a mark elsewhere.

    Returns:
        The messages in TRL's form, texts, or parts where pictures have places; and the pictures, page by page.

    Raises:
        BadRow: If there are not as many places as pictures, places where there can be none, or marks of another model alone.
    """
    if images and all(message["role"] != "user" for message in messages):
        raise BadRow("there are pictures, and no message of the user that they could stand in; add one")
    pages, places = [[image] if isinstance(image, Crop) else pages_of(image) for image in images], 0
    for number, message in enumerate(messages, start=1):
        content, is_user = str(message.get("content") or ""), message["role"] == "user"
        marks = PLACEHOLDER.findall(content)
        if not is_user and MARK in marks and not is_text:
            what = f"a place for a picture (`{MARK}`) in what the {message['role']} says"
            raise BadRow(f"message {number}: {what}; it belongs into what the user says, or remove it")
        reserved = RESERVED.search(PLACEHOLDER.sub("", content) if is_user else content)
        if reserved:
            raise BadRow(f"message {number}: `{reserved[0]}`, which the model takes for a part of a picture; remove it")
        places += is_user * len(marks)
    flat = [page for found in pages for page in found]
    if not places:
        for number, message in enumerate(messages, start=1):
            if images and message["role"] == "user" and (other := OTHERS.search(str(message.get("content") or ""))):
                cure = f"write `{MARK}` where a picture stands, or remove it"
                raise BadRow(f"message {number}: `{other[0]}`, with which other models mark a picture; {cure}")
        return messages, flat  # TRL puts the pictures before the first question
    if places != len(images):
        raise BadRow(f"the messages have places for {places} images, and the row has {len(images)}; make them as many")
    placed, rest = [], iter(pages)
    for message in messages:
        if message["role"] == "user":
            texts, parts = PLACEHOLDER.split(message["content"]), []
            for number, text in enumerate(texts):
                parts += [{"type": "text", "text": text}] if text else []
                parts += [{"type": "image"} for _ in next(rest)] if number < len(texts) - 1 else []
            message = message | {"content": parts}
        placed.append(message)
    return placed, flat
