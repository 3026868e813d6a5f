"""The recipe's own settings: a flag each, with a line of help."""

from dataclasses import dataclass, field


@dataclass
class MathArguments:
    """The recipe's own settings; GRPO's are TRL's `GRPOConfig`, the model's TRL's `ModelConfig`."""

    dataset_name: str = field(
        metadata={"help": "`synthetic`, a hub id, or a local file with the columns `question` and `answer`."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a hub data set that has several."})
    num_train: int = field(default=0, metadata={"help": "Training problems; 0 means all there are."})
    num_held_out: int = field(default=400, metadata={"help": "Rows of each held-out set and of the validation, at most."})
    system_prompt: str = field(default="", metadata={"help": "What the model is told before the question; may be empty."})
    max_prompt_length: int = field(default=512, metadata={"help": "Longest prompt in tokens; a longer one is an error."})


@dataclass
class EvaluationArguments(MathArguments):
    """What evaluate.py can be told beside them."""

    num_samples: int = field(default=0, metadata={"help": "Answers sampled for each problem, for pass@k; 0 for greedy only."})
