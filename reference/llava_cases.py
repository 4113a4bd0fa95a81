"""The LLaVA-1.5 checkpoints that `llava.py` builds: configurations, prompts, layouts on disk."""

from dataclasses import dataclass, field
from typing import Callable

import layouts
from layouts import Layout

SEED = 20
VOCABULARY = 384


@dataclass
class Case:
    """One checkpoint folder: what the model is, how it is written, what it is asked."""

    tokenizer: str
    template: str
    vision: dict
    text: dict
    layout: Callable[["Layout"], None]
    prompts: dict
    llava: dict = field(default_factory=dict)
    processor: dict = field(default_factory=dict)
    image_processor: dict = field(default_factory=dict)
    dtype: str = "float32"
    #: A second end token: what greedy decoding of request 0 gives at this step.
    stop_at_step: int | None = None
    #: Frequencies depend on the longest position, so a batch differs from its parts.
    batches: bool = True


def clip(**changes) -> dict:
    """A tiny CLIP tower, 28 pixels in patches of 7."""
    base = dict(
        model_type="clip_vision_model", hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, image_size=28, patch_size=7, projection_dim=16,
    )
    return base | changes


def siglip(**changes) -> dict:
    """As `clip`, for the tower without class token."""
    return {key: value for key, value in clip().items() if key != "projection_dim"} | {
        "model_type": "siglip_vision_model", **changes
    }


def decoder(model_type: str, **changes) -> dict:
    """A tiny decoder with two query heads to each key-value head."""
    base = dict(
        model_type=model_type, vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=381,
    )
    return base | changes


def prompts(one: str, two: str, none: str) -> dict:
    """The raw prompts for one image, two images and no image."""
    return {"one": one, "two": two, "none": none}


VICUNA = prompts(
    "USER: <image>\nWhat is in the picture? ASSISTANT:",
    "USER: <image>\n<image>\nCompare the first with the second image. ASSISTANT:",
    "USER: What colour is the cup? ASSISTANT:",
)
INST = prompts(
    "[INST] <image>\nDescribe the image. [/INST]",
    "[INST] <image> and <image>\nCompare the first with the second image. [/INST]",
    "[INST] What colour is the cup? [/INST]",
)
CHATML = prompts(
    "<|im_start|>user\n<image>\nDescribe the image.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n<image><image>\nCompare the two.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWhat is this?<|im_end|>\n<|im_start|>assistant\n",
)
HEADINGS = prompts(
    "### User:\n<image> What is this?\n\n### Assistant:\n",
    "### User:\n<image> <image> Compare the two.\n\n### Assistant:\n",
    "### User:\nWhat colour is the cup?\n\n### Assistant:\n",
)

CASES = {
    # What transformers 5.23 writes today, OpenAI's CLIP, Llama with grouped queries.
    "clip-llama": Case(
        tokenizer="byte_fallback", template="vicuna", prompts=VICUNA,
        vision=clip(), text=decoder("llama"), layout=layouts.current,
    ),
    # What the hub holds since 2023: old keys, old config, three F16 shards.
    "clip-llama-old": Case(
        tokenizer="byte_fallback_prepend", template="vicuna", prompts=VICUNA, dtype="float16",
        vision=clip(image_size=42, patch_size=14),
        text=decoder(
            "llama", num_key_value_heads=4, rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0},
        ),
        layout=layouts.of_2023,
    ),
    # LAION's gelu, two feature layers with the class token kept, a window shorter than the prompt.
    "clip-mistral-bf16": Case(
        tokenizer="byte_fallback", template="mistral", prompts=INST, dtype="bfloat16",
        vision=clip(patch_size=14, hidden_act="gelu"),
        text=decoder(
            "mistral", sliding_window=10, num_hidden_layers=3, rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        ),
        llava=dict(vision_feature_select_strategy="full", vision_feature_layer=[-3, -1], image_seq_length=5),
        image_processor=dict(size={"shortest_edge": 40}),
        layout=layouts.module_names,
    ),
    # No class token, a position grid that does not fill the picture, tied embeddings.
    "siglip-qwen2": Case(
        tokenizer="byte_level", template="chatml", prompts=CHATML,
        vision=siglip(image_size=30),
        text=decoder("qwen2", tie_word_embeddings=True, bos_token_id=376, eos_token_id=378, pad_token_id=376),
        llava=dict(vision_feature_select_strategy="full", vision_feature_layer=-1),
        processor=dict(num_additional_image_tokens=0),
        layout=layouts.current,
    ),
    # Llama 3's frequencies, heads wider than hidden_size / heads, biases all over, several ends.
    "clip-llama3": Case(
        tokenizer="unigram", template="headings", prompts=HEADINGS, dtype="float16",
        vision=clip(patch_size=14, layer_norm_eps=1e-3),
        text=decoder(
            "llama", head_dim=10, attention_bias=True, mlp_bias=True, hidden_act="gelu_pytorch_tanh",
            rope_parameters={
                "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 256,
            },
            max_position_embeddings=2048,
        ),
        llava=dict(projector_hidden_act="silu", multimodal_projector_bias=False),
        stop_at_step=9, layout=layouts.current,
    ),
    # Frequencies that change while the answer grows beyond 24 positions.
    "clip-dynamic": Case(
        tokenizer="byte_fallback_prepend", template="vicuna", prompts=VICUNA, dtype="bfloat16",
        vision=clip(),
        text=decoder(
            "llama", max_position_embeddings=24,
            rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
        ),
        batches=False, layout=layouts.template_in_tokenizer_config,
    ),
}


def image_token(case: Case) -> int:
    """The id of `<image>` in the case's tokenizer."""
    return 379 if case.tokenizer == "byte_level" else 380


def requests(case: Case, images: str) -> list[dict]:
    """The requests of a case; `images` is the way from its folder to the pictures."""
    one, two, none = (case.prompts[key] for key in ("one", "two", "none"))
    named = [(["chelsea"], one), (["coffee"], one), (["astronaut", "coffee"], two), ([], none)]
    if case.layout is layouts.current:
        named.append((["strip"], one))
    return [{"images": [f"{images}/{name}.png" for name in names], "prompt": prompt} for names, prompt in named]


def conversations(images: str) -> list[dict]:
    """Requests in messages form: one turn, and a conversation with a system text and two pictures."""
    picture = {"type": "image"}

    def say(role: str, *parts) -> dict:
        content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
        return {"role": role, "content": content}

    short = [say("user", picture, "What is in the picture?")]
    long = [
        say("system", "you are a helpful assistant."),
        say("user", picture, "What is this?"),
        say("assistant", "A red cup."),
        say("user", picture, "Compare the two."),
    ]
    return [
        {"images": [f"{images}/chelsea.png"], "messages": short},
        {"images": [f"{images}/coffee.png", f"{images}/astronaut.png"], "messages": long},
    ]
