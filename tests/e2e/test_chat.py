"""What a model says in a chat is what it says when it is measured, whatever its generation_config.json suggests."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from common.commands import chat as plain_chat
from common.generate.completions import generate
from common.measure.math_answers import boxed_answer
from common.models.load import load_model, load_tokenizer
from common.models.saved import load_run
from common.models.vision import load_processor

import pytest
from accelerate import Accelerator
from conftest import ROOT, recipe_modules
from PIL import Image
from transformers import PreTrainedModel, set_seed
from trl import ModelConfig

# As models that are made for chatting have them; strong enough to change what a tiny one says.
SUGGESTED = {
    "do_sample": True,
    "temperature": 1.5,
    "top_p": 0.9,
    "top_k": 5,
    "repetition_penalty": 3.0,
    "no_repeat_ngram_size": 1,
}
LIMIT = 12
QUESTION = "Ada has 6 jars with 7 pens in each. How many pens does Ada have?"


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Returns a function that runs the main function of a chat in this process, and returns what it printed."""

    def chat(module: ModuleType, run: Path, *options: str, stdin: str = f"{QUESTION}\n") -> str:
        monkeypatch.setattr(sys, "argv", ["chat.py", str(run), *options])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        module.main()
        return capsys.readouterr().out

    return chat


def make_run(folder: Path, recipe: str, base: Path | PreTrainedModel, processing: Any = None, **settings: Any) -> Path:
    """Makes a finished run of a saved or a built model, which suggests how to chat with it."""
    if isinstance(base, Path):
        shutil.copytree(base, folder)
        processing = load_tokenizer(ModelConfig(model_name_or_path=str(base)))
    else:
        base.save_pretrained(folder)
    processing.save_pretrained(folder)
    (folder / "run.json").write_text(json.dumps({"recipe": recipe, "world_size": 1, "settings": settings}))
    (folder / "complete").touch()
    config = folder / "generation_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | SUGGESTED))
    return folder


def measured(run: Path, messages: list[dict], **options: Any) -> Any:
    """Returns the completion of the evaluation; by itself the model says something else."""
    model, tokenizer, _ = load_run(run)
    assert model.generation_config.repetition_penalty == SUGGESTED["repetition_penalty"]
    options = {"batch_size": 1, "max_new_tokens": LIMIT} | options
    completion = generate(model, Accelerator(cpu=True), tokenizer, [messages], **options)[0]
    assert completion.num_tokens > 2
    return completion


def test_the_plain_chat(tmp_path: Path, chat):
    base = ROOT / "recipes" / "grpo_math" / "lesson" / "tiny_base"
    run = make_run(tmp_path / "run", "grpo_math", base, max_completion_length=LIMIT, system_prompt="")
    user = {"role": "user", "content": QUESTION}
    first = measured(run, [user]).text
    assert chat(plain_chat, run) == f"{first}\n"
    second = measured(run, [user, {"role": "assistant", "content": first}, user]).text
    assert chat(plain_chat, run, stdin=f"{QUESTION}\n{QUESTION}\n") == f"{first}\n{second}\n"
    assert chat(plain_chat, run, "--max_new_tokens", "3") == f"{measured(run, [user], max_new_tokens=3).text}\n"


def test_function_calls(tmp_path: Path, chat):
    base = ROOT / "recipes" / "trl_function_calling" / "lesson" / "tiny_base"
    run = make_run(tmp_path / "run", "trl_function_calling", base, max_new_tokens=LIMIT)
    with recipe_modules("trl_function_calling", ["chat", "tools"]) as recipe:
        tools = [recipe["tools"].schema(recipe["chat"].KNOWN[name]) for name in ("set_timer", "get_weather")]
        expected = measured(run, [{"role": "user", "content": QUESTION}], tools=[tools]).text
        assert chat(recipe["chat"], run).startswith(f"{expected}\n")


def test_a_team(tmp_path: Path, chat):
    base = ROOT / "recipes" / "multi_agent_grpo" / "lesson" / "tiny_base"
    settings = {"agents_file": "agents.yaml", "max_completion_length": LIMIT}
    for part in ("team", "aggregator"):
        run = make_run(tmp_path / part, "multi_agent_grpo", base, **settings)
    shutil.copy(run / "run.json", tmp_path)
    with recipe_modules("multi_agent_grpo", ["chat", "agents", "data", "rewards"]) as recipe:
        team, aggregator = recipe["agents"].load_team("agents.yaml")
        printed = chat(recipe["chat"], tmp_path)
        answers = {}
        for agent in team:
            expected = measured(run, recipe["data"].conversation(QUESTION, agent.prompt)).text
            assert f"--- {agent.name}\n{expected}\n" in printed
            answers[agent.name] = boxed_answer(expected)
        question = recipe["data"].aggregator_question(QUESTION, answers)
        expected = measured(run, recipe["data"].conversation(question, aggregator.prompt)).text
        assert printed.endswith(f"--- aggregator\n{expected}\n")


def test_a_language_to_think_in(tmp_path: Path, chat, monkeypatch: pytest.MonkeyPatch):
    args = ModelConfig(model_name_or_path="tiny:gpt_oss")
    tokenizer = load_tokenizer(args, [QUESTION])
    set_seed(0)
    run = make_run(tmp_path / "run", "gpt_oss_multilingual", load_model(args, tokenizer), tokenizer, max_new_tokens=LIMIT)
    with recipe_modules("gpt_oss_multilingual", ["chat", "metrics"]) as recipe:
        # Random weights write nothing in harmony format: shown as it is instead.
        monkeypatch.setattr(recipe["chat"], "parse_turn", lambda text: recipe["metrics"].Turn(text, "", False))
        user = {"role": "user", "content": QUESTION}
        for language, options in (("English", []), ("Greek", ["--reasoning_language", "greek"])):
            system = {"role": "system", "content": f"reasoning language: {language}"}
            expected = f"thinks:  {measured(run, [system, user]).raw}\nanswers: (nothing)\n"
            assert chat(recipe["chat"], run, *options) == expected
        assert chat(recipe["chat"], run, stdin=f"/think Greek\n/think Klingon\n{QUESTION}\n").endswith(expected)


def test_pictures(tmp_path: Path, chat, capsys: pytest.CaptureFixture[str]):
    limits = {"min_pixels": 28 * 28, "max_pixels": 20 * 28 * 28}
    args = ModelConfig(model_name_or_path="tiny:qwen2_vl")
    processor = load_processor(args, **limits, phrases=["Read."])
    set_seed(0)
    settings = {"question": "Read.", "max_new_tokens": LIMIT} | limits
    run = make_run(tmp_path / "run", "ocr_vision_language", load_model(args, processor), processor, **settings)
    picture = tmp_path / "line.png"
    Image.linear_gradient("L").resize((112, 28)).save(picture)
    with recipe_modules("ocr_vision_language", ["chat"]) as recipe:
        messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Read."}]}]
        text = measured(run, messages, open_images=lambda _: recipe["chat"].open_pictures(str(picture), settings)).text
        assert chat(recipe["chat"], run, str(picture)) == f"{text}\n"
        assert chat(recipe["chat"], run, stdin=f"{picture}\n") == f"{picture}: {text}\n"
        both = tmp_path / "pages.tif"
        Image.open(picture).save(both, save_all=True, append_images=[Image.new("L", (56, 56))])
        assert [page.size for page in recipe["chat"].open_pictures(str(both), settings)] == [(112, 28), (56, 56)]
        assert chat(recipe["chat"], run, str(both)).endswith("\n")
        assert chat(recipe["chat"], run, stdin=f"no.png\n{picture}\n") == f"{picture}: {text}\n"
        with pytest.raises(SystemExit) as ended:
            chat(recipe["chat"], run, "no.png")
        assert ended.value.code == 2
        assert capsys.readouterr().err == "error: no.png: No such file or directory; give the path of a picture\n"
