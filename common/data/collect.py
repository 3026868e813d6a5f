"""Conversations of rows: those of a large file are made on all cores, and kept on disk for the next start."""

import inspect
import json
import pickle
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import common
from common.data import cache, stored
from common.data.arguments import DataArguments
from common.data.files import Rows
from common.data.formats import Conversation, Recognised
from common.data.messages import in_words
from common.data.pieces import Pieces, digest_of_bytes, digest_of_file
from common.data.processes import first_here, make_all
from common.data.questions import HASHES
from common.data.texts import Unreadable
from common.errors import BadRow, fail, say

Make = Callable[[dict[str, Any]], tuple[Conversation, Recognised]]
Forms = dict[str, list[Any]]  # of each form how many rows, the first in words, the columns that were read, and the others
# Settings that do not change what is made of a row; all others of a recipe may.
OF_LATER = {"dataset_name", "validation_dataset_name", "test_dataset_name", "num_train", "num_held_out", "drop_duplicates"}
PATIENCE = 10  # seconds without a line
ROWS, FOUND = "rows.arrow", "found.json"


def add_forms(forms: Forms, found: Forms) -> None:
    """Adds the forms of some rows to those of others."""
    for form, (count, first, *columns) in found.items():
        known = forms.setdefault(form, [0, first, [], []])
        known[0] += count
        for those, others in zip(known[2:], columns, strict=True):
            those += [column for column in others if column not in those]


# --- In pieces ------------------------------------------------------------------------------------------------------------


def _folder_of(rows: Pieces, source: str, args: DataArguments, convert: Callable | None, preferred: str | None) -> Path:
    """Returns where what is made of rows is kept: a name made of all that it depends on, the code included."""
    code = set(Path(common.__file__).parent.rglob("*.py"))
    if convert is not None:
        code |= set(Path(inspect.getfile(convert)).parent.glob("*.py"))
    versions = sorted(f"{found.name} {found.version}" for found in distributions())
    settings = {name: value for name, value in asdict(args).items() if name not in OF_LATER}
    parts = [rows.digest, source, preferred, settings, platform.python_version(), versions]
    digests = [digest_of_file(path) for path in sorted(code)]
    return cache.folder_of(digest_of_bytes(repr([*parts, *digests]).encode(errors="surrogatepass")))


def _load(folder: Path) -> tuple[stored.Stored[Conversation], Forms, dict[str, str]]:
    found, rows = json.loads((folder / FOUND).read_text(encoding="utf-8")), stored.read(folder / ROWS)
    count = sum(count for count, *_ in found["forms"].values())
    if len(rows) != count:
        raise ValueError(f"{len(rows)} rows instead of {count}")
    return rows, found["forms"], found["bad"]


def _write(pieces: Pieces, make: Make, source: str, skip_bad_rows: bool, folder: Path) -> None:
    """Writes what is made of rows into a folder."""
    forms: Forms = {}
    bad: dict[str, str] = {}

    def work(read: Callable[[], Rows]) -> list[tuple] | Unreadable:
        made = []
        try:
            for where, row in read():
                try:
                    conversation, found = make(row)
                except BadRow as error:
                    made.append((where, str(error)))
                    continue
                conversation |= {"where": where, "source": source}
                hashes = [digest(of(conversation)) for of, digest in HASHES.values()]
                made.append((found.form, found.columns, found.unread, pickle.dumps(conversation), *hashes))
        except Unreadable as error:
            return error
        return made

    def usable() -> Iterator[tuple[bytes, ...]]:
        said, count = time.monotonic(), 0
        for made in make_all(work, pieces.parts, fewest=2, chunk=1):
            if isinstance(made, Unreadable):
                fail(str(made))
            for form, *rest in made:
                if len(rest) == 1:
                    bad[form] = rest[0]
                elif not bad or skip_bad_rows:
                    columns, unread, *row = rest
                    if form not in forms:
                        forms[form] = [0, in_words(pickle.loads(row[0])["messages"]), [], []]
                    add_forms(forms, {form: [1, "", columns, unread]})
                    yield tuple(row)
            count += len(made)
            if time.monotonic() - said > PATIENCE:
                said = time.monotonic()
                say(f"{source}: read {count} rows")
        for where, why in bad.items() if not skip_bad_rows else ():  # behind what no part of the file may hold
            fail(f"{where}: {why}")

    stored.write(usable(), list(HASHES), folder / ROWS)
    (folder / FOUND).write_text(json.dumps({"forms": forms, "bad": bad}), encoding="utf-8")


# --- Of any file ----------------------------------------------------------------------------------------------------------


def collect(
    rows: Rows | Pieces,
    make: Make,
    source: str,
    args: DataArguments,
    convert: Callable | None = None,
    preferred: str | None = None,
) -> tuple[Sequence[Conversation], Forms, dict[str, str]]:
    """Makes a conversation of each row.

    Args:
        rows: The rows of a split.
        make: Makes a conversation of a row, and says what it was read as; raises `BadRow` where it cannot.
        source: Name of the data set.
        args: Says whether bad rows are left out; with `convert` and `preferred` what `make` depends on beside the row.
        convert: See `conversations.load_conversations`.
        preferred: See `formats.recognise`.

    Returns:
        The conversations, those of a large file on disk, each with `where` and `source`; what they were read as; and why rows
        cannot be used, by where they are.

    Raises:
        SystemExit: With code 2 and one line that names the file and the row, unless bad rows are left out.
    """
    if isinstance(rows, Pieces):
        folder = _folder_of(rows, source, args, convert, preferred)
        with first_here(True):
            found = cache.read(folder, "rows", _load)
            return found or _load(cache.make(folder, "rows", partial(_write, rows, make, source, args.skip_bad_rows)))
    made, forms, bad = [], {}, {}
    for where, row in rows:
        try:
            conversation, found = make(row)
        except BadRow as error:
            if not args.skip_bad_rows:
                fail(f"{where}: {error}")
            bad[where] = str(error)
            continue
        if found.form not in forms:
            forms[found.form] = [0, in_words(conversation["messages"]), [], []]
        add_forms(forms, {found.form: [1, "", found.columns, found.unread]})
        made.append(conversation | {"where": where, "source": source})
    return made, forms, bad
