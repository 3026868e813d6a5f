"""Spans that are found by a frame are those of a conversation written turn by turn, with templates of many families."""

import re
from importlib.resources import files
from itertools import product

import common.data.spans
from common.data.shown import check_shown
from common.data.spans import Frames, render, trained_spans
from common.data.templates import without_marks
from common.errors import BadRow
from common.models.load import load_tokenizer

import pytest
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig

TEMPLATES = {path.stem: path.read_text() for path in sorted((files("trl") / "chat_templates").glob("*.jinja"))}
SOME = "deepseekv3 gemma gemma3 glm4moe gptoss llama3 llama3_2 phi3 qwen2_5_training qwen3 qwen3_training".split()
CONTENTS = ["It is {1}: [a], <b>.", "Two\n\nlines", " space ", "a </think> b", "<think>\nx\n</think>\n\ny", "/no_think", ""]
CONTENTS += ["<tool_response>1</tool_response>", "<|im_end|>", "\ue0000\ue001", "{{ 1 }} user assistant", "\u4e2d\U0001f600"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path="tiny:llama"), ["What is 1 + 1? It is 2."])
    tokenizer.bos_token = "<|begin_of_text|>"
    return tokenizer


def conversations() -> list[dict]:
    def turns(*said: str, system: str | None = None, weight: int | None = None) -> dict:
        first = [] if system is None else [{"role": "system", "content": system}]
        shown = {} if weight is None else {"weight": weight}
        pairs = [
            {"role": role, "content": text} | (shown if number == 1 else {})
            for number, (role, text) in enumerate(zip(["user", "assistant"] * 9, said, strict=False))
        ]
        return {"messages": [*first, *pairs]}

    plain = ["One?", "1.", "Two?", "2.", "Three?", "3."]
    found = [turns(*plain[:count], system=system) for count, system in product((2, 4, 5, 6), (None, "Be brief."))]
    found += [turns(*plain, weight=weight) for weight in (0, 1)]
    found += [turns(*plain[:place], text, *plain[place + 1 :]) for text, place in product(CONTENTS, (0, 1, 5))]
    found += [{"messages": [plain_turn | {"thinking": "Hm."} for plain_turn in turns(*plain)["messages"]]}]
    return [*found, *found[:3]]


@pytest.mark.parametrize("name", SOME)
def test_the_same_spans(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr(tokenizer, "chat_template", without_marks(TEMPLATES[name]))
    frames, found = Frames(tokenizer), []
    for conversation in conversations():
        try:
            found.append(trained_spans(conversation, tokenizer))
        except BadRow as error:
            with pytest.raises(BadRow, match=re.escape(str(error))):
                frames.spans(conversation)
        else:
            text, spans, is_shown = frames.spans(conversation)
            assert (text, spans) == found[-1]
            if is_shown:
                check_shown(conversation, text, spans)
    assert any(frames.known.values()) == bool(found)


@pytest.mark.parametrize("name", ["qwen3_training", "llama3"])
def test_a_conversation_is_written_once(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch, name: str):
    """However many turns it has: what it takes grows with the turns, not with their square."""
    monkeypatch.setattr(tokenizer, "chat_template", without_marks(TEMPLATES[name]))
    frames, written = Frames(tokenizer), []
    monkeypatch.setattr(common.data.spans, "render", lambda *given, **how: written.append(1) or render(*given, **how))
    for exchanges in (4, 16):
        for number in range(3):
            turns = [{"role": role, "content": f"{role} {number}"} for role in ["user", "assistant"] * exchanges]
            text, spans, _ = frames.spans({"messages": turns})
            assert [f"assistant {number}" in text[slice(*span)] for span in spans.values()] == [True] * exchanges
            if number == 0:
                written.clear()  # the frame was found
        assert len(written) == 2
        written.clear()


def test_a_template_that_looks_into_a_content(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch):
    """Such a turn is written differently once others follow, and is refused."""
    template = (
        "{% for message in messages %}{% if message.role == 'user' %}[{{ message.content }}]"
        "{% elif '#!' in message.content and not loop.last %}{{ message.content }}{% else %}{{ message.content }}<|eot_id|>"
        "{% endif %}{% endfor %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    frames = Frames(tokenizer)
    turns = [{"role": role, "content": "x"} for role in ["user", "assistant", "user", "assistant"]]
    frames.spans({"messages": turns})
    turns[1] = turns[1] | {"content": "x #!"}
    with pytest.raises(BadRow, match="writes this turn differently once others follow"):
        frames.spans({"messages": turns})


@pytest.mark.parametrize("is_shown", [True, False])
def test_a_frame_shows_all_contents_or_is_none(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch, is_shown: bool
):
    shown = "" if is_shown else "{% if message.role != 'system' %}"
    template = (
        f"{{% for message in messages %}}{shown}{{{{ message.content }}}}!{'' if is_shown else '{% endif %}'}{{% endfor %}}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    turns = [{"role": role, "content": f"{role} says"} for role in ["system", "user", "assistant"]]
    assert Frames(tokenizer).spans({"messages": turns})[2] == is_shown
