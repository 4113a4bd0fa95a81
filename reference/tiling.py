"""Writes what transformers' processor of Idefics3 and SmolVLM makes of pictures.

    python reference/tiling.py

`vlm-vision/tests/fixtures/tiling/cases.json` is of the same kind as the cases of `image_processors.py`, but
for the crops: a case has their number (`crops`), rows and columns (0 where there is one crop), their side,
and the CRC-32 of all their bytes (row by row, colours together) and of all their little-endian `f32`.
"""

import argparse
import json
import tempfile
import zlib
from pathlib import Path

from common import publish, quiet, report, versions
from image_processors import CRATE_FIXTURES, picture, write_rows

from transformers import AutoImageProcessor

IDEFICS3, SMOLVLM = "Idefics3ImageProcessor", "SmolVLMImageProcessor"


def cases():
    """(picture, keys) of every case."""
    yield from default_cases()
    yield from size_cases()
    yield from key_cases()
    yield from refused_cases()


def keys_of(edge: int, tile: int, **keys) -> dict:
    sizes = {"size": {"longest_edge": edge}, "max_image_size": {"longest_edge": tile}}
    return {"image_processor_type": IDEFICS3, **sizes, **keys}


def default_cases():
    """The classes' own numbers, and those of SmolVLM on the hub."""
    for name in ("chelsea", "coffee", "astronaut", "strip", "pixel"):
        yield name, {"image_processor_type": IDEFICS3}
        yield name, keys_of(2048, 512, image_processor_type=SMOLVLM, video_sampling={"fps": 1})
    yield "1x1000", {"image_processor_type": SMOLVLM}


def size_cases():
    """Shapes that round up and down, whole multiples, one tile only, sides that vanish."""
    shapes = ("chelsea", "coffee", "strip", "pixel", "1x1000", "1000x1", "97x97", "56x112", "99x33", "7x300")
    for edge, tile in ((224, 56), (112, 56), (56, 56), (50, 56), (100, 30), (101, 7), (57, 28)):
        for name in shapes:
            yield name, keys_of(edge, tile)
    # The cap of 4096.
    for name in ("1x1000", "1000x1", "7x300", "strip"):
        yield name, keys_of(5000, 100)


def key_cases():
    for resample in (0, 2, 3):
        yield "chelsea", keys_of(112, 28, resample=resample)
    for name in ("chelsea", "coffee", "strip", "pixel", "28x56", "29x57"):
        yield name, keys_of(112, 28, do_image_splitting=False)
        yield name, keys_of(112, 28, do_resize=False)
        yield name, keys_of(112, 28, do_resize=False, do_image_splitting=False)
        yield name, keys_of(9, 28, size={"height": 60, "width": 50})
    yield "coffee", keys_of(9, 28, size=60)
    yield "coffee", keys_of(9, 28, size=[60, 30])
    yield "coffee", keys_of(9, 28, size={"longest_edge": 60, "shortest_edge": 7})
    yield "coffee", keys_of(60, 28, do_rescale=False)
    yield "coffee", keys_of(60, 28, do_normalize=False)
    yield "coffee", keys_of(60, 28, do_rescale=False, do_normalize=False)
    yield "coffee", keys_of(60, 28, image_mean=[0.1, 0.2, 0.3], image_std=0.7, rescale_factor=0.01)
    yield "coffee", keys_of(60, 28, do_pad=False, return_row_col_info=True, do_convert_rgb=True)
    yield "coffee", keys_of(60, 28, do_center_crop=True, crop_size=20, pad_size=30)
    yield "coffee", keys_of(60, 28, image_processor_type="Idefics3ImageProcessorFast")


def refused_cases():
    """What the reference cannot serve either."""
    yield "coffee", keys_of(60, 28, size={"shortest_edge": 60})
    yield "coffee", keys_of(60, 28, size={"max_height": 60, "max_width": 60})
    yield "coffee", keys_of(60, 28, size=60, default_to_square=False)
    yield "coffee", keys_of(60, 28, max_image_size=28)
    yield "coffee", keys_of(60, 28, max_image_size={"height": 28, "width": 28})
    yield "coffee", keys_of(60, 28, resample=4)
    yield "49x1", keys_of(9, 49, do_resize=False)


def run(folder: Path, name: str, keys: dict) -> dict:
    """One case: the reference's results, or the name of the exception that it raises."""
    result = {"picture": name, "keys": keys}
    (folder / "preprocessor_config.json").write_text(json.dumps(keys))
    options = {"return_tensors": "pt", "return_row_col_info": True}
    try:
        processor = AutoImageProcessor.from_pretrained(folder)
        assert processor.backend == "torchvision"
        found = processor(picture(name), **options)
    except Exception as error:  # whatever it is, it is a refusal
        return {**result, "raises": type(error).__name__}
    values = found["pixel_values"][0]
    as_bytes = {"do_rescale": False, "do_normalize": False, "do_pad": False, **options}
    colours = processor(picture(name), **as_bytes)["pixel_values"][0]
    assert str(colours.dtype) == "torch.uint8"
    result |= {"crops": len(values), "rows": found["rows"][0][0], "columns": found["cols"][0][0]}
    assert values.shape[2] == values.shape[3]
    result["side"] = values.shape[3]
    result["bytes_crc"] = zlib.crc32(colours.permute(0, 2, 3, 1).contiguous().numpy().tobytes())
    result["values_crc"] = zlib.crc32(values.numpy().astype("<f4").tobytes())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=CRATE_FIXTURES)
    output = parser.parse_args().output
    quiet()
    with publish(output / "tiling") as folder, tempfile.TemporaryDirectory() as scratch:
        results = [run(Path(scratch), name, keys) for name, keys in cases()]
        write_rows(folder / "cases.json", {"versions": versions(), "cases": results})
    report(output / "tiling")


if __name__ == "__main__":
    main()
