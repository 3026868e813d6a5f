"""Writes conversations with a great many tools to a file: no name can be known by heart, so it must be read.

    python recipes/trl_function_calling/lesson/many_tools.py --output_file many_tools.jsonl

About a hundred tools, each time with other names of itself and of its parameters, other descriptions, and some of those
parameters that may be left out. What is asked for is one call, several, or something that none of the tools offered can do.
"""

import json
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the recipe's own files, as train.py finds them

from common.errors import fail, say

from transformers import HfArgumentParser

from lesson.many_words import Slot, Tool, in_words, read_words

SLOTS, TOOLS = read_words()

POLITE = [*["{}"] * 4, "{} Thanks.", "Hi! {}", "Can you help me? {}", "I have a question. {}", "{} Please answer soon."]
LINKS = [" ", " Also: ", " And then: ", " Then "]  # between two requests
REFUSAL = "None of the tools can do that."
OFFERED, OFFERED_WEIGHTS = [1, 2, 3, 4], [0.6, 0.2, 0.12, 0.08]
SEVERAL, SEVERAL_WEIGHTS = [2, 3, 4], [0.6, 0.3, 0.1]


@dataclass(frozen=True)
class Named:
    """A tool under the names that it has in one conversation.

    Attributes:
        tool: The tool.
        name: The function's.
        parameters: The name of each slot's parameter.
        schema: What the model is shown, in OpenAI's form.
    """

    tool: Tool
    name: str
    parameters: dict[str, str]
    schema: dict[str, Any]


# --- Tools ----------------------------------------------------------------------------------------------------------------


def _function_name(tool: Tool, rng: random.Random) -> str:
    name, style = rng.choice(tool.names), rng.random()
    if style < 0.25:
        return f"{tool.field}.{name}"
    if style < 0.35:
        head, *rest = name.split("_")
        return head + "".join(word.capitalize() for word in rest)
    if style < 0.45:
        return f"{rng.choice(['lookup', 'compute', 'fetch', 'run', 'api', 'query'])}_{name}"
    return f"{tool.field}_{name}" if style < 0.5 else name


def _property(slot: Slot, optional: bool, rng: random.Random) -> dict[str, Any]:
    kind, _, inner = slot.type.partition(" of ")
    shown: dict[str, Any] = {"type": kind, "description": rng.choice(slot.descriptions)}
    if kind == "array":
        shown["items"] = {"type": inner}
    if kind == "object":
        shown["properties"] = {name: {"type": "integer", "description": f"The {name}imum."} for name in inner.split()}
        shown["required"] = inner.split()
    if slot.choices:
        shown["enum"] = slot.choices
    if optional:
        ending = rng.choice(["", " Optional.", " Default is {}.", " (optional)", " Defaults to {}."])
        shown["description"] += ending.format(json.dumps(slot.draw(rng)[1]).strip('"'))
    return shown


def name_tool(tool: Tool, rng: random.Random) -> Named:
    """Draws the names under which a tool is shown, and which parameters it has beside those that it needs."""
    optional = [name for name in tool.optional if rng.random() < 0.6]
    parameters: dict[str, str] = {}
    for slot in [*tool.required, *optional]:
        name = rng.choice([name for name in SLOTS[slot].names if name not in parameters.values()] or [slot])
        style = rng.choice(["{}"] * 7 + ["{}_value", "input_{}", f"{tool.field}_{{}}"])
        parameters[slot] = style.format(name)
    shown = {parameters[slot]: _property(SLOTS[slot], slot in optional, rng) for slot in parameters}
    description = tool.description + rng.choice([".", "", ".", f" ({tool.field}).", ". " + "Returns the result."])
    schema = {
        "name": _function_name(tool, rng),
        "description": description,
        "parameters": {"type": "object", "properties": shown, "required": [parameters[slot] for slot in tool.required]},
    }
    return Named(tool, schema["name"], parameters, {"type": "function", "function": schema})


# --- Requests -------------------------------------------------------------------------------------------------------------


def _sentence(opening: str, parts: list[str]) -> str:
    asks = opening.split()[0] in ("What", "How", "When", "Where", "Who", "Will", "Is", "Are", "Do", "At")
    return f"{' '.join([opening, *parts])}{'?' if asks else '.'}"


def _filled(named: Named, rng: random.Random) -> list[str]:
    """Returns the slots that a request fills: those that must be, and some of the others; now and then in another order."""
    slots = [slot for slot in named.parameters if slot in named.tool.required or rng.random() < 0.45]
    if "b" not in slots and "other_point" not in slots and "team_b" not in slots and rng.random() < 0.5:
        rng.shuffle(slots)
    return slots


def _draw(slots: list[str], rng: random.Random) -> tuple[dict[str, str], dict[str, Any]]:
    """Returns what is said of each slot, and its argument."""
    said, arguments = {}, {}
    for slot in slots:
        words, arguments[slot] = SLOTS[slot].draw(rng)
        said[slot] = rng.choice(SLOTS[slot].said).format(words)
    return said, arguments


def _call(named: Named, arguments: dict[str, Any]) -> dict[str, Any]:
    in_order = {named.parameters[slot]: arguments[slot] for slot in named.parameters if slot in arguments}
    return {"type": "function", "function": {"name": named.name, "arguments": in_order}}


def draw_request(named: Named, rng: random.Random) -> tuple[str, list[dict[str, Any]]]:
    """Returns a request for one call of a tool, and the call."""
    said, arguments = _draw(_filled(named, rng), rng)
    return _sentence(rng.choice(named.tool.openings), list(said.values())), [_call(named, arguments)]


def draw_several(named: Named, rng: random.Random) -> tuple[str, list[dict[str, Any]]]:
    """Returns a request for several calls of one tool, and the calls, no two of them the same."""
    slots, count = _filled(named, rng), rng.choices(SEVERAL, SEVERAL_WEIGHTS)[0]
    said, arguments = _draw(slots, rng)
    listed = [slot for slot in slots if SLOTS[slot].type in ("string", "integer", "number")]
    values = [arguments]
    if listed and rng.random() < 0.65:  # "in Oslo, Rome and Lima", "in Oslo and Rome for 2 and 3 nights respectively"
        several = rng.sample(listed, min(len(listed), rng.choice([1, 1, 2])))
        values = [dict(arguments) for _ in range(count)]
        for slot in several:
            drawn = [SLOTS[slot].draw(rng) for _ in range(count)]
            said[slot] = rng.choice(SLOTS[slot].said).format(in_words([words for words, _ in drawn], rng))
            for of_call, (_, value) in zip(values, drawn, strict=True):
                of_call[slot] = value
        parts = [*said.values(), *(["respectively"] if len(several) > 1 else [])]
    else:  # "from Oslo to Rome at 9:00, and to Lima at 10:00"
        varied = set(rng.sample(slots, rng.randint(1, len(slots))))
        texts = [" ".join(said.values())]
        for _ in range(count - 1):
            words, more = _draw([slot for slot in slots if slot in varied], rng)
            texts.append(" ".join(words.values()))
            values.append(arguments | more)
        link = rng.choice([", and ", ", then ", "; ", " and also "])
        parts = [link.join([", ".join(texts[:-1]), texts[-1]] if link == ", and " else texts)]
    if any(value in values[:number] for number, value in enumerate(values)):
        return draw_several(named, rng)
    return _sentence(rng.choice(named.tool.openings), parts), [_call(named, of_call) for of_call in values]


def draw_conversation(rng: random.Random) -> dict[str, Any]:
    """Draws a request, the tools offered with it, and the calls that answer it or the words that say there are none."""
    kind = rng.choices(["one", "several", "apart", "none"], [0.5, 0.2, 0.08, 0.22])[0]
    needed = [name_tool(tool, rng) for tool in rng.sample(TOOLS, 2 if kind == "apart" else 1)]
    request, calls = (draw_several if kind == "several" else draw_request)(needed[0], rng)
    if kind == "apart":
        more, more_calls = draw_request(needed[1], rng)
        request, calls = f"{request}{rng.choice(LINKS)}{more}", calls + more_calls
    offered = [] if kind == "none" else needed
    others = [tool for tool in TOOLS if all(tool is not one.tool for one in needed)]
    if kind == "none" and rng.random() < 0.4:  # the harder ones are of the same field
        others = [tool for tool in others if tool.field == needed[0].tool.field] or others
    wanted = max(rng.choices(OFFERED, OFFERED_WEIGHTS)[0] - len(offered), 1 - len(offered), 0)
    offered = offered + [name_tool(tool, rng) for tool in rng.sample(others, min(wanted, len(others)))]
    rng.shuffle(offered)
    reply: dict[str, Any] = {"role": "assistant", "content": REFUSAL}
    if kind != "none":
        reply = {"role": "assistant", "content": "", "tool_calls": calls}
    messages = [{"role": "user", "content": rng.choice(POLITE).format(request)}, reply]
    return {"messages": messages, "tools": [named.schema for named in offered]}


@dataclass
class ManyToolsArguments:
    """How many conversations are generated, and where they are written."""

    output_file: str = field(metadata={"help": "JSON Lines file to be written; it must not exist yet."})
    count: int = field(default=12_000, metadata={"help": "Conversations."})
    seed: int = 0


def main() -> None:
    (args,) = HfArgumentParser(ManyToolsArguments).parse_args_into_dataclasses()
    if Path(args.output_file).exists():
        fail(f"--output_file {args.output_file} exists already; give a new name")
    rng = random.Random(args.seed)
    rows = [json.dumps(draw_conversation(rng), ensure_ascii=False) for _ in range(args.count)]
    Path(args.output_file).write_text("\n".join(rows) + "\n", encoding="utf-8")
    say(f"{args.count} conversations are in {args.output_file}")


if __name__ == "__main__":
    main()
