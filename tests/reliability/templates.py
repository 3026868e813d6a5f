"""The table of chat templates in docs/models.md: what of a conversation is trained with each one that TRL ships.

python tests/reliability/templates.py
"""

import contextlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.data.conversations import check_conversation
from common.data.formats import recognise
from common.data.notes import LEFT_OUT
from common.data.tokens import IGNORED, tokenize, use_training_template
from common.models.load import load_tokenizer
from common.models.tiny import tiny_tokenizer

import torch
from pages import write_part
from safetensors.torch import save_file
from tokenizers import AddedToken
from transformers import LlamaConfig, PreTrainedTokenizerBase
from trl import ModelConfig

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "models.md"
PROGRAM = "tests/reliability/templates.py"
SHIPPED = {
    file.name.removesuffix(".jinja"): file.read_text(encoding="utf-8")
    for file in sorted((files("trl") / "chat_templates").iterdir(), key=lambda file: file.name)
    if file.name.endswith(".jinja")
}
# What is not read by a tokenizer as one token is no end of turn: each family's tokenizer has these.
MARKS = re.compile(r"<\|[^<>|\s]+\|?>|<[^<>|\s]+\|>|<\uff5c[^\uff5c]*\uff5c>|<(?:start|end)_of_\w+>")


# --- What is tried --------------------------------------------------------------------------------------------------------


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content} | more


def call(number: int, **arguments: Any) -> dict[str, Any]:
    return {"id": f"call{number:05}", "type": "function", "function": {"name": "find_ship", "arguments": arguments}}


def result(number: int, content: str) -> dict[str, Any]:
    return said("tool", content, tool_call_id=f"call{number:05}", name="find_ship")


TOOL = {
    "type": "function",
    "function": {
        "name": "find_ship",
        "description": "Finds a ship.",
        "parameters": {
            "type": "object",
            "properties": {
                "port": {"type": "string"},
                "masts": {"type": "integer"},
                "steam": {"type": "boolean"},
                "flags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["port"],
        },
    },
}
ASK, ANSWER = said("user", "Alpha?"), said("assistant", "Bravo.")
FULL = {"port": 'Charlie "Delta"', "masts": 37, "steam": False, "flags": ["Ækho", "Foxtrot"]}
# No word stands in two messages, so that each is known wherever it stands.
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "turns": [ASK, ANSWER, said("user", "Golf?"), said("assistant", "Hotel.")],
    "system": [said("system", "India."), ASK, ANSWER],
    "thought": [ASK, ANSWER | {"reasoning_content": "Juliett."}],
    "`<think>`": [ASK, said("assistant", "<think>\nJuliett.\n</think>\n\nBravo.")],
    "thoughts in turns": [
        ASK,
        ANSWER | {"reasoning_content": "Juliett."},
        said("user", "Golf?"),
        said("assistant", "Hotel.", reasoning_content="Kilo."),
    ],
    "call": [ASK, said("assistant", "", tool_calls=[call(1, **FULL)])],
    "call, result, answer": [
        said("system", "India."),
        ASK,
        said("assistant", "", tool_calls=[call(1, **FULL)]),
        result(1, "Lima."),
        ANSWER,
    ],
    "parallel calls": [
        ASK,
        said("assistant", "", tool_calls=[call(1, port="Mike"), call(2, port="November")]),
        result(1, "Lima."),
        result(2, "Oscar."),
        ANSWER,
    ],
    "calls in turn": [
        ASK,
        said("assistant", "", tool_calls=[call(1, port="Mike")]),
        result(1, "Lima."),
        said("assistant", "", tool_calls=[call(2)]),
        result(2, "Oscar."),
        ANSWER,
        said("user", "Golf?"),
        said("assistant", "Hotel."),
    ],
    "text and call": [ASK, said("assistant", "Papa.", tool_calls=[call(1, port="Mike")]), result(1, "Lima."), ANSWER],
    "thought and call": [
        ASK,
        said("assistant", "", reasoning_content="Juliett.", tool_calls=[call(1, port="Mike")]),
        result(1, "Lima."),
        ANSWER,
    ],
}


def row_of(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns a row in OpenAI's form, with tools if any is called."""
    return {"messages": messages} | ({"tools": [TOOL]} if any("tool_calls" in message for message in messages) else {})


def save_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Writes a tokenizer that knows the marks of every template, and has none: as of a base model, which knows no turns."""
    texts = [json.dumps(row_of(messages), ensure_ascii=False) for messages in CONVERSATIONS.values()]
    tokenizer = tiny_tokenizer(texts, "llama", 640)
    marks = sorted({mark for template in SHIPPED.values() for mark in MARKS.findall(template)})
    tokenizer.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in ["<s>", "</s>", "<pad>", *marks]])
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = "<s>", "</s>", "<pad>"
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_model_folder(folder: Path) -> None:
    """Writes what a tokenizer is loaded of, and no model."""
    save_tokenizer(folder)
    LlamaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=8).save_pretrained(folder)
    save_file({"none": torch.zeros(1)}, folder / "model.safetensors")


# --- What comes of it -----------------------------------------------------------------------------------------------------


def refusal(make: Callable[[], Any]) -> str | None:
    """Returns the line with which something is refused, or None."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            make()
    except SystemExit:
        return errors.getvalue().removeprefix("error: ").rstrip("\n")
    return None


def load(folder: Path, template: str) -> PreTrainedTokenizerBase:
    """Loads a model's tokenizer with another template, as train.py of sft_instruct and trl_function_calling do."""
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path=str(folder)))
    use_training_template(tokenizer)
    return tokenizer


def words_in(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))  # some templates write False, some false


def words_of(message: dict[str, Any]) -> set[str]:
    """Returns all that a message says, word by word."""
    texts = [message["content"], message.get("reasoning_content", "")]
    for made in message.get("tool_calls", []):
        for name, value in made["function"]["arguments"].items():
            texts += [name, *(value if isinstance(value, list) else [value if isinstance(value, str) else json.dumps(value)])]
    return words_in(" ".join(texts)) - {"think"}


def mistake(messages: list[dict[str, Any]], tokens: dict[str, list[int]], tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Returns what is wrong with what is trained, or None: it must be what the assistant says, all of it and no more."""
    runs = [
        (is_trained, [token for token, _ in run])
        for is_trained, run in groupby(zip(tokens["input_ids"], tokens["labels"], strict=True), lambda pair: pair[1] != IGNORED)
    ]
    turns = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    if [is_trained for is_trained, _ in runs] not in ([False, True] * len(turns), [*[False, True] * len(turns), False]):
        return "trained are not as many parts as the assistant has turns"
    tools = row_of(messages).get("tools")
    before, others = "", set().union(*(words_of(message) for message in messages))
    for number, (_, prompt), (_, trained) in zip(turns, runs[::2], runs[1::2], strict=False):
        before += tokenizer.decode(prompt)
        if before != tokenizer.apply_chat_template(messages[:number], tools=tools, tokenize=False, add_generation_prompt=True):
            return f"message {number + 1} does not follow what is asked for it"
        text = tokenizer.decode(trained)
        before += text
        found = words_in(text) & others
        if found != words_of(messages[number]):
            return f"of message {number + 1} is trained: {' '.join(sorted(found))}"
        if text.count("find_ship") < len(messages[number].get("tool_calls", [])):
            return f"message {number + 1} does not name what it calls"
        if tokenizer.decode(trained[-1:]) not in tokenizer.get_added_vocab():
            return f"message {number + 1} does not end"
    shown = "".join(tokenizer.decode(run) for is_trained, run in runs if not is_trained)
    asked = set().union(*(words_of(message) for message in messages if message["role"] != "assistant"))
    if not asked <= words_in(shown) or (tools and "find_ship" not in shown):
        return "not all is shown that the assistant answers"
    return None


def verdicts(folder: Path, template: str) -> dict[str, str]:
    """Returns for each conversation `✓`, or the line with which it is refused.

    Args:
        folder: See `save_model_folder`.
        template: The chat template.

    Raises:
        AssertionError: If something is trained that is wrong.
    """
    loaded = []
    line = refusal(lambda: loaded.append(load(folder, template)))
    if line:
        return dict.fromkeys(CONVERSATIONS, line.removeprefix(f"model_name_or_path {folder}: "))
    (tokenizer,) = loaded
    rows = [recognise(row_of(messages)).conversation | {"where": name} for name, messages in CONVERSATIONS.items()]
    for row in rows:
        check_conversation(row)
    LEFT_OUT.clear()
    if refusal(lambda: tokenize(rows, tokenizer, 4096, where="rows", skip_bad_rows=True)):  # none is left
        lines = {row["where"]: refusal(lambda row=row: tokenize([row], tokenizer, 4096, where="")) for row in rows}
        return {name: line.removeprefix(f"{name}: ") for name, line in lines.items()}
    found = dict.fromkeys(CONVERSATIONS, "✓") | LEFT_OUT
    used = [name for name, verdict in found.items() if verdict == "✓"]
    made = tokenize([row for row in rows if row["where"] in used], tokenizer, 4096, where="rows")
    for name, tokens in zip(used, made, strict=True):
        wrong = mistake(CONVERSATIONS[name], tokens, tokenizer)
        assert wrong is None, f"{name}: {wrong}"
    return found


def table(folder: Path) -> str:
    """Returns the table: templates with the same verdicts share a row."""
    names, letters = defaultdict(list), {}
    for name, template in SHIPPED.items():
        if not name.endswith("_training"):
            names[tuple(verdicts(folder, template).items())].append(name)
    rows = [f"| template | {' | '.join(CONVERSATIONS)} |", "|---" * (1 + len(CONVERSATIONS)) + "|"]
    for found, alike in names.items():
        cells = []
        for _, line in found:
            line = re.sub(r"message \d+", "message N", line.partition("; ")[0])
            cells.append("✓" if line == "✓" else letters.setdefault(line, chr(ord("a") + len(letters))))
        rows.append(f"| {', '.join(alike)} | {' | '.join(cells)} |")
    lines = [f"- {letter}: {line}" for line, letter in letters.items()]
    return "\n".join([*rows, "", *lines])


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        save_model_folder(Path(folder))
        write_part(PAGE, PROGRAM, table(Path(folder)))
