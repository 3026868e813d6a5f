"""The recipe's own settings: a flag each, with a line of help."""

from dataclasses import dataclass, field

from common.data.arguments import DataArguments


@dataclass(kw_only=True)
class MathArguments(DataArguments):
    """The recipe's own settings beside its data's; GRPO's are TRL's `GRPOConfig`, the model's TRL's `ModelConfig`."""

    system_prompt: str = field(default="", metadata={"help": "What the model is told before the question; may be empty."})
    max_prompt_length: int = field(default=512, metadata={"help": "Longest prompt in tokens; a longer one is an error."})


@dataclass(kw_only=True)
class EvaluationArguments(MathArguments):
    """What evaluate.py can be told beside them."""

    num_samples: int = field(default=0, metadata={"help": "Answers sampled for each problem, for pass@k; 0 for greedy only."})
