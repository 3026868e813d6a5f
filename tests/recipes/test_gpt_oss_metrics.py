"""The measures of gpt_oss_multilingual: the language of a thought, right answers, harmony format, the work of experts."""

from collections.abc import Iterator
from types import ModuleType

from common.models.load import load_model, load_tokenizer

import pytest
import torch
from accelerate import Accelerator
from conftest import recipe_modules
from datasets import Dataset
from transformers import set_seed
from trl import ModelConfig


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    with recipe_modules("gpt_oss_multilingual", ["metrics", "languages", "lesson.synthetic", "experts"]) as modules:
        yield modules


@pytest.fixture(scope="module")
def metrics(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["metrics"]


def turn(thinking: str, final: str) -> str:
    """A turn as gpt-oss writes it after `<|start|>assistant`."""
    return (
        f"<|channel|>analysis<|message|>{thinking}<|end|>"
        f"<|start|>assistant<|channel|>final<|message|>{final}<|return|>"
    )  # fmt: skip


# --- Harmony format -----------------------------------------------------------------------------------------------------


def test_a_turn_is_read_by_its_channels(metrics: ModuleType):
    found = metrics.parse_turn(turn("First\nthen.", "42"))
    assert (found.thinking, found.final, found.is_valid) == ("First\nthen.", "42", True)


@pytest.mark.parametrize(
    ("text", "thinking", "final"),
    [
        pytest.param("", "", "", id="nothing"),
        pytest.param("The answer is 42.", "", "The answer is 42.", id="no channels"),
        pytest.param("<think>2+2</think>\n\n4", "2+2", "4", id="another form of thoughts"),
        pytest.param("<|channel|>analysis<|message|>Adding 2 and", "Adding 2 and", "", id="cut in the thought"),
        pytest.param("<|channel|>final<|message|>42<|return|>", "", "42", id="no thought"),
        pytest.param(turn("", "42"), "", "42", id="empty thought"),
        pytest.param(turn("2+2", ""), "2+2", "", id="empty answer"),
        pytest.param(turn("2+2", "4").removesuffix("<|return|>"), "2+2", "4", id="no end"),
        pytest.param(turn("2+2", "4") + turn("3", "5"), "2+2\n3", "4\n5", id="two turns"),
        pytest.param(turn("2+2", "4").replace("analysis", "commentary"), "", "4", id="another channel"),
        pytest.param(turn("2+2<|start|>", "4"), "2+2<|start|>", "4", id="a token of the format in the thought"),
    ],
)
def test_what_is_no_valid_turn_is_still_read(metrics: ModuleType, text: str, thinking: str, final: str):
    found = metrics.parse_turn(text)
    assert not found.is_valid
    assert (found.thinking, found.final) == (thinking, final)


# --- Answers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("final", "reference", "is_right"),
    [
        ("She makes $18 a day.", "18", True),
        ("18 - 3 = 15, so 15.", "18", False),
        ("70.000", "70000", True),
        ("Der Gewinn beträgt 70.000 Dollar.", "70000", True),
        ("2125", "2,125", True),
        ("5.5", "5.50", True),
        ("", "1,234.50", False),
        ("5,5", "5.5", True),
        ("-3", "3", False),
        ("No number.", "18", False),
        ("", "18", False),
        ("In the box there are now 7 eggs.", "In the box there are now 7 eggs.", True),
        ("In the  box there are\nnow 7 eggs.", "In the box there are now 7 eggs.", True),
        ("In the bag there are now 7 eggs.", "In the box there are now 7 eggs.", False),
        ("7", "In the box there are now 7 eggs.", False),
        ("盒子里现在有7个鸡蛋。", "盒子里现在有7个鸡蛋。", True),
    ],
)
def test_right_answers(metrics: ModuleType, final: str, reference: str, is_right: bool):
    assert metrics.is_right(final, reference, ["English", "German"]) is is_right


def test_scores_are_counted_by_pair_of_languages(modules: dict[str, ModuleType]):
    metrics, synthetic = modules["metrics"], modules["synthetic"]
    problems = synthetic.all_problems()[:4]
    pairs = [("English", "Greek"), ("English", "Russian"), ("Hindi", "Greek"), ("Hindi", "Greek")]
    rows = [synthetic.to_conversation(problem, *pair) for problem, pair in zip(problems, pairs, strict=True)]
    said = [row["messages"][-1] for row in rows]
    texts = [
        turn(said[0]["thinking"], said[0]["content"]),
        turn(said[0]["thinking"], said[1]["content"]),  # right, but thought in Greek and not in Russian
        turn(said[2]["thinking"], "?"),  # thought in Greek as asked, but wrong
        turn("4 + 3 = 7", said[3]["content"]),  # numbers are in no language, so not in Greek
    ]
    measured, verdicts = metrics.score(rows, texts)
    assert [verdict["thinking_language"] for verdict in verdicts] == [True, False, True, False]
    assert [verdict["correct"] for verdict in verdicts] == [True, True, False, True]
    matrix = metrics.language_matrix(rows, verdicts)
    values = {name: metric["value"] for name, metric in measured.items()}
    assert values == {
        "thinking_language": 0.5,
        "answer": 0.75,
        "harmony_format": 1.0,
        "undecided": 0.0,
        "detector_error": 0.0,
        "thinks_in_Greek": pytest.approx(2 / 3),
        "thinks_in_Russian": 0.0,
    }
    assert (matrix["rows"], matrix["columns"]) == (["English", "Hindi"], ["Greek", "Russian"])
    assert matrix["values"] == [[1.0, 0.0], [0.5, None]]


def test_the_language_of_a_question_is_found_where_it_is_not_given(metrics: ModuleType):
    row = {
        "messages": [{"role": "user", "content": "Wie viele Äpfel sind es?"}, {"role": "assistant", "content": "3"}],
        "thinking_language": "German",
        "question_language": None,
    }
    _, verdicts = metrics.score([row], [turn("Es sind drei Äpfel im Korb.", "3")])
    matrix = metrics.language_matrix([row], verdicts)
    assert (matrix["rows"], matrix["values"]) == (["German"], [[1.0]])


# --- Experts --------------------------------------------------------------------------------------------------------------


def test_the_work_of_the_experts_is_counted_without_padding(modules: dict[str, ModuleType]):
    args = ModelConfig(model_name_or_path="tiny:gpt_oss")
    tokenizer = load_tokenizer(args, ["one two three"])
    set_seed(0)
    model = load_model(args, tokenizer).eval()
    # In the second layer the router is made to choose the experts 1 and 3, whatever it reads.
    router = model.model.layers[1].mlp.router
    torch.nn.init.zeros_(router.weight)
    router.bias.data = torch.tensor([0.0, 2.0, -1.0, 1.0])
    rows = [list(range(20, 20 + length)) for length in (3, 11, 7)]
    dataset = Dataset.from_dict({"input_ids": rows, "labels": rows})
    shares = modules["experts"].expert_shares(model, Accelerator(cpu=True), dataset, batch_size=2)
    assert shares[1] == [0.0, 0.5, 0.0, 0.5]
    assert all(sum(layer) == pytest.approx(1.0) for layer in shares)

    # Each row by itself has no padding: the shares are the same.
    counts = torch.zeros(3, 4)
    for row in rows:
        with torch.no_grad():
            logits = model(torch.tensor([row]), output_router_logits=True).router_logits
        for layer, found in enumerate(logits):
            counts[layer] += torch.bincount(found.topk(2).indices.flatten(), minlength=4)
    torch.testing.assert_close(torch.tensor(shares), counts / counts.sum(dim=1, keepdim=True))

    metrics, matrix = modules["experts"].describe_shares(shares)
    assert metrics["busiest_expert_share"]["value"] == max(map(max, shares))
    assert metrics["idlest_expert_share"]["value"] == 0.0
    assert matrix["values"] == shares
