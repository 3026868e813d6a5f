"""Trains the weights in tiny_base/: a tiny model that can reason but was tuned to answer at once.

    python recipes/grpo_math/lesson/make_tiny_base.py --output_dir my_base

It is trained twice, as large models often are. First on worked solutions, until it solves nearly every problem by
thinking. Then briefly on demonstrations of which most answer at once: a habit laid over a skill, and accuracy falls,
because two operations in one glance are more than three layers can do. `train.py` starts here: the reward alone has to
bring the thinking back.
"""

import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the recipe's own files, as train.py finds them

from common.errors import fail
from common.models.load import load_model, load_tokenizer

import torch
from datasets import Dataset
from transformers import HfArgumentParser, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import GRPOConfig, ModelConfig, SFTConfig, SFTTrainer

from arguments import MathArguments
from data import Problem
from evaluate import evaluate
from lesson.synthetic import synthetic_splits


@dataclass
class BaseArguments:
    """How the base is trained, and where it is written."""

    output_dir: str = field(metadata={"help": "Folder for the weights; it must not exist yet."})
    skill_steps: int = field(default=1000, metadata={"help": "Steps on worked solutions."})
    habit_steps: int = field(default=240, metadata={"help": "Steps on demonstrations that mostly answer at once."})
    direct_share: float = field(default=0.8, metadata={"help": "Share of those that answer at once."})
    seed: int = 0


def demonstrations(problems: list[Problem], direct_share: float, seed: int) -> Dataset:
    """Returns prompts and completions of which `direct_share` answer without a thought."""
    rng = random.Random(seed)
    prompts, completions = [], []
    for problem in problems:
        thoughts = "" if rng.random() < direct_share else problem.solution
        answer = f"<think>\n{thoughts}\n</think>\n\n\\boxed{{{problem.answer}}}"
        prompts.append([{"role": "user", "content": problem.question}])
        completions.append([{"role": "assistant", "content": answer}])
    return Dataset.from_dict({"prompt": prompts, "completion": completions})


def train(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dataset: Dataset, **settings) -> None:
    """Tunes the model on the completions in float32, then prints how many held-out problems it solves."""
    with TemporaryDirectory() as folder:
        common = {"output_dir": folder, "use_cpu": not torch.cuda.is_available(), "bf16": False, "report_to": "none"}
        generation_args = GRPOConfig(per_device_eval_batch_size=200, max_completion_length=40, **common)
        args = SFTConfig(
            per_device_train_batch_size=32,
            adam_beta2=0.98,
            max_length=128,
            activation_checkpointing=False,
            logging_steps=100,
            disable_tqdm=True,
            save_strategy="no",
            **common,
            **settings,
        )
        trainer = SFTTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer)
        trainer.train()
        _, _, held_out = synthetic_splits(num_train=0, num_held_out=400, seed=0)
        math = MathArguments(dataset_name="synthetic")
        for name, result in evaluate(model, trainer.accelerator, tokenizer, held_out, math, generation_args).items():
            metrics = {metric: f"{values['value']:.3f}" for metric, values in result["metrics"].items()}
            print(f"{name} after {args.max_steps} steps: {metrics}", flush=True)


def main() -> None:
    (args,) = HfArgumentParser(BaseArguments).parse_args_into_dataclasses()
    if Path(args.output_dir).exists():
        fail(f"--output_dir {args.output_dir} exists already; give a new folder")
    set_seed(args.seed)

    problems, _, _ = synthetic_splits(num_train=32 * args.skill_steps, num_held_out=500, seed=10_000 + args.seed)
    worked = demonstrations(problems, direct_share=0.0, seed=args.seed)
    texts = [message["content"] for row in worked.select(range(3000)) for part in row.values() for message in part]
    model_args = ModelConfig(model_name_or_path="tiny:qwen3")
    tokenizer = load_tokenizer(model_args, texts)
    model = load_model(model_args, tokenizer)

    # 1. The skill: solve problems step by step.
    train(model, tokenizer, worked, max_steps=args.skill_steps, learning_rate=2e-3, lr_scheduler_type="cosine")

    # 2. The habit: answer at once.
    mostly_direct = demonstrations(problems[: 32 * args.habit_steps], args.direct_share, args.seed)
    train(model, tokenizer, mostly_direct, max_steps=args.habit_steps, learning_rate=5e-4, lr_scheduler_type="constant")

    # bfloat16 halves the file. The chat template is not stored: common.models.load takes TRL's own for this architecture.
    tokenizer.chat_template = None
    model.to(torch.bfloat16).save_pretrained(args.output_dir)
    tokenizer.save_pretrained(args.output_dir)


if __name__ == "__main__":
    main()
