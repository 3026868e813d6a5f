"""Pictures that are cut short, or have zeros where pixels were, are found."""

import io
from pathlib import Path

from common.data import pictures as images
from common.errors import BadRow

import numpy as np
import pytest
from drawings import corners, saved
from PIL import Image


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_picture_that_ends_early_is_found_without_decoding_it(tmp_path: Path, kind: str):
    """Also a photograph with a small one in its EXIF data, and one with more behind its end."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, size=(200, 200, 3), dtype=np.uint8))
    exif = b"Exif\0\0" + saved(corners((16, 16)), "jpeg")
    buffer = io.BytesIO()
    noise.save(buffer, kind, **({"exif": exif} if kind == "jpeg" else {}))
    path, content = tmp_path / "picture", buffer.getvalue()
    path.write_bytes(content + bytes(1000))
    assert images.image_size(path) == (200, 200)
    for length in (len(content) - 9, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(BadRow, match=r"is damaged \(it ends early\); copy it again or remove the row"):
            images.image_size(path)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "gif", "bmp"])
def test_a_picture_that_ends_early_is_damaged(tmp_path: Path, kind: str):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, size=(200, 200, 3), dtype=np.uint8))
    path = tmp_path / f"cut.{kind}"
    content = saved(noise, kind)
    path.write_bytes(content[: len(content) // 2])
    for source in (path, {"bytes": path.read_bytes(), "path": "cut.jpg"}):
        with pytest.raises(BadRow, match=r"cut\.\w+ (is damaged \(.+\); copy it again|is none of)"):
            images.open_image(source)


@pytest.mark.parametrize("settings", [{}, {"optimize": True}, {"progressive": True}])
def test_zeros_where_pixels_were(tmp_path: Path, settings: dict):
    """A cut download into a file of the whole length is found; no run of zeros that is right is taken for one.

    In a progressive file, of tables of its own and scans of single bits, they may be right, so that it is not refused.
    """
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, size=(200, 200, 3), dtype=np.uint8))
    empty = [Image.new("RGB", (2000, 1000), color) for color in ("white", "black")]
    ramp = Image.fromarray(np.tile(np.arange(1000) // 4, (1000, 1)).astype(np.uint8))
    path, exif = tmp_path / "a.jpg", b"Exif\0\0" + bytes(5000)
    for whole in (noise, *empty, ramp):
        whole.save(path, exif=exif, **settings)
        assert images.open_image(path).size == whole.size
    noise.save(path, exif=exif, **settings)
    content = path.read_bytes()
    path.write_bytes(content[:-2000] + bytes(1000) + content[-1000:])
    if "progressive" in settings:
        return
    with pytest.raises(BadRow, match=r"a\.jpg is damaged \(zeros stand where pixels were: a cut download\); copy it again"):
        images.open_image(path, small=True)
