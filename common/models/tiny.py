"""Tiny models of real architectures, built on the spot: `--model_name_or_path tiny:qwen3`.

A tiny model uses the real architecture class and the real chat template of its family, with its own small tokenizer, so that
a run without a GPU or a hub takes the very same path through TRL, Accelerate and DeepSpeed as a full-size one.
"""

from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GptOssConfig, LlamaConfig, PreTrainedConfig, PreTrainedTokenizerFast, Qwen3Config

PREFIX = "tiny:"
# What the family's chat template begins a turn with; padding is first, the end of a turn is last.
SPECIAL_TOKENS = {
    "qwen3": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "qwen2_vl": [
        "<|endoftext|>",
        "<|im_start|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
        "<|im_end|>",
    ],
    "llama": ["<|finetune_right_pad_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "gpt_oss": [
        "<|endoftext|>",
        "<|start|>",
        "<|end|>",
        "<|message|>",
        "<|channel|>",
        "<|constrain|>",
        "<|call|>",
        "<|return|>",
    ],
}
# Plain added tokens, as in Qwen3's own tokenizer: TRL decodes completions with skip_special_tokens=True, and a reward that
# looks for "</think>" would never see it if these were special.
THINK_TOKENS = ["<think>", "</think>"]

# What a family's chat template writes beside these: one token each.
TEMPLATE_WORDS = {"gpt_oss": ["developer", "# Instructions\n\n", "\n\n", "analysis", "final"]}

# One token a digit, as in Qwen's and Llama 3's small models: arithmetic on merged digits has to be learned by heart.
# Marks belong to their letters: Devanagari writes most vowels with them.
WORDS = r" ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+"

# Sizes that learn in minutes on a CPU core, about 0.6 million parameters.
SIZES = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}

# A mixture of experts: of each layer's four experts two work on a token.
MOE_SIZES = {
    **SIZES,
    "hidden_size": 96,
    "intermediate_size": 96,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "sliding_window": 128,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},  # for rows of a hundred tokens
    "initializer_range": 0.08,  # a width of 96 takes larger first weights than one of 2880
}

ARCHITECTURES: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
    "qwen3": (Qwen3Config, SIZES),
    "llama": (LlamaConfig, SIZES),
    "gpt_oss": (GptOssConfig, MOE_SIZES),
}
# For more than one script; the others take `tiny_tokenizer`'s own.
VOCAB_SIZES = {"gpt_oss": 1280}


def tiny_config(architecture: str, tokenizer: PreTrainedTokenizerFast | None = None) -> PreTrainedConfig:
    """Returns the configuration of a tiny model of a real architecture.

    Args:
        architecture: A key of `ARCHITECTURES`, the part of the model's name after `tiny:`.
        tokenizer: The tokenizer whose vocabulary and special tokens the model gets; without one the sizes are right, and the
            vocabulary is not.
    """
    config_class, sizes = ARCHITECTURES[architecture]
    if tokenizer is None:
        return config_class(**sizes)
    return config_class(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )


def tiny_tokenizer(
    texts: Iterable[str],
    architecture: str = "qwen3",
    vocab_size: int = 384,
    phrases: Iterable[str] = (),
    words: str = WORDS,
) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer that splits numbers into digits.

    Args:
        texts: What the model will read and write. The vocabulary is learned from it.
        architecture: A key of `ARCHITECTURES`; its family's special tokens begin and end a turn.
        vocab_size: The number of tokens, special ones included.
        phrases: Texts that always come whole, such as a chat template's fixed instructions: one token each, so that a tiny
            model spends no time on them.
        words: A regular expression of what is never merged with its neighbours.

    Returns:
        A tokenizer without a chat template; `common.models.load.load_tokenizer` adds the one of the model's family.
    """
    added = [*THINK_TOKENS, *phrases]
    pad, *marks, end_of_turn = SPECIAL_TOKENS[architecture]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        ["user\n", "assistant\n", "system\n", *texts],
        trainers.BpeTrainer(
            vocab_size=vocab_size - len(added),
            special_tokens=SPECIAL_TOKENS[architecture],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bpe.add_tokens([AddedToken(text, normalized=False) for text in added])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=end_of_turn,
        pad_token=pad,  # distinct from the end of turn, or the model is never trained to stop
        extra_special_tokens=marks,
    )
