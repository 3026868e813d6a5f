"""Pictures and what is written in them: generated lines and receipts, or data of your own in any layout (see layouts.py)."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from operator import itemgetter

from common.data.columns import read_columns, text_of_cell
from common.data.conversations import usable
from common.data.duplicates import without_duplicates
from common.data.lesson import check_size, import_lesson
from common.data.notes import ROWS, note
from common.data.parts import is_lesson
from common.data.pictures import Cell, Source, digest_of_source, image_size, open_image
from common.data.processes import gather, local_rank_and_size
from common.data.questions import take
from common.data.rows import read_sources
from common.data.sources import mix
from common.data.splits import check_num_held_out, hold_out
from common.errors import BadRow, fail, nearest, say

from arguments import OcrArguments
from columns import never_read
from crops import Crop, cut
from images import fitted_size
from layouts import read
from metrics import normalize
from pairs import Made
from rows import Found, Row, to_rows

UNITS = {"lines": ["lines"], "receipts": ["receipts"], "both": ["lines", "receipts"]}
NAMES = {"image": "images", "text": "answer"}  # what columns of pictures and texts may also be called in `--columns`
PATIENCE = 10  # seconds without a line


# --- Reading ------------------------------------------------------------------------------------------------------------


def _check_pictures(rows: list[Row], args: OcrArguments) -> None:
    """Decodes the pictures of rows, so that none fails in the middle of a run, and cuts out those that are parts of others."""
    cut(source for row in rows for source in row["images"] if isinstance(source, Crop))
    for row in rows:
        digests = []
        for source in row["images"]:
            if isinstance(source, Cell):
                source = source.open()  # read once for all that is done with it here
            fitted_size(image_size(source), args.min_pixels, args.max_pixels)
            if not isinstance(source, Crop):
                open_image(source, small=True)
            digests.append(_digest(source))
        row["digest"] = b"".join(digests) or row["group"].encode()


def _digest(source: Source) -> bytes:
    """Returns what only the same picture has; a crop is told by its place, as its page is not looked at for each."""
    return str(source.kept).encode() if isinstance(source, Crop) else digest_of_source(source)


def _make_rows(
    make: Callable[[], list[Found]], where: str, mapped: dict[str, str], args: OcrArguments, unread: dict[str, None]
) -> list[Row]:
    """Makes the rows of a place, and adds the names of the columns that say nothing here to `unread`."""
    rows = []
    for found in make():
        made = to_rows(found, args.question, where, mapped)
        unread |= {name: None for name in never_read(found.columns, mapped) if found.columns[name] is not None}
        if args.group_by is not None:
            if found.columns.get(args.group_by) is None:
                raise BadRow(f"no `{args.group_by}` to group by (found: {', '.join(map(str, found.columns))}); fill it in")
            made = [row | {"group": text_of_cell(found.columns[args.group_by], args.group_by)} for row in made]
        rows += made
    return rows


def _collect(found: Made, name: str, mapped: dict[str, str], args: OcrArguments) -> list[Row]:
    """Makes the rows of a split, decodes their pictures on all cores, and says what cannot be used, or leaves it out.

    The processes of a machine share the pictures out, and tell each other what they have found.
    """
    process, num_processes = local_rank_and_size()
    unread: dict[str, None] = {}  # in the order of the rows, or nearly

    def attempt(number: int) -> list[Row] | BadRow:
        where, make = found[number]
        try:
            rows = _make_rows(make, where, mapped, args, unread)
            if number % num_processes == process:
                _check_pictures(rows, args)
            return rows
        except BadRow as error:
            return error

    results, said = [], time.monotonic()
    pool = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // num_processes))
    try:
        for result in pool.map(attempt, range(len(found))):
            results.append(result)
            if isinstance(result, BadRow) and not args.skip_bad_rows:
                break
            if time.monotonic() - said > PATIENCE:
                said = time.monotonic()
                say(f"{name}: looked at the pictures of {len(results)} of {len(found)} rows")
    finally:  # also when the run is interrupted: threads would go on to the last row
        pool.shutdown(cancel_futures=True)
    mine = range(process, len(results), num_processes)
    looked_at = dict(gather([(number, _what_was_found(results[number])) for number in mine]))

    def unwrap(number: int) -> list[Row]:
        if isinstance(looked_at[number], str):
            raise BadRow(looked_at[number])
        for row, digest in zip(results[number], looked_at[number], strict=True):
            row["digest"] = digest
        return results[number]

    attempts = ((where, number) for number, (where, _) in enumerate(found))
    rows = [row for _, made in usable(attempts, unwrap, name=name, skip_bad_rows=args.skip_bad_rows) for row in made]
    unread.pop(args.group_by, None)
    if unread:
        note(f"{name}: columns that are not read: {', '.join(map(str, unread))}")
    ROWS.extend(rows)
    return rows


def _what_was_found(result: list[Row] | BadRow) -> list[bytes] | str:
    """Returns the digests of rows, or why there are none."""
    return str(result) if isinstance(result, BadRow) else [row["digest"] for row in result]


def _read_all(args: OcrArguments) -> dict[str, list[Row]]:
    """Reads the rows of all data sets that are named, by split."""
    given = [text.partition("=") for text in args.columns]
    mapped = read_columns([f"{NAMES.get(name, name)}{equals}{column}" for name, equals, column in given])
    settings = {"units": UNITS[args.units], "mapped": mapped, "image_folder": args.image_folder}

    def read_one(name: str, config: str | None = None) -> dict[str, Made]:
        return read(name, config, **settings)

    rows: dict[str, list[Row]] = {}
    for source, splits in read_sources(args, read=read_one):
        for split, found in splits.items():
            made = _collect(found, f"{source} ({split})", mapped, args)
            for row in made:
                row["source"] = source
            rows.setdefault(split, []).extend(made)
    return rows


# --- All of them --------------------------------------------------------------------------------------------------------


def _answer(row: Row) -> str:
    return row["messages"][-1]["content"]


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
    if is_lesson(args):
        check_size(args)
        return import_lesson("synthetic").synthetic_splits(args, seed)
    rows = _read_all(args)
    # A receipt is held out with all its lines, and `num_held_out` is the most of either.
    num_receipts = sum(row["is_receipt"] for found in rows.values() for row in found)
    together = ceil(sum(map(len, rows.values())) / num_receipts) if args.units == "both" and num_receipts else 1
    name = args.dataset_name if args.dataset_name != "synthetic" else args.test_dataset_name
    train, validation, held_out = hold_out(rows, itemgetter("group"), args.num_held_out * together, name=name)
    train = without_duplicates(
        train,
        [*validation, *held_out],
        lambda row: row["digest"].hex(),
        lambda row: (row["digest"], str(row["messages"])),
        name=name,
        drops=args.drop_duplicates,
    )
    sets = {"held_out": held_out}
    lines, receipts = ([row for row in held_out if row["is_receipt"] == is_one] for is_one in (False, True))
    if args.units == "both" and lines and receipts:
        sets = {"held_out": lines, "held_out_receipts": receipts}
    for part, found in sets.items():
        sets[part], _ = take(found, lambda row: f"{row['group']} {_answer(row)}", args.num_held_out)
    train = mix(train, args.dataset_name, itemgetter("source"), itemgetter("group"))[: args.num_train or None]
    trained = {normalize(_answer(row)) for row in train}
    for row in (row for found in sets.values() for row in found if trained):
        row["seen"] = normalize(_answer(row)) in trained
    return train, validation, sets
