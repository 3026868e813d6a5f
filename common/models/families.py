"""Families of models, each list for what they were tried with: a new one is added here, and a test tries it."""

# Chat templates that TRL ships, for tokenizers that come without one (base models, tiny models).
CHAT_TEMPLATES = {
    "gemma": "gemma",
    "gemma2": "gemma",
    "gemma3": "gemma3",
    "gemma3_text": "gemma3",
    "gpt_oss": "gptoss",
    "llama": "llama3_2",
    "phi3": "phi3",
    "qwen2": "qwen2_5",
    "qwen3": "qwen3",
}

# Whose attention is what `varlen_attention` computes, causal and perhaps in a window: a test compares each with sdpa. Another
# model may pass more (a cap of the scores), or less (qwen2_moe its window), and would be another in silence.
VARLEN_MODELS = [
    "gemma",
    "gemma3_text",
    "granite",
    "llama",
    "ministral",
    "mistral",
    "mixtral",
    "olmo2",
    "olmo3",
    "phi3",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "smollm3",
]

# Whose attention is that of common/models/sinks.py: a test compares it with eager.
SINK_MODELS = ["gpt_oss"]

# Whose packed documents do not see each other, with sdpa and eager: a test compares each with its documents alone. Those of
# gpt_oss do (transformers 5.23 makes its masks without the positions), and so do those of layers that carry a state from token
# to token, as in Qwen 3.5.
PACKING_MODELS = [
    *VARLEN_MODELS,
    "apertus",
    "arcee",
    "cohere",
    "cohere2",
    "exaone4",
    "gemma2",
    "gemma4_text",
    "glm",
    "glm4",
    "glm4_moe",
    "gpt_neox",
    "granitemoe",
    "helium",
    "ministral3",
    "nemotron",
    "olmo",
    "olmoe",
    "phi",
    "qwen2_moe",
    "seed_oss",
    "stablelm",
    "starcoder2",
]

# Decoders whose attention is what `common.generate.slots` computes: a test compares each with `generate`.
ENGINE_MODELS = ["llama", "mistral", "qwen2", "qwen3", "smollm3"]

# Whose vision towers pass what `vision_tower.attend_together` takes: a test compares each with the one after the other.
PICTURE_MODELS = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
