"""How what a model writes is told apart when it is served: text, thoughts, and calls of tools."""

from typing import Any

from common.data.tokens import render
from common.errors import BadRow

from transformers import PreTrainedTokenizerBase
from trl.chat_template_utils import (
    gemma4_template,
    glm4moe_template,
    gptoss_template,
    lfm2_2_5_template,
    llama3_template,
    qwen3_5_template,
    qwen3_template,
)

# TRL's response templates, each for the chat templates of a family. TRL chooses by the text of the chat template, which a fixed
# date, variables or one of your own change; what a template writes they do not.
TEMPLATES = [
    qwen3_template,
    qwen3_5_template,
    glm4moe_template,
    llama3_template,
    gptoss_template,
    gemma4_template,
    lfm2_2_5_template,
]
CALL = {"name": "find_city", "arguments": {"name": "Oslo 7"}}
TOOL = {
    "type": "function",
    "function": {
        "name": "find_city",
        "description": "Find a city.",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}
ASKED = {"role": "user", "content": "Where is it?"}


def response_template(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any] | None:
    """Returns the response template that reads back a call as the chat template of a model writes it.

    Args:
        tokenizer: The model's tokenizer, with its chat template.

    Returns:
        A template for `tokenizer.response_template` (transformers' documentation, "Response parsing"), or None if none
        reads it, or the chat template shows no calls.
    """
    if tokenizer.response_template is not None:
        return tokenizer.response_template
    called = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALL}]}
    try:
        prompt = render([ASKED], tokenizer, [TOOL], prompt=True)
        whole = render([ASKED, called], tokenizer, [TOOL])
    except BadRow:
        return None
    begun = prompt if whole.startswith(prompt) else render([ASKED], tokenizer, [TOOL])
    for template in TEMPLATES:
        try:
            message = tokenizer.parse_response(whole[len(begun) :], template, prefix=prompt, tools=[TOOL])
        except (ValueError, KeyError):  # the form of another family
            continue
        if [call["function"] for call in message.get("tool_calls", [])] == [CALL]:
            return template
    return None
