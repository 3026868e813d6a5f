"""The commands of the READMEs, read from top to bottom, work in that order in one checkout."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from conftest import ROOT, Python, python_of, run_command
from forks import BIN, free_port, serving
from PIL import Image

RECIPES = sorted(script.parent.name for script in (ROOT / "recipes").glob("*/train.py"))
PORTS = {"accelerate": "--main_process_port", "torchrun": "--master_port", "deepspeed": "--master_port"}
PROCESSES = ("--num_processes", "--nproc_per_node", "--num_gpus")

# Appended to what trains, where the recipe has such a flag: the smallest run that goes through all of its parts.
SMALL = {
    "max_steps": 2,
    "num_train": 64,
    "num_held_out": 8,
    "per_device_train_batch_size": 32,
    "aggregator_steps": 1,
}
# A line, or all up to the end of the file that the line writes (`<<'END'`).
COMMAND = re.compile(r".*<<'(\w+)'.*\n(?:.*\n)*?\1\n|.*\n")
Step = Callable[[list[str]], None]


def commands(page: Path) -> list[str]:
    """Returns the commands of a page's ```bash blocks, each with the lines that belong to it.

    A comment on a line of its own, such as `# needs GPUs` or `# needs the hub`, holds for the rest of its block: those commands
    are for other machines than this one, and left out.
    """
    found = []
    for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        here = re.split(r"^# needs (?:GPUs|the hub|files)", block, flags=re.MULTILINE)[0].replace("\\\n", " ")
        found += [command[0] for command in COMMAND.finditer(here) if words_of(command[0])]
    return found


def words_of(command: str) -> list[str]:
    """Returns the words of a command's first line."""
    return shlex.split(command.partition("\n")[0], comments=True)


def bring_your_own(page: Path, root: Path) -> None:
    """Writes the files `my_...` that a page's commands name, with rows like those that the page shows."""
    text = page.read_text()
    rows = [json.loads(row) for row in re.findall(r"```json\n(\{.*\})\n```", text)]
    for name in set(re.findall(r"--dataset_name (my_\w+\.jsonl)", text)):
        with open(root / name, "w") as file:
            for number in range(120):
                row = deepcopy(rows[0])
                asked = next((message for message in row.get("messages", []) if message["role"] == "user"), row)
                column = "question" if asked is row else "content"
                asked[column] = f"{number}. {asked[column]}"
                file.write(json.dumps(row) + "\n")
    if "--dataset_name my_receipts" in text:
        (root / "my_receipts").mkdir()
        with open(root / "my_receipts" / "metadata.jsonl", "w") as file:
            for number in range(120):
                Image.new("L", (112, 28), number).save(root / "my_receipts" / f"{number}.png")
                file.write(json.dumps({"file_name": f"{number}.png", "text": f"TOTAL {number}"}) + "\n")
    if "my_agents.yaml" in text:
        shutil.copy(root / "recipes" / page.parent.name / "agents.yaml", root / "my_agents.yaml")
    if "line.png" in text:
        Image.new("L", (112, 28), 255).save(root / "line.png")


def small(words: list[str], root: Path) -> tuple[list[str], list[str]]:
    """Returns a launch's words up to the script, and from there on, in a form that takes seconds."""
    position = next(i for i, word in enumerate(words) if word.endswith(".py"))
    launcher, script = words[:position], words[position:]
    for option in set(PROCESSES) & set(launcher):
        place = launcher.index(option) + 1
        launcher[place] = str(min(2, int(launcher[place])))
    arguments = (root / script[0]).with_name("arguments.py").read_text()
    if "(DataArguments)" in arguments:
        arguments += (root / "common" / "data" / "arguments.py").read_text()
    kind = Path(script[0]).stem.partition("_")[0]
    for name, value in SMALL.items():
        of_the_recipe = re.search(rf"^    {name}:", arguments, re.MULTILINE)
        if of_the_recipe or (kind == "train" and name in ("max_steps", "per_device_train_batch_size")):
            script += [f"--{name}", str(value)] if kind == "train" or name == "num_held_out" else []
    return launcher, script


def as_small(words: list[str], root: Path) -> list[str]:
    """Returns a launch in a form that takes seconds, beside which others may go on."""
    launcher, script = small(words, root)
    start = 2 if words[0] == "accelerate" else 1  # after `accelerate launch`
    port = [PORTS[words[0]], str(free_port())] if words[0] in PORTS else []
    return [*launcher[:start], *port, *launcher[start:], *script]


def is_run(words: list[str]) -> bool:
    """Returns whether a command is one of the console script or of a recipe's script, with nothing that only a shell reads."""
    script = words[0] in ("python", *PORTS) and any(re.fullmatch(r"recipes/\w+/\w+\.py", word) for word in words)
    return (words[0] == "recipes" or script) and not any(word[0] in "|<>" for word in words if word)


def read_on(page: Path, root: Path, run: Step, given: set[str]) -> int:
    """Gives the commands of a page, in order, but for those that were `given` before; returns how many were run."""
    count = 0
    for command in commands(page):
        words = words_of(command)
        words = words[3:] if words[:3] == ["uv", "run", "--no-sync"] else words
        if " ".join(words) in given:
            continue
        given.add(" ".join(words))
        if words[0] == "make":  # installs and downloads; what it then starts is the next command of the page
            assert run_command(["make", "--dry-run", *words[1:]], cwd=root).returncode == 0, command
        elif words[0] == "uv":  # installs: what it is to install must be there
            assert all((root / word).exists() for word in words if word in (".", "requirements.lock")), command
        elif words[0] == "source":
            assert (root / words[1]).is_file(), command
        elif words[:2] == ["recipes", "serve"]:  # until it is interrupted: tests/e2e/test_serve.py
            assert Path(root / words[2]).is_dir(), command
        elif is_run(words):
            run(words)
            count += 1
        else:
            ended = run_command(["bash", "-e", "-c", command], cwd=root)
            assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    return count


def without_launcher(root: Path, python: Python) -> Step:
    """Returns a step that runs a command in one process that has imported the libraries already: seconds, not half a minute."""

    def run(words: list[str]) -> None:
        python(*([BIN / "recipes", *words[1:]] if words[0] == "recipes" else small(words, root)[1]))

    return run


def as_given(root: Path) -> Step:
    """Returns a step that runs a command as it stands, smaller."""

    def run(words: list[str]) -> None:
        if words[0] != "recipes":
            words = as_small(words, root)
        # LOCAL_SIZE: without a GPU DeepSpeed counts NUMA nodes, and starts no more processes than it counted.
        env = {"LOCAL_SIZE": "2"} if words[0] == "deepspeed" else {}
        ended = run_command(words, cwd=root, **env)
        assert ended.returncode == 0, f"{shlex.join(words)}\n{ended.stdout}{ended.stderr}"

    return run


def test_the_first_path(checkout: Path, tmp_path: Path):
    """README.md, then that of the recipe which it begins with."""
    given = set()
    with serving(tmp_path, checkout) as server:
        for page, least in ((checkout / "README.md", 5), (checkout / "recipes" / "grpo_math" / "README.md", 5)):
            bring_your_own(page, checkout)
            assert read_on(page, checkout, without_launcher(checkout, python_of(server)), given) >= least


def pages_of_the_site(root: Path) -> list[Path]:
    """Returns the pages that are written by hand, in the order of the site's navigation."""
    tutorials = re.findall(r"\]\((recipes/\w+/README\.md)\)", (root / "README.md").read_text())
    pages = []
    for page in re.findall(r"Recipes: \[\]|\w+\.md$", (root / "mkdocs.yml").read_text().partition("\nnav:")[2], re.MULTILINE):
        pages += [root / tutorial for tutorial in tutorials] if page.startswith("Recipes") else [root / "docs" / page]
    return [page for page in pages if page.is_file()]


def bring_rows(root: Path) -> None:
    """Writes the files of your own that pages of the site name and do not write."""
    question = "How many pens are {} pens?"
    asked = [
        {"question": question.format(number), "answer": str(number), "document": str(number // 2)} for number in range(120)
    ]
    turns = [[{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}] for row in asked]
    chosen = [{"chosen": messages, "rejected": messages[:1]} for messages in turns]
    for name, rows in {
        "my_questions.jsonl": asked,
        "my_preferences.jsonl": chosen,
        "my_conversations.jsonl": [{"messages": messages} for messages in turns],
    }.items():
        (root / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (root / "my_conversations.json").write_text(json.dumps([{"messages": messages} for messages in turns]))
    for name, heading in {
        "my_problems.csv": "question,answer",
        "more_questions.csv": "question,answer",
        "my_faq.csv": "Frage,Antwort",
    }.items():
        (root / name).write_text("\n".join([heading, *(f"{row['question']},{row['answer']}" for row in asked)]) + "\n")
    shutil.copytree(root / "recipes" / "grpo_math" / "lesson" / "tiny_base", root / "my_model", dirs_exist_ok=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_pages_in_one_checkout(checkout: Path, tmp_path: Path):
    """README.md and then the site, as whoever reads all of it gives the commands; what stands on two pages is given once."""
    pages, given = [checkout / "README.md", *pages_of_the_site(checkout)], set()
    assert len(pages) > 15
    with serving(tmp_path, checkout) as server:
        for page in pages:
            if page.name == "README.md":
                bring_your_own(page, checkout)
            else:
                bring_rows(checkout)
            count = read_on(page, checkout, without_launcher(checkout, python_of(server)), given)
            print(f"{page.relative_to(checkout)}: {count} commands", flush=True)
    assert len(given) > 60


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipes_readme(checkout: Path, tmp_path: Path, recipe: str):
    page = checkout / "recipes" / recipe / "README.md"
    bring_your_own(page, checkout)
    with serving(tmp_path, checkout) as server:
        assert read_on(page, checkout, without_launcher(checkout, python_of(server)), set()) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "recipes/grpo_math/README.md"])
def test_as_given(checkout: Path, page: str):
    bring_your_own(checkout / page, checkout)
    assert read_on(checkout / page, checkout, as_given(checkout), set()) >= 5
