"""Writes the small photographs that the other fixtures look at.

    python reference/images.py

The sources are three public-domain pictures that scikit-image ships; each is cropped and
shrunk to a few hundred pixels at odd sizes, so that rounding in resizing shows.
"""

import argparse
from pathlib import Path

import skimage.data
from PIL import Image

from common import FIXTURES, report, publish

#: name -> (source, crop box as fractions of width and height, size (width, height))
PICTURES = {
    "chelsea": ("chelsea", (0.06, 0.0, 0.94, 1.0), (187, 141)),
    "astronaut": ("astronaut", (0.0, 0.0, 1.0, 1.0), (151, 151)),
    "coffee": ("coffee", (0.3, 0.0, 0.62, 1.0), (96, 200)),
    "strip": ("coffee", (0.0, 0.5, 1.0, 0.525), (300, 5)),
    "pixel": ("chelsea", (0.5, 0.5, 0.51, 0.51), (1, 1)),
}

LICENSE = """# Pictures

Cropped and shrunk by `reference/images.py` from pictures that scikit-image 0.26 distributes
(module `skimage.data`; the statements below are those of its documentation). None is under
copyright restrictions; the copies here are given under CC0 as well.

| file | source | author | terms stated by scikit-image |
|---|---|---|---|
| `astronaut.png` | `skimage.data.astronaut`, from NASA's Great Images database, <https://flic.kr/p/r9qvLn> | NASA | "No known copyright restrictions, released into the public domain." |
| `chelsea.png`, `pixel.png` | `skimage.data.chelsea` | Stefan van der Walt | "No copyright restrictions. CC0 by the photographer" |
| `coffee.png`, `strip.png` | `skimage.data.coffee`, courtesy of Pikolo Espresso Bar | Rachel Michetti | "No copyright restrictions. CC0 by the photographer" |

The astronaut's picture shows Eileen Collins; use of a person's likeness is a matter apart from
copyright.
"""


def small_copy(source: str, box: tuple, size: tuple) -> Image.Image:
    """Crops `box` (fractions) out of a scikit-image picture and shrinks it to `size`."""
    picture = Image.fromarray(getattr(skimage.data, source)()).convert("RGB")
    scale = (picture.width, picture.height) * 2
    pixels = tuple(round(part * side) for part, side in zip(box, scale))
    return picture.crop(pixels).resize(size, Image.Resampling.LANCZOS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=FIXTURES / "images")
    output = parser.parse_args().output
    with publish(output) as folder:
        for name, (source, box, size) in PICTURES.items():
            small_copy(source, box, size).save(folder / f"{name}.png", optimize=True)
        (folder / "LICENSE.md").write_text(LICENSE)
    report(output)


if __name__ == "__main__":
    main()
