"""Pictures of any kind, made upright RGB; those that cannot be read say why."""

import os
import threading
import warnings
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from common.data.damage import ends_early, lacks_pixels
from common.errors import BadRow, brief

import numpy as np
from datasets import Dataset
from PIL import ExifTags, Image, ImageFile, ImageOps, ImageSequence, UnidentifiedImageError

# Pillow also reads formats that start other programs (EPS) or hold no photograph.
FORMATS = ["BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"]
ONE_AT_A_TIME = threading.Lock()  # what is done with warnings holds for all threads
DEPTHS = (8, 10, 12, 14, 16)  # bits that scanners fill of sixteen
FAINTEST = 64  # of 255: with less between its lightest and its darkest nothing is to be seen in a picture
SUBFILE, INTERPRETATION, WHITE_IS_ZERO = 254, 262, 0  # TIFF 6.0: what a page is, and what its numbers mean


class Closed(Protocol):
    """A picture that is made when it is needed, such as `Page`, `Cell`, and the crops and drawings of a recipe."""

    def open(self) -> "Source": ...


Source = str | Path | bytes | dict[str, Any] | Image.Image | Closed  # the dictionary is that of datasets' Image


@dataclass(frozen=True)
class Cell:
    """A picture in a data set, left there: all of them at once may not fit into memory.

    Attributes:
        table: The data set; its pictures are not decoded.
        row: Number of the row, from 0.
        column: Name of the column.
        number: Which picture, where the column holds lists of them.
    """

    table: Dataset
    row: int
    column: str
    number: int | None = None

    def open(self) -> Source:
        value = self.table[self.row][self.column]
        return value if self.number is None else value[self.number]


@dataclass(frozen=True)
class Page:
    """A page of a TIFF that has several.

    Attributes:
        source: The TIFF.
        number: Number of the page, from 0.
    """

    source: Source
    number: int

    def open(self) -> Image.Image:
        image, name = _read(self.source)
        try:
            image.seek(self.number)
            return _upright(image)
        except Exception as error:  # as in `_read`
            raise BadRow(
                f"{name}, page {self.number + 1}, is damaged ({brief(error)}); copy it again or remove the row"
            ) from None


def name_source(source: Source) -> str:
    """Returns what tells a picture from others, without decoding it: the name of its file, or a hash of its bytes."""
    if isinstance(source, dict):
        source = source.get("bytes") or str(source.get("path"))
    if isinstance(source, str | Path):
        return Path(source).name
    if isinstance(source, Page):
        return f"{name_source(source.source)} {source.number}"
    if isinstance(source, Image.Image):
        source = source.tobytes()
    return blake2b(source, digest_size=16).hexdigest() if isinstance(source, bytes) else name_source(source.open())


def digest_of_source(source: Source) -> bytes:
    """Returns a hash of all that is in the file of a picture, 16 bytes: the same picture under another name has the same."""
    if isinstance(source, Page):
        return digest_of_source(source.source) + bytes([source.number % 256])
    if isinstance(source, dict):
        source = source["bytes"] if source.get("bytes") is not None else source["path"]
    if isinstance(source, str | Path):
        source = Path(source).read_bytes()
    if isinstance(source, Image.Image):
        source = source.tobytes()
    return blake2b(source, digest_size=16).digest() if isinstance(source, bytes) else digest_of_source(source.open())


# --- Headers ------------------------------------------------------------------------------------------------------------


def _read(source: Source) -> tuple[Image.Image, str]:
    """Returns a picture of which no more than the header has been read, and what to call it in an error."""
    if isinstance(source, Image.Image):
        return source, "the picture"
    if isinstance(source, bytes):
        source = {"bytes": source}
    if isinstance(source, dict):
        content, name = source.get("bytes"), str(source.get("path") or "the picture")
        file = name if content is None else BytesIO(content)
        is_empty = content is not None and not content
    elif isinstance(source, str | Path):
        file, name, content, is_empty = Path(source), str(source), None, False
    else:
        return _read(source.open())
    if content is None:
        if not os.path.isfile(name):
            raise BadRow(
                f"there is no file {name}; correct the path, which starts at the folder of the data, or remove the row"
            )
        is_empty = Path(name).stat().st_size == 0
    if is_empty:
        raise BadRow(f"{name} is empty; copy it again or remove the row")
    try:
        with ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(file, formats=FORMATS), name
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = f"{Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels"
        raise BadRow(f"{name} has over {limit}: perhaps a decompression bomb; scale it down or remove the row") from None
    except UnidentifiedImageError:
        raise BadRow(f"{name} is none of {', '.join(FORMATS)}; save it as PNG or JPEG or remove the row") from None
    except Exception as error:  # a reader raises whatever a damaged header makes it stumble over
        raise BadRow(f"{name} is damaged ({brief(error)}); copy it again or remove the row") from None


def image_size(source: Source) -> tuple[int, int]:
    """Returns width and height of the upright picture, of which only the header and the end are read.

    Raises:
        BadRow: If the file is missing, empty, too large, cut short, or no picture.
    """
    image, name = _read(source)
    if ends_early(image):
        raise BadRow(f"{name} is damaged (it ends early); copy it again or remove the row")
    try:
        # To look for EXIF data behind the pixels of a PNG Pillow would decode them.
        exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
    except Exception as error:  # a reader raises whatever damaged data makes it stumble over
        raise BadRow(f"{name} is damaged ({brief(error)}); copy it again or remove the row") from None
    return image.size[::-1] if exif.get(ExifTags.Base.Orientation, 1) >= 5 else image.size


def pages_of(source: Source) -> list[Source]:
    """Returns the pages of a TIFF that has several, without small copies of them; any other picture is one page.

    Raises:
        BadRow: If there is no such picture.
    """
    image, name = _read(source)
    if image.format != "TIFF":
        return [source]
    try:
        numbers = [n for n, page in enumerate(ImageSequence.Iterator(image)) if not int(page.tag_v2.get(SUBFILE, 0)) & 1]
    except Exception as error:  # as in `_read`
        raise BadRow(f"{name} is damaged ({brief(error)}); copy it again or remove the row") from None
    return [source] if len(numbers) < 2 else [Page(source, number) for number in numbers]


# --- Pixels -------------------------------------------------------------------------------------------------------------


def _from_wide(image: Image.Image, is_negative: bool) -> Image.Image:
    """Returns a gray picture of more than 8 bits as one of 8: its depth is the smallest usual one that holds its values."""
    values = np.asarray(image, dtype=np.float32)
    most = float(values.max(initial=0.0))
    white = max(1.0, most) if image.mode.startswith("F") else next((2**bits - 1 for bits in DEPTHS if most < 2**bits), most)
    shown = (values / white * 255).clip(0, 255)
    return Image.fromarray((255 - shown if is_negative else shown).astype(np.uint8))


def _range(image: Image.Image) -> int:
    low, high = image.convert("L").getextrema()
    return high - low


def _on_paper(image: Image.Image) -> Image.Image:
    """Returns a transparent picture on white, or on black if on white nothing could be seen of it."""
    image = image.convert("RGBA")
    white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if _range(white) >= FAINTEST:
        return white
    black = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return black if _range(black) >= FAINTEST else white


def _upright(image: Image.Image) -> Image.Image:
    """Decodes a picture: RGB, upright, on paper."""
    is_negative = getattr(image, "tag_v2", {}).get(INTERPRETATION) == WHITE_IS_ZERO  # which Pillow looks at for 8 bits alone
    is_file = isinstance(image, ImageFile.ImageFile)
    is_wide_color = is_file and ";16" in str([tile.args for tile in image.tile]) and not image.mode.startswith("I")
    image.load()
    if is_wide_color and 0 < max(high for _, high in image.convert("RGB").getextrema()) < FAINTEST:  # Pillow keeps 8 of them
        raise BadRow("has fewer than 16 bits a color in 16, so that it would be black; save it with 8, or remove the row")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # 16 bits a pixel, which `convert` would cut off at 255
        image = _from_wide(image, is_negative)
    return (_on_paper(image) if image.has_transparency_data else image).convert("RGB")


def open_image(source: Source, *, small: bool = False) -> Image.Image:
    """Opens a picture: RGB, upright as its EXIF orientation says, on paper where it is transparent, the first if it is several.

    Args:
        source: A path, a dictionary with `bytes` or `path`, a PIL image, or something that opens itself.
        small: Where a format can be read at an eighth of its size, do so: everything in the file is looked at all the same.

    Raises:
        BadRow: If the file is missing, empty, too large, no picture, or damaged.
    """
    image, name = _read(source)
    if lacks_pixels(image):
        raise BadRow(f"{name} is damaged (zeros stand where pixels were: a cut download); copy it again or remove the row")
    try:
        if small and image.format == "JPEG":
            image.draft(image.mode, (image.width // 8, image.height // 8))
        return _upright(image)
    except BadRow as error:
        raise BadRow(f"{name} {error}") from None
    except Exception as error:  # a reader raises whatever damaged data makes it stumble over
        raise BadRow(f"{name} is damaged ({brief(error)}); copy it again or remove the row") from None
