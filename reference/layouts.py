"""How a checkpoint is written: the layouts that Hugging Face folders have had over the years."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from common import read_json, write_json


@dataclass
class Layout:
    """What is to be written where."""

    folder: Path
    model: object
    processor: object
    template: str


def current(layout: Layout) -> None:
    """As transformers 5.23 saves it: one file, a nested processor_config.json, a .jinja file."""
    layout.model.save_pretrained(layout.folder)
    layout.processor.save_pretrained(layout.folder)


def template_in_tokenizer_config(layout: Layout) -> None:
    """As `current`, the template inside tokenizer_config.json and nowhere else."""
    layout.processor.chat_template = None
    current(layout)
    path = layout.folder / "tokenizer_config.json"
    (layout.folder / "chat_template.jinja").unlink(missing_ok=True)
    write_json(path, read_json(path) | {"chat_template": layout.template})


def module_names(layout: Layout) -> None:
    """As `current`, the weights under the names of 5.x's modules (`model.language_model.…`)."""
    from safetensors.torch import save_file

    current(layout)
    weights = {name: tensor.contiguous() for name, tensor in layout.model.state_dict().items()}
    save_file(weights, layout.folder / "model.safetensors", metadata={"format": "pt"})


#: 5.x's module names and what the same weights were called in 2023.
OLD_NAMES = [
    (r"^model\.language_model\.", "language_model.model."),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.vision_tower\.", "vision_tower.vision_model."),
    (r"^model\.multi_modal_projector\.", "multi_modal_projector."),
]


def old_name(name: str) -> str:
    """The 2023 name of a 5.x parameter."""
    for pattern, replacement in OLD_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def of_2023(layout: Layout) -> None:
    """Old keys in three shards, old config keys with defaults left out, separate JSON files."""
    layout.processor.tokenizer.save_pretrained(layout.folder)
    (layout.folder / "chat_template.jinja").unlink(missing_ok=True)
    _old_config(layout)
    _old_processor(layout)
    _old_tokenizer_config(layout)
    _old_shards(layout)


def _old_config(layout: Layout) -> None:
    config = layout.model.config
    text, vision = config.text_config, config.vision_config
    rope = text.rope_parameters
    write_json(layout.folder / "config.json", {
        "architectures": ["LlavaForConditionalGeneration"],
        "ignore_index": -100,
        "image_token_index": config.image_token_index,
        "model_type": "llava",
        "pad_token_id": text.pad_token_id,
        "projector_hidden_act": "gelu",
        "text_config": {
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": text.hidden_size,
            "intermediate_size": text.intermediate_size,
            "max_position_embeddings": text.max_position_embeddings,
            "model_type": "llama",
            "num_attention_heads": text.num_attention_heads,
            "num_hidden_layers": text.num_hidden_layers,
            "rms_norm_eps": text.rms_norm_eps,
            "rope_scaling": {"type": rope["rope_type"], "factor": rope["factor"]},
            "rope_theta": rope["rope_theta"],
            "torch_dtype": "float16",
            "vocab_size": text.vocab_size,
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "transformers_version": "4.36.0.dev0",
        "vision_config": {
            "hidden_size": vision.hidden_size,
            "image_size": vision.image_size,
            "intermediate_size": vision.intermediate_size,
            "model_type": "clip_vision_model",
            "num_attention_heads": vision.num_attention_heads,
            "num_hidden_layers": vision.num_hidden_layers,
            "patch_size": vision.patch_size,
            "projection_dim": vision.projection_dim,
            "vocab_size": 32000,
        },
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "vocab_size": text.vocab_size,
    })
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": text.pad_token_id}
    write_json(
        layout.folder / "generation_config.json",
        {"_from_model_config": True, **ends, "transformers_version": "4.36.0.dev0"},
    )


def _old_processor(layout: Layout) -> None:
    images = layout.processor.image_processor
    write_json(layout.folder / "preprocessor_config.json", {
        "crop_size": {"height": images.crop_size["height"], "width": images.crop_size["width"]},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(images.image_mean),
        "image_processor_type": "CLIPImageProcessor",
        "image_std": list(images.image_std),
        "processor_class": "LlavaProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": images.size["shortest_edge"]},
    })
    write_json(layout.folder / "processor_config.json", {
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": layout.processor.patch_size,
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": "default",
    })
    text = json.dumps({"chat_template": layout.template}, indent=2) + "\n"
    (layout.folder / "chat_template.json").write_text(text, encoding="utf-8")


def _old_tokenizer_config(layout: Layout) -> None:
    tokenizer = layout.processor.tokenizer
    added = {
        str(id): {
            "content": token.content, "lstrip": token.lstrip, "normalized": token.normalized,
            "rstrip": token.rstrip, "single_word": token.single_word, "special": token.special,
        }
        for id, token in sorted(tokenizer.added_tokens_decoder.items())
    }
    write_json(layout.folder / "tokenizer_config.json", {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": added,
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "legacy": False,
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": "<pad>",
        "padding_side": "left",
        "processor_class": "LlavaProcessor",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
        "trust_remote_code": False,
        "unk_token": "<unk>",
        "use_default_system_prompt": False,
    })
    write_json(layout.folder / "special_tokens_map.json", {
        "bos_token": {"content": "<s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False},
        "eos_token": {"content": "</s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False},
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    })


def _old_shards(layout: Layout, shards: int = 3) -> None:
    """Weights in shards, with the buffers that old releases saved and new ones ignore."""
    import torch
    from safetensors.torch import save_file

    weights = {old_name(name): tensor.contiguous() for name, tensor in layout.model.state_dict().items()}
    positions = layout.model.model.vision_tower.embeddings.num_positions
    weights["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(positions)[None]
    inverse = layout.model.model.language_model.rotary_emb.inv_freq.float()
    for layer in range(layout.model.config.text_config.num_hidden_layers):
        weights[f"language_model.model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = inverse.clone()
    names = sorted(weights)
    bounds = [round(len(names) * shard / shards) for shard in range(shards + 1)]
    where = {}
    for shard, (first, last) in enumerate(zip(bounds, bounds[1:]), start=1):
        file = f"model-{shard:05d}-of-{shards:05d}.safetensors"
        part = {name: weights[name] for name in names[first:last]}
        save_file(part, layout.folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    total = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    write_json(
        layout.folder / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": where},
    )
