"""Rows and files that were seen in the field: read whole, and what is trained of them; or refused with the cure."""

import json
from pathlib import Path

from common.data.conversations import check_conversation
from common.data.formats import recognise
from common.data.tokens import show_trained, tokenize, use_training_template
from common.errors import BadRow
from common.models.load import load_tokenizer

import pytest
from conversation_rows import messages_of, said
from transformers import PreTrainedTokenizerBase
from trl import ModelConfig

CASES = Path(__file__).parents[4] / "shared" / "cases" / "conversations.jsonl"


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(ModelConfig(model_name_or_path=f"tiny:{request.param}"), ["Oslo"])
    use_training_template(tokenizer)
    return tokenizer


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
