"""Whole conversations as ids with masks of the assistant's tokens, made by transformers' processors and tokenizers.

    python reference/conversations.py

Writes `vlm/tests/fixtures/conversations.json`: for each entry a checkpoint folder, a template, messages, pictures, ids
(placeholders expanded) and `return_assistant_tokens_mask`. A template without `{% generation %}` has the mask
of a twin that writes the same text and marks what follows the generation prompt.
"""

from common import FIXTURES, REPOSITORY, TEMPLATES, quiet, versions, write_json

from transformers import AutoProcessor, AutoTokenizer

CASES = REPOSITORY / "vlm-chat-template" / "tests" / "templates"


def text(words):
    return {"type": "text", "text": words}


def image(name):
    return {"type": "image", "path": f"{name}.png"}


def says(role, *parts):
    return {"role": role, "content": [text(part) if isinstance(part, str) else part for part in parts]}


CONVERSATIONS = {
    "one": [says("user", image("chelsea"), "What is it?"), says("assistant", "A cat.")],
    "several": [
        says("user", image("coffee"), image("strip"), "Compare the first with the second image."),
        says("assistant", "The 1st is a cup — naïve, 東京 😀."),
        says("user", "And this?", image("pixel")),
        says("assistant", "Neither;  two spaces\nand a line."),
    ],
    "open": [says("user", "What colour is the cup?"), says("assistant", "Red"), says("user", "Sure?")],
}


def twin(name, source):
    """The template with marks around each of the assistant's turns; it has them already, or is one of ours."""
    if "{%- generation" in source:
        return source
    if name == "chatml":
        return source.replace(
            "{% for message in messages %}",
            "{% for message in messages %}{% if message.role == 'assistant' %}"
            "{{- '<|im_start|>assistant\\n' -}}{% generation %}"
            "{%- for part in message.content %}{{- part.text -}}{% endfor %}{{- '<|im_end|>\\n' -}}"
            "{% endgeneration %}{% continue %}{% endif %}",
        )
    if name in ("smolvlm", "idefics3"):
        return source.replace(
            "{% for message in messages %}",
            "{% for message in messages %}{% if message.role == 'assistant' %}"
            "{{- 'Assistant:' -}}{% generation %}{{- ' ' -}}"
            "{%- for part in message.content %}{{- part.text -}}{% endfor %}{{- '<end_of_utterance>\\n' -}}"
            "{% endgeneration %}{% continue %}{% endif %}",
        )
    raise ValueError(name)


def expect(folder, name, path, processor):
    source = path.read_text(encoding="utf-8")
    marked = twin(name, source)
    for key, messages in CONVERSATIONS.items():
        pictures = FIXTURES / "images"
        shown = [
            says(m["role"], *({**p, "path": str(pictures / p["path"])} if "path" in p else p for p in m["content"]))
            for m in messages
        ]
        plain = processor.apply_chat_template(shown, chat_template=source)
        assert plain == processor.apply_chat_template(shown, chat_template=marked), (name, plain)
        inputs = processor.apply_chat_template(
            shown, chat_template=marked, tokenize=True, return_dict=True, return_assistant_tokens_mask=True,
            return_tensors="pt",
        )
        ids, mask = inputs["input_ids"][0].tolist(), [int(on) for on in inputs["assistant_masks"][0]]
        assert 0 < sum(mask) < len(mask)
        yield {
            "folder": folder,
            "template": path.relative_to(REPOSITORY).as_posix(),
            "conversation": key,
            "images": [part["path"] for m in messages for part in m["content"] if "path" in part],
            "messages": messages,
            "ids": ids,
            "assistant": mask,
        }


def expect_of_text(folder, path, tokenizer):
    """The same of a language model alone, whose messages are strings."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What colour is the cup?"},
        {"role": "assistant", "content": "Red — naïve  😀"},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes\n"},
    ]
    inputs = tokenizer.apply_chat_template(
        messages, chat_template=path.read_text(encoding="utf-8"), tokenize=True, return_dict=True,
        return_assistant_tokens_mask=True,
    )
    yield {
        "folder": folder,
        "template": path.relative_to(REPOSITORY).as_posix(),
        "conversation": "strings",
        "images": [],
        "messages": messages,
        "ids": inputs["input_ids"],
        "assistant": inputs["assistant_masks"],
    }


def main():
    quiet()
    entries = []
    for folder, names in {
        "llava/clip-llama": ["vicuna", "llava_vicuna", "llava_mistral"],
        "llava/siglip-qwen2": ["chatml", "llava_vicuna"],
        "llava_next/mistral": ["mistral"],
        "idefics3/smolvlm": ["smolvlm"],
        "idefics3/idefics3": ["idefics3"],
    }.items():
        processor = AutoProcessor.from_pretrained(FIXTURES / folder)
        for name in names:
            of_crate = CASES / f"{name}.jinja"
            path = of_crate if name.startswith("llava_") else TEMPLATES / f"{name}.jinja"
            entries += expect(folder, name, path, processor)
    for folder in ("llama", "mistral", "qwen2"):
        folder = f"../../../vlm-text/tests/fixtures/{folder}"
        tokenizer = AutoTokenizer.from_pretrained(FIXTURES / folder)
        for name in ("llava_vicuna", "llava_mistral"):
            entries += expect_of_text(folder, CASES / f"{name}.jinja", tokenizer)
    write_json(FIXTURES / "conversations.json", {"versions": versions(), "entries": entries})
    print(f"{len(entries)} conversations")


if __name__ == "__main__":
    main()
