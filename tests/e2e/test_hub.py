"""Models and data of a hub, and uploads to it: huggingface_hub's own client and a small hub on loopback."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forks import ROOT, Run, Server, serving
from hub import Hub, serving_hub

TOKEN = "hf_Tx9SECRETSECRETSECRET"
MODEL = ROOT / "recipes/grpo_math/lesson/tiny_base"
ROWS = [{"question": f"How much is {number} and {number}?", "answer": f"It is {2 * number}."} for number in range(60)]
QUESTIONS = {"train.jsonl": "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()}
TRAIN = "recipes/sft_instruct/train.py"
SHORT = "--max_steps 2 --num_train 32 --num_held_out 4 --max_length 512 --per_device_train_batch_size 4 --eval_steps 2".split()
SHORT += "--save_steps 2 --max_new_tokens 2".split()

Finish = Callable[..., Run]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def online(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process that has imported the libraries and knows no other hub."""
    home = tmp_path_factory.mktemp("home")
    env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "HF_TOKEN": ""}
    with serving(tmp_path_factory.mktemp("output"), **env, NO_PROXY="*") as server:
        yield server


@pytest.fixture
def recipes(online: Server, tmp_path: Path) -> Finish:
    """Returns a function that runs `recipes ARGUMENTS`, and asserts its exit code."""
    script = tmp_path / "recipes.py"
    script.write_text("import sys\nfrom common.commands.main import main\nmain(sys.argv[1:])\n")

    def run(*arguments: object, code: int = 0, **env: str) -> Run:
        return finish(online.start(str(script), *map(str, arguments), launched=False, **env), code)

    return run


def finish(run: Run, code: int = 0) -> Run:
    assert run.wait() == [code], run.text()
    return run


def line_of(run: Run) -> str:
    """Returns the one line with which a command has ended."""
    text = run.errors.read_text()
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    return text


def test_explore(hub, recipes, online, tmp_path):
    import time
    hub.add("someone/model", MODEL)
    hub.add("someone/questions", QUESTIONS, "datasets")
    def go(*a, env={}):
        n=len(hub.asked); t=time.time()
        run = online.start(*a, launched=False, **env)
        code = run.wait()
        print("=====", a, code, f"{time.time()-t:.1f}s"); print(run.text()[-3000:])
        for x in hub.asked[n:]: print("   ", x)
    script = str(tmp_path / "recipes.py")
    prep = [script, "prepare", "sft_instruct", "--max_length", "512", "--show", "1"]
    go(*prep, "--model_name_or_path", "someone/model", "--dataset_name", "someone/questions")
    with hub.gone():
        go(*prep, "--model_name_or_path", "someone/model", "--dataset_name", "someone/questions")
    hub.add("someone/gated", MODEL, token=TOKEN, gated=True)
    hub.add("someone/gatedq", QUESTIONS, "datasets", token=TOKEN, gated=True)
    hub.add("someone/private", MODEL, token=TOKEN)
    hub.add("someone/privateq", QUESTIONS, "datasets", token=TOKEN)
    for m in ("gated", "missing", "private"):
        go(*prep, "--model_name_or_path", f"someone/{m}", "--dataset_name", "someone/questions")
    go(*prep, "--model_name_or_path", f"someone/gated", "--dataset_name", "someone/questions", env={"HF_TOKEN": "hf_other"})
    go(*prep, "--model_name_or_path", "someone/model", "--dataset_name", "someone/questions", "--model_revision", "nope")
    for m in ("gatedq", "missing", "privateq"):
        go(*prep, "--model_name_or_path", f"someone/model", "--dataset_name", f"someone/{m}")
    go(*prep, "--model_name_or_path", f"someone/private", "--dataset_name", "someone/privateq", env={"HF_TOKEN": TOKEN})
