"""Pictures are resized to whole patches; one that can no longer be opened names its row, and lines are cut out of pages."""

import io
from pathlib import Path

from common.data.pictures import image_size, open_image
from common.errors import BadRow

import pytest
from conftest import recipe_modules
from PIL import Image


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules("ocr_vision_language", ["images", "crops", "lesson.render"]) as modules:
        yield modules


@pytest.fixture(scope="module")
def images(recipe):
    return recipe["images"]


def gradient(size: tuple[int, int]) -> Image.Image:
    """A picture that is dark above and light below."""
    return Image.linear_gradient("L").resize(size).convert("RGB")


def test_a_damaged_picture_found_late_names_its_row(images, tmp_path: Path, capsys: pytest.CaptureFixture):
    path, file = tmp_path / "bad.png", io.BytesIO()
    Image.effect_noise((400, 400), 50).save(file, "png")
    content = bytearray(file.getvalue())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert image_size(path) == (400, 400)  # the header and the end are whole
    with pytest.raises(SystemExit) as ended:
        images.open_images({"images": [path], "where": "data.jsonl, line 7"})
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: data.jsonl, line 7: {path} is damaged (")
    assert error.count("\n") == 1


def test_a_crop_opens_itself(recipe, tmp_path: Path):
    page = Image.new("RGB", (60, 40), "white")
    page.paste((0, 255, 0), (30, 0, 60, 20))
    page.save(tmp_path / "page.png")
    crop = recipe["crops"].Crop(tmp_path / "page.png", (30, 0, 60, 20))
    assert image_size(crop) == open_image(crop).size == (30, 20)
    assert open_image(crop).getcolors() == [(600, (0, 255, 0))]


# --- Resizing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "limits", "fitted", "tokens"),
    [
        ((280, 28), (1, 10**6), (280, 28), 10),
        ((300, 30), (1, 10**6), (308, 28), 11),
        ((10, 10), (4 * 784, 10**6), (56, 56), 4),
        ((2000, 1000), (784, 784 * 50), (280, 140), 50),
    ],
)
def test_sizes_are_those_of_whole_patches(images, size: tuple, limits: tuple, fitted: tuple, tokens: int):
    assert images.fitted_size(size, *limits) == fitted
    assert images.num_image_tokens(size, *limits) == tokens
    image = images.fit(gradient(size), *limits)
    assert image.size == fitted
    if min(size) > 20:
        assert image.getpixel((5, 1))[0] < 64
        assert image.getpixel((5, image.height - 2))[0] > 192


def test_the_processor_of_the_model_leaves_a_fitted_picture_as_it_is(images):
    """The number of tokens that is counted is the number that Qwen2-VL's own image processor makes."""
    from transformers import Qwen2VLImageProcessor

    limits = (4 * 784, 64 * 784)
    processor = Qwen2VLImageProcessor(min_pixels=limits[0], max_pixels=limits[1])
    for size in [(300, 30), (33, 47), (900, 700), (28, 28), (1200, 90)]:
        fitted = images.fit(gradient(size), *limits)
        grid = processor(images=[fitted], return_tensors="pt")["image_grid_thw"][0].tolist()
        assert (grid[2] * 14, grid[1] * 14) == fitted.size
        assert grid[1] * grid[2] // 4 == images.num_image_tokens(size, *limits)


def test_patches_of_another_size(images):
    assert images.fit(gradient((330, 33)), 1, 10**6, patch_size=16).size == (320, 32)
    assert images.num_image_tokens((330, 33), 1, 10**6, patch_size=16) == 10


@pytest.mark.parametrize("size", [(6000, 20), (20, 6000), (3000, 16)])
def test_too_long_and_thin(images, size: tuple[int, int]):
    for fit in (
        lambda: images.fit(Image.new("RGB", size), 784, 16 * 784),
        lambda: images.num_image_tokens(size, 784, 16 * 784),
    ):
        with pytest.raises(BadRow) as raised:
            fit()
        assert str(raised.value) == (
            f"the picture is {size[0]} x {size[1]}, too long and thin for patches; cut it up, or raise max_pixels"
        )
