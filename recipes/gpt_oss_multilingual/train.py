"""LoRA on gpt-oss with TRL's SFTTrainer: a mixture of experts thinks in the language that it is asked to think in.

    accelerate launch --config_file accelerate_configs/zero2.yaml recipes/gpt_oss_multilingual/train.py

You will see: the share of thoughts in the language asked for, by question language and thinking language, the right answers,
how the experts share the work, and the same problem before and after, in outputs/gpt_oss_multilingual/*/report.html.

Simplified: one question and one answer a row, and no tools.
"""

from typing import TYPE_CHECKING

from common.data.formats import Conversation
from common.report.page import Curve
from common.run.config import parse
from common.run.output_dir import check_output_dir

from transformers import PreTrainedTokenizerBase
from trl import ModelConfig, SFTConfig

from arguments import MultilingualArguments

if TYPE_CHECKING:
    from datasets import Dataset


def prepare_data(
    args: MultilingualArguments, training_args: SFTConfig, model_args: ModelConfig
) -> tuple[PreTrainedTokenizerBase, "Dataset", "Dataset", dict[str, list[Conversation]]]:
    """Returns the tokenizer, the tokens to train on and to choose by, and the held-out conversations by the name of the set."""
    from common.data.splits import check_parts
    from common.data.tokens import show_trained, tokenize
    from common.errors import say
    from common.generate.limits import warn_of_cut_references
    from common.models.config import check_model
    from common.models.load import load_tokenizer

    from data import load_data, read_date, texts
    from evaluate import check_held_out
    from metrics import references

    check_model(model_args, packing=training_args.packing)
    train, validation, held_out = load_data(args, training_args.seed)
    check_parts(args.dataset_name, held_out, train, validation)
    tokenizer = load_tokenizer(model_args, texts(train, args), read_date(args))
    settings = {"max_length": training_args.max_length, "skip_bad_rows": args.skip_bad_rows}
    train_dataset = tokenize(train, tokenizer, where=args.dataset_name, **settings)
    eval_dataset = tokenize(validation, tokenizer, where="validation", **settings)
    held_out = check_held_out(held_out, tokenizer, args)
    warn_of_cut_references(references(held_out), tokenizer, args.max_new_tokens)
    say(f"The first row; what is trained stands in » «:\n{show_trained(train_dataset[0], tokenizer)}")
    return tokenizer, train_dataset, eval_dataset, held_out


def curves(held_out: dict[str, list[Conversation]]) -> list[Curve]:
    """Returns the plots of the report."""
    return [
        Curve("Thoughts in the language asked for", {name: f"{name}:thinking_language" for name in held_out}, percent=True),
        Curve("Right answers", {name: f"{name}:answer" for name in held_out}, percent=True),
        Curve("Valid harmony format", {name: f"{name}:harmony_format" for name in held_out}, percent=True),
        Curve("Loss a trained token", {"training": "loss"}),
    ]


def main() -> None:
    args, training_args, model_args = parse(__file__, MultilingualArguments, SFTConfig)
    check_output_dir(__file__, training_args)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.models.liger import use_liger_modules
    from common.models.load import load_model
    from common.run.loop import run

    from transformers import EarlyStoppingCallback, set_seed
    from trl import SFTTrainer, get_peft_config

    from evaluate import evaluate

    # 1. Data: conversations as tokens, in harmony format. Only the assistant's thought and its answer have labels.
    tokenizer, train_dataset, eval_dataset, held_out = prepare_data(args, training_args, model_args)

    # 2. Model: gpt-oss, its MXFP4 weights put back into 16 bits, or any causal language model with experts.
    set_seed(training_args.seed)  # a `tiny:` model begins with random weights
    model = load_model(model_args, tokenizer)
    use_liger_modules(model, training_args)

    # 3. Trainer: adds adapters if asked to (`use_peft`): in the attention (`lora_target_modules`) and in the experts, whose
    #    weights are parameters and no layers (`lora_target_parameters`).
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
        title="Thinking in the language asked for",
        summary="Trained on thoughts and answers. The problems below were held out of training, in any language.",
        curves=curves(held_out),
        shown={"loss": "loss"},
    )


if __name__ == "__main__":
    main()
