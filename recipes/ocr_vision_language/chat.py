"""Reads the text in pictures with a trained model.

    recipes chat outputs/ocr_vision_language/tiny receipt.jpg line.png

Without a picture on the command line, each line of standard input is the path of one. The model is asked the question of its
training, and sees pictures in the sizes of its training.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from common.data.conversations import BadRow
from common.data.runs import read_record
from common.errors import fail
from common.models.saved import load_run

from peft import PeftModel
from PIL import Image
from transformers import GenerationConfig, PreTrainedModel, ProcessorMixin

from images import fit, open_image


def open_picture(path: str, settings: dict[str, Any], patch_size: int = 14) -> Image.Image:
    """Opens a picture and resizes it as in training.

    Args:
        path: A file of any format that the recipe trains on.
        settings: The run's settings by name: `min_pixels` and `max_pixels`.
        patch_size: Edge of a patch of the model's vision tower.

    Raises:
        BadRow: If it cannot be used; the text names the file.
    """
    try:
        return fit(open_image(Path(path).read_bytes()), settings["min_pixels"], settings["max_pixels"], patch_size)
    except OSError as error:
        raise BadRow(f"{path}: {error.strerror}; give the path of a picture") from None
    except BadRow as error:
        raise BadRow(f"{path}: {str(error).removesuffix(' or remove the row')}") from None


def transcribe(model: PreTrainedModel | PeftModel, processor: ProcessorMixin, path: str, settings: dict[str, Any]) -> str:
    """Reads the text in a picture, always with the likeliest token.

    Args:
        model: The model of the run.
        processor: Its processor.
        path: The picture's file.
        settings: The run's settings by name: `question`, `min_pixels`, `max_pixels` and `max_new_tokens`.

    Returns:
        The text, without special tokens.

    Raises:
        BadRow: If the picture cannot be used; the text names the file.
    """
    picture = open_picture(path, settings, processor.image_processor.patch_size)
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": settings["question"]}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    inputs = processor(images=[picture], text=[text], add_special_tokens=False, return_tensors="pt").to(model.device)
    # As when the run was measured: not with the penalties and the sampling that a model suggests for chatting.
    config = GenerationConfig(
        max_new_tokens=settings["max_new_tokens"],
        do_sample=False,
        temperature=1.0,
        top_k=50,
        top_p=1.0,
        repetition_penalty=1.0,
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=processor.tokenizer.pad_token_id,
    )
    output = model.generate(**inputs, generation_config=config)
    return processor.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="recipes chat", description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.error = lambda message: fail(f"{message}; `recipes chat RUN --help` lists the options")
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a checkpoint-N in it")
    parser.add_argument(
        "pictures", metavar="PICTURE", nargs="*", help="a file; without any, each line of standard input is the path of one"
    )
    args = parser.parse_args()
    _, record = read_record(Path(args.run))
    for path in args.pictures:  # before the model is loaded
        try:
            open_picture(path, record["settings"])
        except BadRow as error:
            fail(str(error))
    model, processor, settings = load_run(args.run)
    for path in args.pictures:
        text = transcribe(model, processor, path, settings)
        print(f"{path}: {text}" if len(args.pictures) > 1 else text, flush=True)
    at_terminal = sys.stdin.isatty()
    try:
        while not args.pictures:
            path = input("Picture: " if at_terminal else "").strip()
            try:
                if path:
                    text = transcribe(model, processor, path, settings)
                    print(text if at_terminal else f"{path}: {text}", flush=True)
            except BadRow as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
    except (EOFError, KeyboardInterrupt):
        if at_terminal:
            print()


if __name__ == "__main__":
    main()
