"""Rows in any usual form as conversations: recognised by their columns, one small function a form.

The forms are those of the data sets that people tune on: OpenAI's fine-tuning files, ShareGPT and its dialects, Alpaca, prompt
and completion (TRL), query and response (ms-swift), question and answer, xLAM, Hermes, Glaive and ToolACE. docs/data.md shows a
row of each.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from common.data.columns import HEADINGS, check_choices, check_wanted, find_columns, heading, misspelt, text_of_cell
from common.data.literals import read_value
from common.data.messages import ROLE_OF, THOUGHTS, read_turns
from common.data.tools import check_tools, read_tools, take_tools
from common.errors import BadRow

Conversation = dict[str, Any]  # `messages`, and perhaps `tools`, in the form of the chat templates (OpenAI's)

SPEAKER = re.compile(r"^(SYSTEM|USER|ASSISTANT|FUNCTION RESPONSE): ?", re.MULTILINE)
SPEAKERS = {"SYSTEM": "system", "USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}


@dataclass
class Recognised:
    """What a row was read as.

    Attributes:
        form: The name of the form.
        columns: The columns that were read, as they are called in the row.
        unread: The others.
        answer: The column with what is answered, as it is called in the row.
        conversation: `messages`, and perhaps `tools`.
    """

    form: str
    columns: list[str]
    unread: list[str]
    answer: str
    conversation: Conversation = field(default_factory=dict)


# --- One form each --------------------------------------------------------------------------------------------------------


def _chat(turns: Any, system: str | None, tools: Any) -> Conversation:
    """Messages as they are: OpenAI's, and ShareGPT's; a `system` and `tools` may be columns of their own."""
    tools = read_tools(tools or [])
    names = check_tools(tools)
    messages = read_turns(turns, names)
    if system and system.strip():
        messages = [{"role": "system", "content": system}, *messages]
    first = messages[0] if isinstance(messages[0], dict) else {}
    if first.get("role") == "system" and isinstance(first.get("content"), str):
        described, rest = take_tools(first["content"])
        described = read_tools(described)
        if described and (not tools or set(check_tools(described)) <= set(names)):
            tools = tools or described
            rest = [{"role": "system", "content": rest}] if rest else []
            messages = [*rest, *read_turns(turns, check_tools(tools))[0 if system and system.strip() else 1 :]]
    return {"messages": messages} | ({"tools": tools} if tools else {})


def _transcript(text: Any, system: Any, tools: Any) -> Conversation:
    """Glaive's: one text in which `USER:`, `ASSISTANT:` and `FUNCTION RESPONSE:` begin a turn."""
    if isinstance(system, str) and not SPEAKER.match(system):
        system = f"SYSTEM: {system}"
    whole = "\n".join(part for part in (system, text) if isinstance(part, str))
    names = SPEAKER.findall(whole)
    before, *said = SPEAKER.split(whole)[::2]
    if not names or before.strip():
        raise BadRow("a conversation as one text must begin with `USER:` or `SYSTEM:`, and every turn with its speaker")
    turns = [
        {"role": SPEAKERS[name], "content": text.replace("<|endoftext|>", "").strip()}
        for name, text in zip(names, said, strict=True)
    ]
    return _chat(turns, None, tools)


def _xlam(query: str, calls: Any, system: str | None, tools: Any) -> Conversation:
    """xLAM's: a query, and the calls that answer it."""
    given = calls if isinstance(calls, list) else [calls]
    if not isinstance(calls, str) and not any(isinstance(call, dict) and {"name", "function"} & call.keys() for call in given):
        calls = "[]"
    if calls == "[]":
        raise BadRow("`answers` holds no calls of tools; write the answer that is to be learned into a column `answer`")
    turns = [{"role": "user", "content": query}, {"role": "assistant", "tool_calls": calls}]
    return _chat(turns, system, tools)


def _history(history: Any) -> list[dict[str, Any]]:
    """Earlier questions and answers, as pairs or as messages."""
    if isinstance(history, str):
        try:
            history = read_value(history) if history.strip() else []
        except ValueError:
            history = None
    if not isinstance(history, list):
        raise BadRow("`history` is no list; write [[question, answer], ...]")
    turns: list[Any] = []
    for number, pair in enumerate(history, start=1):
        if isinstance(pair, dict):
            turns.append(pair)
        elif isinstance(pair, list | tuple) and len(pair) == 2:
            turns += [
                {"role": role, "content": text_of_cell(text, f"history, pair {number}")}
                for role, text in zip(("user", "assistant"), pair, strict=True)
            ]
        else:
            raise BadRow(f"`history`, pair {number}: not a question and an answer; write [[question, answer], ...]")
    return turns


def _turns(value: Any) -> list[Any] | None:
    """Returns a cell that holds messages, perhaps as JSON text; None for any other."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            value = read_value(value)
        except ValueError:
            return None
    is_turns = (
        isinstance(value, list) and value and all(isinstance(turn, dict) and {"role", "from"} & turn.keys() for turn in value)
    )
    return value if is_turns else None


def _speaker(turn: dict[str, Any]) -> str | None:
    return ROLE_OF.get(str(turn.get("role", turn.get("from"))).lower())


def _pair(row: dict[str, Any], found: dict[str, str], system: str | None) -> Conversation:
    """A question and an answer under any heading (Alpaca's, TRL's, ms-swift's), each a text or messages."""
    question, answer = row[found["question"]], row[found["answer"]]
    asked = _turns(question)
    if asked is None:
        text = text_of_cell(question, found["question"])
        more = row.get(found.get("input"))
        if more is not None and (not isinstance(more, str) or more.strip()):
            text = f"{text}\n{text_of_cell(more, found['input'])}"
        earlier = _history(row[found["history"]]) if "history" in found else []
        asked = [*earlier, {"role": "user", "content": text}]
    else:  # TRL trains the completion alone, so what the assistant says in a prompt is only shown
        asked = [turn | ({"weight": 0} if _speaker(turn) in ("assistant", "call") else {}) for turn in asked]
    answered = _turns(answer) or [{"role": "assistant", "content": text_of_cell(answer, found["answer"])}]
    if next(filter(lambda speaker: speaker != "system", map(_speaker, answered)), None) == "user":
        name = found["answer"]  # as `chosen` of a preference, beside its `prompt`
        raise BadRow(f"`{name}` holds a whole conversation: say so, `--columns messages={name}`")
    thought = row.get(found.get("thinking"))
    if thought is not None and len(answered) == 1:
        answered = [answered[0] | {THOUGHTS[0]: text_of_cell(thought, found["thinking"])}]
    return _chat([*asked, *answered], system, row.get(found.get("tools")))


# --- Recognition --------------------------------------------------------------------------------------------------------


def _one_of(name: str, columns: list[str]) -> str:
    if len(columns) > 1:
        words = " and ".join(f"`{column}`" for column in columns[:2])
        raise BadRow(f"{words} can both be the {name}: say which, for example `--columns {name}={columns[0]}`")
    return columns[0]


def _columns_of(row: dict[str, Any], mapped: dict[str, str]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Returns a row and its columns by what they are, verl's right answer, within `reward_model`, in one of its own."""
    found, judged = find_columns(row, mapped), row.get("reward_model")
    if found["question"] and not found["answer"] and isinstance(judged, dict) and judged.get("ground_truth") is not None:
        row = {name: row[name] for name in row if name != "reward_model"} | {"ground_truth": judged["ground_truth"]}
        found = find_columns(row, mapped)
    if "input" in [heading(column) for column in found["input"]] and not found["question"]:  # input and output
        found["question"], found["input"] = found["input"], []
    return row, found


def _form_of(found: dict[str, list[str]], row: dict[str, Any], mapped: dict[str, str], preferred: str | None) -> str:
    given = {name for name, columns in found.items() if columns}
    asks = {"question", "answer"} <= given
    is_pair = {"question", "answer"} & mapped.keys() or preferred  # of a problem, the answer stands in a column of its own
    if "messages" in given and not (asks and is_pair and "messages" not in mapped):
        return "messages"
    if "question" in given and "calls" in given and not mapped.keys() & {"answer"}:
        return "xlam"
    if "transcript" in given and not asks:
        return "transcript"
    if asks:
        return "pair"
    columns = ", ".join(map(str, row)) or "nothing"
    missing = "answer" if "question" in given else "question"
    empty = next((name for name in row if heading(name) in HEADINGS[missing]), None)
    if empty is not None:
        raise BadRow(f"`{empty}` is empty; fill it in or remove the row")
    hint = misspelt(row, HEADINGS[missing] + (HEADINGS["messages"] if missing == "question" else ()))
    if hint:
        raise BadRow(f"no `{missing}`{hint}")
    raise BadRow(
        f"no `{missing}` (found: {columns}); write `question` and `answer`, or `messages`, or name the column with "
        f"`--columns {missing}=...`"
    )


def recognise(row: dict[str, Any], mapped: dict[str, str] | None = None, preferred: str | None = None) -> Recognised:
    """Reads a row in whatever form it is.

    Args:
        row: The row as it was read.
        mapped: See `read_columns`.
        preferred: Heading of the answer, where the row has several that are usual for one, or messages beside it.

    Returns:
        What it was read as, with the conversation.

    Raises:
        BadRow: If there are no columns that are known, or two could be meant, or something in them cannot be read.
    """
    row, found = _columns_of(row, mapped or {})
    found["answer"] = [column for column in found["answer"] if heading(column) == preferred] or found["answer"]
    form = _form_of(found, row, mapped or {}, preferred)
    names = {
        "messages": ("messages", "system", "tools"),
        "xlam": ("question", "calls", "system", "tools"),
        "transcript": ("transcript", "system", "tools"),
        "pair": ("question", "input", "answer", "thinking", "history", "system", "tools"),
    }[form]
    used = {name: _one_of(name, found[name]) for name in names if found[name]}
    if str(row.get(used.get("thinking"))).strip() in ("on", "off"):  # a switch (Nemotron's), and no thought
        del used["thinking"]
    system = row.get(used.get("system"))
    if system is not None and not isinstance(system, str):
        raise BadRow(f"`{used['system']}` must be a text, not a {type(system).__name__}; write one, or leave the column away")
    tools = row.get(used.get("tools"))
    columns = [column for column in used.values() if row[column] not in ("", [])]
    unread = [str(name) for name in row if name not in used.values()]
    answer = next(used[name] for name in ("answer", "calls", "messages", "transcript") if name in used)
    recognised = Recognised(form, columns, unread, answer)
    if form == "messages":
        recognised.conversation = _chat(row[used["messages"]], system, tools)
    elif form == "transcript":
        recognised.conversation = _transcript(row[used["transcript"]], system, tools)
    elif form == "xlam":
        query = text_of_cell(row[used["question"]], used["question"])
        recognised.conversation = _xlam(query, row[used["calls"]], system, tools)
    else:
        recognised.conversation = _pair(row, used, system)
        if "answer" not in (mapped or {}):
            check_wanted(row)
        asked, answered = (str(message.get("content")) for message in recognised.conversation["messages"][-2:])
        check_choices({name: row[name] for name in row if name not in used.values()}, asked, answered)
    return recognised
