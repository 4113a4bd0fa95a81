"""What transformers reads out of answers with markup, and how it writes boxes into prompts.

    python reference/grounding.py

Writes `vlm-chat-template/tests/grounding/kosmos2.json`.
"""

import argparse
import random
from pathlib import Path

from common import REPOSITORY, publish, report, versions, write_json

from transformers.models.kosmos2.processing_kosmos2 import Kosmos2Processor

SEED = 2
SNOWMAN = (
    "<grounding> An image of<phrase> a snowman</phrase><object><patch_index_0044><patch_index_0863></object>"
    " warming himself by<phrase> a fire</phrase><object><patch_index_0005><patch_index_0911></object>."
)
P = "<patch_index_{:04}>".format
DELIMITER = "</delimiter_of_multi_objects/>"

#: Answers, well-formed ones first.
ANSWERS = [
    SNOWMAN,
    "<image>" * 3 + "</image>" + SNOWMAN,
    "no markup at all",
    "",
    "  \t only white space around \n",
    f"<phrase>two dogs</phrase><object>{P(1)}{P(2)}{DELIMITER}{P(3)}{P(600)}</object> run",
    f"<object>{P(32)}{P(97)}</object> without a phrase",
    f"  <object>{P(5)}{P(5)}{DELIMITER}{P(7)}{P(71)}</object> boxes, no phrase",
    f"one cell <phrase>x</phrase><object>{P(33)}{P(33)}</object>, one row <phrase>y</phrase><object>{P(32)}{P(40)}</object>",
    f"corners in the wrong order <phrase>x</phrase><object>{P(900)}{P(3)}</object>",
    f"beyond the grid <phrase>x</phrase><object>{P(2000)}<patch_index_99999></object>",
    f"an accent é and <phrase> a 雪だるま</phrase><object>{P(44)}{P(863)}</object> then 🔥<phrase> fire</phrase><object>{P(5)}{P(911)}</object>",
    f"<phrase>  spaces  </phrase><object>{P(4)}{P(86)}</object>",
    f"a<phrase>   </phrase><object>{P(4)}{P(86)}</object>b",
    f"\u00a0no-break<phrase>\u3000wide\x1c</phrase><object>{P(4)}{P(86)}</object>\u2028",
    # Malformed.
    f"<phrase></phrase><object>{P(4)}{P(86)}</object>",
    f"<phrase>a<b</phrase><object>{P(4)}{P(86)}</object>",
    f"<phrase>a>b</phrase><object>{P(4)}{P(86)}</object>",
    f"<phrase>a\nb</phrase><object>{P(4)}{P(86)}</object>",
    f"<phrase>gap</phrase> <object>{P(4)}{P(86)}</object>",
    f"<phrase>single</phrase><object>{P(4)}</object>",
    f"<phrase>three</phrase><object>{P(4)}{P(5)}{P(6)}</object>",
    f"<phrase>trailing delimiter</phrase><object>{P(4)}{P(5)}{DELIMITER}</object>",
    f"<phrase>no end</phrase><object>{P(4)}{P(5)}",
    f"<phrase>empty</phrase><object></object> after",
    f"<phrase>spaced</phrase><object> {P(4)} {P(86)} </object>",
    f"<phrase><phrase>nested</phrase></phrase><object>{P(4)}{P(86)}</object>",
    f"an open < here<phrase>x</phrase><object>{P(4)}{P(86)}</object>",
    f"an open <\nand a line break<phrase>x</phrase><object>{P(4)}{P(86)}</object>",
    f"<a <object>{P(4)}{P(86)}</object> tag around the object",
    "<patch_index_0001\n><patch_index_x1><patch_index_>",
    "<object><patch_index_1><patch_index_00000000000034></object> short and long numbers",
    f"{P(1)}{P(2)} lone patches </phrase></object>{DELIMITER}",
    "<>a<><", "a > b < c", "</image></image>x</image>",
]

PIECES = [
    "<phrase>", "</phrase>", "<object>", "</object>", DELIMITER, P(0), P(45), P(1023), P(44) + P(863),
    f"<object>{P(3)}{P(70)}</object>", "<phrase> it</phrase>", "<grounding>", "</image>", "<", ">", " ", "\n", "é", "word",
]

#: Prompts with boxes for their phrases.
PROMPTS = [
    ("<grounding><phrase> A dog</phrase> runs", [[(0.1, 0.1, 0.5, 0.9)]]),
    ("<phrase>a</phrase> and <phrase>b</phrase>", [[(0.0, 0.0, 1.0, 1.0)], None]),
    ("<phrase>a</phrase> and <phrase>b</phrase>", [[], [(0.2, 0.3, 0.4, 0.5), (0.5, 0.25, 0.53125, 0.28125)]]),
    ("<phrase>a\nb</phrase><phrase>c</phrase>", [[(0.01, 0.01, 0.02, 0.02)]]),
    ("<phrase></phrase>x</phrase>", [[(0.999, 0.0, 1.0, 1e-9)]]),
    ("<phrase><phrase>é</phrase>", [[(1 / 3, 1 / 7, 2 / 3, 6 / 7)]]),
    ("no phrase", []),
    # Refused.
    ("<phrase>a</phrase>", [[(0.5, 0.1, 0.5, 0.9)]]),
    ("<phrase>a</phrase>", [[(0.1, 0.9, 0.5, 0.2)]]),
    ("<phrase>a</phrase>", [None, None]),
    ("no phrase", [[(0.1, 0.1, 0.5, 0.9)]]),
    ("<phrase>a</phrase><phrase>b</phrase>", [[(0.1, 0.1, 0.5, 0.9)]]),
]


def processor() -> Kosmos2Processor:
    """A processor that only reads and writes markup: no tokenizer, no pictures."""
    bare = object.__new__(Kosmos2Processor)
    bare.eoi_token, bare.num_patch_index_tokens = "</image>", 1024
    return bare


def answers() -> list[str]:
    """The answers above, and some put together from pieces of markup."""
    generator = random.Random(SEED)
    mixed = ["".join(generator.choices(PIECES, k=generator.randint(3, 14))) for _ in range(80)]
    return ANSWERS + mixed


def parsed(text: str) -> dict:
    """An answer with what it says."""
    caption, entities = processor().post_process_generation(text)
    named = [
        {"text": name, "start": start, "end": end, "boxes": [list(box) for box in boxes]}
        for name, (start, end), boxes in entities
    ]
    return {"text": text, "caption": caption, "entities": named}


def marked(text: str, boxes: list) -> dict:
    """A prompt with its boxes, or nothing where the reference refuses them."""
    given = {"text": text, "boxes": [[list(box) for box in some or []] for some in boxes]}
    try:
        return given | {"marked": processor()._insert_patch_index_tokens(text, boxes)}
    except ValueError:
        return given | {"marked": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    default = REPOSITORY / "vlm-chat-template" / "tests" / "grounding"
    parser.add_argument("--output", type=Path, default=default)
    output = parser.parse_args().output
    with publish(output) as folder:
        write_json(folder / "kosmos2.json", {
            "transformers": versions()["transformers"],
            "answers": [parsed(text) for text in answers()],
            "prompts": [marked(text, boxes) for text, boxes in PROMPTS],
        })
    report(output)


if __name__ == "__main__":
    main()
