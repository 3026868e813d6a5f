"""How well a model reads pictures: errors in characters, words and fields, with 95 % intervals.

    accelerate launch --config_file accelerate_configs/zero2.yaml recipes/ocr_vision_language/evaluate.py \
        --model_name_or_path outputs/ocr_vision_language/tiny

The model may be a hub id, a folder or a LoRA adapter; `--dataset_name` may be a folder of SROIE. The pictures are shared out
over the processes; under ZeRO-3 the model is sharded, under the other stages each process holds a copy.
"""

import base64
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

from common.generate.completions import Completion, generate
from common.report.numbers import print_results
from common.run.config import parse

import torch
from accelerate import Accelerator
from transformers import ProcessorMixin
from trl import SFTConfig

from arguments import REFUSED, OcrArguments
from metrics import confused_characters, references, score

if TYPE_CHECKING:
    from rows import Row

SAMPLES_SHOWN = 24  # kept in samples.jsonl, for the report
LARGEST_SHOWN = 800  # pixels of the longer edge of a picture in the report


def _data_uri(row: "Row") -> str | None:
    """Returns the first picture of a row, small, as it can stand in a page."""
    from images import open_images

    if not row["images"]:
        return None
    image = open_images(row)[0].convert("RGB")
    image.thumbnail((LARGEST_SHOWN, LARGEST_SHOWN))
    files = {"png": BytesIO(), "jpeg": BytesIO()}  # a page is small with the one for renderings, a photograph with the other
    image.save(files["png"], format="PNG")
    image.save(files["jpeg"], format="JPEG", quality=75)
    kind, file = min(files.items(), key=lambda pair: len(pair[1].getvalue()))
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _sample(row: "Row", completion: Completion, verdict: dict[str, Any]) -> dict[str, Any]:
    """Returns a row and what was read in its pictures, as the report shows them."""
    asked = [message["content"] for message in row["messages"] if message["role"] == "user"][-1]
    return {
        "id": row["where"],
        "question": asked if isinstance(asked, str) else "".join(part.get("text", "[picture]") for part in asked),
        "image": _data_uri(row),
        "answer": row["messages"][-1]["content"],
        "completion": completion.text,
        **verdict,
    }


def check_held_out(
    held_out: dict[str, list["Row"]], processor: ProcessorMixin, args: OcrArguments, training_args: SFTConfig
) -> dict[str, list["Row"]]:
    """Returns the held-out rows that can be measured, before a model loads; see `collate.Collator.tokenize`.

    Also says of how many the transcription is longer than what may be read.
    """
    from common.generate.limits import warn_of_cut_references

    from collate import Collator

    usable = {
        name: Collator(processor, args, training_args.max_length).tokenize(rows, where=name)[1] if rows else []
        for name, rows in held_out.items()
    }
    warn_of_cut_references(references(usable), processor.tokenizer, args.max_new_tokens)
    return usable


def evaluate(
    model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: ProcessorMixin,
    held_out: dict[str, list["Row"]],
    args: OcrArguments,
    training_args: SFTConfig,
) -> dict[str, dict[str, Any]]:
    """Transcribes each held-out picture greedily; draws no random numbers.

    Args:
        model: The model as the accelerator wrapped it.
        accelerator: Shares the pictures out over the processes.
        tokenizer: The model's processor: its tokenizer, and what makes patches of pictures.
        held_out: Rows by the name of the set.
        args: Says how large pictures may be and where a transcription is cut.
        training_args: Gives the batch size of a device.

    Returns:
        For each set `metrics` (see `metrics.score`), `matrices` for the report (see `metrics.confused_characters`), `samples`
        (the first pictures with what was read) and `count`.
    """
    from collate import fitted_images, prompt_of

    results = {}
    for name, rows in held_out.items():
        completions = generate(
            model,
            accelerator,
            tokenizer,
            [prompt_of(row) for row in rows],
            batch_size=training_args.per_device_eval_batch_size,
            max_new_tokens=args.max_new_tokens,
            open_images=lambda number, rows=rows: fitted_images(rows[number], tokenizer, args),
        )
        metrics, verdicts = score(rows, [completion.text for completion in completions])
        shown = islice(zip(rows, completions, verdicts, strict=True), SAMPLES_SHOWN)
        samples = [_sample(*sample) for sample in shown]
        confused = confused_characters([done.text for done in completions], references({name: rows})[name])
        matrices = [confused] if confused else []
        results[name] = {"metrics": metrics, "matrices": matrices, "samples": samples, "count": len(rows)}
    return results


def main() -> None:
    args, training_args, model_args = parse(__file__, OcrArguments, SFTConfig, refused=REFUSED)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.data.splits import check_parts
    from common.models.config import check_reads_pictures
    from common.models.devices import prepare
    from common.models.load import load_model
    from common.models.vision import load_processor

    from data import load_data

    check_reads_pictures(model_args)
    _, _, held_out = load_data(args, training_args.seed)
    check_parts(args.dataset_name, held_out)
    processor = load_processor(model_args, args.min_pixels, args.max_pixels)
    held_out = check_held_out(held_out, processor, args, training_args)
    model, accelerator = prepare(load_model(model_args, processor), training_args)
    results = evaluate(model, accelerator, processor, held_out, args, training_args)
    print_results(model_args.model_name_or_path, results)
    accelerator.end_training()


if __name__ == "__main__":
    main()
