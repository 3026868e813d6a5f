"""Generated chat without tools: what the tiny model knows before it learns to call, and what it must not forget."""

import json
import random
from functools import partial
from typing import Any

from lesson.phrases import (
    CITIES,
    DAYS,
    EVENTS,
    JOBS,
    PEOPLE,
    ROOMS,
    SUBJECTS,
    TOPICS,
    draw_clock,
    draw_request,
    draw_timer,
    is_held_out,
)
from lesson.synthetic import LINKS, REFUSAL, draw_missing, small_talk
from tools import TOOLS, schema


def _chat(system: str, user: str, assistant: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}] if system else []
    return {"messages": [*messages, {"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}


def _talk(rng: random.Random, held_out: bool) -> dict[str, Any]:
    return _chat("", *small_talk(rng, held_out))


def _convert(rng: random.Random, held_out: bool) -> dict[str, Any]:
    """Times and durations in other words; those of held-out rows may be trained ones."""
    if rng.random() < 0.5:
        words, arguments = draw_timer(rng)
        return _chat("", f"How many seconds are {words['number']} {words['unit']}?", str(arguments["seconds"]))
    said, time = draw_clock(rng)
    return _chat("", f"What is {said} on a 24 hour clock?", time)


def _read(rng: random.Random, held_out: bool) -> dict[str, Any]:
    """A question about what a request says, or does not say."""
    name = rng.choice(list(TOOLS))
    request, arguments = draw_request(rng, name, held_out)
    key, value = rng.choice(list(arguments.items()))
    answer = json.dumps(value).strip('"')
    if rng.random() < 0.25:
        missing = draw_missing(rng, held_out)["messages"]
        return _chat("", f"{missing[0]['content']} What is missing?", missing[1]["content"])
    return _chat("", f"{request} What is the {key.replace('_', ' ')}?", answer)


def _choose(rng: random.Random, held_out: bool, schemas: bool = True) -> dict[str, Any]:
    """Which of the people described in JSON does what a request asks for, if any."""
    needed = rng.choice(list(TOOLS))
    request, _ = draw_request(rng, needed, held_out)
    jobs = rng.sample([name for name in TOOLS if name != needed], rng.choice([2, 2, 3]))
    fits = rng.random() < 0.6
    if fits:
        jobs[rng.randrange(len(jobs))] = needed
    people = dict(zip(jobs, rng.sample(PEOPLE, len(jobs)), strict=True))
    cards = []
    for job in jobs:
        card = schema(TOOLS[job])
        card["function"]["name"] = people[job]
        short = {"name": people[job], "description": card["function"]["description"]}
        cards.append(json.dumps(card if schemas else short))
    return _chat("\n".join(cards), request, json.dumps({"name": people[needed]}) if fits else REFUSAL)


def _write_json(rng: random.Random, held_out: bool) -> dict[str, Any]:
    """Names and values, to be written as JSON."""
    while True:
        values: dict[str, Any] = {"name": rng.choice(PEOPLE), "place": rng.choice(CITIES), "number": rng.randint(2, 999)}
        values |= {"when": rng.choice(DAYS), "thing": rng.choice(JOBS + SUBJECTS + EVENTS + TOPICS), "where": rng.choice(ROOMS)}
        chosen = dict(rng.sample(list(values.items()), rng.randint(1, 3)))
        text = "Write as JSON: " + ", ".join(f"{key} {value}" for key, value in chosen.items()) + "."
        if is_held_out(text) == held_out:
            return _chat("", text, json.dumps(chosen))


def _read_json(rng: random.Random, held_out: bool) -> dict[str, Any]:
    """A question about a value in JSON."""
    while True:
        written = _write_json(rng, held_out)["messages"][1]["content"]
        key, value = rng.choice(list(json.loads(written).items()))
        if is_held_out(written) == held_out:
            return _chat("", f"{written} What is the {key}?", str(value))


def _split(rng: random.Random, held_out: bool) -> dict[str, Any]:
    """Two requests in one, taken apart."""
    (first, _), (second, _) = (draw_request(rng, rng.choice(list(TOOLS)), held_out) for _ in range(2))
    return _chat("Take apart.", f"{first}{rng.choice(LINKS)}{second}", f"1. {first}\n2. {second}")


CHAT = {_talk: 0.05, _convert: 0.12, _read: 0.2, _choose: 0.35, _write_json: 0.15, _read_json: 0.1, _split: 0.1}


def generate_chat(count: int, seed: int, *, held_out: bool = False, schemas: bool = True) -> list[dict[str, Any]]:
    """Generates plain chat: small talk, questions about a text, values written as JSON. No tool is offered or called.

    Args:
        count: How many conversations.
        seed: The same seed gives the same conversations.
        held_out: Draw from the fifth that is kept out of training.
        schemas: Describe helpers by whole schemas, not just by a sentence.
    """
    rng = random.Random(seed)
    choose = partial(_choose, schemas=schemas)
    makers = rng.choices([choose if maker is _choose else maker for maker in CHAT], list(CHAT.values()), k=count)
    return [maker(rng, held_out) for maker in makers]
