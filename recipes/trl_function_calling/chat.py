"""Talks to a trained model that may call the demo's tools: shows the call, runs it, and lets the model answer.

    recipes chat outputs/trl_function_calling/tiny --tools set_timer get_weather send_payment

What the model writes is read in its own form and checked against the schema of the tool before the tool's function in tools.py
is run, which touches nothing outside. Every line of input is a request of its own; `--history` keeps what was said before.
"""

import json
from collections.abc import Callable
from typing import Any

from common.errors import BadRow, fail, nearest
from common.generate.chat import answer, chat_parser, load_for_chat, talk

from compare import schema_mistake
from forms import begun_by, form_of, read_any, reply_of
from readers import Calls, Tools
from tools import TOOLS, UNSEEN_TOOLS, schema

KNOWN = TOOLS | UNSEEN_TOOLS
WITH_SPECIAL_TOKENS = True  # some models' calls are made of them


def reply(
    model: Any,
    tokenizer: Any,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    read: Callable[[str, Tools], Calls] = read_any,
) -> None:
    """Lets the model answer, running the tools that it calls; appends its turns and the results to the messages.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        messages: The conversation so far, ending with a request.
        tools: The schemas of the tools offered.
        read: Reads the calls in what is answered.
    """
    text = answer(model, tokenizer, messages, tools, WITH_SPECIAL_TOKENS)
    calls = read(text, tools)
    if not calls:
        if calls is None:
            print("(not a valid call: nothing is run)")
        messages.append({"role": "assistant", "content": reply_of(text)})
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
    final = answer(model, tokenizer, messages, tools, WITH_SPECIAL_TOKENS)
    messages.append({"role": "assistant", "content": reply_of(final)})


def main() -> None:
    parser = chat_parser(__doc__, history=True)
    parser.add_argument("--tools", nargs="+", default=["set_timer", "get_weather"], help=f"those offered: {', '.join(KNOWN)}")
    args = parser.parse_args()
    for name in args.tools:
        if name not in KNOWN:
            fail(f"--tools {name}: there is no such tool{nearest(name, list(KNOWN)) or '; there is: ' + ', '.join(KNOWN)}")
    from common.data.tokens import render

    model, tokenizer, _ = load_for_chat(args.run, args)
    try:
        form = form_of(tokenizer)
        begun = begun_by(render([{"role": "user", "content": "?"}], tokenizer, prompt=True))
    except BadRow as error:
        fail(f"{args.run}: {error}")
    tools = [schema(KNOWN[name]) for name in args.tools]
    talk(
        lambda messages: reply(model, tokenizer, messages, tools, lambda text, tools: form.read(begun + text, tools)),
        history=args.history,
        hint=f"Tools: {', '.join(args.tools)}.",
    )


if __name__ == "__main__":
    main()
