"""Golden prompts for vlm-chat-template, made by transformers itself.

Modes:

    cases   (default) render every `tests/cases/*.json` of the crate and write `NAME.golden.json`
            next to it; with --check write nothing and fail when a golden is missing or differs.
    folder  render each `*.jinja` of a folder of real templates with the conversations of this
            file, and write one JSON file for each template to --out, for the ignored test
            `real_templates` (which finds them through VLM_CHAT_TEMPLATE_GOLDENS). These files
            hold the templates' source and are not to be committed.

A case is a JSON object with one of

    template    a file of `tests/templates`
    source      the template itself
    snippets    a list of templates, rendered one by one
    files       the files of a checkpoint folder, whose templates and tokens are read

and with messages, special_tokens, add_generation_prompt, continue_final_message, tools,
documents, variables, now (the time that strftime_now sees), control_tokens (the prompt is
sanitized). A golden holds text and generated (character spans of `{% generation %}` blocks), or
pieces, or outputs, or error.

Everything is deterministic: no network, no clock, no random numbers.
"""

import argparse
import json
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import jinja2
from transformers import PreTrainedTokenizerFast
from transformers.processing_utils import ProcessorMixin
from transformers.utils import chat_template_utils

CRATE = Path(__file__).resolve().parent.parent / "vlm-chat-template"
NOW = "2026-03-05T07:08:09.001234"


def fix_clock(now):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromisoformat(now)

    chat_template_utils.datetime = Clock


def describe(error):
    """An error as a golden: raise_exception's text counts, other messages are the engines' own."""
    if type(error) is jinja2.exceptions.TemplateError:
        return {"error": {"raised": str(error)}}
    return {"error": {"kind": type(error).__name__}}


def render(case, source):
    """One rendering, prepared as a processor's apply_chat_template prepares it."""
    fix_clock(case.get("now", NOW))
    try:
        (messages,), _ = ProcessorMixin._normalize_conversations(None, json.loads(json.dumps(case["messages"])))
        inputs = [messages, case.get("tools"), case.get("documents"), case.get("variables", {})]
        control_tokens = case.get("control_tokens")
        if control_tokens is not None:
            pattern, _ = chat_template_utils._get_control_token_patterns(tuple(control_tokens))
            inputs = [chat_template_utils.mark_control_tokens(value, pattern) for value in inputs]
        messages, tools, documents, variables = inputs
        track = not case.get("continue_final_message") and "generation" in source
        (text,), generated = chat_template_utils.render_jinja_template(
            conversations=[messages],
            tools=tools,
            documents=documents,
            chat_template=source,
            return_assistant_tokens_mask=track,
            continue_final_message=case.get("continue_final_message", False),
            add_generation_prompt=case.get("add_generation_prompt", False),
            **{**case.get("special_tokens", {}), **variables},
        )
    except Exception as error:  # any failure is a golden
        return describe(error)
    if control_tokens is not None:
        return {"pieces": pieces(text, control_tokens)}
    golden = {"text": text}
    if track:
        golden["generated"] = [list(span) for span in generated[0]]
    return golden


class SpyTokenizer:
    """Encodes characters as themselves, and remembers whether added tokens were to be matched."""

    def __init__(self, added_tokens):
        self.added_tokens_encoder = dict.fromkeys(added_tokens)

    def encode(self, text, add_special_tokens):
        return [("text", character) for character in text]

    def _encode_without_added_tokens(self, text):
        return [("literal", character) for character in text]

    def convert_tokens_to_ids(self, token):
        return token


def pieces(text, control_tokens):
    """What encode_marked_chat encodes as what; neighbours of one kind are joined."""
    joined = []
    for kind, character in chat_template_utils.encode_marked_chat(SpyTokenizer(control_tokens), text):
        if joined and joined[-1][0] == kind:
            joined[-1][1] += character
        else:
            joined.append([kind, character])
    return joined


def load(case):
    """What the reference reads from a checkpoint folder."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in case["files"].items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        try:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
            templates = ProcessorMixin.get_processor_dict(folder)[0].get("chat_template")
            if templates is None:
                templates = tokenizer.chat_template
        except Exception as error:
            return describe(error)
        if isinstance(templates, str):
            templates = {"default": templates}
        golden = {"templates": templates, "special_tokens": tokenizer.special_tokens_map}
        if "default" in (templates or {}):
            golden["control_tokens"] = sorted(tokenizer._get_control_tokens(templates["default"]))
        return golden


def golden_of(case):
    if "files" in case:
        return load(case)
    if "snippets" in case:
        return {"outputs": [render(case, source) for source in case["snippets"]]}
    source = case.get("source")
    if source is None:
        source = (CRATE / "tests" / "templates" / case["template"]).read_text(encoding="utf-8")
    return render(case, source)


def dump(value):
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def write_cases(folder, check):
    stale = []
    paths = [path for path in sorted(folder.glob("*.json")) if not path.name.endswith(".golden.json")]
    for path in paths:
        golden = dump(golden_of(json.loads(path.read_text(encoding="utf-8"))))
        target = path.with_suffix(".golden.json")
        if check:
            if not target.exists() or target.read_text(encoding="utf-8") != golden:
                stale.append(target.name)
        else:
            target.write_text(golden, encoding="utf-8")
    print(f"{len(paths)} cases, {len(stale)} stale goldens {' '.join(stale)}")
    return 1 if stale else 0


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a place, \"now\" <b>&</b> later: ☔",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "City"},
                "days": {"type": "array", "items": {"type": "integer"}, "description": "Days ahead"},
                "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
                "where": {
                    "type": "object",
                    "properties": {"lat": {"type": "number"}, "lon": {"type": ["number", "null"]}},
                    "required": ["lat"],
                },
            },
            "required": ["place"],
        },
    },
}


def call(name, arguments, **keys):
    return {"type": "function", **keys, "function": {"name": name, "arguments": arguments}}


def conversations():
    """Conversations in plain strings and in parts, with and without tools and reasoning."""
    user, answer = {"role": "user", "content": "How tall is it?"}, {"role": "assistant", "content": " 330 m, I'd say.\n"}
    system = {"role": "system", "content": "Be brief. Zürich, 東京, 😀."}
    again = {"role": "user", "content": "And \"that\"?\n\nLine <b>two</b>  "}
    thinking = {"role": "assistant", "reasoning_content": "Let me\nthink.", "content": "42"}
    tagged = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nFine."}
    image, text = {"type": "image"}, {"type": "text", "text": "What is it?"}
    seen = {"role": "user", "content": [image, text]}
    compared = {"role": "user", "content": [text, {"type": "image", "path": "b.png"}, image, {"type": "text", "text": "Both?"}]}
    replied = {"role": "assistant", "content": [{"type": "text", "text": "A tower."}]}
    asked = {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"place": "Paris", "days": [1, 2], "deep": {"a": None, "b": 1.5, "c": True}})]}
    asked_twice = {"role": "assistant", "tool_calls": [call("get_weather", {"place": "Rome"}, id="abcdefgh1"), call("get_weather", {"place": "Oslo", "unit": "F"}, id="abcdefgh2")]}
    asked_id = {"role": "assistant", "content": "I look.", "tool_calls": [call("get_weather", {"place": "Bern"}, id="abcdefgh3")]}
    told = {"role": "tool", "name": "get_weather", "content": "{\"temperature\": 21.0}"}
    told_id = {**told, "tool_call_id": "abcdefgh3"}
    told_json = {"role": "tool", "name": "get_weather", "content": {"temperature": 21.0, "sky": "blau ☀"}}
    return {
        "user": [user],
        "turns": [user, answer, again],
        "closed": [user, answer, again, answer],
        "system": [system, user, answer, again],
        "system_only": [system],
        "same_role": [user, again],
        "assistant_first": [answer, user],
        "thinking": [user, thinking, again, thinking],
        "thinking_tagged": [user, tagged, again, tagged],
        "image": [seen],
        "images": [{"role": "system", "content": [{"type": "text", "text": "Look."}]}, seen, replied, compared, replied],
        "image_string_answer": [seen, answer],
        "tools": [system, user, asked, told],
        "tools_closed": [user, asked, told, answer, again, asked_twice, told, told, thinking],
        "tools_ids": [user, asked_id, told_id, answer],
        "tools_json": [user, asked, told_json],
        "no_content": [user, {"role": "assistant", "content": None}, again],
        "empty": [{"role": "user", "content": ""}],
        "developer": [{"role": "developer", "content": "Obey."}, user],
        "unknown_role": [{"role": "robot", "content": "Beep."}],
        "parts_text": [{"role": "user", "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]}, replied, user],
    }


def write_folder(folder, out):
    out.mkdir(parents=True, exist_ok=True)
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    options = [
        {},
        {"add_generation_prompt": True},
        {"tools": [WEATHER], "add_generation_prompt": True},
        {"variables": {"enable_thinking": False}, "add_generation_prompt": True},
        {"variables": {"enable_thinking": True, "thinking": True, "add_vision_id": True}, "tools": []},
        {"documents": [{"title": "A", "text": "Some ☔ text"}], "add_generation_prompt": True},
        {"continue_final_message": True},
    ]
    count = failed = 0
    paths = sorted(folder.glob("**/*.jinja"))
    for path in paths:
        source = path.read_text(encoding="utf-8")
        entries = []
        for name, messages in conversations().items():
            for index, option in enumerate(options):
                case = {"messages": messages, "special_tokens": special, "now": NOW, **option}
                golden = render(case, source)
                entries.append({"name": f"{name}/{index}", **case, "golden": golden})
                count, failed = count + 1, failed + ("error" in golden)
        target = out / path.relative_to(folder).with_suffix(".json").as_posix().replace("/", "__")
        target.write_text(dump({"source": source, "cases": entries}), encoding="utf-8")
    print(f"{len(paths)} templates, {count} renderings, of which the reference refuses {failed}")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode")
    cases = modes.add_parser("cases", help="write the goldens of the crate's cases")
    cases.add_argument("--folder", type=Path, default=CRATE / "tests" / "cases")
    cases.add_argument("--check", action="store_true", help="compare, do not write")
    folder = modes.add_parser("folder", help="render a folder of real templates")
    folder.add_argument("folder", type=Path, help="folder of *.jinja files, such as trl/chat_templates")
    folder.add_argument("--out", type=Path, required=True, help="where the goldens go")
    arguments = parser.parse_args(sys.argv[1:] or ["cases"])
    if arguments.mode == "folder":
        return write_folder(arguments.folder, arguments.out)
    return write_cases(arguments.folder, arguments.check)


if __name__ == "__main__":
    sys.exit(main())
