"""Rows of generated pictures: texts that are never trained on, in fonts that are and in fonts that are not."""

import random

from common.data.splits import size_of_part
from common.errors import fail

from arguments import OcrArguments
from data import UNITS
from lesson.render import ADAPTATION_FONTS, TRAINED_FONTS, UNSEEN_FONTS, Picture
from lesson.texts import CHARACTERS, PLAIN_CHARACTERS, draw_receipt, draw_text, receipt_text
from lesson.thermal import THERMAL_FONTS, ThermalLine, font_for
from lesson.till import draw_thermal_text
from rows import Row, asked, make_row


def _generate(
    count: int,
    seed: str,
    fonts: list[str],
    unit: str,
    args: OcrArguments,
    *,
    held_out: bool,
    exclude: frozenset[str] = frozenset(),
) -> list[Row]:
    """Returns rows that follow from the seed; those that are held out have different texts and the full difficulty."""
    characters, rows, seen = PLAIN_CHARACTERS if args.plain else CHARACTERS, [], set(exclude)
    for number in range(2 * (count + len(exclude)) + 200):
        rng, fields = random.Random(f"{seed} {number}"), None
        difficulty = 1.0 if held_out else min(1.0, (len(rows) + 1) / (args.curriculum * count + 1))
        if unit == "lines":
            longest = max(min(args.shortest + 2, args.longest), round(args.longest * difficulty))
            limits = {"shortest": args.shortest, "longest": longest, "code_share": 0.25 if held_out else args.code_share}
            if args.thermal:
                lines = draw_thermal_text(rng, held_out=held_out, **limits)
            else:
                lines = draw_text(rng, held_out=held_out, characters=characters, **limits)
            text = lines.upper() if args.thermal else lines
        else:
            lines, fields = draw_receipt(rng, held_out=held_out)
            text = receipt_text(lines)
        if held_out and text in seen:
            continue
        seen.add(text)
        strength = args.strength * difficulty
        font = font_for(lines, rng, fonts) if args.thermal else rng.choice(fonts)
        make = ThermalLine if args.thermal else Picture
        picture = make(lines, font, rng.getrandbits(32), args.line_height, strength)
        said = {"where": f"synthetic, {seed} {number}", "group": text, "fields": fields, "is_receipt": unit == "receipts"}
        rows.append(make_row([picture], asked(args.question, text), drawn=True, **said))
        if len(rows) == count:
            return rows
    fail(f"there are too few texts of {args.shortest} to {args.longest} characters for num_held_out {count}; lower it")


def synthetic_splits(args: OcrArguments, seed: int) -> tuple[list[Row], list[Row], dict[str, list[Row]]]:
    """Generates the training rows, those of the validation and the held-out sets.

    Args:
        args: Says how many, and what they show.
        seed: Seed of the training rows; the others are the same for every seed.

    Returns:
        As `data.load_data`.

    Raises:
        SystemExit: With code 2 and one line for settings that do not fit.
    """
    if args.num_train < 1:
        fail(f"num_train is {args.num_train}: say how many pictures to generate, for example --num_train 40000")
    if not 1 <= args.shortest <= args.longest or args.longest < 2:
        fail(f"shortest is {args.shortest} and longest {args.longest}: use at least 1 and 2, and shortest not above longest")
    for name in ("strength", "code_share", "curriculum"):
        if not 0 <= getattr(args, name) <= 1:
            fail(f"{name} is {getattr(args, name)}: use a number from 0 to 1")
    if args.thermal and (args.plain or args.italics or args.units != "lines"):
        other = "plain" if args.plain else "italics" if args.italics else f"units {args.units}"
        fail(f"thermal does not go with {other}: it draws lines of till receipts with fonts of its own; leave out one of them")
    fonts = {"held_out": THERMAL_FONTS if args.thermal else TRAINED_FONTS, "unseen_font": UNSEEN_FONTS}
    if args.italics:
        fonts = {"held_out": ADAPTATION_FONTS, "upright": TRAINED_FONTS}
    train, validation, held_out, units = [], [], {}, UNITS[args.units]
    for number, unit in enumerate(units):
        count = (args.num_train + number) // len(units)
        train += _generate(count, f"train {seed} {unit}", fonts["held_out"], unit, args, held_out=False)
        for name, those in fonts.items():
            key = name if number == 0 else f"{name}_{unit}"
            held_out[key] = _generate(args.num_held_out, f"{name} {unit}", those, unit, args, held_out=True)
        # To choose by: texts that are not trained, and in no held-out set either.
        others = frozenset(row["group"] for rows in held_out.values() for row in rows)
        size = size_of_part(count, args.num_held_out)
        validation += _generate(size, f"validation {unit}", fonts["held_out"], unit, args, held_out=True, exclude=others)
    if not args.curriculum or len(units) > 1:
        random.Random(seed).shuffle(train)
    return train, validation, held_out
