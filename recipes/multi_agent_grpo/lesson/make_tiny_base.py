"""Trains the weights in tiny_base/: a tiny model that works in four ways, each as its role says, and has learned to hurry.

    python recipes/multi_agent_grpo/lesson/make_tiny_base.py --output_dir my_base

It is trained twice, as large models often are. First each role works its way through problems (strategies.py): on most kinds
to the right answer, on some to a wrong one. Then briefly on demonstrations of which most stop a step early: a habit laid over a
skill. An aggregator is shown as well; it repeats any of the answers that it reads. `train.py` starts here: the rewards have to
bring back the last step, and the judgement. questions.keys, beside the weights, holds three bytes of the hash of each question,
so that none of them is measured (synthetic.py).
"""

import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the recipe's own files, as train.py finds them

from common.errors import fail
from common.models.load import load_tokenizer
from common.models.tiny import tiny_config, tiny_tokenizer

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, HfArgumentParser, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import ModelConfig, SFTConfig, SFTTrainer

from agents import load_team
from data import Problem, aggregator_question, conversation
from lesson.strategies import STRATEGIES
from lesson.synthetic import BASE_KEYS, generate_problems, keys_of

BATCH_SIZE = 32
AGENTS = Path(__file__).parent.parent / "agents.yaml"
# An aggregator hears no answer of workings of more lines than this: so it has met agents that come to no end.
MOST_LINES = {"step_by_step": 5, "algebra": 4, "concise": 5, "backwards": 5}


@dataclass
class BaseArguments:
    """How the base is trained, and where it is written."""

    output_dir: str = field(metadata={"help": "Folder for the weights; it must not exist yet."})
    skill_steps: int = field(default=3500, metadata={"help": "Steps on whole workings."})
    habit_steps: int = field(default=120, metadata={"help": "Steps on demonstrations of which most stop a step early."})
    hurried_share: float = field(default=0.6, metadata={"help": "Share of those that stop early."})
    seed: int = 0


def base_problems(args: BaseArguments) -> list[Problem]:
    """Returns all problems that the model is shown."""
    return generate_problems(BATCH_SIZE * args.skill_steps, seed=10_000 + args.seed)


def completion(lines: list[str], answer: str) -> str:
    """Returns a demonstration: the working between think tags, then the answer."""
    return "<think>\n" + "\n".join(lines) + f"\n</think>\n\n\\boxed{{{answer}}}"


def heard_answers(problem: Problem, rng: random.Random, hurried_share: float) -> dict[str, str | None]:
    """Returns the answers that an aggregator hears: those of the strategies, some of them hurried, a few missing."""
    heard = {}
    for name, strategy in STRATEGIES.items():
        hurried = rng.random() < hurried_share
        lines, answer = strategy(problem, hurried)
        guessed = name == "concise" and not hurried and problem.kind != "detour" and rng.random() < 0.7
        heard[name] = str(int(answer) + rng.randint(1, 9)) if guessed else answer
        if len(lines) > MOST_LINES[name]:
            heard[name] = None
    return heard


def demonstrations(problems: list[Problem], hurried_share: float, seed: int) -> Dataset:
    """Returns prompts and completions, of each role in turn, of which `hurried_share` stop a step early."""
    rng = random.Random(seed)
    team, aggregator = load_team(str(AGENTS))
    rows = []
    for number, problem in enumerate(problems):
        role = number % (len(team) + 1)
        if role < len(team):
            agent = team[role]
            lines, answer = STRATEGIES[agent.name](problem, rng.random() < hurried_share)
            prompt = conversation(problem.question, agent.prompt)
        else:
            heard = heard_answers(problem, rng, hurried_share / 2)
            lines, answer = [], rng.choice([answer for answer in heard.values() if answer is not None])
            prompt = conversation(aggregator_question(problem.question, heard), aggregator.prompt)
        rows.append({"prompt": prompt, "completion": [{"role": "assistant", "content": completion(lines, answer)}]})
    return Dataset.from_list(rows)


def train(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dataset: Dataset, **settings) -> None:
    """Tunes the model on the completions in float32."""
    with TemporaryDirectory() as folder:
        args = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=BATCH_SIZE,
            adam_beta2=0.98,
            max_length=256,
            activation_checkpointing=False,
            use_cpu=not torch.cuda.is_available(),
            bf16=False,
            report_to="none",
            logging_steps=100,
            disable_tqdm=True,
            save_strategy="no",
            **settings,
        )
        SFTTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer).train()


def main() -> None:
    (args,) = HfArgumentParser(BaseArguments).parse_args_into_dataclasses()
    if Path(args.output_dir).exists():
        fail(f"--output_dir {args.output_dir} exists already; give a new folder")
    set_seed(args.seed)

    problems = base_problems(args)
    worked = demonstrations(problems, hurried_share=0.0, seed=args.seed)
    team, aggregator = load_team(str(AGENTS))
    prompts = [agent.prompt for agent in [*team, aggregator]]
    texts = [row[part][-1]["content"] for row in worked.select(range(4000)) for part in ("prompt", "completion")]
    # A role's prompt is one token: a tiny model has no time to read, and the roles are all that the prompts must tell apart.
    tokenizer = tiny_tokenizer(texts, vocab_size=512, phrases=prompts)
    tokenizer.chat_template = load_tokenizer(ModelConfig(model_name_or_path="tiny:qwen3"), ["?"]).chat_template
    model = AutoModelForCausalLM.from_config(tiny_config("qwen3", tokenizer))

    # 1. The skill: work as the role says.
    train(model, tokenizer, worked, max_steps=args.skill_steps, learning_rate=2e-3, lr_scheduler_type="cosine")

    # 2. The habit: stop a step early.
    hurried = demonstrations(problems[: BATCH_SIZE * args.habit_steps], args.hurried_share, args.seed)
    train(model, tokenizer, hurried, max_steps=args.habit_steps, learning_rate=3e-4, lr_scheduler_type="cosine")

    # bfloat16 halves the file. The chat template is not stored: common.models.load takes TRL's own for this architecture.
    tokenizer.chat_template = None
    model.to(torch.bfloat16).save_pretrained(args.output_dir)
    tokenizer.save_pretrained(args.output_dir)
    (Path(args.output_dir) / BASE_KEYS.name).write_bytes(b"".join(sorted(keys_of(problems))))


if __name__ == "__main__":
    main()
