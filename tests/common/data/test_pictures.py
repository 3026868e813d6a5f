"""Pictures of every kind are opened upright and in color, or say why not."""

import struct
import time
import zlib
from pathlib import Path

from common.data import pictures as images
from common.errors import BadRow

import numpy as np
import pytest
from datasets import Dataset, Features, List
from datasets import Image as ImageFeature
from drawings import BLUE, GREEN, RED, WHITE, corners, saved
from PIL import Image


def found(image: Image.Image) -> list[tuple[int, ...]]:
    """Returns the colors of the four quarters."""
    width, height = image.size
    places = [(width // 4, height // 4), (3 * width // 4, height // 4), (width // 4, 3 * height // 4)]
    return [image.getpixel(place) for place in [*places, (3 * width // 4, 3 * height // 4)]]


def is_like(colors: list[tuple[int, ...]], wanted: list[tuple[int, ...]]) -> bool:
    return np.abs(np.array(colors) - np.array(wanted)).max() < 8


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff", "ppm"])
def test_formats(tmp_path: Path, suffix: str):
    path = tmp_path / f"picture.{suffix}"
    corners().save(path, **({"quality": 95} if suffix in ("jpg", "webp") else {}))
    image = images.open_image(path)
    assert (image.mode, image.size) == ("RGB", (60, 40))
    assert is_like(found(image), [RED, GREEN, BLUE, WHITE])
    assert images.image_size(path) == (60, 40)
    assert images.open_image(str(path)).tobytes() == image.tobytes()
    for source in (path.read_bytes(), {"bytes": path.read_bytes(), "path": None}, {"bytes": None, "path": str(path)}):
        assert images.open_image(source).tobytes() == image.tobytes()
        assert images.image_size(source) == (60, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int):
    """The file holds the picture as a camera held on its side writes it; all eight come out as the same upright picture."""
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = corners()
    for step in undo.get(orientation, []):
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "picture.jpg"
    stored.save(path, quality=95, exif=exif)
    assert images.image_size(path) == (60, 40)
    image = images.open_image(path)
    assert image.size == (60, 40)
    assert is_like(found(image), [RED, GREEN, BLUE, WHITE])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F", "RGBX"])
def test_modes(mode: str):
    """A dark left half and a white right half, in each way that Pillow holds pixels."""
    values = np.full((40, 60), 255, dtype=np.uint8)
    values[:, :30] = 0
    gray = Image.fromarray(values)
    if mode in ("I", "I;16", "F"):
        wide = values.astype(np.float64) * (1 if mode == "F" else 257)
        source = Image.fromarray(wide.astype({"I": np.int32, "I;16": np.uint16, "F": np.float32}[mode]))
    elif mode == "PA":
        source = gray.convert("P").convert("PA")
    else:
        source = (gray if mode in ("1", "LA") else gray.convert("RGB")).convert(mode)
    assert source.mode == mode
    image = images.open_image(source)
    assert (image.mode, image.size) == ("RGB", (60, 40))
    assert is_like([image.getpixel((10, 20)), image.getpixel((50, 20))], [(0, 0, 0), WHITE])


@pytest.mark.parametrize(("value", "shown"), [(0, 0), (32896, 128), (65535, 255)])
def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path: Path, value: int, shown: int):
    path = tmp_path / "scan.png"
    Image.fromarray(np.full((30, 30), value, dtype=np.uint16)).save(path)
    assert images.open_image(path).getpixel((5, 5)) == (shown,) * 3


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_fewer_bits_in_sixteen_are_scaled_to_all_of_eight(tmp_path: Path, bits: int, suffix: str):
    values = np.full((30, 60), 2**bits - 1, dtype=np.uint16)
    values[:, :30] //= 2
    Image.fromarray(values).save(tmp_path / f"scan.{suffix}")
    image = images.open_image(tmp_path / f"scan.{suffix}")
    assert [image.getpixel((x, 5))[0] for x in (5, 50)] == [127, 255]


def test_sixteen_bits_in_which_zero_is_white(tmp_path: Path):
    """As a TIFF may say; Pillow looks at it for 8 bits alone."""
    values = np.zeros((30, 60), dtype=np.uint16)
    values[:, :30] = 65535
    Image.fromarray(values).save(tmp_path / "scan.tiff", tiffinfo={262: 0})
    image = images.open_image(tmp_path / "scan.tiff")
    assert [image.getpixel((x, 5))[0] for x in (5, 50)] == [0, 255]


@pytest.mark.parametrize(("value", "is_read"), [(4095, False), (0, True), (65535, True)])
def test_fewer_bits_of_color_in_sixteen_are_refused(value: int, is_read: bool):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30, 30, 16, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + struct.pack(">3H", value, value, value) * 30) * 30)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    if is_read:
        assert images.open_image(content).getpixel((5, 5)) == (value // 257,) * 3
        return
    with pytest.raises(BadRow, match="the picture has fewer than 16 bits a color in 16"):
        images.open_image(content)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize(("ink", "paper"), [((255, 255, 255), (0, 0, 0)), ((235, 235, 235), (0, 0, 0)), ((0, 0, 0), WHITE)])
def test_transparent_text_is_seen(tmp_path: Path, mode: str, ink: tuple, paper: tuple):
    image = Image.new("RGBA", (60, 30), (0, 0, 0, 0))
    image.paste((*ink, 255), (0, 0, 30, 30))
    image.convert(mode).save(tmp_path / "text.png")
    image = images.open_image(tmp_path / "text.png")
    assert is_like([image.getpixel((5, 5)), image.getpixel((50, 5))], [ink, paper])


def test_pages_of_a_tiff(tmp_path: Path):
    """Without the small copies that some programs put beside them."""
    pages = [corners((60, 40)), corners((80, 40)), corners((30, 20))]
    pages[2].encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    found = images.pages_of(tmp_path / "pages.tif")
    assert (
        [images.open_image(page).size for page in found] == [images.image_size(page) for page in found] == [(60, 40), (80, 40)]
    )
    assert len({images.digest_of_source(page) for page in found}) == len({images.name_source(page) for page in found}) == 2
    assert images.pages_of(pages[0]) == [pages[0]]


def test_cmyk_photographs_are_not_negatives(tmp_path: Path):
    corners().convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert is_like(found(images.open_image(tmp_path / "print.jpg")), [RED, GREEN, BLUE, WHITE])


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P"])
def test_transparent_paper_is_white(tmp_path: Path, kind: str):
    path = tmp_path / "picture.png"
    if kind == "P":
        image = Image.new("P", (40, 40), 0)
        image.putpalette([0, 0, 0, 255, 0, 0])
        image.paste(1, (0, 0, 20, 40))
        image.save(path, transparency=0)
    else:
        image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
        image.paste((255, 0, 0, 255), (0, 0, 20, 40))
        image.convert(kind).save(path)
    opened = images.open_image(path)
    assert opened.getpixel((30, 20)) == WHITE
    assert opened.getpixel((10, 20)) == (RED if kind != "LA" else (76, 76, 76))


@pytest.mark.parametrize("suffix", ["gif", "webp", "tiff", "png"])
def test_the_first_of_several_pictures(tmp_path: Path, suffix: str):
    path = tmp_path / f"several.{suffix}"
    pages = [Image.new("RGB", (40, 30), color) for color in (GREEN, BLUE)]
    pages[0].save(path, save_all=True, append_images=pages[1:], **({"lossless": True} if suffix == "webp" else {}))
    image = images.open_image(path)
    assert image.size == (40, 30)
    assert image.getpixel((5, 5)) == GREEN


def bomb(width: int, height: int) -> bytes:
    """Returns a PNG of a kilobyte whose header announces any number of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 10_000), (50_000, 50_000)])
def test_a_decompression_bomb_is_refused_at_once(tmp_path: Path, size: tuple[int, int]):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(*size))
    start = time.thread_time()
    for read in (images.image_size, images.open_image):
        with pytest.raises(BadRow) as raised:
            read(path)
        assert str(raised.value) == (
            f"{path} has over 89 million pixels: perhaps a decompression bomb; scale it down or remove the row"
        )
    assert time.thread_time() - start < 1


def test_a_large_photograph_is_read(tmp_path: Path):
    Image.new("L", (8000, 6000), 255).save(tmp_path / "large.png")
    assert images.image_size(tmp_path / "large.png") == (8000, 6000)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.png", None, "there is no file {path}; correct the path"),
        ("empty.png", b"", "{path} is empty; copy it again"),
        ("text.png", b"not a picture", "{path} is none of BMP, GIF, JPEG"),
        ("vector.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "{path} is none of BMP, GIF, JPEG"),
        ("program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "{path} is none of BMP"),
        ("cut.png", saved(corners(), "png")[:20], "{path} is "),
    ],
)
def test_no_picture(tmp_path: Path, name: str, content: bytes | None, reason: str):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for read in (images.image_size, images.open_image):
        with pytest.raises(BadRow) as raised:
            read(path)
        assert str(raised.value).startswith(reason.format(path=path))
        assert "remove the row" in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_cell_opens_itself():
    content = {"bytes": saved(corners(), "png"), "path": None}
    features = Features({"image": ImageFeature(decode=False), "images": List(ImageFeature(decode=False))})
    table = Dataset.from_dict({"image": [content] * 2, "images": [[], [content, content]]}, features=features)
    for cell in (images.Cell(table, 1, "image"), images.Cell(table, 1, "images", 1)):
        assert images.image_size(cell) == (60, 40)
        assert is_like(found(images.open_image(cell)), [RED, GREEN, BLUE, WHITE])
