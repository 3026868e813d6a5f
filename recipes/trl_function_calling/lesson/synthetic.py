"""Generated conversations with the tools of tools.py.

Every kind of turn that a tool-using assistant needs is here: one call, several at once, an answer from a tool's result,
a question back where an argument is missing, and a refusal where no tool fits.
"""

import json
import random
from collections.abc import Callable
from typing import Any

from common.data.lesson import draw_distinct
from common.data.splits import size_of_part

from lesson.phrases import CITIES, PEOPLE, SMALL_TALK, TASKS, Arguments, draw_request, is_held_out
from tools import TOOLS, UNSEEN_TOOLS, schema

LINKS = [" ", " Also: ", " And then: "]  # between two requests
REFUSAL = "None of them can do that."


def _offer(rng: random.Random, needed: list[str], not_offered: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Returns the schemas of the needed tools and of another one, in any order; of two where none is needed."""
    others = [name for name in TOOLS if name not in (*needed, *not_offered)]
    names = [*needed, *rng.sample(others, 1 if needed else 2)]
    rng.shuffle(names)
    return [schema((TOOLS | UNSEEN_TOOLS)[name]) for name in names]


def _calls(*calls: tuple[str, Arguments]) -> dict[str, Any]:
    functions = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call} for call in functions]}


def _conversation(request: str, reply: dict[str, Any] | str, tools: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    reply = {"role": "assistant", "content": reply} if isinstance(reply, str) else reply
    return {"messages": [{"role": "user", "content": request}, reply], "tools": tools, "kind": kind}


def _single(rng: random.Random, held_out: bool, names: list[str]) -> dict[str, Any]:
    name = rng.choice(names)
    request, arguments = draw_request(rng, name, held_out)
    return _conversation(request, _calls((name, arguments)), _offer(rng, [name]), "single")


def _answered(rng: random.Random, held_out: bool) -> dict[str, Any]:
    conversation = _single(rng, held_out, list(TOOLS))
    call = conversation["messages"][-1]["tool_calls"][0]["function"]
    result = TOOLS[call["name"]](**call["arguments"])
    answer = TASKS[call["name"]].answer.format(
        **call["arguments"], **{k: v for k, v in result.items() if k not in call["arguments"]}
    )
    conversation["messages"] += [
        {"role": "tool", "name": call["name"], "content": json.dumps(result)},
        {"role": "assistant", "content": answer},
    ]
    return conversation | {"kind": "answer"}


def _parallel(rng: random.Random, held_out: bool) -> dict[str, Any]:
    names = [rng.choice(list(TOOLS)) for _ in range(2)]
    (first, one), (second, other) = (draw_request(rng, name, held_out) for name in names)
    if first == second:
        return _parallel(rng, held_out)
    request = f"{first}{rng.choice(LINKS)}{second}"
    return _conversation(
        request, _calls((names[0], one), (names[1], other)), _offer(rng, list(dict.fromkeys(names))), "parallel"
    )


def _missing_request(rng: random.Random, name: str) -> tuple[str, str]:
    words, _ = TASKS[name].draw(rng)
    template, question = rng.choice(list(TASKS[name].missing.items()))
    return template.format(**words), question


def draw_missing(rng: random.Random, held_out: bool) -> dict[str, Any]:
    """Draws a request that lacks an argument, which is asked for."""
    while True:
        name = rng.choice(list(TOOLS))
        request, question = _missing_request(rng, name)
        if is_held_out(request) == held_out:
            return _conversation(request, question, _offer(rng, [name]), "missing_argument")


def small_talk(rng: random.Random, held_out: bool) -> tuple[str, str]:
    """Draws something that needs no tool, and the reply."""
    while True:
        request, reply = rng.choice(list(SMALL_TALK.items()))
        words = {"person": rng.choice(PEOPLE), "city": rng.choice(CITIES)}
        if is_held_out(request.format(**words)) == held_out:
            return request.format(**words), reply.format(**words)


def _no_tool(rng: random.Random, held_out: bool) -> dict[str, Any]:
    """Draws small talk, or (mostly, it is harder) a request whose tool is not among those offered."""
    if rng.random() < 0.2:
        return _conversation(small_talk(rng, held_out)[0], REFUSAL, _offer(rng, []), "no_tool")
    name = rng.choice(list(TOOLS))
    request, _ = draw_request(rng, name, held_out)
    return _conversation(request, REFUSAL, _offer(rng, [], (name,)), "no_tool")


KINDS: dict[str, tuple[Callable[[random.Random, bool], dict[str, Any]], float]] = {
    "single": (lambda rng, held_out: _single(rng, held_out, list(TOOLS)), 0.3),
    "answer": (_answered, 0.15),
    "parallel": (_parallel, 0.22),
    "missing_argument": (draw_missing, 0.08),
    "no_tool": (_no_tool, 0.25),
}


def generate_conversations(
    count: int, seed: int, *, held_out: bool = False, exclude: frozenset[str] = frozenset()
) -> list[dict[str, Any]]:
    """Generates conversations with tools.

    Args:
        count: How many.
        seed: The same seed gives the same conversations.
        held_out: Draw the requests from the fifth that is kept out of training; these are distinct.
        exclude: Requests that must not appear.

    Returns:
        Rows with `messages`, `tools` and `kind`, a key of `KINDS`.
    """
    rng = random.Random(seed)
    makers, weights = [maker for maker, _ in KINDS.values()], [weight for _, weight in KINDS.values()]

    def draw() -> dict[str, Any]:
        while True:
            row = rng.choices(makers, weights)[0](rng, held_out)
            if row["messages"][0]["content"] not in exclude:
                return row

    if not held_out:
        return [draw() for _ in range(count)]
    return draw_distinct(draw, lambda row: f"{row['kind']} {row['messages'][0]['content']}", count)


def generate_unseen(count: int, seed: int) -> list[dict[str, Any]]:
    """Generates requests for tools that no training conversation calls or offers."""
    rng = random.Random(seed)
    return [_single(rng, rng.random() < 0.5, list(UNSEEN_TOOLS)) for _ in range(count)]


def synthetic_splits(
    num_train: int, num_held_out: int, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Generates the training conversations, those of the validation and two held-out sets.

    Args:
        num_train: Number of training conversations.
        num_held_out: Number of held-out conversations; a quarter as many are about tools that are never trained.
        seed: Seed of the training conversations; the others are the same for every seed.

    Returns:
        The training conversations, those of the validation, whose requests are in no other set, and by name: `held_out`,
        requests that are never trained, and `unseen_tools`.
    """
    held_out = generate_conversations(num_held_out, seed=1, held_out=True)
    unseen = generate_unseen(max(1, num_held_out // 4), seed=2)
    train = generate_conversations(num_train, seed=1000 + seed)
    asked = frozenset(row["messages"][0]["content"] for row in held_out)
    validation = generate_conversations(size_of_part(num_train, num_held_out), seed=4, held_out=True, exclude=asked)
    return train, validation, {"held_out": held_out, "unseen_tools": unseen}
