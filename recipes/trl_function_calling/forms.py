"""The forms in which chat templates write calls: which one a model has, and what it says and calls in it.

The readers of the forms are in readers.py.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import BadRow

from calls import Call
from readers import DEEPSEEK, GPT_OSS, HERMES, MISTRAL, Calls, Tools, read_json, read_lfm2, read_llama, read_typed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# --- What is said ---------------------------------------------------------------------------------------------------------

# What ends a turn in the templates of Qwen, Llama, gpt-oss, Gemma, GLM, Mistral, DeepSeek, LFM2, Phi and Muse.
ENDS = "<|im_end|> <|endoftext|> <|eot_id|> <|eom_id|> <|end_of_text|> <|return|> <|call|> <|end|> <turn|> <|tool_response>"
ENDS += " <end_of_turn> <eos> <|user|> <|observation|> <｜end▁of▁sentence｜> <|eot|>"  # noqa: RUF001
END = re.compile("|".join([*map(re.escape, ENDS.split()), r"</s>\s*$"]))  # Mistral's may stand in a text of HTML, too
ENDING = re.compile(rf"(?:{END.pattern})?\s*$")
# The channels of gpt-oss (https://developers.openai.com/cookbook/articles/openai-harmony), Gemma 4 and Muse: thoughts are left
# out, and the messages of a turn are joined.
CHANNELS = [
    (re.compile(r"<\|channel\|>analysis<\|message\|>.*?(?:<\|end\|>|$)", re.DOTALL), ""),
    (re.compile(r"<\|channel>thought\n.*?(?:<channel\|>|$)", re.DOTALL), ""),
    (re.compile(r"^ to=self<\|message\|>.*?(?:<\|eom\|><\|start\|>assistant|$)", re.DOTALL), ""),
    (re.compile(r"<\|end\|>\s*<\|start\|>assistant"), ""),
    (re.compile(r"^\s*(?:<\|start\|>assistant)?(?:<\|channel\|>(?:final|commentary))?(?: to=user)?<\|message\|>"), ""),
    (re.compile(r"<\|channel\|>final<\|message\|>"), ""),
]


def reply_of(completion: str) -> str:
    """Returns what a completion says, its calls included: without thoughts, and without what ends the turn or comes after it.

    Args:
        completion: A completion, with or without its special tokens. Thoughts are all up to the last `</think>`.
    """
    for pattern, text in CHANNELS:
        completion = pattern.sub(text, completion)
    return END.split(completion.rpartition("</think>")[2])[0].strip()


# --- All forms ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """How the chat templates of a family write calls.

    Attributes:
        name: The family's.
        mark: What a completion with a call holds.
        reader: Reads the calls of what a completion says, given the tools.
    """

    name: str
    mark: re.Pattern[str]
    reader: Callable[[str, Tools], Calls]

    def read(self, completion: str, tools: Tools) -> Calls:
        """Reads the calls of a completion.

        Args:
            completion: With its special tokens, of which some forms are made. Reasoning calls nothing.
            tools: The tools offered: where an argument is written as a text they say of which type it is.

        Returns:
            The calls, [] if there are none, or None if something that begins like one is none.
        """
        said = reply_of(completion)
        return self.reader(said, tools) if self.mark.search(said.partition("<think>")[0]) else []


MUSE = ("<atem:invoke ", "</atem:invoke>", "<atem:parameter ", "</atem:parameter>")

# The first whose mark a completion holds is its form, so the more particular come first.
FORMS = [
    Form(
        "Qwen 3.5 and Nemotron 3",
        re.compile("<function="),
        lambda text, tools: read_typed(text, tools, "qwen3_5", ("<function=", "</function>", "<parameter=", "</parameter>")),
    ),
    Form(
        "GLM",
        re.compile(r"<tool_call>[\w.-]+\s*(?:<arg_key>|</tool_call>)"),
        lambda text, tools: read_typed(text, tools, "glm4moe", ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_value>")),
    ),
    Form("Qwen and Hermes", re.compile(r"</?tool_call>"), lambda text, tools: read_json(text, *HERMES)),
    Form(
        "Gemma 4",
        re.compile(re.escape("<|tool_call>call:")),
        lambda text, tools: read_typed(text, tools, "gemma4", ("<|tool_call>", "<tool_call|>")),
    ),
    Form("gpt-oss", re.compile(r"to=functions\."), lambda text, tools: read_json(text, *GPT_OSS) or None),
    Form(
        "Mistral",
        re.compile(r'\[TOOL_CALLS\]|^\[\s*\{\s*"name"\s*:\s*"[^"]*"\s*,\s*"arguments"'),
        lambda text, tools: read_json(text, *MISTRAL, listed=True) or None,
    ),
    Form("LFM2", re.compile(re.escape("<|tool_call_start|>")), read_lfm2),
    Form("DeepSeek", re.compile("<｜tool▁call▁begin｜>"), lambda text, tools: read_json(text, *DEEPSEEK) or None),  # noqa: RUF001
    Form("Muse", re.compile("<atem:invoke "), lambda text, tools: read_typed(text, tools, "muse", MUSE)),
    Form(
        "Llama 3",
        re.compile(r'^(?:<\|python_tag\|>\s*)?\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"[^"]*"\s*,\s*"parameters"'),
        read_llama,
    ),
]


def read_any(completion: str, tools: Tools) -> Calls:
    """Reads the calls of a completion of an unknown model, in the form that its marks show; see `Form.read`."""
    said = reply_of(completion).partition("<think>")[0]
    form = next((form for form in FORMS if form.mark.search(said)), None)
    return form.read(completion, tools) if form else []


PROBE = Call("find_city", {"name": "Oslo 7"})
PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": "find_city",
        "description": "Find a city.",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}


def written_turn(messages: list[dict[str, Any]], tools: Tools, tokenizer: "PreTrainedTokenizerBase") -> tuple[str, str]:
    """Returns the prompt for the last message, and how a model answers it that has learned the chat template.

    Args:
        messages: A conversation that ends with a turn of the assistant.
        tools: The tools offered.
        tokenizer: The model's tokenizer, with its chat template.

    Returns:
        The prompt and the completion, special tokens included.

    Raises:
        BadRow: If the template cannot write it.
    """
    from common.data.tokens import render

    prompt, whole = render(messages[:-1], tokenizer, tools, prompt=True), render(messages, tokenizer, tools)
    shared = next((i for i, (one, other) in enumerate(zip(prompt, whole, strict=False)) if one != other), len(prompt))
    return prompt, whole[shared:]


def begun_by(prompt: str) -> str:
    """Returns the `<think>` with which some chat templates begin the answer, and which then stands in no completion."""
    return "<think>" if prompt.rstrip().endswith("<think>") else ""


def _written_probe(tokenizer: "PreTrainedTokenizerBase") -> str:
    call = {"type": "function", "id": "call00000", "function": {"name": PROBE.name, "arguments": PROBE.arguments}}
    asked = {"role": "user", "content": "Where?"}
    prompt, written = written_turn([asked, {"role": "assistant", "content": "", "tool_calls": [call]}], [PROBE_TOOL], tokenizer)
    return begun_by(prompt) + written


def end_of_calls(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Returns the token with which a chat template ends a turn of calls, which may not be the one that ends an answer."""
    from common.data.tokens import special_end

    end = special_end(_written_probe(tokenizer), tokenizer)
    return tokenizer.eos_token_id if end is None else end


def form_of(tokenizer: "PreTrainedTokenizerBase") -> Form:
    """Returns the form in which a chat template writes calls: the one that reads a call back as it was.

    Args:
        tokenizer: The model's tokenizer, with its chat template.

    Raises:
        BadRow: If no form does.
    """
    written = _written_probe(tokenizer)
    for form in FORMS:
        if form.read(written, [PROBE_TOOL]) == [PROBE]:
            return form
    families = ", ".join(form.name for form in FORMS)
    raise BadRow(
        f"the chat template writes a call as {written[:80]!r}, in none of the forms that can be read ({families}); take the "
        "instruct version of another model, or give it a chat template that shows calls, `--chat_template_file FILE`"
    )
