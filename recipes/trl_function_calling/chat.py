"""Talks to a trained model that may call the demo's tools: shows the call, runs it, and lets the model answer.

    recipes chat outputs/trl_function_calling/tiny --tools set_timer get_weather send_payment

What the model writes is read as JSON and checked against the schema of the tool before the tool's function in tools.py is run,
which touches nothing outside. Every line of input is a request of its own; `--history` keeps what was said before.
"""

import argparse
import json
import sys
from typing import Any

from common.errors import fail, nearest
from common.generate.chat import answer
from common.models.saved import load_run

from metrics import parse_calls, schema_mistake
from tools import TOOLS, UNSEEN_TOOLS, schema

KNOWN = TOOLS | UNSEEN_TOOLS


def reply(model: Any, tokenizer: Any, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> None:
    """Lets the model answer, running the tools that it calls; appends its turns and the results to the messages.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        messages: The conversation so far, ending with a request.
        tools: The schemas of the tools offered.
    """
    text = answer(model, tokenizer, messages, tools)
    calls = parse_calls(text)
    if not calls:
        if calls is None:
            print("(not a valid call: nothing is run)")
        messages.append({"role": "assistant", "content": text.rpartition("</think>")[2].strip()})
        return
    made = [{"type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in calls]
    messages.append({"role": "assistant", "content": "", "tool_calls": made})
    for call in calls:
        mistake = schema_mistake(call, tools)
        if mistake:
            print(f"({mistake}: nothing is run)")
            return
    for call in calls:
        result = json.dumps(KNOWN[call.name](**call.arguments))
        print(f"{call.name}: {result}")
        messages.append({"role": "tool", "name": call.name, "content": result})
    final = answer(model, tokenizer, messages, tools)
    messages.append({"role": "assistant", "content": final.rpartition("</think>")[2].strip()})


def main() -> None:
    parser = argparse.ArgumentParser(prog="recipes chat", description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.error = lambda message: fail(f"{message}; `recipes chat RUN --help` lists the options")
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a checkpoint-N in it")
    parser.add_argument("--tools", nargs="+", default=["set_timer", "get_weather"], help=f"those offered: {', '.join(KNOWN)}")
    parser.add_argument("--history", action="store_true", help="keep the conversation from line to line; /new starts over")
    args = parser.parse_args()
    for name in args.tools:
        if name not in KNOWN:
            fail(f"--tools {name}: there is no such tool{nearest(name, list(KNOWN)) or '; there is: ' + ', '.join(KNOWN)}")
    model, tokenizer, settings = load_run(args.run)
    model.generation_config.update(do_sample=False, max_new_tokens=settings.get("max_new_tokens") or 256)
    tools = [schema(KNOWN[name]) for name in args.tools]
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        print(f"Tools: {', '.join(args.tools)}. Ctrl-D ends.")
    messages: list[dict[str, Any]] = []
    try:
        while True:
            line = input("> " if at_terminal else "").strip()
            if line == "/new" or not args.history:
                messages = []
            if line and line != "/new":
                messages.append({"role": "user", "content": line})
                reply(model, tokenizer, messages, tools)
    except (EOFError, KeyboardInterrupt):
        if at_terminal:
            print()


if __name__ == "__main__":
    main()
