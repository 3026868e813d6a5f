"""Where BFCL is, and rows, tools and calls of trl_function_calling as the tests write and read them."""

import json
from pathlib import Path
from typing import Any

import pytest

BFCL = Path(__file__).parents[2] / "shared" / "data" / "bfcl"
needs_bfcl = pytest.mark.skipif(not BFCL.exists(), reason=f"needs the files of BFCL v4 in {BFCL}")


Calls = list[tuple[str, dict[str, Any]]]


def write(calls: Calls) -> str:
    blocks = (json.dumps({"name": name, "arguments": arguments}) for name, arguments in calls)
    return "\n".join(f"<tool_call>\n{block}\n</tool_call>" for block in blocks)


def read(recipe, text: str) -> Any:
    """Returns the calls of a completion in Qwen's form."""
    (qwen,) = (form for form in recipe["forms"].FORMS if form.name == "Qwen and Hermes")
    return qwen.read(text, [])


def mistake_in(recipe, text: str, row: dict[str, Any]) -> Any:
    request = recipe["calls"].to_request(row)
    calls = read(recipe, text)
    return recipe["metrics"].mistake_in(request, calls if request.answers else calls or [])


def kind_of(recipe, text: str, row: dict[str, Any]) -> str | None:
    mistake = mistake_in(recipe, text, row)
    return mistake and mistake.kind


ROW = {
    "id": "simple_python_0",
    "question": [[{"role": "user", "content": "Where?"}]],
    "function": [
        {
            "name": "geo.find",
            "description": "Finds.",
            "parameters": {
                "type": "dict",
                "properties": {
                    "type": {"type": "any", "description": "dict or float"},
                    "place": {"type": "tuple", "items": {"type": "float"}, "default": [0.5]},
                    "items": {"type": "array", "items": {"type": "dict", "properties": {"properties": {"type": "integer"}}}},
                },
                "required": ["type"],
            },
        }
    ],
}


def save(path: Path, *rows: dict[str, Any] | str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


PROPERTIES = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "indoors": {"type": "boolean"},
    "more": {"type": "object"},
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather.get-it",
        "description": "Get the forecast.",
        "parameters": {"type": "object", "properties": PROPERTIES, "required": ["city"]},
    },
}
ASKED = {"role": "user", "content": "Rain?"}


def made(**arguments: Any) -> dict[str, Any]:
    return {"type": "function", "id": "call00001", "function": {"name": "weather.get-it", "arguments": arguments}}


def calling(*calls: dict[str, Any]) -> dict[str, Any]:
    """Returns a row in which these are the right calls."""
    return {"messages": [ASKED, {"role": "assistant", "content": "", "tool_calls": list(calls)}], "tools": [TOOL]}


def load(recipe, **settings):
    arguments = recipe["data"].CallingArguments(**({"num_held_out": 20, "num_train": 200} | settings))
    return recipe["data"].load_data(arguments, seed=0)


TIMER = {
    "type": "function",
    "function": {
        "name": "set_timer",
        "description": "Start a timer.",
        "parameters": {"type": "object", "properties": {"seconds": {"type": "integer"}}, "required": ["seconds"]},
    },
}
