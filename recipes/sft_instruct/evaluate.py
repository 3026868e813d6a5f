"""How many questions a model answers as the reference does, with 95 % intervals.

    accelerate launch --config_file accelerate_configs/zero2.yaml recipes/sft_instruct/evaluate.py \
        --model_name_or_path outputs/sft_instruct/tiny

The model may be a hub id, a folder or a LoRA adapter. The questions are shared out over the processes; under ZeRO-3 the model
is sharded, under the other stages each process holds a copy.
"""

from typing import Any

from common.data.formats import Conversation
from common.data.turns import last_turn
from common.generate.completions import generate
from common.report.numbers import print_results
from common.run.config import parse

import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig

from arguments import InstructArguments
from metrics import references, score

SAMPLES_SHOWN = 24  # kept in samples.jsonl, for the report


def prompt_of(row: Conversation) -> list[dict[str, Any]]:
    """Returns what the last turn of the assistant answers."""
    return row["messages"][: last_turn(row["messages"])]


def check_held_out(
    held_out: dict[str, list[Conversation]],
    tokenizer: PreTrainedTokenizerBase,
    args: InstructArguments,
    training_args: SFTConfig,
) -> dict[str, list[Conversation]]:
    """Returns the held-out rows that can be measured, before a model loads; see `common.data.held_out`.

    Rows of which no loss can be computed are not answered either: all of a set's measures are of the same rows.
    """
    from common.data.held_out import check_prompts, check_tokens

    held_out = check_prompts(held_out, prompt_of, tokenizer, skip_bad_rows=args.skip_bad_rows)
    return check_tokens(held_out, tokenizer, training_args.max_length, skip_bad_rows=args.skip_bad_rows)


def evaluate(
    model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerBase,
    held_out: dict[str, list[Conversation]],
    args: InstructArguments,
    training_args: SFTConfig,
) -> dict[str, dict[str, Any]]:
    """Answers the last question of each held-out conversation greedily; draws no random numbers.

    Args:
        model: The model as the accelerator wrapped it.
        accelerator: Shares the questions out over the processes.
        tokenizer: The model's tokenizer.
        held_out: Conversations by the name of the set; the last turn of the assistant is asked for.
        args: Says where an answer is cut.
        training_args: Gives the longest conversation and the batch size of a device.

    Returns:
        For each set `metrics` (see `metrics.score`, and `loss` in nats a trained token), `samples` (the first questions with
        their completions), `count`, and for each question whether it is `right`.
    """
    from common.data.tokens import tokenize
    from common.measure.loss import mean_loss

    batch_size = training_args.per_device_eval_batch_size
    results = {}
    for name, conversations in held_out.items():
        prompts = [prompt_of(conversation) for conversation in conversations]
        tools = [conversation.get("tools") for conversation in conversations]
        completions = generate(
            model, accelerator, tokenizer, prompts, batch_size=batch_size, max_new_tokens=args.max_new_tokens, tools=tools
        )
        metrics, verdicts = score(conversations, [completion.text for completion in completions])
        rows = tokenize(conversations, tokenizer, training_args.max_length, where=name, skip_bad_rows=args.skip_bad_rows)
        metrics["loss"] = mean_loss(model, accelerator, rows, batch_size=batch_size)
        samples = [
            {
                "question": prompt_of(conversation)[-1].get("content", ""),
                "answer": conversation["messages"][last_turn(conversation["messages"])].get("content", ""),
                "completion": completion.text,
                **verdict,
            }
            for conversation, completion, verdict in list(zip(conversations, completions, verdicts, strict=True))[
                :SAMPLES_SHOWN
            ]
        ]
        right = [verdict["correct"] for verdict in verdicts]
        results[name] = {"metrics": metrics, "samples": samples, "count": len(conversations), "right": right}
    return results


def main() -> None:
    args, training_args, model_args = parse(__file__, InstructArguments, SFTConfig)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.data.splits import check_parts
    from common.generate.limits import warn_of_cut_references
    from common.models.devices import prepare
    from common.models.load import load_model, load_tokenizer

    from data import load_data

    _, _, held_out = load_data(args, training_args.seed)
    check_parts(args.dataset_name, held_out)
    tokenizer = load_tokenizer(model_args)
    held_out = check_held_out(held_out, tokenizer, args, training_args)
    warn_of_cut_references(references(held_out), tokenizer, args.max_new_tokens)
    model, accelerator = prepare(load_model(model_args, tokenizer), training_args)
    results = evaluate(model, accelerator, tokenizer, held_out, args, training_args)
    print_results(model_args.model_name_or_path, results)
    accelerator.end_training()


if __name__ == "__main__":
    main()
