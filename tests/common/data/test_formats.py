"""Rows in the forms that people have: what is read, what is trained of it, and what is refused with its cure."""

import json
from pathlib import Path

from common.data.arguments import DataArguments
from common.data.columns import read_columns
from common.data.conversations import check_conversation, load_conversations
from common.data.formats import recognise
from common.data.tokens import show_trained, tokenize, use_training_template
from common.errors import BadRow
from common.models.load import load_tokenizer

import pytest
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig

CASES = Path(__file__).parents[4] / "shared" / "cases" / "conversations.jsonl"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}
ASK = {"role": "user", "content": "Weather in Oslo?"}
CALLED = [ASK, {"role": "assistant", "content": "", "tool_calls": [CALL]}]


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path=f"tiny:{request.param}"), ["Oslo"])
    use_training_template(tokenizer)
    return tokenizer


def messages_of(row: dict, **mapped: str) -> list[dict]:
    conversation = recognise(row, mapped).conversation
    check_conversation(conversation)
    return conversation["messages"]


def said(row: dict, **mapped: str) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages_of(row, **mapped)]


# --- Those seen in the field ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not CASES.exists(), reason=f"needs the cases in {CASES}")
def test_cases_from_the_field(tokenizer: PreTrainedTokenizerBase, capsys: pytest.CaptureFixture[str]):
    """Each is trained as it should be, or refused where it may be; Llama's template writes one call at a time."""
    wrong = []
    for case in map(json.loads, CASES.read_text().splitlines()):
        is_llama = "<|eot_id|>" in tokenizer.get_vocab()
        may_be_refused = case.get("refused") or "either" in case or (is_llama and case["case"] == "two_results_in_one_turn")
        try:
            conversation = recognise(case["row"]).conversation
            check_conversation(conversation)
            row = tokenize([conversation], tokenizer, 4096, where=case["case"])[0]
        except (BadRow, SystemExit):
            wrong += [] if may_be_refused else [case["case"], capsys.readouterr().err]
            continue
        shown = show_trained(row, tokenizer)
        trained = [part.split("«")[0] for part in shown.split("»")[1:]]
        right = not case.get("refused")
        right &= all(any(text in part for part in trained) for text in case.get("trained", []))
        right &= all(text in shown for text in case.get("prompt", []))
        right &= not any(text in part for part in trained for text in case.get("not_trained", []))
        results = sum(message["role"] == "tool" for message in conversation["messages"])
        right &= results == case.get("tool_messages", results)
        wrong += [] if right else [case["case"]]
    assert wrong == []


FILES = CASES.parents[1] / "data" / "llamafactory"


@pytest.mark.skipif(not FILES.exists(), reason=f"needs the data in {FILES}")
def test_files_of_another_project():
    """Of 999 rows of Alpaca's every answer is read, of 300 of Glaive's every turn and every call."""
    for row in json.loads((FILES / "alpaca_en_demo.json").read_text()):
        assert said(row)[-1] == ("assistant", row["output"])
        assert row["instruction"] in said(row)[0][1]
        assert row["input"] in said(row)[0][1]
    calls = 0
    for row in json.loads((FILES / "glaive_toolcall_en_demo.json").read_text()):
        messages = messages_of(row)
        assert len(messages) == len(row["conversations"])
        written = [json.loads(turn["value"]) for turn in row["conversations"] if turn["from"] == "function_call"]
        assert [call["function"] for message in messages for call in message.get("tool_calls", [])] == written
        calls += len(written)
    assert calls == 211


# --- Each form ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        pytest.param({"messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [CALL]}]}, id="no content"),
        pytest.param(
            {"messages": [ASK, {"role": "assistant", "function_call": CALL["function"] | {"arguments": '{"city": "Oslo"}'}}]},
            id="function_call",
        ),
        pytest.param(
            {"messages": [ASK, {"role": "assistant", "tool_calls": [CALL["function"]]}]}, id="a call without its function"
        ),
        pytest.param(
            {
                "conversations": [
                    {"from": "human", "value": ASK["content"]},
                    {"from": "function_call", "value": json.dumps(CALL)},
                ]
            },
            id="a turn of its own",
        ),
        pytest.param(
            {"conversations": [ASK, {"role": "assistant", "content": f"<tool_call>{CALL['function']}</tool_call>"}]},
            id="Hermes, as Python writes it",
        ),
        pytest.param(
            {
                "conversations": [
                    {"from": "human", "value": ASK["content"]},
                    {"from": "gpt", "value": f"<tool_call>\n{json.dumps(CALL['function'])}"},
                ]
            },
            id="Hermes, not closed",
        ),
        pytest.param(
            {
                "messages": [
                    ASK,
                    {
                        "role": "assistant",
                        "content": '<functioncall> {"name": "get_weather", "arguments": \'{"city": "Oslo"}\'} <|endoftext|>',
                    },
                ]
            },
            id="Glaive",
        ),
        pytest.param({"messages": [ASK, {"role": "assistant", "content": "[get_weather(city='Oslo')]"}]}, id="ToolACE"),
        pytest.param({"query": ASK["content"], "answers": json.dumps([CALL["function"]])}, id="xLAM"),
        pytest.param({"prompt": [ASK], "completion": [{"role": "assistant", "tool_calls": [CALL]}]}, id="TRL"),
    ],
)
def test_calls_in_every_form(row: dict):
    assert messages_of(row | {"tools": [TOOL]}) == CALLED
    assert messages_of(row | {"tools": json.dumps(TOOL["function"])}) == CALLED  # a single tool, flat, as text


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"Instruction": "Name it.", "input": "Norway", "OUTPUT": "Oslo"}, ["Name it.\nNorway", "Oslo"]),
        ({"instruction": "Name it.", "input": "", "output": "Oslo", "history": []}, ["Name it.", "Oslo"]),
        (
            {"instruction": "Sum up.", "context": "Long.", "response": "Short.", "category": "sums"},
            ["Sum up.\nLong.", "Short."],
        ),
        ({"instruction": "C?", "output": "D", "history": [["A?", "B"]]}, ["A?", "B", "C?", "D"]),
        ({"query": "C?", "response": "D", "history": '[["A?", "B"]]'}, ["A?", "B", "C?", "D"]),
        ({"input": "A?", "output": "B"}, ["A?", "B"]),
        ({"Prompt ": "A?", "Completion": "B"}, ["A?", "B"]),
        ({"problem": "A?", "solution": 1.5}, ["A?", "1.5"]),
        ({"question": "A?", "answer": True}, ["A?", "true"]),
        ({"conversation": [{"human": "A?", "assistant": "B"}, {"human": "C?", "assistant": "D"}]}, ["A?", "B", "C?", "D"]),
        ({"question": "A?", "answer": 10**30}, ["A?", str(10**30)]),
        (
            {"messages": [{"role": "user", "content": ["A", "?"]}, {"role": "model", "content": "B"}], "prompt": "A?"},
            ["A?", "B"],
        ),
    ],
)
def test_questions_and_answers_under_any_usual_heading(row: dict, turns: list[str]):
    assert [text for _, text in said(row)] == turns
    assert [role for role, _ in said(row)] == ["user", "assistant"] * (len(turns) // 2)


def test_a_system_prompt_of_its_own():
    for row in (
        {"system": "Be brief.", "question": "A?", "answer": "B"},
        {"system": "Be brief.", "conversations": [{"from": "human", "value": "A?"}, {"from": "gpt", "value": "B"}]},
        {
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": "A?"},
                {"role": "bot", "content": "B"},
            ]
        },
    ):
        assert said(row) == [("system", "Be brief."), ("user", "A?"), ("assistant", "B")]


def test_tools_described_in_the_system_message():
    """They are taken out of it, whoever describes them how: the chat template writes its own description. The rest stays."""
    flat = json.dumps(TOOL["function"])
    for text, rest in (
        (f"You may call.\n<tools>\n{flat}\n</tools>\nUse <tool_call>.", "You may call.\nUse <tool_call>."),
        (f"Use <tools></tools> tags.\n<tools>[{json.dumps(TOOL)}]</tools>", "Use <tools></tools> tags."),
        (f"Here are functions: [{flat}]. Be brief.", "Here are functions: . Be brief."),
        (f"Functions -\n{flat}\n{flat.replace('get_weather', 'now')}", "Functions -"),
    ):
        turns = [{"role": "system", "content": text}, ASK, {"role": "assistant", "content": "[get_weather(city='Oslo')]"}]
        conversation = recognise({"messages": turns}).conversation
        assert conversation["tools"][0] == TOOL
        assert conversation["messages"] == [{"role": "system", "content": rest}, *CALLED]
    plain = [{"role": "system", "content": 'Write JSON like {"name": "Ann"}.'}, ASK, {"role": "assistant", "content": "Yes."}]
    assert recognise({"messages": plain}).conversation == {"messages": plain}


def test_a_conversation_in_one_text():
    """Glaive's: also with a tool, and results between."""
    chat = (
        "USER: Weather in Oslo?\n\n\nASSISTANT: <functioncall> "
        '{"name": "get_weather", "arguments": \'{"city": "Oslo"}\'} <|endoftext|>\n\n\n'
        'FUNCTION RESPONSE: {"sky": "clear"}\n\n\nASSISTANT: It\'s clear. <|endoftext|>\n\n\n'
    )
    system = f"SYSTEM: You have functions -\n{json.dumps(TOOL['function'], indent=4)}\n"
    end = [{"role": "tool", "content": '{"sky": "clear"}'}, {"role": "assistant", "content": "It's clear."}]
    found = recognise({"system": system, "chat": chat}).conversation
    assert found == {"messages": [{"role": "system", "content": "You have functions -"}, *CALLED, *end], "tools": [TOOL]}
    assert recognise({"sample": system + chat}).conversation == found


def test_calls_as_python_writes_them():
    tools = [{"name": name, "parameters": {"type": "dict", "properties": {}}} for name in ("Get It", "a.b")]

    def calls(text: str) -> list[dict]:
        message = recognise({"tools": tools, "messages": [ASK, {"role": "assistant", "content": text}]}).conversation[
            "messages"
        ][1]
        return [call["function"] for call in message.get("tool_calls", [])] or message["content"]

    assert calls("[Get It(from=\"a, (b)\", n=-1.5), a.b(x=[1, {'y': None}], z=true)]") == [
        {"name": "Get It", "arguments": {"from": "a, (b)", "n": -1.5}},
        {"name": "a.b", "arguments": {"x": [1, {"y": None}], "z": True}},
    ]
    assert calls("[a.b()]") == [{"name": "a.b", "arguments": {}}]
    for text in ("[sorted(x=1)]", "[1, 2]", "See [a.b(x=1)].", "[]"):  # an answer, and no call
        assert calls(text) == text
    for text in ("[a.b(x=1]", "[a.b(x=1)] Done.", "[a.b('y')]", "[a.b(x=f())]", "[a.b(x=__import__('os'))]"):
        with pytest.raises(BadRow, match=r"message 2: "):
            calls(text)


def test_schemas_of_others_become_json_schemas():
    xlam = {"city": {"type": "str", "description": "Name"}, "days": {"type": "List[int], optional", "default": ""}}
    row = {"query": "?", "answers": [], "tools": json.dumps([{"name": "f", "parameters": xlam}, {"name": "now"}])}
    tools = recognise(row | {"answers": [{"name": "now"}]}).conversation["tools"]
    assert [tool["function"]["parameters"] for tool in tools] == [
        {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name"},
                "days": {"type": "array", "default": "", "items": {"type": "integer"}},
            },
            "required": ["city"],
        },
        {"type": "object", "properties": {}},
    ]
    nested = {
        "type": "dict",
        "properties": {"a": {"type": "dict", "properties": {"b": {"type": "float"}}}, "c": {"type": "any"}},
    }
    (tool,) = recognise({"messages": CALLED, "tools": [{"name": "get_weather", "parameters": nested}]}).conversation["tools"]
    assert tool["function"]["parameters"] == {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": {"type": "number"}}}, "c": {}},
    }


# --- Which column is what -------------------------------------------------------------------------------------------------


def test_columns_are_named_by_a_flag():
    mapped = read_columns(["question=Frage", "answer=Antwort"])
    assert said({"Frage": "A?", "Antwort": "B", "answer": "C", "messages": "D"}, **mapped) == [
        ("user", "A?"),
        ("assistant", "B"),
    ]
    assert said({"frage": "A?", "antwort": "B"}, **mapped) == [("user", "A?"), ("assistant", "B")]  # a csv's are in lower case
    chosen = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "B"}]
    assert messages_of({"prompt": "A?", "chosen": chosen, "rejected": []}, messages="chosen") == chosen
    assert said({"prompt": "A?", "chosen": "B", "rejected": "C"}, answer="chosen")[1] == ("assistant", "B")


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            ["question"],
            "columns question: write what it is and the column, for example `--columns question=Frage answer=Antwort`",
        ),
        (["qestion=a"], "columns qestion=a: there is no `qestion`; did you mean `question`?"),
    ],
)
def test_columns_that_cannot_be(columns: list[str], line: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        read_columns(columns)
    assert capsys.readouterr().err.startswith(f"error: {line}".removesuffix("...`"))


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"question": "A?", "answer": "B", "response": "C"}, "`answer` and `response` can both be the answer: say which, for"),
        (
            {"prompt": "A?", "query": "B?", "answer": "C"},
            "`prompt` and `query` can both be the question: say which, for example",
        ),
        ({"text": "A"}, "no `question` (found: text); write `question` and `answer`, or `messages`, or name the column with"),
        ({"question": "A?", "answer": ""}, "`answer` is empty; fill it in or remove the row"),
        ({"question": "A?", "answer": float("nan")}, "`answer` is empty; fill it in or remove the row"),
        ({"question": "A?", "answer": {"text": "B"}}, "`answer` must be a text, not a dict; write one, or remove the row"),
        ({"question": "A?", "answer": "B", "history": "C"}, "`history` is no list; write [[question, answer], ...]"),
        ({"question": "A?", "answer": "B", "history": ["C"]}, "`history`, pair 1: not a question and an answer; write"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, {"role": "assistant", "content": "B"}]},
            "message 1: a part of type `image_url`, and this recipe reads texts alone; remove the part or the row",
        ),
        (
            {"messages": [ASK, {"role": "assistant", "content": "B", "weight": 0.5}]},
            "message 2: `weight` is 0.5; write 1 for what is trained, 0 for what is only shown",
        ),
        (
            {"messages": [{"role": "user", "content": [None]}, {"role": "assistant", "content": "B"}]},
            "message 1: a part without",
        ),
        ({"messages": [ASK, {"role": "assistant", "content": "B", "weight": 0}]}, "every assistant turn has the weight 0, so"),
        (
            {"messages": [ASK, {"role": "assistant", "content": "A <tool_call>f()</tool_call>"}]},
            "message 2: a call that is not JSON with a name and arguments ('f()'); correct it, or remove the row",
        ),
        ({"chat": "Hello there", "id": 1}, "a conversation as one text must begin with `USER:` or `SYSTEM:`"),
    ],
)
def test_rows_that_are_refused(row: dict, line: str):
    with pytest.raises(BadRow) as refused:
        check_conversation(recognise(row).conversation)
    assert str(refused.value).startswith(line)


def test_what_was_recognised_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "data.jsonl"
    rows = [
        {"instruction": "Name it.", "input": "", "output": "Oslo", "id": 1},
        {"instruction": "a", "input": "b", "output": "c"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"messages": CALLED, "tools": [TOOL]}]))
    load_conversations(DataArguments(dataset_name=str(path)))
    assert capsys.readouterr().out == (
        f"{path}: 2 rows of questions and answers (instruction, output, input; not read: id). The first: user: Name it. | "
        f"assistant: Oslo\n{path}: 1 rows of conversations (messages, tools). The first: user: Weather in Oslo? | assistant: "
        "get_weather({'city': 'Oslo'})\n"
    )


# --- Nothing is lost on the way -------------------------------------------------------------------------------------------

TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'assistant' %}A:CONTENT<|im_end|>"
    "{% else %}{{ message.role }}: {{ message.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
)


@pytest.mark.parametrize(
    ("content", "tools", "line"),
    [
        ("{{ message.content }}", "", "the chat template does not show the tool `get_weather`; take another model"),
        ("{{ message.content }}", "get_weather", "message 2: the chat template does not show the call to 'get_weather'; take"),
        (
            "{{ message.tool_calls[0].function.name }}",
            "get_weather",
            "message 2: the chat template does not show the text 'Let me see.'; take another model, or change the row",
        ),
        (
            "{{ message.content }}{{ message.tool_calls[0].function.name }} city",
            "get_weather",
            "message 2: the chat template does not show an argument of `get_weather`, 'Os\"lo'; take another model",
        ),
        ("{{ message.content }}{{ message.tool_calls | tojson }}", "get_weather", None),
    ],
)
def test_a_template_that_leaves_something_out_is_refused(
    content: str, tools: str, line: str | None, capsys: pytest.CaptureFixture[str]
):
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:qwen3"), ["Oslo"])
    tokenizer.chat_template = tools + TEMPLATE.replace("CONTENT", content)
    call = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": 'Os"lo', "n": None}}}
    row = {"messages": [ASK, {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}], "tools": [TOOL]}
    if line is None:
        assert len(tokenize([row], tokenizer, 512, where="data")) == 1
        return
    with pytest.raises(SystemExit, match="2"):
        tokenize([row], tokenizer, 512, where="data")
    assert capsys.readouterr().err.startswith(f"error: data, conversation 1: {line}")
