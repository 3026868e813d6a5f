"""What a run would train on, without a model; see common.commands.prepare.

recipes prepare ocr_vision_language --dataset_name my_receipts
"""

import sys

from common.commands.prepare import Prepared
from common.data.notes import ROWS
from common.run.config import parse

from trl import SFTConfig

from arguments import REFUSED, OcrArguments


def prepare(argv: list[str], show: int) -> Prepared:
    """Returns what a run with the flags `argv` would train on, and its first `show` rows."""
    args, training_args, model_args = parse(__file__, OcrArguments, SFTConfig, argv, refused=REFUSED)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.data.tokens import segments_of
    from common.models.config import check_reads_pictures
    from common.models.vision import load_processor

    from collate import Collator, num_tokens
    from data import load_data

    check_reads_pictures(model_args)
    train, validation, held_out = load_data(args, training_args.seed)
    processor = load_processor(model_args, args.min_pixels, args.max_pixels, phrases=[args.question])
    parts = {args.dataset_name: train, "validation": validation} | held_out
    splits = dict(zip(["train", "validation", *held_out], map(len, parts.values()), strict=True))

    lengths: dict[str, list[int]] = {}
    tokens_of = {}  # a row's tokens and labels
    for where, rows in parts.items():
        tokens, rows = Collator(processor, args, sys.maxsize).tokenize(rows, where=where) if rows else ([], [])
        tokens_of |= {id(row): (tokens, number) for number, row in enumerate(rows)}
        inputs = tokens["input_ids"] if rows else []
        lengths[where] = [num_tokens(row, len(ids), processor, args) for row, ids in zip(rows, inputs, strict=True)]

    def check() -> None:
        for where in parts:
            if max(lengths[where], default=0) > training_args.max_length:
                Collator(processor, args, training_args.max_length).tokenize(parts[where], where=where)

    first = []
    for row in [row for row in ROWS or train if id(row) in tokens_of][:show]:
        tokens, number = tokens_of[id(row)]
        first.append(segments_of(tokens[number], processor.tokenizer))
    unit = "row without its picture, which is drawn in training" if any(row["drawn"] for row in train) else "row"
    everything = [length for found in lengths.values() for length in found]
    return Prepared(len(ROWS) or len(everything), splits, everything, training_args.max_length, first, unit, check)
