"""Pictures of any kind, made upright RGB and resized to what Qwen2-VL sees; those that cannot be read say why."""

import os
import warnings
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, Protocol

from common.errors import BadRow, brief, fail

import numpy as np
from datasets import Dataset
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from qwen_vl_utils import fetch_image, smart_resize
from qwen_vl_utils.vision_process import SPATIAL_MERGE_SIZE

# Pillow also reads formats that start other programs (EPS) or hold no photograph.
FORMATS = ["BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"]
# What begins and what ends the pixels of a format, looked for in the last bytes of a file: some cameras write more behind it.
ENDS = {"JPEG": (b"\xff\xda", b"\xff\xd9"), "PNG": (b"IHDR", b"IEND")}
TAIL = 65536


class Closed(Protocol):
    """A picture that is made when it is needed, such as `lesson.render.Picture`, `Crop` and `Cell`."""

    def open(self) -> "Source": ...


Source = str | Path | bytes | dict[str, Any] | Image.Image | Closed  # the dictionary is that of datasets' Image


@dataclass(frozen=True)
class Crop:
    """A part of a picture.

    Attributes:
        path: The file of the whole picture.
        box: Left, upper, right and lower edge in pixels of the upright picture.
    """

    path: Path
    box: tuple[int, int, int, int]

    def open(self) -> Image.Image:
        return _open_whole(self.path).crop(self.box)


@lru_cache(maxsize=4)
def _open_whole(path: Path) -> Image.Image:
    """Returns a picture that several crops in a row are taken from."""
    return open_image(path)


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


def name_source(source: Source) -> str:
    """Returns what tells a picture from others, without decoding it: the name of its file, or a hash of its bytes."""
    if isinstance(source, dict):
        source = source.get("bytes") or str(source.get("path"))
    if isinstance(source, str | Path):
        return Path(source).name
    if isinstance(source, Image.Image):
        source = source.tobytes()
    return blake2b(source, digest_size=16).hexdigest() if isinstance(source, bytes) else name_source(source.open())


# --- Opening ------------------------------------------------------------------------------------------------------------


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
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(file, formats=FORMATS), name
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = f"{Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels"
        raise BadRow(f"{name} has over {limit}: perhaps a decompression bomb; scale it down or remove the row") from None
    except UnidentifiedImageError:
        raise BadRow(f"{name} is none of {', '.join(FORMATS)}; save it as PNG or JPEG or remove the row") from None
    except Exception as error:  # a reader raises whatever a damaged header makes it stumble over
        raise BadRow(f"{name} is damaged ({brief(error)}); copy it again or remove the row") from None


def _ends_early(image: Image.Image) -> bool:
    """Returns whether a file lacks the mark with which its format ends: a copy that was cut short, found without decoding."""
    if image.format not in ENDS or image.fp is None:
        return False
    (begin, end), position = ENDS[image.format], image.fp.tell()
    size = image.fp.seek(0, SEEK_END)
    image.fp.seek(max(0, size - TAIL))
    tail = image.fp.read()
    image.fp.seek(position)
    # The small picture in the EXIF data of a photograph has an end of its own, but it stands before the beginning of the large.
    return tail.rfind(end) <= tail.rfind(begin)


def image_size(source: Source) -> tuple[int, int]:
    """Returns width and height of the upright picture, of which only the header and the end are read.

    Raises:
        BadRow: If the file is missing, empty, too large, cut short, or no picture.
    """
    if isinstance(source, Crop):
        return source.box[2] - source.box[0], source.box[3] - source.box[1]
    image, name = _read(source)
    if _ends_early(image):
        raise BadRow(f"{name} is damaged (it ends early); copy it again or remove the row")
    try:
        # To look for EXIF data behind the pixels of a PNG Pillow would decode them.
        exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
    except Exception as error:  # a reader raises whatever damaged data makes it stumble over
        raise BadRow(f"{name} is damaged ({brief(error)}); copy it again or remove the row") from None
    return image.size[::-1] if exif.get(ExifTags.Base.Orientation, 1) >= 5 else image.size


def open_image(source: Source) -> Image.Image:
    """Opens a picture: RGB, upright as its EXIF orientation says, on white where it is transparent, the first if it is several.

    Args:
        source: A path, a dictionary with `bytes` or `path`, a PIL image, or something that opens itself.

    Raises:
        BadRow: If the file is missing, empty, too large, no picture, or damaged.
    """
    image, name = _read(source)
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith(("I", "F")):  # 16 bits a pixel, which `convert` would cut off at 255
            values = np.asarray(image, dtype=np.float32)
            white = 65535 if image.mode.startswith("I") else max(1.0, float(values.max()))
            image = Image.fromarray((values / white * 255).clip(0, 255).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return image.convert("RGB")
    except Exception as error:  # as above
        raise BadRow(f"{name} is damaged ({brief(error)}); copy it again or remove the row") from None


def open_images(row: dict[str, Any]) -> list[Image.Image]:
    """Opens the pictures of a row.

    Args:
        row: Has `images`, and `where` it was read.

    Raises:
        SystemExit: With code 2 and one line that names the row, if one cannot be opened.
    """
    try:
        return [open_image(source) for source in row["images"]]
    except BadRow as error:
        fail(f"{row['where']}: {error}; with skip_bad_images such rows are found and left out before training")


# --- Resizing -----------------------------------------------------------------------------------------------------------


def fitted_size(size: tuple[int, int], min_pixels: int, max_pixels: int, patch_size: int = 14) -> tuple[int, int]:
    """Returns the width and height to which qwen-vl-utils resizes a picture: whole patches, as many as the limits allow.

    Args:
        size: Width and height of the picture.
        min_pixels: A smaller picture is enlarged.
        max_pixels: A larger picture is made smaller.
        patch_size: Edge of a patch of the vision tower; two by two of them become one token.

    Raises:
        BadRow: If the picture is too long and thin.
    """
    width, height = size
    try:
        height, width = smart_resize(height, width, patch_size * SPATIAL_MERGE_SIZE, min_pixels, max_pixels)
    except (ValueError, ZeroDivisionError):
        height = 0
    if not height or not width:  # smart_resize rounds down to nothing what is thinner than a patch after it was made smaller
        raise BadRow(f"the picture is {size[0]} x {size[1]}, too long and thin for patches; cut it up, or raise max_pixels")
    return width, height


def fit(image: Image.Image, min_pixels: int, max_pixels: int, patch_size: int = 14) -> Image.Image:
    """Returns a picture as qwen-vl-utils (in https://github.com/QwenLM/Qwen3-VL) resizes it; see `fitted_size`."""
    fitted_size(image.size, min_pixels, max_pixels, patch_size)
    return fetch_image({"image": image, "min_pixels": min_pixels, "max_pixels": max_pixels}, image_patch_size=patch_size)


def num_image_tokens(size: tuple[int, int], min_pixels: int, max_pixels: int, patch_size: int = 14) -> int:
    """Returns how many tokens a picture becomes in the text; see `fitted_size`."""
    width, height = fitted_size(size, min_pixels, max_pixels, patch_size)
    return width * height // (patch_size * SPATIAL_MERGE_SIZE) ** 2
