"""A chat template that leaves out what is said is refused."""

from common.data.tokens import tokenize
from common.models.load import load_tokenizer

import pytest
from conversation_rows import ASK, TOOL
from trl import ModelConfig

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
