"""Talks to a trained model that thinks in a language of your choice, and shows its thought and its answer apart.

    recipes chat outputs/gpt_oss_multilingual/tiny --reasoning_language Greek

Every line of input is a question of its own; `--history` keeps what was said before, without the thoughts, which gpt-oss's chat
template leaves out. `/think French` changes the language, `/new` starts over.
"""

import argparse
import sys
from typing import Any

from common.errors import fail
from common.models.saved import load_run

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from metrics import INSTRUCTION, Turn, find_language, parse_turn


def reply(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, Any]],
    language: str,
) -> Turn:
    """Lets the model think and answer.

    Args:
        model: The model; its `generation_config` says how.
        tokenizer: Its tokenizer.
        messages: The conversation so far, without a system message.
        language: The language to think in.
    """
    system = {"role": "system", "content": INSTRUCTION.format(language)}
    inputs = tokenizer.apply_chat_template(
        [system, *messages], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    tokens, mask = inputs["input_ids"].to(model.device), inputs["attention_mask"].to(model.device)
    with torch.no_grad():
        output = model.generate(input_ids=tokens, attention_mask=mask)
    return parse_turn(tokenizer.decode(output[0, tokens.shape[1] :]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="recipes chat", description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.error = lambda message: fail(f"{message}; `recipes chat RUN --help` lists the options")
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a checkpoint-N in it")
    parser.add_argument("--reasoning_language", default="English", help="the language to think in, in English: French")
    parser.add_argument("--temperature", type=float, default=0.0, help="0, the default, takes the likeliest token")
    parser.add_argument("--max_new_tokens", type=int, help="where thought and answer are cut; that of the run if not given")
    parser.add_argument("--history", action="store_true", help="keep the conversation from line to line; /new starts over")
    args = parser.parse_args()
    if args.temperature < 0:
        fail(f"--temperature is {args.temperature:g}; use 0 for the likeliest token, or a number above 0")
    if args.max_new_tokens is not None and args.max_new_tokens < 1:
        fail(f"--max_new_tokens is {args.max_new_tokens}; use at least 1")
    try:
        language = find_language(args.reasoning_language)
    except ValueError as error:
        fail(f"--reasoning_language: {error}")
    model, tokenizer, settings = load_run(args.run)
    model.generation_config = GenerationConfig(
        max_new_tokens=args.max_new_tokens or settings.get("max_new_tokens") or 1024,
        do_sample=args.temperature > 0,
        temperature=args.temperature if args.temperature > 0 else 1.0,
        top_k=0 if args.temperature > 0 else 50,
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        print("/think LANGUAGE changes the language, Ctrl-D ends.")
    messages: list[dict[str, Any]] = []
    try:
        while True:
            line = input("> " if at_terminal else "").strip()
            if line == "/new" or not args.history:
                messages = []
            if line.startswith("/think "):
                try:
                    language = find_language(line.removeprefix("/think "))
                except ValueError as error:
                    print(error)
            elif line and line != "/new":
                messages.append({"role": "user", "content": line})
                turn = reply(model, tokenizer, messages, language)
                print(f"thinks:  {turn.thinking or '(nothing)'}\nanswers: {turn.final or '(nothing)'}", flush=True)
                messages.append({"role": "assistant", "content": turn.final})
    except (EOFError, KeyboardInterrupt):
        if at_terminal:
            print()


if __name__ == "__main__":
    main()
