"""The pictures of a row: opened, and resized to what Qwen2-VL sees."""

from typing import Any

from common.data.pictures import open_image
from common.errors import BadRow, fail

from PIL import Image
from qwen_vl_utils import fetch_image, smart_resize
from qwen_vl_utils.vision_process import SPATIAL_MERGE_SIZE


def open_images(row: dict[str, Any]) -> list[Image.Image]:
    """Opens the pictures of a row.

    Args:
        row: Has `images`, and `where` it was read.

    Raises:
        SystemExit: With code 2 and one line that names the row, if one cannot be opened.
    """
    try:
        return [open_image(source) for source in row["images"]]
    except BadRow as error:  # it could when the data were read
        fail(f"{row['where']}: {error}; it was whole when the run began")


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
