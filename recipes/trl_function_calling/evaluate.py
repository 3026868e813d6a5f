"""How well a model calls tools: exact calls by BFCL's rules, and whether it keeps from calling, with 95 % intervals.

    accelerate launch --config_file accelerate_configs/zero2.yaml recipes/trl_function_calling/evaluate.py \
        --model_name_or_path outputs/trl_function_calling/tiny

`--dataset_name FOLDER` with the files of the Berkeley Function Calling Leaderboard asks its questions instead. The requests are
shared out over the processes; under ZeRO-3 the model is sharded, under the other stages each process holds a copy.
"""

from typing import Any

from common.data.formats import Conversation
from common.generate.completions import generate
from common.report.numbers import print_results
from common.run.config import parse

import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig

from arguments import CallingArguments
from calls import Request, to_request
from metrics import reply_of, score

SAMPLES_SHOWN = 40  # kept in samples.jsonl, for the report


def prompt_of(row: Conversation) -> list[dict[str, Any]]:
    """Returns the messages that the asked turn of a conversation answers."""
    return to_request(row).messages


def _question(request: Request) -> str:
    tools = ", ".join(tool["function"]["name"] for tool in request.tools)
    return "\n".join([*(message.get("content") or "(a call)" for message in request.messages), f"[tools: {tools}]"])


def check_held_out(
    held_out: dict[str, list[Conversation]],
    tokenizer: PreTrainedTokenizerBase,
    args: CallingArguments,
    training_args: SFTConfig,
) -> dict[str, list[Conversation]]:
    """Returns the held-out rows that can be measured, before a model loads; see `common.data.tokens.check_prompts`."""
    from common.data.tokens import check_prompts, tokenize

    held_out = check_prompts(held_out, prompt_of, tokenizer, skip_bad_rows=args.skip_bad_rows)
    if "plain_chat" in held_out:
        rows = held_out["plain_chat"]
        tokenize(rows, tokenizer, training_args.max_length, where="plain_chat", skip_bad_rows=args.skip_bad_rows)
    return held_out


def evaluate(
    model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerBase,
    held_out: dict[str, list[Conversation]],
    args: CallingArguments,
    training_args: SFTConfig,
) -> dict[str, dict[str, Any]]:
    """Answers the held-out requests greedily and measures the loss on plain chat; draws no random numbers.

    Args:
        model: The model as the accelerator wrapped it.
        accelerator: Shares the requests out over the processes.
        tokenizer: The model's tokenizer.
        held_out: Conversations by the name of the set; those of `plain_chat` have no tools, and their loss rises as the model
            forgets.
        args: Says where an answer is cut.
        training_args: Gives the longest conversation and the batch size of a device.

    Returns:
        For each set `metrics` (see `metrics.score`), `samples` (the first requests with their completions) and `count`; for the
        chat `loss`, in nats a token.
    """
    from common.data.tokens import tokenize
    from common.measure.loss import mean_loss

    batch_size = training_args.per_device_eval_batch_size
    results = {}
    for name, rows in held_out.items():
        if name == "plain_chat":
            tokens = tokenize(rows, tokenizer, training_args.max_length, where=name, skip_bad_rows=args.skip_bad_rows)
            loss = mean_loss(model, accelerator, tokens, batch_size=batch_size)
            results[name] = {"metrics": {"loss": loss}, "samples": [], "count": len(rows)}
            continue
        requests = [to_request(row) for row in rows]
        completions = generate(
            model,
            accelerator,
            tokenizer,
            [request.messages for request in requests],
            batch_size=batch_size,
            max_new_tokens=args.max_new_tokens,
            tools=[request.tools for request in requests],
        )
        metrics, verdicts = score(rows, [completion.text for completion in completions])
        samples = [
            {
                "question": _question(request),
                "answer": str(request.answers or request.reply),
                "completion": reply_of(completion.text),
                **verdict,
            }
            for request, completion, verdict in list(zip(requests, completions, verdicts, strict=True))[:SAMPLES_SHOWN]
        ]
        results[name] = {"metrics": metrics, "samples": samples, "count": len(rows)}
    return results


def main() -> None:
    args, training_args, model_args = parse(__file__, CallingArguments, SFTConfig)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.data.splits import check_parts
    from common.data.tokens import use_training_template
    from common.models.devices import prepare
    from common.models.load import load_model, load_tokenizer

    from data import load_data

    _, _, held_out = load_data(args, training_args.seed)
    check_parts(args.dataset_name, held_out)
    tokenizer = load_tokenizer(model_args)
    use_training_template(tokenizer)
    held_out = check_held_out(held_out, tokenizer, args, training_args)
    model, accelerator = prepare(load_model(model_args, tokenizer), training_args)
    results = evaluate(model, accelerator, tokenizer, held_out, args, training_args)
    print_results(model_args.model_name_or_path, results)
    accelerator.end_training()


if __name__ == "__main__":
    main()
