"""How well a model calls tools: exact calls (of BFCL by its rules), and whether it keeps from calling, with 95 % intervals.

    accelerate launch --config_file accelerate_configs/zero2.yaml recipes/trl_function_calling/evaluate.py \
        --model_name_or_path outputs/trl_function_calling/tiny

`--dataset_name FOLDER` with the files of the Berkeley Function Calling Leaderboard asks all its questions of one turn instead.
The requests are shared out over the processes; under ZeRO-3 the model is sharded, under the other stages each process holds a
copy.
"""

from dataclasses import asdict
from itertools import islice
from typing import Any

from common.data.formats import Conversation
from common.errors import BadRow, fail, say
from common.generate.completions import generate
from common.report.numbers import print_results
from common.run.config import parse

import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig

from arguments import CallingArguments
from bfcl import CATEGORIES
from calls import Call, Request, to_request, turns_of
from forms import Form, begun_by, form_of, reply_of
from leaderboard import leaderboard
from metrics import check_survives, score

SAMPLES_SHOWN = 40  # kept in samples.jsonl, for the report
TRIED = 20  # turns of the training data: some templates refuse rows that others are fine beside, such as several calls at once


def prompt_of(row: Conversation) -> list[dict[str, Any]]:
    """Returns the messages that the asked turn of a conversation answers."""
    return to_request(row).messages


def _sample(request: Request, written: str, verdict: dict[str, Any], form: Form) -> dict[str, Any]:
    """Returns a request and its answer, as the report shows them; calls are compared where one is right, and not several."""
    tools = ", ".join(tool["function"]["name"] for tool in request.tools)
    asked = [message.get("content") or "(a call)" for message in request.messages]
    right = [{call.name: call.arguments} if isinstance(call, Call) else call for call in request.answers]
    sample = {
        "question": "\n".join([*asked, f"[tools: {tools}]"]),
        "answer": str(right or request.reply),
        "completion": reply_of(written),
    }
    made = form.read(written, request.tools)
    if made is not None and all(isinstance(call, Call) for call in request.answers):
        sample["calls"] = [asdict(call) for call in made]
        sample["gold_calls"] = [asdict(call) for call in request.answers]
    return sample | verdict


def check_form(tokenizer: PreTrainedTokenizerBase, name: str, train: list[Conversation] = ()) -> Form:
    """Returns the form in which the model's chat template writes calls, which a right call must survive.

    Args:
        tokenizer: The model's tokenizer, with its chat template.
        name: The model's.
        train: The training conversations: one of the first turns with a call must survive, too.

    Raises:
        SystemExit: With code 2 and one line if the template shows no calls that can be read back, or none of the data's.
    """
    try:
        form = form_of(tokenizer)
    except BadRow as error:
        fail(f"model_name_or_path {name}: {error}")
    calling = (turn for row in train for turn in turns_of(row) if to_request(turn).answers)
    lost = []
    for turn in islice(calling, TRIED):
        try:
            check_survives(turn, tokenizer, form)
        except BadRow as error:
            lost.append(f"{turn.get('where', 'a generated conversation')}: {error}")
        else:
            return form
    if lost:
        fail(lost[0])
    return form


def check_held_out(
    held_out: dict[str, list[Conversation]],
    tokenizer: PreTrainedTokenizerBase,
    args: CallingArguments,
    training_args: SFTConfig,
    form: Form,
) -> dict[str, list[Conversation]]:
    """Returns the held-out rows that can be measured, before a model loads; see `common.data.held_out`.

    A turn that is scored must score as right where the model's own chat template writes it. Says how many are longer than an
    answer may be.
    """
    from common.data.conversations import usable
    from common.data.held_out import check_prompts, check_tokens
    from common.data.tokens import places_of
    from common.generate.limits import warn_of_cut_references

    skip_bad_rows = args.skip_bad_rows
    held_out = check_prompts(held_out, prompt_of, tokenizer, skip_bad_rows=skip_bad_rows)
    references: dict[str, list[str]] = {}

    def check(row: Conversation) -> Conversation:
        if "answers" not in row:
            references[name].append(check_survives(row, tokenizer, form))
        return row

    for name, rows in held_out.items():
        if name == "plain_chat":
            held_out |= check_tokens({name: rows}, tokenizer, training_args.max_length, skip_bad_rows=skip_bad_rows)
            continue
        references[name] = []
        held_out[name] = [row for _, row in usable(places_of(rows, name), check, name=name, skip_bad_rows=skip_bad_rows)]
    warn_of_cut_references(references, tokenizer, args.max_new_tokens)
    return held_out


def _leaderboard(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns BFCL's means over its categories as a set of its own, and says what they lack; nothing if none was asked."""
    asked = {name: result for name, result in results.items() if name in CATEGORIES}
    means, missing = leaderboard(asked) if asked else ({}, [])
    for line in missing:
        say(line)
    count = sum(result["count"] for result in asked.values())
    return {"leaderboard": {"metrics": means, "samples": [], "count": count}} if means else {}


def answer(
    model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerBase,
    requests: list[Request],
    batch_size: int,
    max_new_tokens: int,
) -> list[str]:
    """Returns what the model writes for each request, with what its template has begun for it."""
    from common.data.tokens import render

    completions = generate(
        model,
        accelerator,
        tokenizer,
        [request.messages for request in requests],
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        tools=[request.tools for request in requests],
    )
    prompts = [render(request.messages, tokenizer, request.tools, prompt=True) for request in requests]
    return [begun_by(prompt) + completion.raw for prompt, completion in zip(prompts, completions, strict=True)]


def evaluate(
    model: torch.nn.Module,
    accelerator: Accelerator,
    tokenizer: PreTrainedTokenizerBase,
    held_out: dict[str, list[Conversation]],
    args: CallingArguments,
    training_args: SFTConfig,
    form: Form,
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
        form: The form in which the model writes calls.

    Returns:
        For each set `metrics` (see `metrics.score`), `samples` (the first requests with their completions) and `count`; for the
        chat `loss`, in nats a token. Of BFCL's categories also `leaderboard`, its means over them.
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
        written = answer(model, accelerator, tokenizer, requests, batch_size, args.max_new_tokens)
        metrics, verdicts = score(rows, written, form)
        shown = islice(zip(requests, written, verdicts, strict=True), SAMPLES_SHOWN)
        samples = [_sample(*sample, form) for sample in shown]
        results[name] = {"metrics": metrics, "samples": samples, "count": len(rows)}
    return results | _leaderboard(results)


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
    tokenizer = load_tokenizer(model_args, chat_template_file=args.chat_template_file)
    use_training_template(tokenizer)
    form = check_form(tokenizer, model_args.model_name_or_path)
    held_out = check_held_out(held_out, tokenizer, args, training_args, form)
    model, accelerator = prepare(load_model(model_args, tokenizer), training_args)
    results = evaluate(model, accelerator, tokenizer, held_out, args, training_args, form)
    print_results(model_args.model_name_or_path, results)
    accelerator.end_training()


if __name__ == "__main__":
    main()
