"""The conversations of trl_function_calling: generated, read from files of others, and what of them is trained."""

import json
from pathlib import Path

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


def test_a_schema_is_made_of_a_function(recipe):
    shown = recipe["tools"].schema(recipe["tools"].send_payment)["function"]
    assert (shown["name"], shown["description"]) == ("send_payment", "Send money.")
    assert shown["parameters"]["required"] == ["to", "amount", "currency"]
    assert shown["parameters"]["properties"]["currency"]["enum"] == ["EUR", "USD", "GBP"]
    assert shown["parameters"]["properties"]["amount"]["type"] == "integer"
    assert len(recipe["tools"].TOOLS) >= 12
    assert not recipe["tools"].TOOLS.keys() & recipe["tools"].UNSEEN_TOOLS.keys()


def test_generated_calls_fit_their_tools_and_what_is_asked(recipe):
    """The right answer is right, each tool does what its schema says, and nothing is called that is not offered."""
    rows = recipe["synthetic"].generate_conversations(600, seed=0)
    assert {row["kind"] for row in rows} == {"single", "answer", "parallel", "missing_argument", "no_tool"}
    called = set()
    for row in rows:
        recipe["calls"].to_request(row)  # a conversation that ends with the assistant
        for message in row["messages"]:
            for call in message.get("tool_calls", []):
                made = recipe["calls"].Call(**call["function"])
                assert recipe["compare"].schema_mistake(made, row["tools"]) is None
                assert isinstance(recipe["tools"].TOOLS[made.name](**made.arguments), dict)
                called.add(made.name)
        if row["kind"] in ("no_tool", "missing_argument"):
            assert "tool_calls" not in row["messages"][1]
    assert called == recipe["tools"].TOOLS.keys()


def test_held_out_requests_are_in_no_training_data(recipe):
    generate = recipe["synthetic"].generate_conversations
    held_out = {row["messages"][0]["content"] for row in generate(600, seed=1, held_out=True)}
    for seed in range(3):
        train = {row["messages"][0]["content"] for row in generate(4000, seed=1000 + seed)}
        chat = {row["messages"][-2]["content"] for row in recipe["plain_chat"].generate_chat(4000, seed=50 + seed)}
        assert not held_out & train
        assert not held_out & chat
    train, validation, sets = recipe["synthetic"].synthetic_splits(num_train=2000, num_held_out=100, seed=0)
    parts = [{row["messages"][0]["content"] for row in rows} for rows in (train, validation, sets["held_out"])]
    assert len(validation) == 100
    assert not parts[1] & (parts[0] | parts[2])
    unseen = recipe["synthetic"].generate_unseen(50, seed=2)
    tools = {tool["function"]["name"] for row in generate(4000, seed=1000) for tool in row["tools"]}
    assert not tools & {call["function"]["name"] for row in unseen for call in row["messages"][1]["tool_calls"]}


def test_chat_takes_the_place_of_calls(recipe):
    calls, _, held_out = load(recipe, dataset_name="synthetic")
    mixed, _, _ = load(recipe, dataset_name="synthetic", chat_share=0.25)
    assert len(mixed) == len(calls) == 200
    chat = [row for row in mixed if "tools" not in row]
    assert len(chat) == 50
    assert sum(row in calls for row in mixed) >= 150
    shared = [row["messages"][-2]["content"] for row in chat if row in held_out["plain_chat"]]
    # There are only so many times of day and durations: these facts are not held out.
    assert all("24 hour clock" in question or "How many seconds" in question for question in shared), shared


def test_schemas_of_a_file_stay_as_they_are(recipe, tmp_path: Path):
    """Arrow would give each tool the properties of all the others."""
    weather = json.loads(json.dumps(TIMER).replace("set_timer", "get_weather").replace("seconds", "city"))
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "set_timer", "arguments": '{"seconds": 240}'}}]}
    rows = [
        {"messages": [{"role": "user", "content": "Tea."}, call], "tools": [TIMER]},
        {"messages": [{"role": "user", "content": "Rain?"}, {"role": "assistant", "content": "Where?"}], "tools": [weather]},
        {"messages": [{"role": "user", "content": "Eggs."}, call], "tools": [TIMER]},
    ]
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train, validation, held_out = load(recipe, dataset_name=str(path), num_held_out=1, num_train=0)
    assert list(held_out) == ["held_out"]
    found = {row["messages"][0]["content"]: row for row in [*train, *validation, *held_out["held_out"]]}
    assert {asked: row["tools"] for asked, row in found.items()} == {"Tea.": [TIMER], "Rain?": [weather], "Eggs.": [TIMER]}
    request = recipe["calls"].to_request(found["Tea."])
    assert (request.kind, request.answers) == ("call", [recipe["calls"].Call("set_timer", {"seconds": 240})])


def test_values_that_their_own_tool_does_not_allow_are_said(recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Real data have such calls; types that JSON does not know allow anything."""
    unit = {"type": "string", "enum": ["s", "min"]}
    schema = {"type": "object", "properties": {"seconds": {"type": "integer"}, "unit": unit, "volume": {"type": "float"}}}
    tools = [{"type": "function", "function": {"name": "set_timer", "parameters": schema}}]

    def row(number: int, weight: int = 1, **arguments: object) -> dict:
        call = {"function": {"name": "set_timer", "arguments": {"seconds": number} | arguments}}
        said = [{"role": "assistant", "tool_calls": [call], "weight": weight}, {"role": "assistant", "content": "Yes."}]
        return {"messages": [{"role": "user", "content": f"{number}?"}, *said], "tools": tools}

    path = tmp_path / "calls.jsonl"
    rows = [*(row(number, volume=0.5) for number in range(40)), row(40, weight=0, seconds="3")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    load(recipe, dataset_name=str(path), num_train=0, num_held_out=1)
    assert "does not allow" not in capsys.readouterr().out
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, row(41, seconds="3"), row(42, unit="h")]))
    load(recipe, dataset_name=f"{path}:2", num_train=0, num_held_out=1)
    assert (
        "conversations whose calls have a value that their tool's schema does not allow: 2. They stay as they are; mend the "
        f"call, or the schema. The first: {path}, line 42: "
        "message 2: `set_timer`: wrong type: `seconds` must be integer, not string\n"
    ) in capsys.readouterr().out


def write_chat(folder: Path, name: str, count: int) -> str:
    rows = [[{"role": "user", "content": f"{name} {n}?"}, {"role": "assistant", "content": "Yes."}] for n in range(count)]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in rows))
    return str(path)


def test_chat_of_a_file_is_not_both_measured_and_trained(recipe, tmp_path: Path):
    files = {"dataset_name": write_chat(tmp_path, "calls", 50), "chat_dataset_name": write_chat(tmp_path, "chat", 40)}
    train, _, held_out = load(recipe, **files, num_train=0, num_chat=10, chat_share=0.5)
    asked = {name: {row["messages"][0]["content"] for row in rows} for name, rows in (held_out | {"train": train}).items()}
    assert len(asked["plain_chat"]) == 4
    assert sum(question.startswith("chat") for question in asked["train"]) == len(train) // 2
    assert not asked["train"] & asked["plain_chat"]


def test_a_share_of_chat_that_the_file_cannot_fill_is_said(recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    files = {"dataset_name": write_chat(tmp_path, "calls", 50), "chat_dataset_name": write_chat(tmp_path, "few", 10)}
    settings = {"num_train": 0, "num_held_out": 5, "num_chat": 1}
    train, _, _ = load(recipe, **files, **settings, chat_share=0.5)
    count = sum(row["messages"][0]["content"].startswith("few") for row in train)
    assert (len(train), count) == (44, 9)
    said = f"chat_share 0.5 of 44 conversations are 22, and {tmp_path / 'few.jsonl'} has 9 to train on: their share is 0.2\n"
    assert said in capsys.readouterr().out
    load(recipe, **files, **settings, chat_share=0.2)
    assert "chat_share" not in capsys.readouterr().out


def test_rows_without_what_is_taught_are_not_trained(recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    chat = [{"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "Yes."}]} for n in range(9)]
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "set_timr", "arguments": {}}}]}
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*chat, {"messages": [chat[0]["messages"][0], call]}]))
    with pytest.raises(SystemExit):
        load(recipe, dataset_name=str(path), num_train=0, num_held_out=1, skip_bad_rows=True)
    assert capsys.readouterr().err == (
        f"error: {path}: no row with a call is left to train on; correct those that were left out\n"
    )


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"num_held_out": 0}, "num_held_out is 0: without held-out problems nothing can be measured; use at least 1"),
        ({"num_train": 0}, "num_train is 0: say how many conversations to generate, for example --num_train 7200"),
        ({"chat_share": 1.0}, "chat_share is 1; use at least 0 and less than 1, with a chat_dataset_name to take it from"),
    ],
)
def test_settings_that_cannot_be_used(recipe, capsys: pytest.CaptureFixture[str], settings: dict, line: str):
    with pytest.raises(SystemExit):
        load(recipe, dataset_name="synthetic", **settings)
    assert capsys.readouterr().err == f"error: {line}\n"
