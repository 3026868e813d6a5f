"""Supervised fine-tuning of a vision-language model with TRL's SFTTrainer: it learns to read receipts.

    accelerate launch --config_file accelerate_configs/zero2.yaml recipes/ocr_vision_language/train.py

You will see: the share of characters that are read wrong in pictures with unseen texts, and in an unseen font, before, during
and after training, and the same pictures read before and after, in outputs/ocr_vision_language/*/report.html.

Simplified: one picture and one answer a row (rows with several pictures, or none, are read too), and no detection of where
the text stands.
"""

from typing import TYPE_CHECKING, Any

from common.report.page import Curve
from common.run.config import parse
from common.run.output_dir import check_output_dir

from peft import PeftConfig
from transformers import PreTrainedModel, ProcessorMixin
from trl import ModelConfig, SFTConfig

from arguments import REFUSED, OcrArguments

if TYPE_CHECKING:
    from datasets import Dataset

    from collate import Collator


def prepare_data(
    args: OcrArguments, training_args: SFTConfig, model_args: ModelConfig
) -> tuple["Collator", "Dataset", "Dataset", dict[str, list[dict[str, Any]]]]:
    """Returns the collator, the tokens to train on and to choose by, and the held-out rows by the name of the set."""
    from common.data.splits import check_parts
    from common.data.tokens import show_trained
    from common.errors import say
    from common.models.config import check_model, check_reads_pictures
    from common.models.vision import load_processor

    from collate import Collator
    from data import load_data
    from evaluate import check_held_out

    check_model(model_args)
    check_reads_pictures(model_args)
    train, validation, held_out = load_data(args, training_args.seed)
    check_parts(args.dataset_name, held_out, train, validation)
    processor = load_processor(model_args, args.min_pixels, args.max_pixels, phrases=[args.question])
    collator = Collator(processor, args, training_args.max_length)
    train_dataset, _ = collator.tokenize(train, where=args.dataset_name)
    eval_dataset, _ = collator.tokenize(validation, where="validation")
    held_out = check_held_out(held_out, processor, args, training_args)
    say(f"The first row; what is trained stands in » «:\n{show_trained(train_dataset[0], processor.tokenizer)}")
    return collator, train_dataset, eval_dataset, held_out


def prepare_model(
    args: OcrArguments, training_args: SFTConfig, model_args: ModelConfig, processor: ProcessorMixin
) -> tuple[PreTrainedModel, PeftConfig | None]:
    """Returns the model, and which adapters it gets, if any."""
    from common.models.liger import use_liger_modules
    from common.models.load import load_model
    from common.models.vision_tower import freeze_tower

    from transformers import set_seed
    from trl import get_peft_config

    set_seed(training_args.seed)  # a `tiny:` model begins with random weights
    model = load_model(model_args, processor)
    use_liger_modules(model, training_args)
    peft_config = get_peft_config(model_args)
    if args.freeze_vision_tower:
        freeze_tower(model)
        if peft_config:
            peft_config.exclude_modules = r".*\.visual\..*"
    return model, peft_config


def curves(held_out: dict[str, list[dict[str, Any]]]) -> list[Curve]:
    """Returns the plots of the report."""
    return [
        Curve("Character error rate", {name: f"{name}:character_error_rate" for name in held_out}, percent=True),
        Curve("Read without a mistake", {name: f"{name}:exact_match" for name in held_out}, percent=True),
        Curve("Loss a trained token", {"training": "loss"}),
    ]


def main() -> None:
    args, training_args, model_args = parse(__file__, OcrArguments, SFTConfig, refused=REFUSED)
    check_output_dir(__file__, training_args)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.run.loop import run

    from transformers import EarlyStoppingCallback
    from trl import SFTTrainer

    from evaluate import evaluate

    training_args.remove_unused_columns = False  # the pictures are no argument of the model's, and needed
    if args.curriculum and args.dataset_name == "synthetic":
        training_args.train_sampling_strategy = "sequential"  # the order of a curriculum; other rows are shuffled

    # 1. Data: pictures and their text. Only the transcription has labels, so only that is learned.
    collator, train_dataset, eval_dataset, held_out = prepare_data(args, training_args, model_args)
    processor = collator.processor

    # 2. Model: any that reads pictures in Qwen2-VL's way. Under ZeRO-3 each process loads only its part.
    model, peft_config = prepare_model(args, training_args, model_args, processor)
    collator.get_positions = model.model.get_rope_index

    # 3. Trainer: opens a batch's pictures, adds adapters if asked to (`use_peft`), and calls DeepSpeed as the launcher says.
    trainer = SFTTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        data_collator=collator,
        processing_class=processor,
        peft_config=peft_config,
    )
    if args.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(args.early_stopping_patience))

    # 4. Measure, train, measure again, write the report.
    run(
        __file__,
        trainer,
        evaluate=lambda model: evaluate(model, trainer.accelerator, processor, held_out, args, training_args),
        title="Reading pictures",
        summary="Trained on the transcriptions alone. The texts below were held out of training.",
        curves=curves(held_out),
        shown={"loss": "loss"},
    )


if __name__ == "__main__":
    main()
