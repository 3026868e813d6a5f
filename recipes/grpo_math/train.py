"""GRPO on grade-school math: a model learns from the reward alone that thinking pays.

    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/grpo_math/train.py

You will see: the accuracy on unseen problems before, during and after training, the completion length and the share of
answers that think rising with it, and the same problem answered before and after, in outputs/grpo_math/*/report.html.

Simplified: one pass over the problems, no curriculum, and no KL term (beta: 0), so no reference model is held in memory.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from common.report.page import Curve
from common.run.config import parse
from common.run.grpo import check_reward_weights
from common.run.output_dir import check_output_dir
from common.run.teaching import WatchRewards, check_num_prompts, check_positions, counted_rewards

from transformers import PreTrainedTokenizerBase
from trl import GRPOConfig, ModelConfig

from arguments import MathArguments
from rewards import correct, distinct_characters, formatted

if TYPE_CHECKING:
    from datasets import Dataset

    from data import Problem

REWARDS = [correct, formatted, distinct_characters]  # weighted by `reward_weights`


def prepare_data(
    args: MathArguments, training_args: GRPOConfig, model_args: ModelConfig
) -> tuple[PreTrainedTokenizerBase, "Dataset", dict[str, list["Problem"]]]:
    """Returns the tokenizer, the prompts to train on, and the held-out problems by the name of the set."""
    from common.data.splits import check_parts
    from common.models.config import check_model, read_config
    from common.models.load import load_tokenizer, with_variables

    from data import load_data, measure_prompts, to_dataset

    check_model(model_args)
    train, _, held_out = load_data(args, training_args.seed)
    check_parts(args.dataset_name, held_out, train)
    tokenizer = load_tokenizer(model_args, texts=[text for problem in train for text in (problem.question, problem.solution)])
    with_variables(tokenizer, training_args.chat_template_kwargs)
    longest = measure_prompts([*train, *(problem for problems in held_out.values() for problem in problems)], tokenizer, args)
    check_positions(longest, read_config(model_args), training_args.max_completion_length)
    train_dataset = to_dataset(train, args)
    check_num_prompts(len(train_dataset), training_args)
    return tokenizer, train_dataset, held_out


def summary(weights: list[float], rewards: list[Callable[..., list[float]]]) -> str:
    """Returns what the report says of the training."""
    weighted = zip(weights, rewards, strict=True)
    taught_by = " + ".join(f"{weight:g} x {function.__name__}" for weight, function in weighted)
    return f"Taught by a reward alone ({taught_by}). The problems below were held out of training."


def curves(held_out: dict[str, list["Problem"]]) -> list[Curve]:
    """Returns the plots of the report."""
    return [
        Curve("Held-out accuracy (greedy)", {name: f"{name}:accuracy" for name in held_out}, percent=True),
        Curve("Reward in training", {"reward": "reward", "share right": "rewards/correct/mean"}),
        Curve(
            "Share of answers that think",
            {name: f"{name}:thinking_share" for name in held_out} | {"sampled in training": "thinking_share"},
            percent=True,
        ),
        Curve("Completion length (tokens)", {"sampled in training": "completions/mean_length"}),
    ]


def main() -> None:
    args, training_args, model_args = parse(__file__, MathArguments, GRPOConfig)
    check_reward_weights(training_args, REWARDS)
    check_output_dir(__file__, training_args)
    rewards = counted_rewards(training_args, REWARDS)  # and `reward_weights` become theirs

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.generate.logprobs import skip_padding
    from common.generate.rollout import use_rollout_engine
    from common.models.liger import use_liger_modules
    from common.models.load import load_model
    from common.run.loop import run

    from transformers import set_seed
    from trl import GRPOTrainer, get_peft_config

    from evaluate import evaluate

    # 1. Data: questions, and for each the number that the reward will look for.
    tokenizer, train_dataset, held_out = prepare_data(args, training_args, model_args)

    # 2. Model: any causal language model. Under ZeRO-3 each process loads only its part.
    set_seed(training_args.seed)  # a `tiny:` model begins with random weights
    model = load_model(model_args, tokenizer)
    use_liger_modules(model, training_args)

    # 3. Trainer: for each question sample `num_generations` completions, reward each, and make those that did better than
    #    the others of their group more likely.
    trainer = GRPOTrainer(
        model=model,
        args=training_args,
        reward_funcs=rewards,
        train_dataset=train_dataset,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_args),
        callbacks=[WatchRewards()],
    )
    use_rollout_engine(trainer)  # on a GPU completions come several times faster
    skip_padding(trainer)  # there training computes real tokens alone, too, with `attn_implementation: varlen`

    # 4. Measure, train, measure again, write the report.
    run(
        __file__,
        trainer,
        evaluate=lambda model: evaluate(model, trainer.accelerator, tokenizer, held_out, args, training_args),
        title="GRPO on math",
        summary=summary(training_args.reward_weights, rewards),
        curves=curves(held_out),
        shown={"reward": "reward", "right": "rewards/correct/mean", "length": "completions/mean_length"},
    )


if __name__ == "__main__":
    main()
