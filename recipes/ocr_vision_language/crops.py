"""Lines that are cut out of photographs: once, and kept, since shuffled lines would decode a whole receipt for each."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from io import BytesIO
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from common.data import cache
from common.data.pictures import open_image

from PIL import Image

Box = tuple[int, int, int, int]  # left, upper, right and lower edge in pixels of the upright picture


@dataclass(frozen=True)
class Crop:
    """A part of a picture.

    Attributes:
        path: The file of the whole picture.
        box: What is cut out of it.
        kept: The file in which it is kept, once it has been cut; None keeps nothing.
    """

    path: Path
    box: Box
    kept: Path | None = None

    def open(self) -> Image.Image | Path:
        return self.kept if self.kept and self.kept.is_file() else open_image(self.path).crop(self.box)


@lru_cache(maxsize=4)
def _folder_of(path: Path) -> Path:
    """Returns where the crops of a picture are kept: another folder as soon as the picture is another."""
    found = path.stat()
    name = f"{path.absolute()} {found.st_size} {found.st_mtime_ns}"
    return cache.folder_of("crops") / blake2b(name.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def crop(path: Path, box: Box) -> Crop:
    """Returns a part of a picture, which is kept once `cut` has cut it.

    Args:
        path: The file of the whole picture.
        box: What is cut out of it.
    """
    return Crop(path, box, _folder_of(path) / f"{'-'.join(map(str, box))}.png")


def cut(crops: Iterable[Crop]) -> None:
    """Cuts and keeps what is not kept yet; a picture is decoded once for all crops of it that come one after the other.

    Args:
        crops: Of `crop`.

    Raises:
        BadRow: If a picture cannot be used.
    """
    missing = [found for found in crops if found.kept and not found.kept.is_file()]
    for path, parts in groupby(missing, attrgetter("path")):
        whole = open_image(path)
        for part in parts:
            file = BytesIO()
            whole.crop(part.box).save(file, "PNG", compress_level=1)
            cache.write_file(part.kept, file.getvalue())
