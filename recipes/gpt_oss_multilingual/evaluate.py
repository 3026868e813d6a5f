"""How often a model thinks in the language asked for, and answers right, with 95 % intervals.

    accelerate launch --config_file accelerate_configs/zero2.yaml recipes/gpt_oss_multilingual/evaluate.py \
        --model_name_or_path outputs/gpt_oss_multilingual/tiny

The model may be a hub id, a folder or a LoRA adapter; `--dataset_name` may be a folder of MGSM. The problems are shared out
over the processes; under ZeRO-3 the model is sharded, under the other stages each process holds a copy.
"""

from itertools import islice
from typing import Any

from common.data.formats import Conversation
from common.generate.completions import Completion, generate
from common.report.numbers import print_results
from common.run.config import parse

import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig

from arguments import MultilingualArguments
from metrics import language_matrix, parse_turn, references, score

SAMPLES_SHOWN = 24  # kept in samples.jsonl, for the report
ROWS_ROUTED = 100  # conversations on which the experts' work is counted


def _sample(row: Conversation, completion: Completion, verdict: dict[str, Any]) -> dict[str, Any]:
    """Returns a problem and what the model made of it, as the report shows them."""
    turn = parse_turn(completion.raw)
    return {
        "question": f"{row['messages'][-2]['content']}\n(think in {row['thinking_language']})",
        "answer": row["messages"][-1]["content"],
        "completion": f"[thinks] {turn.thinking}\n[answers] {turn.final}" if turn.thinking or turn.final else "",
        "correct": verdict["correct"] and verdict["thinking_language"],
    }


def prompt_of(row: Conversation) -> list[dict[str, Any]]:
    """Returns what the last message of a conversation answers."""
    return row["messages"][:-1]


def check_held_out(
    held_out: dict[str, list[Conversation]],
    tokenizer: PreTrainedTokenizerBase,
    args: MultilingualArguments,
) -> dict[str, list[Conversation]]:
    """Returns the held-out rows that can be measured, before a model loads; see `common.data.held_out.check_prompts`."""
    from common.data.held_out import check_prompts

    return check_prompts(held_out, prompt_of, tokenizer, skip_bad_rows=args.skip_bad_rows)


def evaluate(
    model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerBase,
    held_out: dict[str, list[Conversation]],
    args: MultilingualArguments,
    training_args: SFTConfig,
) -> dict[str, dict[str, Any]]:
    """Lets the model think and answer greedily; draws no random numbers.

    Args:
        model: The model as the accelerator wrapped it.
        accelerator: Shares the problems out over the processes.
        tokenizer: The model's tokenizer.
        held_out: Conversations by the name of the set; each ends with the reference's turn.
        args: Says where a turn is cut.
        training_args: Gives the longest conversation and the batch size of a device.

    Returns:
        For each set `metrics` (see `metrics.score`; of the first set also how unevenly the experts work), `matrices` for the
        report, `samples` (the first problems with what the model wrote) and `count`.
    """
    from common.data.tokens import tokenize

    from experts import describe_shares, expert_shares

    batch_size = training_args.per_device_eval_batch_size
    results = {}
    for name, rows in held_out.items():
        completions = generate(
            model,
            accelerator,
            tokenizer,
            [prompt_of(row) for row in rows],
            batch_size=batch_size,
            max_new_tokens=args.max_new_tokens,
        )
        metrics, verdicts = score(rows, [completion.raw for completion in completions])
        matrices = [language_matrix(rows, verdicts)]
        if not results:
            routed = tokenize(rows[:ROWS_ROUTED], tokenizer, training_args.max_length, where=name, skip_bad_rows=True)
            work, experts = describe_shares(expert_shares(model, accelerator, routed, batch_size=batch_size))
            metrics, matrices = metrics | work, [*matrices, experts]
        shown = islice(zip(rows, completions, verdicts, strict=True), SAMPLES_SHOWN)
        samples = [{"id": f"{name} {number}", **_sample(*sample)} for number, sample in enumerate(shown)]
        results[name] = {"metrics": metrics, "matrices": matrices, "samples": samples, "count": len(rows)}
    return results


def main() -> None:
    args, training_args, model_args = parse(__file__, MultilingualArguments, SFTConfig)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.data.splits import check_parts
    from common.generate.limits import warn_of_cut_references
    from common.models.devices import prepare
    from common.models.load import load_model, load_tokenizer

    from data import load_data, read_date

    _, _, held_out = load_data(args, training_args.seed)
    check_parts(args.dataset_name, held_out)
    tokenizer = load_tokenizer(model_args, day=read_date(args))
    held_out = check_held_out(held_out, tokenizer, args)
    warn_of_cut_references(references(held_out), tokenizer, args.max_new_tokens)
    model, accelerator = prepare(load_model(model_args, tokenizer), training_args)
    results = evaluate(model, accelerator, tokenizer, held_out, args, training_args)
    print_results(model_args.model_name_or_path, results)
    accelerator.end_training()


if __name__ == "__main__":
    main()
