"""Supervised fine-tuning on questions and answers with transformers' Trainer: what SFTTrainer does for rows of tokens, by hand.

    accelerate launch --config_file accelerate_configs/zero2.yaml recipes/sft_instruct/train_trainer.py
    python recipes/sft_instruct/train_trainer.py --deepspeed accelerate_configs/ds_zero2.json

You will see: the same as with train.py, the loss curve included. Lay the two side by side with `diff`.

Simplified: no adapters, which train.py has.
"""

from typing import TYPE_CHECKING

from common.data.formats import Conversation
from common.errors import fail
from common.report.page import Curve
from common.run.config import parse
from common.run.output_dir import check_output_dir

from transformers import PreTrainedTokenizerBase, TrainingArguments
from trl import ModelConfig, SFTConfig

from arguments import InstructArguments

if TYPE_CHECKING:
    from datasets import Dataset

# What this script reads: all of transformers' settings, and few of SFTTrainer's and of the model's.
READS = {*TrainingArguments.__dataclass_fields__, *InstructArguments.__dataclass_fields__, "max_length", "packing"}
READS |= {"model_name_or_path", "model_revision", "dtype", "attn_implementation", "use_peft", "tokens_per_update"}


def prepare_data(
    args: InstructArguments, training_args: SFTConfig, model_args: ModelConfig
) -> tuple[PreTrainedTokenizerBase, "Dataset", "Dataset", dict[str, list[Conversation]]]:
    """Returns the tokenizer, the tokens to train on and to choose by, and the held-out conversations by the name of the set."""
    from common.data.splits import check_parts
    from common.data.tokens import show_trained, tokenize, use_training_template
    from common.errors import say
    from common.models.config import check_model
    from common.models.load import load_tokenizer

    from trl import pack_dataset

    from data import load_data, texts
    from evaluate import check_held_out

    check_model(model_args, packing=training_args.packing)
    train, validation, held_out = load_data(args, training_args.seed)
    check_parts(args.dataset_name, held_out, train, validation)
    tokenizer = load_tokenizer(model_args, texts(train))
    use_training_template(tokenizer)
    settings = {"max_length": training_args.max_length, "skip_bad_rows": args.skip_bad_rows}
    train_dataset = tokenize(train, tokenizer, where=args.dataset_name, **settings)
    eval_dataset = tokenize(validation, tokenizer, where="validation", **settings)
    held_out = check_held_out(held_out, tokenizer, args, training_args)
    say(f"The first row; what is trained stands in » «:\n{show_trained(train_dataset[0], tokenizer)}")
    if training_args.packing:
        train_dataset = pack_dataset(train_dataset, training_args.max_length)
        eval_dataset = pack_dataset(eval_dataset, training_args.max_length)
    return tokenizer, train_dataset, eval_dataset, held_out


def curves(held_out: dict[str, list[Conversation]]) -> list[Curve]:
    """Returns the plots of the report."""
    return [
        Curve("Answered exactly right (greedy)", {name: f"{name}:exact_match" for name in held_out}, percent=True),
        Curve("Loss a trained token", {"training": "loss"} | {name: f"{name}:loss" for name in held_out}),
    ]


def main() -> None:
    args, training_args, model_args = parse(__file__, InstructArguments, SFTConfig, reads=READS)
    if model_args.use_peft:
        fail("use_peft: this script trains all weights; train adapters with train.py, or add `--use_peft false`")
    check_output_dir(__file__, training_args)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.models.liger import use_liger_modules
    from common.models.load import load_model
    from common.run.loop import run

    from transformers import EarlyStoppingCallback, Trainer, set_seed
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from evaluate import evaluate

    # 1. Data: conversations as tokens. Only what the assistant writes has labels, so only that is learned.
    tokenizer, train_dataset, eval_dataset, held_out = prepare_data(args, training_args, model_args)
    # Rows become a batch: padded to the longest, or, packed, put one after the other with positions that begin anew.
    collate = DataCollatorForLanguageModeling(tokenizer.pad_token_id, padding_free=training_args.packing)

    # 2. Model: any causal language model. Under ZeRO-3 each process loads only its part.
    set_seed(training_args.seed)  # a `tiny:` model begins with random weights
    model = load_model(model_args, tokenizer)
    use_liger_modules(model, training_args)

    # 3. Trainer: any model, any rows. It calls DeepSpeed as the launcher or `--deepspeed FILE` says.
    training_args.remove_unused_columns = False  # the lengths of the packed conversations are for the collator
    trainer = Trainer(
        model=model,
        args=training_args,
        data_collator=collate,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        processing_class=tokenizer,
    )
    if args.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(args.early_stopping_patience))

    # 4. Measure, train, measure again, write the report.
    run(
        __file__,
        trainer,
        evaluate=lambda model: evaluate(model, trainer.accelerator, tokenizer, held_out, args, training_args),
        title="Supervised fine-tuning on questions and answers",
        summary="Trained on the answers alone. The questions below were held out of training.",
        curves=curves(held_out),
        shown={"loss": "loss"},
    )


if __name__ == "__main__":
    main()
