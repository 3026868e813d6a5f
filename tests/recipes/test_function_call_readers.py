"""Reading the calls of a completion in Qwen's form, mark by mark."""

import pytest
from conftest import recipe_modules
from function_calls import Calls, read


@pytest.fixture(scope="module")
def recipe():
    names = ["calls", "forms", "mistakes", "compare", "code_values", "bfcl", "leaderboard", "metrics"]
    with recipe_modules("trl_function_calling", names) as modules:
        yield modules


CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("No tool fits.", []),
        (CALL, [("f", {"x": 1})]),
        (f"{CALL}\n{CALL}", [("f", {"x": 1}), ("f", {"x": 1})]),
        (f"Let me see. {CALL} Done.<|im_end|>", [("f", {"x": 1})]),
        ('<tool_call>{"arguments": {}, "name": "a.b"}</tool_call>', [("a.b", {})]),
        (
            '<tool_call>{"name": "f", "arguments": {"x": "</tool_call> \\" <think>"}}</tool_call>',
            [("f", {"x": '</tool_call> " <think>'})],
        ),
        (
            '<tool_call>{"name": "f", "arguments": {"x": [{"y": null}, 1e-9, true]}}</tool_call>',
            [("f", {"x": [{"y": None}, 1e-9, True]})],
        ),
        (
            '<tool_call>{"name": "f", "arguments": {"x": "caf\u00e9 \\u00e9 \U0001f600"}}</tool_call>',
            [("f", {"x": "caf\u00e9 \u00e9 \U0001f600"})],
        ),
        # Reasoning
        (f"<think>{CALL}</think>No.", []),
        (f"<think>\n\n</think>\n\n{CALL}", [("f", {"x": 1})]),
        (f"<think>Not {CALL}</think>{CALL}", [("f", {"x": 1})]),
        (f"<think>A <tool_call> is {{...}}</think>{CALL}", [("f", {"x": 1})]),
        (f"A <tool_call> it is, said the thought that the prompt began.</think>{CALL}", [("f", {"x": 1})]),
        (f"<think>I run out of tokens: {CALL}", []),
        (f"{CALL}<think>And now?", [("f", {"x": 1})]),
        # Not valid
        ("<tool_call>", None),
        ("<tool_call></tool_call>", None),
        ("<tool_call>\n\n</tool_call>", None),
        ("</tool_call>", None),
        (f"{CALL}</tool_call>", None),
        (f"{CALL}<tool_call>", None),
        (f"<tool_call>{CALL}</tool_call>", None),
        (CALL.removesuffix("</tool_call>"), None),
        (CALL.replace("</tool_call>", "<tool_call>"), None),
        (f"{CALL.removesuffix('</tool_call>')}{CALL}", None),
        (CALL.replace('"x": 1', '"x": 1,'), None),
        (CALL.replace('"', "'"), None),
        (CALL.replace("1}}", "1}"), None),
        (CALL.replace("1}}", "1}} and"), None),
        (CALL.replace("1", "NaN"), None),
        (CALL.replace("1", "-Infinity"), None),
        (CALL.replace("1", "0x1"), None),
        (CALL.replace("1", "2 * 3"), None),
        (CALL.replace('"x": 1', '"x": 1, "x": 2'), None),
        (CALL.replace('"name": "f"', '"name": "f", "name": "f"'), None),
        (CALL.replace('"name": "f"', '"name": "f", "id": 3'), None),
        (CALL.replace('"name": "f", ', ""), None),
        (CALL.replace('"f"', "null"), None),
        (CALL.replace('{"x": 1}', '"{\\"x\\": 1}"'), None),
        (CALL.replace('{"x": 1}', "[1]"), None),
        (CALL.replace('{"x": 1}', "null"), None),
        ('<tool_call>["f", {}]</tool_call>', None),
        ('<tool_call>[{"name": "f", "arguments": {}}]</tool_call>', None),
        ("<tool_call>f(x=1)</tool_call>", None),
        ("<tool_call>```json\n{}\n```</tool_call>", None),
        (CALL.replace("1", "[" * 5000), None),
        (CALL.replace("1", "9" * 5000), None),
    ],
)
def test_reading_calls(recipe, text: str, expected: Calls | None):
    assert read(recipe, text) == (None if expected is None else [recipe["calls"].Call(*call) for call in expected])
