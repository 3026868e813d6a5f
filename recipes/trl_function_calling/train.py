"""Function calling by supervised fine-tuning: a model learns when to call which tool, and with what.

    accelerate launch --config_file accelerate_configs/zero2.yaml recipes/trl_function_calling/train.py

You will see: the share of exact calls and of requests rightly left without a call before, during and after training, how calls
to unseen tools fare, what is forgotten of plain chat, and samples, in outputs/trl_function_calling/*/report.html.

Simplified: no tool is really called in training; the results in the conversations are given.
"""

from typing import TYPE_CHECKING

from common.data.formats import Conversation
from common.report.page import Curve
from common.run.config import parse
from common.run.output_dir import check_output_dir

from transformers import PreTrainedTokenizerBase
from trl import ModelConfig, SFTConfig

from arguments import CallingArguments

if TYPE_CHECKING:
    from datasets import Dataset

    from forms import Form


def prepare_data(
    args: CallingArguments, training_args: SFTConfig, model_args: ModelConfig
) -> tuple[PreTrainedTokenizerBase, "Form", "Dataset", "Dataset", dict[str, list[Conversation]]]:
    """Returns the tokenizer, the form of its calls, the tokens to train on and to choose by, and the held-out sets by name."""
    from common.data.splits import check_parts
    from common.data.tokens import show_trained, tokenize, use_training_template
    from common.errors import say
    from common.models.config import check_model
    from common.models.load import load_tokenizer

    from data import load_data
    from evaluate import check_form, check_held_out

    check_model(model_args, packing=training_args.packing)
    train, validation, held_out = load_data(args, training_args.seed)
    check_parts(args.dataset_name, held_out, train, validation)
    tokenizer = load_tokenizer(model_args, chat_template_file=args.chat_template_file)
    use_training_template(tokenizer)
    form = check_form(tokenizer, model_args.model_name_or_path, train)
    settings = {"max_length": training_args.max_length, "skip_bad_rows": args.skip_bad_rows}
    train_dataset = tokenize(train, tokenizer, where=args.dataset_name, **settings)
    eval_dataset = tokenize(validation, tokenizer, where="validation", **settings)
    held_out = check_held_out(held_out, tokenizer, args, training_args, form)
    say(f"The first row; what is trained stands in » «:\n{show_trained(train_dataset[0], tokenizer)}")
    return tokenizer, form, train_dataset, eval_dataset, held_out


def curves() -> list[Curve]:
    """Returns the plots of the report."""
    return [
        Curve(
            "Held-out requests",
            {
                "exact call": "held_out:exact_call",
                "several calls, exact": "held_out:parallel_call",
                "no tool fits: none called": "held_out:irrelevance",
                "final answer": "held_out:final_answer",
            },
            percent=True,
        ),
        Curve(
            "Tools never seen in training",
            {"exact call": "unseen_tools:exact_call", "right function": "unseen_tools:function_name"},
            percent=True,
        ),
        Curve("Loss a trained token", {"training": "loss"}),
        Curve("Loss on plain chat: what is forgotten", {"plain chat": "plain_chat:loss"}),
    ]


def main() -> None:
    args, training_args, model_args = parse(__file__, CallingArguments, SFTConfig)
    check_output_dir(__file__, training_args)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.generate.settings import stop_at
    from common.models.liger import use_liger_modules
    from common.models.load import load_model
    from common.run.loop import run

    from transformers import EarlyStoppingCallback, set_seed
    from trl import SFTTrainer, get_peft_config

    from evaluate import evaluate
    from forms import end_of_calls

    # 1. Data: conversations with tools as tokens. Only what the assistant writes has labels: its calls and its answers, not
    #    the tools, the requests and the results.
    tokenizer, form, train_dataset, eval_dataset, held_out = prepare_data(args, training_args, model_args)

    # 2. Model: any causal language model whose chat template knows tools. Under ZeRO-3 each process loads only its part.
    set_seed(training_args.seed)  # a `tiny:` model begins with random weights
    model = load_model(model_args, tokenizer)
    use_liger_modules(model, training_args)
    stop_at(model, end_of_calls(tokenizer))  # some templates end a call with another token than an answer

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
        evaluate=lambda model: evaluate(model, trainer.accelerator, tokenizer, held_out, args, training_args, form),
        title="Function calling",
        summary="Trained on conversations with tools. The requests below were held out of training.",
        curves=curves(),
        shown={"loss": "loss"},
    )


if __name__ == "__main__":
    main()
