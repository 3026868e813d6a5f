"""Damage of pictures that a decoder passes over: what ends early, and zeros where pixels were."""

import re
from collections.abc import Iterator
from io import SEEK_END

from PIL import Image

# What begins and what ends the pixels of a format, looked for in the last bytes of a file: some cameras write more behind it.
ENDS = {"JPEG": (b"\xff\xda", b"\xff\xd9"), "PNG": (b"IHDR", b"IEND")}
TAIL = 65536
# Of a JPEG (ITU T.81): markers with a length, and those without.
TABLES, SCAN, END = 0xC4, 0xDA, 0xD9
BARE = {0x01, *range(0xD0, 0xD9), 0xFF}
BEHIND_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # `\xff\x00` and restarts stand within it
ZEROS = bytes(256)  # far more than a block of the standard tables takes whose 63 frequencies are all -1: 24 bytes


def ends_early(image: Image.Image) -> bool:
    """Returns whether a file lacks the mark with which its format ends: a copy that was cut short, found without decoding.

    Args:
        image: As Pillow opens a file.
    """
    if image.format not in ENDS or image.fp is None:
        return False
    (begin, end), position = ENDS[image.format], image.fp.tell()
    size = image.fp.seek(0, SEEK_END)
    image.fp.seek(max(0, size - TAIL))
    tail = image.fp.read()
    image.fp.seek(position)
    # The small picture in the EXIF data of a photograph has an end of its own, but it stands before the beginning of the large.
    return tail.rfind(end) <= tail.rfind(begin)


def _segments(content: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yields of each segment of a JPEG the marker, the content, and where it ends; behind that of a scan are its pixels."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF and content[place + 1] != END:
        marker = content[place + 1]
        if marker in BARE:
            place += 1 if marker == 0xFF else 2
            continue
        behind = place + 2 + max(2, int.from_bytes(content[place + 2 : place + 4], "big"))
        yield marker, content[place + 4 : behind], behind
        following = BEHIND_SCAN.search(content, behind) if marker == SCAN else None
        place = following.start() if following else behind


def _first_symbols(segment: bytes) -> dict[int, int]:
    """Returns of each Huffman table the symbol whose code is all zeros: the first of the shortest (T.81, annex C)."""
    found, place = {}, 0
    while place + 17 < len(segment):
        found[segment[place]] = segment[place + 17]
        place += 17 + sum(segment[place + 1 : place + 17])
    return found


def lacks_pixels(image: Image.Image) -> bool:
    """Returns whether a JPEG has a long run of zeros among its pixels of which they cannot be the code.

    So ends a download of several parts into a file that had its whole length from the start. A decoder takes the zeros for
    pixels and goes on. Where the table's shortest code says that a block has ended they may be an empty part of the picture;
    where it says -1 for a frequency, all frequencies of many blocks would be -1. The first is so in some files whose tables are
    made for the picture (optimised, progressive): there the damage is not found.

    Args:
        image: As Pillow opens a file.
    """
    if image.format != "JPEG" or image.fp is None:
        return False
    position = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(position)
    if ZEROS not in content:
        return False
    symbols: dict[int, int] = {}
    for marker, segment, behind in _segments(content):
        if marker == TABLES:
            symbols |= _first_symbols(segment)
        if marker != SCAN or not segment:
            continue
        *_, last, bits = segment[1 + 2 * segment[0] :] or (0, 0)
        has_frequencies = last and not bits >> 4  # of a progressive file a scan may have averages, or further bits, alone
        first = [symbols.get(0x10 | tables & 0x0F, 0) for tables in segment[2 : 1 + 2 * segment[0] : 2]]
        following = BEHIND_SCAN.search(content, behind)
        end = following.start() if following else len(content)
        if has_frequencies and any(symbol & 0x0F for symbol in first) and content.find(ZEROS, behind, end) >= 0:
            return True
    return False
