"""Talks to a model: the options of a chat, its loop, and an answer that is printed while it is generated.

The libraries that take seconds to import are imported where they are used: a mistake in the options is answered before.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.data.runs import read_record
from common.errors import fail

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin, TextStreamer


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        fail(f"--temperature is {text}; use 0 for the likeliest token, or a number above 0")
    return value


def _max_new_tokens(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        fail(f"--max_new_tokens is {text}; use at least 1")
    return int(text)


def chat_parser(description: str, *, history: bool = False) -> argparse.ArgumentParser:
    """Returns the parser of a chat: the run, and the options that chats have in common.

    Args:
        description: The docstring of the chat; its first line is shown.
        history: Whether lines are questions of their own unless there is `--history`, for `talk`.
    """
    parser = argparse.ArgumentParser(prog="recipes chat", description=description.partition("\n")[0], allow_abbrev=False)
    parser.error = lambda message: fail(f"{message}; `recipes chat RUN --help` lists the options")
    parser.add_argument("run", metavar="RUN", type=Path, help="a run's folder, or a checkpoint-N in it")
    parser.add_argument("--temperature", type=_temperature, default=0.0, help="0, the default, takes the likeliest token")
    parser.add_argument("--max_new_tokens", type=_max_new_tokens, help="where an answer is cut; as in the run if not given")
    if history:
        parser.add_argument("--history", action="store_true", help="keep the conversation from line to line; /new starts over")
    return parser


def load_for_chat(
    run: Path, args: argparse.Namespace
) -> "tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase | ProcessorMixin, dict[str, Any]]":
    """Loads the model of a run, set to answer as when the run was measured.

    Args:
        run: The run's folder, or one of its checkpoints.
        args: The options of `chat_parser`.

    Returns:
        As `common.models.saved.load_run`: the model, its tokenizer or processor, and the run's settings by name.

    Raises:
        SystemExit: With code 2 and one line if it cannot be loaded.
    """
    read_record(run)  # says so if there is no run

    from common.generate.settings import generation_config
    from common.models.saved import load_run

    model, tokenizer, settings = load_run(run)
    limit = args.max_new_tokens or settings.get("max_new_tokens") or settings.get("max_completion_length") or 256
    model.generation_config = generation_config(
        model, getattr(tokenizer, "tokenizer", tokenizer), max_new_tokens=limit, temperature=args.temperature
    )
    return model, tokenizer, settings


def talk(
    reply: Callable[[list[dict[str, Any]]], None],
    *,
    history: bool = False,
    start: Sequence[dict[str, Any]] = (),
    commands: dict[str, Callable[[str], None]] | None = None,
    hint: str = "",
    prompt: str = "> ",
) -> None:
    """Answers each line of standard input until it ends; Ctrl-C ends it too.

    Args:
        reply: Answers the last message of a conversation: prints, and appends what was said.
        history: Whether the conversation goes on from line to line, until a line `/new`; else each begins one.
        start: The messages that a conversation begins with.
        commands: What other lines with a `/` do: by their first word, a function of the rest of the line.
        hint: Printed at the beginning, on a terminal.
        prompt: Stands before each line, on a terminal.
    """
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        print(" ".join(part for part in (hint, "/new starts over," if history else "", "Ctrl-D ends.") if part))
    messages = list(start)
    try:
        while True:
            line = input(prompt if at_terminal else "").strip()
            word, _, rest = line.partition(" ")
            if line == "/new":
                messages = list(start)
            elif commands and word in commands:
                commands[word](rest.strip())
            elif line:
                messages = [*(messages if history else start), {"role": "user", "content": line}]
                reply(messages)
    except (EOFError, KeyboardInterrupt):
        if at_terminal:
            print()


def complete(
    model: "PreTrainedModel | PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None = None,
    streamer: "TextStreamer | None" = None,
) -> "torch.Tensor":
    """Returns the tokens with which a model answers the last message of a conversation.

    Args:
        model: The model; its `generation_config` says how the answer is generated.
        tokenizer: Its tokenizer, with a chat template.
        messages: The conversation so far.
        tools: The schemas of the tools that it may call.
        streamer: Is given the tokens while they are generated.
    """
    inputs = tokenizer.apply_chat_template(
        messages, tools=tools, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    tokens, mask = inputs["input_ids"].to(model.device), inputs["attention_mask"].to(model.device)
    return model.generate(input_ids=tokens, attention_mask=mask, streamer=streamer)[0, tokens.shape[1] :]


def answer(
    model: "PreTrainedModel | PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None = None,
    special_tokens: bool = False,
) -> str:
    """Answers the last message of a conversation, and prints the answer while it is generated.

    Args:
        model: The model; its `generation_config` says how the answer is generated.
        tokenizer: Its tokenizer, with a chat template.
        messages: The conversation so far.
        tools: The schemas of the tools that it may call.
        special_tokens: Whether the answer is returned with its special tokens, of which some models' calls are made.

    Returns:
        The answer.
    """
    from transformers import TextStreamer

    streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    tokens = complete(model, tokenizer, messages, tools, streamer)
    return tokenizer.decode(tokens, skip_special_tokens=not special_tokens)
