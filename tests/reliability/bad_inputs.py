"""The table of bad inputs, bad_inputs.yaml: its files made, and written as a page.

python tests/reliability/bad_inputs.py > docs/bad_inputs.md
"""

import gzip
import io
import json
import shutil
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
RECIPES = sorted(path.parent.name for path in (ROOT / "recipes").glob("*/train.py"))
HOSTILE = yaml.safe_load(Path(__file__).with_name("hostile_outputs.yaml").read_text())
LONG = "x" * 300  # stands for {long}: longer than a file's name can be
TABLE = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())


@dataclass
class Case:
    """A row of the table.

    Attributes:
        name: What is wrong.
        flags: The command's; `{tmp}` is the folder of the files, `{long}` a name that no file can have.
        files: What is in each file, see `content`, by its name.
        line: What the command says and ends with exit code 2; `...` is for any text.
        reads: In place of a line the number of rows that are read, where the input only looks bad; 0 where it is no data.
        recipes: The recipes that it is given to, or `all`.
        says: What is said beside.
        script: The script of the recipe, or a path.
        env: Variables of the environment.
        loads: Whether it takes loading the weights to find out.
    """

    name: str
    flags: str = ""
    files: dict[str, Any] = field(default_factory=dict)
    line: str | None = None
    reads: int | None = None
    recipes: list[str] | str = "all"
    says: str = ""
    script: str = "train.py"
    env: dict[str, str] = field(default_factory=dict)
    loads: bool = False

    def path_of_script(self, recipe: str) -> str:
        return self.script if "/" in self.script else f"recipes/{recipe}/{self.script}"


def cases() -> Iterator[tuple[str, Case]]:
    """Yields the rows of the table, each with its section."""
    for section in TABLE["sections"]:
        for row in section["cases"]:
            usual = {key: value for key, value in section.items() if key not in ("title", "about", "cases")}
            case = Case(**usual | row)
            case.recipes = RECIPES if case.recipes == "all" else case.recipes
            yield section["title"], case


# --- Files ----------------------------------------------------------------------------------------------------------------


def rows_of(recipe: str, count: int) -> list[dict[str, Any]]:
    """Returns good rows of a recipe, each with a question of its own."""
    row = json.dumps(TABLE["rows"][recipe])
    return [json.loads(row.replace("{n}", str(number))) for number in range(count)]


def picture(width: int, height: int) -> bytes:
    """Returns a white PNG; one of any size is a few bytes as long as its pixels are not all written."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\xff" * width) * min(height, 1000) if width < 10_000 else b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def photograph(width: int, height: int) -> bytes:
    """Returns a JPEG of noise, with the standard's own tables."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.frombytes("L", (width, height), Random(0).randbytes(width * height)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_rows(name: str, rows: list[dict[str, Any]]) -> bytes:
    """Returns rows in the form that the suffix of a name says."""
    suffix = Path(name.removesuffix(".gz")).suffix
    if suffix == ".parquet":
        from datasets import Dataset

        buffer = io.BytesIO()
        Dataset.from_list(rows).to_parquet(buffer)
        return buffer.getvalue()
    if suffix == ".json":
        return json.dumps(rows).encode()
    if suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        return "".join(line + "\n" for line in lines).encode()
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def content(recipe: str, name: str, given: Any) -> bytes:
    """Returns the bytes of a file.

    Args:
        recipe: Whose rows it holds.
        name: Its name; the suffix says the form of rows, and whether it is packed.
        given: A text; or a number of good rows (`rows`), then a `text`, perhaps `times` times and in an `encoding`; a `picture`
            or a `photograph` of a width and a height; where how many bytes are `zeros`; and how many are `cut` off at the end.
    """
    if isinstance(given, str):
        given = {"text": given}
    whole = write_rows(name, rows_of(recipe, given["rows"])) if "rows" in given else b""
    text = given.get("text", "").replace("{long}", LONG) * given.get("times", 1)
    if text or "encoding" in given:
        whole = (whole.decode() + text).encode(given.get("encoding", "utf-8"))
    if "picture" in given:
        whole = picture(*given["picture"])
    if "photograph" in given:
        whole = photograph(*given["photograph"])
    if "zeros" in given:
        place, count = given["zeros"]
        whole = whole[:place] + bytes(count) + whole[place + count :]
    if name.endswith(".gz"):
        whole = gzip.compress(whole)
    return whole[: len(whole) - given.get("cut", 0)]


def write_files(case: Case, recipe: str, folder: Path) -> None:
    """Writes the files of a case.

    A file is what `content` makes; or the copy of a folder (`copy`), of which later files may be changed (`json`: these keys)
    or removed (null).
    """
    for row in rows_of(recipe, 1):
        for value in row.values():
            if isinstance(value, str) and value.endswith(".png"):
                (folder / value).write_bytes(picture(60, 30))
    for name, given in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if given is None:
            path.unlink()
        elif "copy" in given and isinstance(given, dict):
            shutil.copytree(ROOT / given["copy"], path)
        elif "json" in given and isinstance(given, dict):
            path.write_text(json.dumps(json.loads(path.read_text()) | given["json"]))
        elif isinstance(given, dict) and given.keys() == {"cut"}:
            path.write_bytes(path.read_bytes()[: -given["cut"]])
        else:
            path.write_bytes(content(recipe, name, given))


# --- The page -------------------------------------------------------------------------------------------------------------


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def page() -> str:
    """Returns the table as a page of the site."""
    found = list(cases())
    lines = [
        "# Bad inputs",
        "",
        "<!-- Written by `python tests/reliability/bad_inputs.py > docs/bad_inputs.md`. -->",
        "",
        f"What a command answers to {len(found)} inputs that are wrong, or only look so. It ends with exit code 2 and this one",
        "line, before a model loads and with nothing written; or the input is read. `...` stands for more text.",
        "`tests/reliability/test_bad_inputs.py` tries each, most of those about files in every recipe.",
    ]
    title = None
    for section, case in found:
        if section != title:
            title = section
            lines += ["", f"## {title}", "", "| input | answer |", "|---|---|"]
        if case.line is None:
            answer = f"read: {case.reads} rows" if case.reads else "goes on"
            answer += f", and it is said: `` ...{case.says}... ``" if case.says else ""
        else:
            answer = f"`` {case.line.replace('{tmp}/', '').replace('{tmp}', 'FOLDER')} ``"
        flags = case.flags.replace("{long}", "xxx...")
        given = f" (`{flags}`)" if "{tmp}" not in case.flags and len(case.flags) < 60 and case.flags else ""
        lines.append(f"| {_cell(case.name + given)} | {_cell(answer)} |")
    lines += [
        "",
        "## What a model may write",
        "",
        "Nothing that a model writes is executed, and each of these is judged within three seconds",
        "(`tests/reliability/test_hostile_outputs.py`).",
        "",
        "| output | verdict |",
        "|---|---|",
    ]
    for section in HOSTILE:
        for case in section["cases"]:
            verdict = "right" if case.get("right") else "wrong"
            lines.append(f"| {section['title']}: {_cell(case['name'])} | {verdict} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
