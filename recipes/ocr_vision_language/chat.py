"""Reads the text in pictures with a trained model.

    recipes chat outputs/ocr_vision_language/tiny receipt.jpg line.png

Without a picture on the command line, each line of standard input is the path of one. The model is asked the question of its
training, and sees pictures in the sizes of its training.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.data.runs import read_record
from common.errors import BadRow, fail
from common.generate.chat import chat_parser, load_for_chat, talk

if TYPE_CHECKING:
    from peft import PeftModel
    from PIL import Image
    from transformers import PreTrainedModel, ProcessorMixin


def open_pictures(path: str, settings: dict[str, Any], patch_size: int = 14) -> list["Image.Image"]:
    """Opens a picture, or the pages of a TIFF, and resizes them as in training.

    Args:
        path: A file of any format that the recipe trains on.
        settings: The run's settings by name: `min_pixels` and `max_pixels`.
        patch_size: Edge of a patch of the model's vision tower.

    Raises:
        BadRow: If it cannot be used; the text names the file.
    """
    from common.data.pictures import open_image, pages_of

    from images import fit

    try:
        pages = map(open_image, pages_of(Path(path).read_bytes()))
        return [fit(page, settings["min_pixels"], settings["max_pixels"], patch_size) for page in pages]
    except OSError as error:
        raise BadRow(f"{path}: {error.strerror}; give the path of a picture") from None
    except BadRow as error:
        raise BadRow(f"{path}: {str(error).removesuffix(' or remove the row')}") from None


def transcribe(model: "PreTrainedModel | PeftModel", processor: "ProcessorMixin", path: str, settings: dict[str, Any]) -> str:
    """Reads the text in a picture.

    Args:
        model: The model of the run; its `generation_config` says how it reads.
        processor: Its processor.
        path: The picture's file.
        settings: The run's settings by name: `question`, `min_pixels` and `max_pixels`.

    Returns:
        The text, without special tokens.

    Raises:
        BadRow: If the picture cannot be used; the text names the file.
    """
    pictures = open_pictures(path, settings, processor.image_processor.patch_size)
    places = [{"type": "image"}] * len(pictures)
    messages = [{"role": "user", "content": [*places, {"type": "text", "text": settings["question"]}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(images=pictures, text=[text], add_special_tokens=False, return_tensors="pt").to(model.device)
    output = model.generate(**inputs)
    return processor.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def main() -> None:
    parser = chat_parser(__doc__)
    parser.add_argument(
        "pictures", metavar="PICTURE", nargs="*", help="a file; without any, each line of standard input is the path of one"
    )
    args = parser.parse_args()
    _, record = read_record(args.run)
    for path in args.pictures:  # before the model is loaded
        try:
            open_pictures(path, record["settings"])
        except BadRow as error:
            fail(str(error))
    model, processor, settings = load_for_chat(args.run, args)
    for path in args.pictures:
        text = transcribe(model, processor, path, settings)
        print(f"{path}: {text}" if len(args.pictures) > 1 else text, flush=True)

    def reply(messages: list[dict[str, Any]]) -> None:
        path = messages[-1]["content"]
        try:
            text = transcribe(model, processor, path, settings)
            print(text if sys.stdin.isatty() else f"{path}: {text}", flush=True)
        except BadRow as error:
            print(f"error: {error}", file=sys.stderr, flush=True)

    if not args.pictures:
        talk(reply, prompt="Picture: ")


if __name__ == "__main__":
    main()
