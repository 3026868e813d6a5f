"""How well a model calls tools: exact calls by BFCL's rules, and whether it keeps from calling, with 95 % intervals.

    accelerate launch --config_file accelerate_configs/zero2.yaml recipes/trl_function_calling/evaluate.py \
        --model_name_or_path outputs/trl_function_calling/tiny

`--dataset_name FOLDER` with the files of the Berkeley Function Calling Leaderboard asks its questions instead. The requests are
shared out over the processes; under ZeRO-3 the model is sharded, under the other stages each process holds a copy.
"""

from typing import Any

from common.data.conversations import Conversation
from common.generate.completions import Completion, generate
from common.measure.statistics import share
from common.report.numbers import print_results
from common.run.config import parse

import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig

from arguments import CallingArguments
from data import Request
from metrics import Mistake, find_mistake, parse_calls

SAMPLES_SHOWN = 40  # kept in samples.jsonl, for the report


def _text(completion: Completion) -> str:
    """Returns a completion without the empty thoughts that Qwen3 begins with."""
    return completion.text.rpartition("</think>")[2].strip()


def _names(request: Request) -> list[str]:
    return sorted(name for answer in request.answers for name in answer)


def _question(request: Request) -> str:
    tools = ", ".join(tool["function"]["name"] for tool in request.tools)
    return "\n".join([*(message.get("content") or "(a call)" for message in request.messages), f"[tools: {tools}]"])


def score(requests: list[Request], completions: list[Completion]) -> tuple[dict[str, Any], list[Mistake | None]]:
    """Scores completions by BFCL's rules.

    Args:
        requests: What was asked.
        completions: One for each request.

    Returns:
        The metrics, each over the requests it applies to, and what is wrong with each completion (None: nothing).
        Where calls are right: `exact_call`, of these `parallel_call` where there are several, `function_name`, `valid_json`,
        `relevance` (anything was called). Where none is: `irrelevance` (nothing was called). For generated conversations also
        `asks_back` and `final_answer`, whether the text is the expected one.
    """
    calls = [parse_calls(completion.text) for completion in completions]
    found = list(zip(requests, completions, calls, strict=True))
    mistakes = [find_mistake(made, request.tools, request.answers) for request, _, made in found]
    needed = [(request, made, mistake) for (request, _, made), mistake in zip(found, mistakes, strict=True) if request.answers]
    metrics = {
        "exact_call": [mistake is None for _, _, mistake in needed],
        "parallel_call": [mistake is None for request, _, mistake in needed if len(request.answers) > 1],
        "function_name": [sorted(call.name for call in made or []) == _names(request) for request, made, _ in needed],
        "valid_json": [bool(made) for _, made, _ in needed],
        "relevance": ["<tool_call>" in done.text for request, done, _ in found if request.answers],
        "irrelevance": [made == [] for request, _, made in found if request.kind in ("no_tool", "no_call")],
    }
    for name, kind in {"asks_back": "missing_argument", "final_answer": "answer"}.items():
        metrics[name] = [_text(done) == request.reply for request, done, _ in found if request.kind == kind]
    return {name: share(values) for name, values in metrics.items() if values}, mistakes


def evaluate(
    model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerBase,
    held_out: dict[str, list[Request]],
    chat: list[Conversation],
    args: CallingArguments,
    training_args: SFTConfig,
) -> dict[str, dict[str, Any]]:
    """Answers the held-out requests greedily and measures the loss on plain chat; draws no random numbers.

    Args:
        model: The model as the accelerator wrapped it.
        accelerator: Shares the requests out over the processes.
        tokenizer: The model's tokenizer.
        held_out: Requests by the name of the set.
        chat: Conversations without tools; their loss rises as the model forgets.
        args: Says where an answer is cut.
        training_args: Gives the longest conversation and the batch size of a device.

    Returns:
        For each set `metrics` (see `score`), `samples` (the first requests with their completions) and `count`; for the chat
        `loss`, in nats a token.
    """
    from common.data.tokens import tokenize
    from common.measure.loss import mean_loss

    batch_size = training_args.per_device_eval_batch_size
    results = {}
    for name, requests in held_out.items():
        completions = generate(
            model,
            accelerator,
            tokenizer,
            [request.messages for request in requests],
            batch_size=batch_size,
            max_new_tokens=args.max_new_tokens,
            tools=[request.tools for request in requests],
        )
        metrics, mistakes = score(requests, completions)
        samples = [
            {
                "question": _question(request),
                "answer": str(request.answers or request.reply),
                "completion": _text(done),
                "correct": mistake is None if request.answers or not request.reply else _text(done) == request.reply,
            }
            for request, done, mistake in list(zip(requests, completions, mistakes, strict=True))[:SAMPLES_SHOWN]
        ]
        results[name] = {"metrics": metrics, "samples": samples, "count": len(requests)}
    if chat:
        rows = tokenize(chat, tokenizer, training_args.max_length, where="plain chat", skip_bad_rows=args.skip_bad_rows)
        loss = mean_loss(model, accelerator, rows, batch_size=batch_size)
        results["plain_chat"] = {"metrics": {"loss": loss}, "samples": [], "count": len(chat)}
    return results


def main() -> None:
    args, training_args, model_args = parse(__file__, CallingArguments, SFTConfig)

    # A mistake in the settings is answered by now: what takes seconds to import comes after it.
    from common.data.tokens import use_training_template
    from common.models.devices import prepare
    from common.models.load import load_model, load_tokenizer

    from data import load_requests

    held_out, chat = load_requests(args, training_args.seed)
    tokenizer = load_tokenizer(model_args)
    use_training_template(tokenizer)
    model, accelerator = prepare(load_model(model_args, tokenizer), training_args)
    results = evaluate(model, accelerator, tokenizer, held_out, chat, args, training_args)
    print_results(model_args.model_name_or_path, results)
    accelerator.end_training()


if __name__ == "__main__":
    main()
