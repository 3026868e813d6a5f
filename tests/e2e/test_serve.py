"""What is served is what was trained, as OpenAI's own client sees it: text, thoughts, calls, and where an answer ends."""

import base64
import io
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.commands.main import main
from common.data.tokens import tokenize, use_training_template
from common.models.load import load_model, load_tokenizer
from common.models.saved import load_run
from common.models.vision import load_processor

import openai
import pytest
import torch
import transformers.utils.import_utils
from conftest import ROOT, recipe_modules
from forks import Server
from huggingface_hub.utils import httpx
from openai.types.chat import ChatCompletion
from peft import LoraConfig, get_peft_model
from PIL import Image
from served import served
from test_chat import QUESTION, make_run, measured
from transformers import AutoModelForCausalLM, set_seed
from trl import ModelConfig

RECIPES = ROOT / "recipes"
TINY_BASE = RECIPES / "grpo_math" / "lesson" / "tiny_base"
LIMIT = 40
TOOL = {
    "type": "function",
    "function": {
        "name": "set_timer",
        "description": "Start a timer.",
        "parameters": {"type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]},
    },
}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


class Client:
    """OpenAI's client of the one model at an address."""

    def __init__(self, address: str):
        self.client = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
        (model,) = self.client.models.list()
        self.name = model.id

    def ask(self, messages: list[dict[str, Any]], **options: Any) -> ChatCompletion:
        return self.client.chat.completions.create(model=self.name, messages=messages, **options)

    def text(self, messages: list[dict[str, Any]], **options: Any) -> str:
        return self.ask(messages, **options).choices[0].message.content


@contextmanager
def client_of(server: Server, folder: Path) -> Iterator[Client]:
    with served(server, folder) as address:
        yield Client(address)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model suggests, for chatting, what it was not measured with."""
    folder = tmp_path_factory.mktemp("serve") / "run"
    return make_run(folder, "grpo_math", TINY_BASE, max_completion_length=LIMIT, system_prompt="")


def test_it_answers_as_it_was_measured(server: Server, run: Path):
    expected = measured(run, [user(QUESTION)], max_new_tokens=LIMIT)
    assert expected.raw.endswith("<|im_end|>")
    said = expected.text.removeprefix("<think>\n\n</think>\n\n")
    assert said.startswith("\\boxed")
    with client_of(server, run) as client:
        assert client.name == str(run)
        completion = client.ask([user(QUESTION)])
        (choice,) = completion.choices
        assert (choice.message.content, choice.finish_reason) == (said, "stop")
        assert completion.usage.completion_tokens == expected.num_tokens

        chunks = [chunk.choices[0] for chunk in client.ask([user(QUESTION)], stream=True)]
        assert "".join(chunk.delta.content or "" for chunk in chunks) == said
        assert chunks[-1].finish_reason == "stop"
        response = client.client.responses.create(model=client.name, input=QUESTION)
        assert response.output_text == said

        cut = client.ask([user(QUESTION)], max_tokens=3)
        assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 3)
        # A temperature samples, though nothing else does; a seed says which sample.
        hot = [str(client.ask([user(QUESTION)], temperature=3.0, seed=seed).choices[0].message) for seed in (1, 2, 1)]
        assert hot[0] == hot[2] != hot[1]
        assert client.text([user(QUESTION)], temperature=0, stop=[]) == said
        assert client.text([user(QUESTION)], stop=["ed{"]) == "\\boxed{"
        assert len({str(client.ask([user(QUESTION)], top_p=1.0, seed=seed).choices[0].message) for seed in range(8)}) > 1


def test_a_request_that_cannot_be_answered_is_told_why(server: Server, run: Path):
    with client_of(server, run) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            client.ask([{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}])
        assert "Expecting property name" in refused.value.response.json()["detail"]
        with pytest.raises(openai.BadRequestError) as refused:
            client.ask([user(QUESTION)], temperature=-1)
        assert refused.value.response.json()["detail"].startswith("temperature is -1; use 0 for the likeliest token")
        assert client.text([user(QUESTION)])


def test_no_other_model_is_loaded_or_named(server: Server, run: Path):
    with client_of(server, run) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            client.client.chat.completions.create(model="gpt", messages=[user(QUESTION)])
        assert refused.value.response.json() == {"detail": f"Server is pinned to '{run}'; requested 'gpt'."}
        address = str(client.client.base_url).replace("/v1/", "/load_model")
        answered = httpx.post(address, json={"model": str(TINY_BASE)}).text
        assert f"only {run} is served" in answered
        elsewhere = ("127.0.0.2", client.client.base_url.port)  # an address of this machine, but not the one it listens on
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(elsewhere, timeout=5)
        assert client.text([user(QUESTION)])


@pytest.fixture(scope="module")
def adapter(run: Path) -> Path:
    """The run with an adapter beside its base model that changes what it says."""
    folder = run.with_name("adapter")
    model = AutoModelForCausalLM.from_pretrained(TINY_BASE, dtype=torch.float32)
    set_seed(0)
    model = get_peft_model(model, LoraConfig(target_modules="all-linear", init_lora_weights=False, r=4, lora_alpha=16))
    model.save_pretrained(folder)
    load_tokenizer(ModelConfig(model_name_or_path=str(TINY_BASE))).save_pretrained(folder)
    settings = {"model_name_or_path": str(TINY_BASE), "dtype": "float32", "max_completion_length": LIMIT}
    settings["system_prompt"] = "Speak in numbers."  # which programs send, and the server does not add
    for name in ("run.json", "complete"):
        (folder / name).write_text((run / name).read_text())
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"settings": record["settings"] | settings}))
    return folder


def test_an_adapter_is_served_with_its_base(server: Server, run: Path, adapter: Path, tmp_path: Path):
    """As a run, and as a folder that any program has saved."""
    model, tokenizer, _ = load_run(adapter, "cpu")
    inputs = tokenizer.apply_chat_template([user(QUESTION)], add_generation_prompt=True, return_dict=True, return_tensors="pt")
    output = model.generate(**inputs, do_sample=False, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    expected = tokenizer.decode(output, skip_special_tokens=True).strip()
    assert expected != measured(run, [user(QUESTION)]).text
    saved = tmp_path / "saved"
    saved.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (saved / name).write_bytes((adapter / name).read_bytes())
    (saved / "chat_template.jinja").write_text((adapter / "chat_template.jinja").read_text())
    for folder in (adapter, saved):
        with client_of(server, folder) as client:
            assert client.text([user(QUESTION)], max_tokens=12) == expected


# --- Calls ----------------------------------------------------------------------------------------------------------------

ASK, BREAK, TALK = "Wake me in 12 minutes.", "Break it.", "Hello!"
CALLED = {"role": "assistant", "content": "", "tool_calls": [
    {"id": "1", "type": "function", "function": {"name": "set_timer", "arguments": {"minutes": 12}}}
]}  # fmt: skip
RESULT = {"role": "tool", "tool_call_id": "1", "content": '{"started": true}'}
NO_CALL = '<tool_call>\n{"name": set_timer}\n</tool_call>'


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of trl_function_calling that knows four answers by heart, one of which is no valid call."""
    base = RECIPES / "trl_function_calling" / "lesson" / "tiny_base"
    args = ModelConfig(model_name_or_path=str(base), dtype="float32")
    tokenizer = load_tokenizer(args)
    model = load_model(args, tokenizer).train()
    saved_template = tokenizer.chat_template
    use_training_template(tokenizer)
    turns = [
        [user(ASK), CALLED],
        [user(ASK), CALLED, RESULT, {"role": "assistant", "content": "The timer is set."}],
        [user(TALK), {"role": "assistant", "content": "Hello.", "reasoning_content": "A greeting."}],
        [user(BREAK), {"role": "assistant", "content": NO_CALL}],
    ]
    rows = tokenize([{"messages": messages, "tools": [TOOL]} for messages in turns], tokenizer, 1024, where="test")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(40):
        for row in rows:
            loss = model(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tokenizer.chat_template = saved_template
    folder = tmp_path_factory.mktemp("serve") / "caller"
    return make_run(folder, "trl_function_calling", model, tokenizer, max_new_tokens=LIMIT)


def test_calls_of_tools(server: Server, caller: Path):
    with client_of(server, caller) as client:
        completion = client.ask([user(ASK)], tools=[TOOL])
        (choice,) = completion.choices
        (call,) = choice.message.tool_calls
        assert choice.finish_reason == "tool_calls"
        assert (call.function.name, json.loads(call.function.arguments)) == ("set_timer", {"minutes": 12})

        chunks = [chunk.choices[0] for chunk in client.ask([user(ASK)], tools=[TOOL], stream=True)]
        ((streamed,),) = [chunk.delta.tool_calls for chunk in chunks if chunk.delta.tool_calls]
        assert json.loads(streamed.function.arguments) == {"minutes": 12}
        assert chunks[-1].finish_reason == "tool_calls"

        turns = [user(ASK), choice.message.model_dump(exclude_none=True), RESULT | {"tool_call_id": call.id}]
        assert client.text(turns, tools=[TOOL]) == "The timer is set."
        message = client.ask([user(TALK)], tools=[TOOL]).choices[0].message
        assert (message.reasoning_content.strip(), message.content) == ("A greeting.", "Hello.")
        # What is no valid call is given as the text that it is.
        (choice,) = client.ask([user(BREAK)], tools=[TOOL]).choices
        assert choice.message.content.endswith(NO_CALL)
        assert choice.message.tool_calls is None
        with pytest.raises(openai.APIError, match="json parser could not parse region as JSON"):
            list(client.ask([user(BREAK)], tools=[TOOL], stream=True))


# --- Pictures -------------------------------------------------------------------------------------------------------------


def test_pictures(server: Server, tmp_path: Path):
    limits = {"min_pixels": 28 * 28, "max_pixels": 20 * 28 * 28}
    args = ModelConfig(model_name_or_path="tiny:qwen2_vl")
    processor = load_processor(args, **limits, phrases=["Read."])
    set_seed(0)
    settings = {"question": "Read.", "max_new_tokens": LIMIT} | limits
    run = make_run(tmp_path / "run", "ocr_vision_language", load_model(args, processor), processor, **settings)
    file = io.BytesIO()
    Image.linear_gradient("L").resize((112, 28)).save(file, "PNG")
    with recipe_modules("ocr_vision_language", ["chat"]) as recipe:
        (tmp_path / "line.png").write_bytes(file.getvalue())
        (picture,) = recipe["chat"].open_pictures(str(tmp_path / "line.png"), settings)
    messages = [user([{"type": "image"}, {"type": "text", "text": "Read."}])]
    expected = measured(run, messages, max_new_tokens=LIMIT, open_images=lambda _: [picture]).text
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    with client_of(server, run) as client:
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Read."}]
        assert client.text([user(content)]) == expected
        # As docs/reliability.md warns: what a request names is opened, a file of this machine too.
        content = [{"type": "image_url", "image_url": {"url": str(tmp_path / "line.png")}}, content[1]]
        assert client.text([user(content)]) == expected


# --- Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def serve(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Returns a function that gives the command, which must end in a line, and returns that."""

    def serve(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["serve", *arguments])
        out, error = capsys.readouterr()
        assert (ended.value.code, out, error.count("\n")) == (2, "", 1)
        return error.removeprefix("error: ").rstrip("\n")

    return serve


def test_mistakes_end_in_a_line(serve, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert serve(str(run), "--port", port) == (
            f"--port {port} cannot be used (Address already in use); choose another, or 0 for one that is free"
        )
    assert "'--port': Input should be less than or equal to 65535" in serve(str(run), "--port", "65536")
    free = ["--port", "0"]
    assert serve(str(tmp_path / "none"), *free) == (
        f"{tmp_path / 'none'}: there is no such folder; pass a run, a checkpoint-N of one, an export, or a saved model"
    )
    assert serve(str(tmp_path), *free).startswith(f"{tmp_path} holds no weights in safetensors (no others either)")
    assert serve(str(TINY_BASE), *free) == (
        f"{TINY_BASE} has no chat template, so it cannot be asked; put its family's beside it, as chat_template.jinja"
    )
    monkeypatch.setattr(transformers.utils.import_utils, "is_uvicorn_available", lambda: False)
    transformers.utils.import_utils.is_serve_available.cache_clear()
    assert serve(str(run)) == "serving needs fastapi, uvicorn and openai; `pip install 'transformers[serving]'` brings them"
    transformers.utils.import_utils.is_serve_available.cache_clear()
