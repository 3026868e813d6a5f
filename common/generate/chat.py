"""Talks to a model: an answer is printed while it is generated."""

import sys
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TextStreamer


def answer(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None = None,
) -> str:
    """Answers the last message of a conversation, and prints the answer while it is generated.

    Args:
        model: The model; its `generation_config` says how the answer is generated.
        tokenizer: Its tokenizer, with a chat template.
        messages: The conversation so far.
        tools: The schemas of the tools that it may call.

    Returns:
        The answer, without special tokens.
    """
    inputs = tokenizer.apply_chat_template(
        messages, tools=tools, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    tokens, mask = inputs["input_ids"].to(model.device), inputs["attention_mask"].to(model.device)
    streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    output = model.generate(input_ids=tokens, attention_mask=mask, streamer=streamer)
    return tokenizer.decode(output[0, tokens.shape[1] :], skip_special_tokens=True)


def _talk(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, system_prompt: str) -> None:
    """Answers each line of standard input until it ends."""
    start = [{"role": "system", "content": system_prompt}] if system_prompt else []
    messages = list(start)
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        print("/new starts over, Ctrl-D ends.")
    while True:
        line = input("> " if at_terminal else "").strip()
        if line == "/new":
            messages = list(start)
        elif line:
            messages.append({"role": "user", "content": line})
            messages.append({"role": "assistant", "content": answer(model, tokenizer, messages)})
