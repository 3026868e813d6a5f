"""Pictures and their texts as files, in the forms that people have, and what is read of them."""

import base64
import io
import json
from pathlib import Path

from PIL import Image

COUNT = 6
TEXTS = ["12.30", "007", "NA", "2026-12-27", "TEA, 4.50", 'a "b"']


def png(number: int, height: int = 30) -> bytes:
    """A picture whose width shows which it is."""
    buffer = io.BytesIO()
    Image.new("RGB", (60 + number, height), "white").save(buffer, "png")
    return buffer.getvalue()


def save_pictures(folder: Path, names: list[str] | None = None) -> list[str]:
    names = names or [f"{number}.png" for number in range(COUNT)]
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    return names


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def load(recipe: dict, name: object, **settings) -> list[dict]:
    """Returns the rows of all parts in the order of their pictures."""
    args = recipe["data"].OcrArguments(**({"dataset_name": str(name), "num_held_out": 2} | settings))
    train, validation, held_out = recipe["data"].load_data(args, 0)
    rows = [*train, *validation, *(row for rows in held_out.values() for row in rows)]
    return sorted(rows, key=lambda row: [image.width for image in recipe["images"].open_images(row)])


def shown(recipe: dict, rows: list[dict]) -> list[tuple[list[int], str]]:
    """Returns the numbers of each row's pictures, and what is learned of them."""
    return [([image.width - 60 for image in recipe["images"].open_images(row)], row["messages"][-1]["content"]) for row in rows]


EXPECTED = [([number], text) for number, text in enumerate(TEXTS)]


def as_data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def ground_truth(folder: Path, part: str) -> None:
    for name in save_pictures(folder / part, ["0.png", "1.png"]):
        (folder / part / name).with_suffix(".gt.txt").write_text(f"{part} {name}\n")


def sroie_boxes(number: int) -> str:
    """As they are distributed: lines end with carriage returns, and texts have commas."""
    texts = ["ALDER BAKERY", "1 OAK STREET, TOWN", f"01/02/2026 #{number}", "1.80"]
    return "".join(
        f"10,{y},110,{y},110,{y + 20},10,{y + 20},{text}\r\n" for y, text in zip(range(10, 200, 30), texts, strict=False)
    )


def load_parts(recipe, seed: int = 0, **settings):
    """Returns the training, validation and held-out rows."""
    arguments = recipe["data"].OcrArguments(**({"num_held_out": 2} | settings))
    return recipe["data"].load_data(arguments, seed)


def all_rows(recipe, **settings) -> list[dict]:
    """Returns the rows of all parts in the order of the file."""
    train, validation, held_out = load_parts(recipe, **settings)
    rows = [*train, *validation, *(row for rows in held_out.values() for row in rows)]
    return sorted(rows, key=lambda row: row["where"])


def answers(rows: list[dict]) -> list[str]:
    return [row["messages"][-1]["content"] for row in rows]


def solid_png(color: str = "red", size: tuple[int, int] = (60, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "png")
    return buffer.getvalue()


def save_images(folder: Path, count: int = 6) -> list[str]:
    """Writes pictures of different widths, so that it shows which is which."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number}.png" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(solid_png(size=(60 + number, 30)))
    return names


def to_jsonl(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def say(text: str) -> dict:
    return {"role": "assistant", "content": text}


def asked(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]
