"""Supervised fine-tuning on questions and answers with TRL's SFTTrainer: the shortest way into DeepSpeed.

    accelerate launch --config_file accelerate_configs/zero2.yaml recipes/sft_instruct/train.py

You will see: how many held-out questions are answered right before, during and after training, the loss on them, and the same
question answered before and after, in outputs/sft_instruct/*/report.html.

Simplified: one data set, and one answer to a question. train_trainer.py and train_accelerate.py do the same with less of TRL.
"""

from typing import TYPE_CHECKING

from common.data.formats import Conversation
from common.report.page import Curve
from common.run.config import parse
from common.run.output_dir import check_output_dir

from transformers import PreTrainedTokenizerBase
from trl import ModelConfig, SFTConfig

from arguments import InstructArguments

if TYPE_CHECKING:
    from datasets import Dataset


def prepare_data(
    args: InstructArguments, training_args: SFTConfig, model_args: ModelConfig
) -> tuple[PreTrainedTokenizerBase, "Dataset", "Dataset", dict[str, list[Conversation]]]:
    """Returns the tokenizer, the tokens to train on and to choose by, and the held-out conversations by the name of the set."""
    from common.data.splits import check_parts
    from common.data.tokens import show_trained, tokenize, use_training_template
    from common.errors import say
    from common.generate.limits import warn_of_cut_references
    from common.models.config import check_model
    from common.models.load import load_tokenizer

    from data import load_data, texts
    from evaluate import check_held_out
    from metrics import references

    check_model(model_args, packing=training_args.packing)
    train, validation, held_out = load_data(args, training_args.seed)
    check_parts(args.dataset_name, held_out, train, validation)
    tokenizer = load_tokenizer(model_args, texts(train))
    use_training_template(tokenizer)
    settings = {"max_length": training_args.max_length, "skip_bad_rows": args.skip_bad_rows}
    train_dataset = tokenize(train, tokenizer, where=args.dataset_name, **settings)
    eval_dataset = tokenize(validation, tokenizer, where="validation", **settings)
    held_out = check_held_out(held_out, tokenizer, args, training_args)
    warn_of_cut_references(references(held_out), tokenizer, args.max_new_tokens)
    say(f"The first row; what is trained stands in » «:\n{show_trained(train_dataset[0], tokenizer)}")
    return tokenizer, train_dataset, eval_dataset, held_out


def curves(held_out: dict[str, list[Conversation]]) -> list[Curve]:
    """Returns the plots of the report."""
    return [
        Curve("Answered exactly right (greedy)", {name: f"{name}:exact_match" for name in held_out}, percent=True),
        Curve("Loss a trained token", {"training": "loss"} | {name: f"{name}:loss" for name in held_out}),
    ]


def main() -> None:
    args, training_args, model_args = parse(__file__, InstructArguments, SFTConfig)
    check_output_dir(__file__, training_args)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.models.liger import use_liger_modules
    from common.models.load import load_model
    from common.run.loop import run

    from transformers import EarlyStoppingCallback, set_seed
    from trl import SFTTrainer, get_peft_config

    from evaluate import evaluate

    # 1. Data: conversations as tokens. Only what the assistant writes has labels, so only that is learned.
    tokenizer, train_dataset, eval_dataset, held_out = prepare_data(args, training_args, model_args)

    # 2. Model: any causal language model. Under ZeRO-3 each process loads only its part.
    set_seed(training_args.seed)  # a `tiny:` model begins with random weights
    model = load_model(model_args, tokenizer)
    use_liger_modules(model, training_args)

    # 3. Trainer: packs and pads the rows, adds adapters if asked to (`use_peft`), and calls DeepSpeed as the launcher says.
    trainer = SFTTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_args),
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
