"""Tiny models of real architectures, built on the spot: `--model_name_or_path tiny:qwen3`.

A tiny model uses the real architecture class and the real chat template of its family, with its own small tokenizer, so that
a run without a GPU or a hub takes the very same path through TRL, Accelerate and DeepSpeed as a full-size one.
"""

from collections.abc import Callable, Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedConfig, PreTrainedTokenizerFast, Qwen3Config

PREFIX = "tiny:"
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Plain added tokens, as in Qwen3's own tokenizer: TRL decodes completions with skip_special_tokens=True, and a reward that
# looks for "</think>" would never see it if these were special.
THINK_TOKENS = ["<think>", "</think>"]


def _qwen3(tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    return Qwen3Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


ARCHITECTURES: dict[str, Callable[[PreTrainedTokenizerFast], PreTrainedConfig]] = {"qwen3": _qwen3}


def tiny_config(architecture: str, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    """Returns the configuration of a tiny model (0.6 million parameters) of a real architecture.

    Args:
        architecture: A key of `ARCHITECTURES`, the part of the model's name after `tiny:`.
        tokenizer: The tokenizer whose vocabulary and special tokens the model gets.
    """
    return ARCHITECTURES[architecture](tokenizer)


def tiny_tokenizer(texts: Iterable[str], vocab_size: int = 384) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer that splits numbers into digits and ends a turn with `<|im_end|>`.

    Args:
        texts: What the model will read and write. The vocabulary is learned from it.
        vocab_size: The number of tokens, special ones included.

    Returns:
        A tokenizer without a chat template; `common.models.load_tokenizer` adds the one of the model's family.
    """
    bpe = Tokenizer(models.BPE())
    # One token a digit, as in Qwen's and Llama 3's small models: arithmetic on merged digits has to be learned by heart.
    words = Regex(r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        ["user\n", "assistant\n", "system\n", *texts],
        trainers.BpeTrainer(
            vocab_size=vocab_size - len(THINK_TOKENS),
            special_tokens=SPECIAL_TOKENS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bpe.add_tokens(THINK_TOKENS)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",  # distinct from the end of turn, or the model is never trained to stop
        extra_special_tokens=["<|im_start|>"],
    )
