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
REVISION = ["--model_revision", "taught", "--use_peft", "true", "--lora_target_modules", "all-linear"]

Recipes = Callable[..., Run]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving_hub() as hub:
        hub.add("someone/model", MODEL)
        hub.add("someone/questions", QUESTIONS, "datasets")
        hub.add("someone/gated", MODEL, token=TOKEN, gated=True)
        hub.add("someone/gated_questions", QUESTIONS, "datasets", token=TOKEN, gated=True)
        hub.expired.add("hf_expired")
        yield hub


@pytest.fixture(scope="module")
def online(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process that has imported the libraries and knows this hub alone; what its forks download lies in one cache."""
    home = tmp_path_factory.mktemp("home")
    env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), "HF_TOKEN": ""}
    with serving(tmp_path_factory.mktemp("output"), **env, NO_PROXY="*") as server:
        yield server


def finish(run: Run, code: int = 0) -> Run:
    assert run.wait() == [code], run.text()
    return run


@pytest.fixture(scope="module")
def recipes(online: Server, tmp_path_factory: pytest.TempPathFactory) -> Recipes:
    """Returns a function that starts `recipes ARGUMENTS`."""
    script = tmp_path_factory.mktemp("script") / "recipes.py"
    script.write_text("import sys\nfrom common.commands.main import main\nmain(sys.argv[1:])\n")
    return lambda *arguments, **env: online.start(str(script), *map(str, arguments), launched=False, **env)


def flags(model: str, data: str, output_dir: Path, *more: str) -> list[str]:
    return [*SHORT, "--model_name_or_path", model, "--dataset_name", data, "--output_dir", str(output_dir), *more]


def train(online: Server, *arguments, **env: str) -> Run:
    return online.start(TRAIN, *flags(*arguments), launched=False, **env)


def prepare(recipes: Recipes, model: str, data: str, *more: str) -> Run:
    names = ["--model_name_or_path", model, "--dataset_name", data, *more]
    return recipes("prepare", "sft_instruct", *names, "--max_length", "512", "--show", "0")


def losses(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row["metrics"] if "split" in row else row["loss"] for row in rows if "split" in row or "loss" in row]


# --- Models and data ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def private(hub: Hub, online: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of adapters on private data and on a revision of a private model, of which `main` cannot even be read."""
    repository = hub.add("someone/private", MODEL, token=TOKEN)
    repository.revisions["taught"] = repository.revisions["main"]
    repository.revisions["main"] = repository.revisions["taught"] | {"model.safetensors": b"none"}
    hub.add("someone/letters", QUESTIONS, "datasets", token=TOKEN)
    folder = tmp_path_factory.mktemp("private")
    run = finish(train(online, "someone/private", "someone/letters", folder / "run", *REVISION, HF_TOKEN=TOKEN))
    (folder / "printed").write_text(run.text())
    return folder / "run"


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: Hub, private: Path):
    assert hub.tokens("someone/private") == hub.tokens("someone/letters") == {TOKEN}
    files = [path for path in private.parent.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if TOKEN.encode() in path.read_bytes()] == []


def test_the_card_names_what_came_from_the_hub(private: Path):
    card = (private / "README.md").read_text()
    assert "base_model: someone/private\n" in card
    assert "datasets:\n- someone/letters\n" in card


@pytest.mark.parametrize("how", ["is_gone", "is_busy"])
def test_what_is_there_already_needs_no_hub(hub: Hub, online: Server, private: Path, tmp_path: Path, how: str):
    """Not even the token; and the same model is trained on the same data."""
    with hub.out_of_order(how):
        run = finish(train(online, "someone/private", "someone/letters", tmp_path / "run", *REVISION))
    assert "Retrying" not in run.text()
    assert losses(tmp_path / "run") == losses(private)


REFUSED = {
    "gated": ("someone/gated", "someone/questions", "", "model_name_or_path someone/gated cannot be loaded: it is gated; ask "),
    "not for this token": ("someone/gated", "someone/questions", "hf_other", "model_name_or_path someone/gated cannot be "),
    "missing": (
        "someone/missing",
        "someone/questions",
        "",
        "model_name_or_path someone/missing cannot be loaded: the hub has ",
    ),
    "expired": ("someone/model", "someone/questions", "hf_expired", "model_name_or_path someone/model cannot be loaded: the "),
    "gated data": (
        "someone/model",
        "someone/gated_questions",
        "",
        "dataset_name someone/gated_questions cannot be loaded: it ",
    ),
    "missing data": ("someone/model", "someone/missing", "", "dataset_name someone/missing cannot be loaded: the hub has no "),
}


@pytest.mark.parametrize(("model", "data", "token", "line"), REFUSED.values(), ids=REFUSED)
def test_what_the_hub_refuses_is_one_line(online: Server, tmp_path: Path, model: str, data: str, token: str, line: str):
    run = finish(train(online, model, data, tmp_path / "run", HF_TOKEN=token), code=2)
    error = run.errors.read_text()
    assert error.startswith(f"error: {line}")
    assert error.count("\n") == 1
    assert "(`hf auth login`, or HF_TOKEN)" in error
    assert not token or token not in run.text()
    assert not (tmp_path / "run").exists()


def test_a_revision_that_is_not_there(online: Server, tmp_path: Path):
    run = finish(train(online, "someone/model", "someone/questions", tmp_path / "run", "--model_revision", "none"), code=2)
    line = "it has no such branch, tag or commit; correct --model_revision"
    assert run.errors.read_text() == f"error: model_name_or_path someone/model cannot be loaded: {line}\n"
    assert not (tmp_path / "run").exists()


def check_refused(online: Server, folder: Path, script: str, flag: str, name: str) -> None:
    run = finish(online.start(script, f"--{flag}", name, "--output_dir", str(folder / "run"), launched=False), code=2)
    assert run.errors.read_text().startswith(f"error: {flag} {name} cannot be loaded: it is gated; ask for "), script
    assert run.errors.read_text().count("\n") == 1, script
    assert not (folder / "run").exists(), script


def scripts(pattern: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(f"recipes/*/{pattern}.py"))


def test_every_recipe_says_that_a_model_is_gated(online: Server, tmp_path: Path):
    assert len(scripts("train")) >= 6
    for script in scripts("train"):
        check_refused(online, tmp_path, script, "model_name_or_path", "someone/gated")


@pytest.mark.slow
def test_every_script_says_what_is_gated(online: Server, tmp_path: Path):
    for script in scripts("evaluate") + scripts("train_*"):
        check_refused(online, tmp_path, script, "model_name_or_path", "someone/gated")
    for script in scripts("train"):
        check_refused(online, tmp_path, script, "dataset_name", "someone/gated_questions")


def test_dequantizing_says_that_a_model_is_gated(online: Server, tmp_path: Path):
    command = ["recipes/gpt_oss_multilingual/dequantize.py", "someone/gated", str(tmp_path / "run")]
    run = finish(online.start(*command, launched=False), code=2)
    assert run.errors.read_text().startswith("error: model_name_or_path someone/gated cannot be loaded: it is gated; ask for ")
    assert run.errors.read_text().count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_token_that_is_given_by_a_flag_opens_what_is_gated(hub: Hub, recipes: Recipes):
    run = finish(prepare(recipes, "someone/gated", "someone/gated_questions", "--hub_token", TOKEN))
    assert f"\n{len(ROWS)} rows: " in run.output.read_text()
    assert TOKEN not in run.text()


# --- Transfers that break -----------------------------------------------------------------------------------------------


def padded(weights: bytes, by: int) -> bytes:
    """Returns safetensors with so many spaces more in their header, where they mean nothing."""
    end = 8 + int.from_bytes(weights[:8], "little")
    return (end - 8 + by).to_bytes(8, "little") + weights[8:end] + b" " * by + weights[end:]


def test_a_transfer_that_breaks_for_good_is_said_and_the_next_start_completes(
    hub: Hub, online: Server, recipes: Recipes, tmp_path: Path
):
    """The client tries six times, a second apart, if nothing comes; of what comes it keeps pieces of 10 MiB."""
    piece, never = 10 * 2**20, [0] * 6
    model = hub.add("someone/broken", MODEL, breaks={"model.safetensors": [*never, piece + 1000]})
    model.revisions["main"]["model.safetensors"] = padded(model.revisions["main"]["model.safetensors"], piece)
    hub.add("someone/broken_questions", QUESTIONS, "datasets", breaks={"train.jsonl": [*never, 1000]})
    runs = {
        "model_name_or_path someone/broken": train(online, "someone/broken", "someone/questions", tmp_path / "run"),
        "dataset_name someone/broken_questions": prepare(recipes, "someone/model", "someone/broken_questions"),
    }
    for what, run in runs.items():
        finish(run, code=2)
        assert "Traceback" not in run.text()
        assert run.errors.read_text().splitlines()[-1].startswith(f"error: {what} cannot be loaded: the connection to the hub ")
    assert not (tmp_path / "run").exists()
    finish(train(online, "someone/broken", "someone/broken_questions", tmp_path / "run"))
    assert hub.starts("someone/broken", "model.safetensors") == [*never, 0, piece]
    assert hub.starts("someone/broken_questions", "train.jsonl") == [*never, 0, 0]


# --- Uploads ------------------------------------------------------------------------------------------------------------


def test_an_export_is_pushed_into_a_private_repository(hub: Hub, recipes: Recipes, private: Path, tmp_path: Path):
    """Of adapters on the revision; the model that is uploaded is whole."""
    run = finish(recipes("export", private, "--output_dir", tmp_path / "mine", "--push", "me/mine", HF_TOKEN=TOKEN))
    assert run.output.read_text().endswith(f"Uploaded to {hub.url}/me/mine, a private repository.\n")
    assert TOKEN not in run.text()
    assert [(one["name"], one["organization"], one["visibility"]) for one in hub.created] == [("mine", "me", "private")]
    assert hub.tokens("me/mine") == {TOKEN}
    uploaded = hub.repositories["models/me/mine"].revisions["main"]
    assert uploaded == {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= uploaded.keys()
    secrets = [str(place).encode() for place in (ROOT, private, tmp_path, Path.home())] + [TOKEN.encode()]
    assert [(name, secret) for name, content in uploaded.items() for secret in secrets if secret in content] == []
    assert "base_model: someone/private\n" in uploaded["README.md"].decode()


def test_a_push_that_the_hub_refuses_is_one_line_before_any_work(hub: Hub, recipes: Recipes, private: Path):
    hub.readers.add("hf_reads")
    for name, token, line in (
        ("someone/gated", TOKEN, "that repository exists already, and nothing is overwritten; choose another name"),
        ("me/other", "hf_expired", "the hub does not accept the token (401); give "),
        ("me/other", "hf_reads", "the token may only read; give one of the kind `write`"),
        ("them/other", TOKEN, "the token is that of me, who is not in them; choose me/other"),
    ):
        run = finish(recipes("export", private, "--push", name, HF_TOKEN=token), code=2)
        error = run.errors.read_text()
        assert error.startswith(f"error: --push {name}: {line}")
        assert error.count("\n") == 1
        assert not (private / "export").exists()
    assert "models/me/other" not in hub.repositories


def test_an_export_stays_if_no_repository_may_be_made(hub: Hub, recipes: Recipes, private: Path, tmp_path: Path):
    mine = tmp_path / "mine"
    hub.closed.add("they")
    run = finish(recipes("export", private, "--output_dir", mine, "--push", "they/theirs", HF_TOKEN=TOKEN), code=2)
    error = run.errors.read_text()
    assert error.startswith("error: --push they/theirs: ")
    assert error.endswith(f"; the export is kept: `hf upload they/theirs {mine} . --private` uploads it\n")
    assert "no right to write there" in error
    assert error.count("\n") == 1
    assert TOKEN not in run.text()
    assert (mine / "model.safetensors").exists()
