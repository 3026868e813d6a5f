"""Which turns of a conversation are asked for, and how they are scored."""

import json
from pathlib import Path

from common.data.formats import recognise
from common.errors import BadRow

import pytest
from conftest import recipe_modules
from function_calls import TIMER, load


@pytest.fixture(scope="module")
def recipe():
    with recipe_modules(
        "trl_function_calling",
        ["calls", "chat", "compare", "data", "forms", "metrics", "lesson.plain_chat", "lesson.synthetic", "tools"],
    ) as modules:
        yield modules


def test_every_turn_of_a_conversation_is_asked_for(recipe, tmp_path: Path):
    """A conversation that ends with an answer in words has a call before it."""
    turns = [
        {"from": "human", "value": "Tea, {} minutes."},
        {"from": "gpt", "value": '<tool_call>\n{"name": "set_timer", "arguments": {"seconds": 240}}\n</tool_call>'},
        {"from": "tool", "value": '<tool_response>\n{"status": "started"}\n</tool_response>'},
        {"from": "gpt", "value": "Enjoy your tea."},
    ]
    rows = [
        {"conversations": [{**turns[0], "value": f"Tea, {number} minutes."}, *turns[1:]], "tools": json.dumps([TIMER])}
        for number in range(30)
    ]
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, _, held_out = load(recipe, dataset_name=str(path), num_train=0, num_held_out=2)
    requests = [recipe["calls"].to_request(row) for row in held_out["held_out"]]
    assert [(request.kind, request.answers, request.reply) for request in requests] == [
        ("call", [recipe["calls"].Call("set_timer", {"seconds": 240})], ""),
        ("no_call", [], "Enjoy your tea."),
    ] * 2
    assert [len(request.messages) for request in requests] == [1, 3] * 2


def test_metrics_count_what_they_say(recipe):
    rows = recipe["synthetic"].generate_conversations(300, seed=4, held_out=True)

    def write(row: dict) -> str:
        last = row["messages"][-1]
        calls = [json.dumps(call["function"]) for call in last.get("tool_calls", [])]
        return last["content"] + "".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)

    score = recipe["metrics"].score
    right, verdicts = score(rows, [write(row) for row in rows])
    assert {name: metric["value"] for name, metric in right.items()} == dict.fromkeys(right, 1.0)
    assert verdicts == [{"correct": True, "mistake": None}] * len(rows)
    assert {"exact_call", "parallel_call", "irrelevance", "relevance", "asks_back", "final_answer"} <= right.keys()
    assert right["exact_call"]["count"] == sum("tool_calls" in row["messages"][-1] for row in rows) < len(rows)

    silent, verdicts = score(rows, ["No."] * len(rows))
    assert not any(verdict["correct"] for verdict in verdicts)
    assert (silent["irrelevance"]["value"], silent["exact_call"]["value"], silent["relevance"]["value"]) == (1.0, 0.0, 0.0)
    always = '<tool_call>\n{"name": "set_timer", "arguments": {"seconds": 1}}\n</tool_call>'
    eager, verdicts = score(rows, [always] * len(rows))
    assert {verdict["mistake"] for verdict in verdicts} >= {"wrong number of calls: 1 instead of 0"}
    assert (eager["irrelevance"]["value"], eager["relevance"]["value"], eager["valid_json"]["value"]) == (0.0, 1.0, 1.0)


def said(*, seconds: object) -> dict:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "set_timer", "arguments": {"seconds": seconds}}}],
    }


ASKS, TELLS = {"role": "user", "content": "Tea, four minutes."}, {"role": "tool", "content": "started"}
ANSWERS = {"role": "assistant", "content": "Enjoy your tea."}


def test_every_turn_of_the_assistant_is_asked_for(recipe):
    calls, metrics = recipe["calls"], recipe["metrics"]
    row = {"messages": [ASKS, said(seconds=240), TELLS, ANSWERS, {"role": "user", "content": "Bye"}], "tools": [TIMER]}
    turns = calls.turns_of(row)
    assert [len(turn["messages"]) for turn in turns] == [2, 4]
    requests = [calls.to_request(turn) for turn in turns]
    assert [request.kind for request in requests] == ["call", "no_call"]
    assert [len(request.messages) for request in requests] == [1, 3]
    written = '<tool_call>\n{"name": "set_timer", "arguments": {"seconds": 240}}\n</tool_call>'
    found, verdicts = metrics.score([turn | {"conversation": 0} for turn in turns], [written, "Enjoy your tea."])
    assert [verdict["correct"] for verdict in verdicts] == [True, True]
    assert {"exact_call", "irrelevance"} <= set(found)


@pytest.mark.parametrize(
    ("messages", "asked"),
    [
        ([ASKS, ANSWERS], 1),
        ([ASKS, ANSWERS, ASKS, ANSWERS], 2),
        ([ASKS, ANSWERS | {"weight": 0}, ASKS, ANSWERS | {"weight": 1}], 1),
        ([ANSWERS, ASKS, ANSWERS], 1),  # a greeting that nobody asked for
        ([{"role": "system", "content": "Help."}, ASKS, said(seconds=1), TELLS, said(seconds=2), TELLS, ANSWERS], 3),
    ],
)
def test_which_turns_are_asked_for(recipe, messages: list[dict], asked: int):
    assert len(recipe["calls"].turns_of({"messages": messages})) == asked
    assert len(recipe["calls"].turns_of({"messages": messages, "kind": "answer"})) == 1


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        ({}, "missing argument: `seconds`"),
        ({"seconds": 1, "unit": "s"}, "unexpected argument: `unit`"),
    ],
)
def test_a_gold_call_that_scores_wrong_is_a_refused_row(recipe, arguments: dict, mistake: str):
    bad = said(seconds=1)
    bad["tool_calls"][0]["function"]["arguments"] = arguments
    row = {"messages": [ASKS, said(seconds=1), TELLS, bad], "tools": [TIMER]}
    with pytest.raises(BadRow) as refused:
        recipe["data"].convert(recognise(row), row)
    assert str(refused.value).startswith(f"message 4: the call is wrong by the rules of the score ({mistake}); mend it, or")


def test_every_generated_row_scores_one_against_itself(recipe):
    for row in recipe["synthetic"].generate_conversations(200, seed=0):
        recipe["metrics"].check_gold(row)
