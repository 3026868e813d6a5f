"""How many problems a model solves: greedy pass@1, sampled pass@k, with 95 % intervals.

    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/grpo_math/evaluate.py \
        --model_name_or_path outputs/grpo_math/tiny --num_samples 8

The model may be a hub id, a folder or a LoRA adapter. The problems are shared out over the processes; under ZeRO-3 the model
is sharded, under the other stages each process holds a copy. An answer is scored by the function that rewards it in training.
"""

from typing import TYPE_CHECKING, Any

from common.generate.completions import generate
from common.measure.statistics import pass_at_k
from common.report.numbers import print_results
from common.run.config import parse
from common.run.grpo import sampling

import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase
from trl import GRPOConfig

from arguments import EvaluationArguments, MathArguments
from rewards import is_correct, score

if TYPE_CHECKING:
    from data import Problem

SAMPLES_SHOWN = 24  # kept in samples.jsonl, for the report


def passes(problems: list["Problem"], answers: list[str], num_samples: int) -> dict[str, Any]:
    """Returns pass@1, pass@2, pass@4 and so on, up to as many answers as each problem has, one problem's after the other's."""
    rows = [answers[start : start + num_samples] for start in range(0, len(answers), num_samples)]
    num_correct = [sum(is_correct(text, problem.answer) for text in row) for problem, row in zip(problems, rows, strict=True)]
    powers = (2**power for power in range(num_samples.bit_length()))
    return {f"pass@{k}": pass_at_k(num_correct, num_samples, k) for k in powers}


def evaluate(
    model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerBase,
    held_out: dict[str, list["Problem"]],
    args: MathArguments,
    training_args: GRPOConfig,
    num_samples: int = 0,
) -> dict[str, dict[str, Any]]:
    """Solves the held-out problems greedily and, if asked, by sampling.

    Args:
        model: The model as the accelerator wrapped it.
        accelerator: Shares the problems out over the processes.
        tokenizer: The model's tokenizer.
        held_out: Problems by the name of the set.
        args: Gives the system prompt.
        training_args: Gives the longest completion, the batch size of a device and how answers are sampled.
        num_samples: Answers sampled for each problem; 0 for greedy only, which draws no random numbers.

    Returns:
        For each set `metrics` (shares with their 95 % intervals, and the mean completion length in tokens), `samples` (the
        first problems with their completions), `count`, and for each problem whether it is `right`.
    """
    from data import conversation

    results = {}
    for name, problems in held_out.items():
        prompts = [conversation(problem.question, args.system_prompt) for problem in problems]
        settings = {
            "batch_size": training_args.per_device_eval_batch_size,
            "max_new_tokens": training_args.max_completion_length,
            "gather_parameters": training_args.ds3_gather_for_generation,
        }
        greedy = generate(model, accelerator, tokenizer, prompts, **settings)
        metrics, verdicts = score(problems, [completion.text for completion in greedy])
        metrics["mean_completion_length"] = {"value": sum(completion.num_tokens for completion in greedy) / len(greedy)}
        if num_samples:
            repeated = [prompt for prompt in prompts for _ in range(num_samples)]
            sampled = generate(model, accelerator, tokenizer, repeated, **sampling(training_args), **settings)
            metrics |= passes(problems, [completion.text for completion in sampled], num_samples)
        samples = [
            {"question": problem.question, "answer": problem.answer, "completion": done.text, **verdict}
            for problem, done, verdict in list(zip(problems, greedy, verdicts, strict=True))[:SAMPLES_SHOWN]
        ]
        right = [verdict["correct"] for verdict in verdicts]
        results[name] = {"metrics": metrics, "samples": samples, "count": len(problems), "right": right}
    return results


def main() -> None:
    args, training_args, model_args = parse(__file__, EvaluationArguments, GRPOConfig)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.data.splits import check_parts
    from common.models.devices import prepare
    from common.models.liger import use_liger_modules
    from common.models.load import load_model, load_tokenizer, with_variables

    from data import load_data, measure_prompts

    _, _, held_out = load_data(args, training_args.seed)
    check_parts(args.dataset_name, held_out)
    tokenizer = load_tokenizer(model_args)
    with_variables(tokenizer, training_args.chat_template_kwargs)
    measure_prompts([problem for problems in held_out.values() for problem in problems], tokenizer, args)
    model = load_model(model_args, tokenizer)
    use_liger_modules(model, training_args)
    model, accelerator = prepare(model, training_args)
    results = evaluate(model, accelerator, tokenizer, held_out, args, training_args, args.num_samples)
    print_results(model_args.model_name_or_path, results)
    accelerator.end_training()


if __name__ == "__main__":
    main()
