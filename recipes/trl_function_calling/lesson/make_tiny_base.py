"""Trains the weights in tiny_base/: a tiny chat model that reads requests and JSON, and has never made a call.

    python recipes/trl_function_calling/lesson/make_tiny_base.py --output_dir my_base

A large model comes to function calling with a lot: it reads, counts, knows JSON and has seen interfaces described. This one
is given as much on generated chat: small talk, questions about a request or about JSON, times in other words, values written
as JSON, two requests taken apart, and which of two described helpers fits a request, if any. Tools, calls, their arguments,
results and questions back are left to `train.py`.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the recipe's own files, as train.py finds them

from common.data.tokens import tokenize, use_training_template
from common.errors import fail
from common.measure.loss import mean_loss
from common.models.load import load_tokenizer
from common.models.tiny import tiny_config, tiny_tokenizer

import torch
from transformers import AutoModelForCausalLM, HfArgumentParser, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from trl import ModelConfig, SFTConfig, SFTTrainer

from lesson.plain_chat import generate_chat
from lesson.synthetic import generate_conversations, generate_unseen
from tools import TOOLS, schema

# Words, names with underscores, digits, spaces and punctuation each apart: a word is the same token in a request, after a space
# and in JSON after a quote. Copying is what calls are made of.
WORDS = r"[\p{L}_]+|\p{N}| +|[^\s\p{L}\p{N}_]+|\s+"
# The fixed parts of schemas and calls: a token each, or a tiny model would spend most of its time on them.
JSON_PHRASES = [
    '{"type": "function", "function": {"name": "',
    '", "description": "',
    '", "parameters": {"type": "object", "properties": {"',
    '": {"type": "string"',
    '": {"type": "integer"',
    '": {"type": "boolean"',
    ', "description": "',
    '"}, "',
    '"}}, "required": ["',
    '"]}}}',
    '{"name": "',
    '", "arguments": {"',
    '", "',
    '": "',
    '": ',
    '"}}\n</tool_call>',
    "}}\n</tool_call>",
    '"}}\n</tool_call>\n<tool_call>\n{"name": "',
    '}}\n</tool_call>\n<tool_call>\n{"name": "',
    '<tool_call>\n{"name": "',
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>\n\n</think>\n\n",
]


@dataclass
class BaseArguments:
    """How the base is trained, and where it is written."""

    output_dir: str = field(metadata={"help": "Folder for the weights; it must not exist yet."})
    steps: int = field(default=3500, metadata={"help": "Steps on chat in which helpers are described by a sentence."})
    schema_steps: int = field(default=1000, metadata={"help": "Then, steps in which they are described by whole schemas."})
    seed: int = 0


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_steps: int,
    learning_rate: float,
    schemas: bool,
    seed: int,
) -> None:
    """Trains the model on generated chat in float32, then prints its loss on chat that it has not seen."""
    rows = tokenize(generate_chat(12 * max_steps, seed=50 + seed, schemas=schemas), tokenizer, 512, where="chat")
    held_out = tokenize(generate_chat(200, seed=3, held_out=True, schemas=schemas), tokenizer, 512, where="held-out chat")
    with TemporaryDirectory() as folder:
        args = SFTConfig(
            output_dir=folder,
            max_steps=max_steps,
            per_device_train_batch_size=64,
            learning_rate=learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=100,
            adam_beta2=0.98,
            weight_decay=0.01,
            max_length=512,
            use_cpu=not torch.cuda.is_available(),
            bf16=False,
            activation_checkpointing=False,
            logging_steps=100,
            disable_tqdm=True,
            report_to="none",
            save_strategy="no",
            seed=seed,
        )
        trainer = SFTTrainer(model=model, args=args, train_dataset=rows, processing_class=tokenizer)
        trainer.train()
        loss = mean_loss(trainer.model_wrapped, trainer.accelerator, held_out, batch_size=100)["value"]
        print(f"loss on held-out chat after {max_steps} steps: {loss:.4f}", flush=True)


def make_tokenizer() -> PreTrainedTokenizerBase:
    """Returns a tokenizer for the generated conversations, with Qwen3's chat template in TRL's training variant."""
    plain = load_tokenizer(ModelConfig(model_name_or_path="tiny:qwen3"), ["?"])
    use_training_template(plain)
    tool = schema(next(iter(TOOLS.values())))
    instructions = plain.apply_chat_template([{"role": "user", "content": "?"}], tools=[tool], tokenize=False)
    before, _, after = instructions.partition(json.dumps(tool))
    phrases = [before.removeprefix("<|im_start|>").rstrip(), after.partition("<|im_end|>")[0].lstrip(), *JSON_PHRASES]

    conversations = generate_conversations(1500, seed=5) + generate_unseen(200, seed=5)
    texts = [plain.apply_chat_template(row["messages"], tools=row["tools"], tokenize=False) for row in conversations]
    for phrase in sorted(phrases, key=len, reverse=True):
        texts = [text.replace(phrase, "\n") for text in texts]
    texts += [message["content"] for row in generate_chat(3000, seed=6) for message in row["messages"]]
    tokenizer = tiny_tokenizer(texts, vocab_size=1024, phrases=phrases, words=WORDS)
    tokenizer.chat_template = plain.chat_template
    return tokenizer


def main() -> None:
    (args,) = HfArgumentParser(BaseArguments).parse_args_into_dataclasses()
    if Path(args.output_dir).exists():
        fail(f"--output_dir {args.output_dir} exists already; give a new folder")
    set_seed(args.seed)
    tokenizer = make_tokenizer()
    model = AutoModelForCausalLM.from_config(tiny_config("qwen3", tokenizer))
    train(model, tokenizer, max_steps=args.steps, learning_rate=2e-3, schemas=False, seed=args.seed)
    train(model, tokenizer, max_steps=args.schema_steps, learning_rate=1e-3, schemas=True, seed=100 + args.seed)

    # bfloat16 halves the file. The chat template is not stored: common.models.load takes TRL's own for this architecture.
    tokenizer.chat_template = None
    model.to(torch.bfloat16).save_pretrained(args.output_dir)
    tokenizer.save_pretrained(args.output_dir)


if __name__ == "__main__":
    main()
