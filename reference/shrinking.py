"""Writes what transformers' processor of Fuyu makes of pictures.

    python reference/shrinking.py

`vlm-vision/tests/fixtures/shrinking/cases.json` is of the same kind as the cases of `image_processors.py`: a
case has the size in whole patches, the size of the picture's own pixels in it, and the CRC-32 of all bytes
(row by row, colours together) and of all little-endian `f32`.
"""

import argparse
import json
import math
import tempfile
import zlib
from pathlib import Path

from common import publish, quiet, report, versions
from image_processors import CRATE_FIXTURES, picture, write_rows

from transformers import AutoImageProcessor

FUYU = "FuyuImageProcessor"
PICTURES = ("chelsea", "coffee", "astronaut", "strip", "pixel")
#: height x width: whole patches, one more, one less, long, larger than the limits below on either side.
SHAPES = ("30x30", "29x31", "31x29", "60x90", "61x90", "60x91", "1x1000", "1000x1", "97x300", "300x97")


def keys_of(height: int, width: int, patch: int, **keys) -> dict:
    size = {"height": height, "width": width}
    return {"image_processor_type": FUYU, "size": size, "patch_size": {"height": patch, "width": patch}, **keys}


def cases():
    """(picture, keys) of every case."""
    for name in (*PICTURES, *SHAPES):
        yield name, {"image_processor_type": FUYU}
        for height, width, patch in ((120, 180, 30), (60, 90, 30), (56, 56, 7), (30, 300, 10)):
            yield name, keys_of(height, width, patch)
    # The numbers of the released model at their limits.
    for name in ("1080x1920", "1081x1920", "1000x2999", "1x1920", "2000x31"):
        yield name, {"image_processor_type": FUYU}
    yield from key_cases()
    yield from refused_cases()


def key_cases():
    for resample in (0, 1, 3):
        yield "chelsea", keys_of(60, 90, 10, resample=resample)
    for value in (0, 1.7, 127.5, 255, 255.5):
        yield "coffee", keys_of(120, 180, 30, padding_value=value)
    yield "coffee", keys_of(60, 90, 10, do_rescale=False)
    yield "coffee", keys_of(60, 90, 10, do_normalize=False)
    yield "coffee", keys_of(60, 90, 10, do_rescale=False, do_normalize=False)
    yield "coffee", keys_of(60, 90, 10, image_mean=[0.1, 0.2, 0.3], image_std=0.7, rescale_factor=0.01)
    yield "coffee", keys_of(240, 240, 30, do_resize=False)
    yield "60x90", keys_of(60, 90, 30, do_pad=False)
    yield "90x180", keys_of(60, 90, 15, do_pad=False)
    yield "90x30", keys_of(60, 90, 30, do_pad=False, do_resize=False)
    yield "coffee", keys_of(60, 90, 10, size=50)
    yield "coffee", keys_of(60, 90, 10, size=[50, 70])
    yield "coffee", keys_of(60, 90, 10, patch_size=10)
    yield "coffee", keys_of(60, 90, 10, do_convert_rgb=True, pad_size=20, do_center_crop=True, crop_size=20)
    yield "coffee", keys_of(60, 90, 10, processor_class="FuyuProcessor", padding_mode="constant")
    yield "coffee", keys_of(60, 90, 10, image_processor_type="FuyuImageProcessorFast")


def refused_cases():
    """What the reference cannot serve either."""
    yield "1x5000", {"image_processor_type": FUYU}
    yield "chelsea", keys_of(60, 90, 10, do_resize=False)
    yield "chelsea", keys_of(60, 90, 10, do_pad=False)
    yield "chelsea", keys_of(65, 90, 10)
    yield "chelsea", keys_of(60, 90, 10, size={"shortest_edge": 60})
    yield "chelsea", keys_of(60, 90, 10, size={"max_height": 60, "max_width": 60})
    yield "chelsea", keys_of(60, 90, 10, padding_value=256)
    yield "chelsea", keys_of(60, 90, 10, padding_value=-1)
    yield "chelsea", keys_of(60, 90, 10, padding_mode="wrap")
    yield "chelsea", keys_of(60, 90, 10, resample=4)


def whole_patches(processor, found):
    """The part of a result that patches are made of, as `FuyuProcessor` cuts it out."""
    image, patch = found["images"][0, 0], processor.patch_size
    own = [found["image_unpadded_heights"][0][0].item(), found["image_unpadded_widths"][0][0].item()]
    height = min(image.shape[1], math.ceil(own[0] / patch.height) * patch.height)
    width = min(image.shape[2], math.ceil(own[1] / patch.width) * patch.width)
    processor.get_num_patches(height, width, patch)
    return image[:, :height, :width], own


def run(folder: Path, name: str, keys: dict) -> dict:
    """One case: the reference's results, or the name of the exception that it raises."""
    result = {"picture": name, "keys": keys}
    (folder / "preprocessor_config.json").write_text(json.dumps(keys))
    try:
        processor = AutoImageProcessor.from_pretrained(folder)
        assert processor.backend == "torchvision"
        values, own = whole_patches(processor, processor(picture(name), return_tensors="pt"))
    except Exception as error:  # whatever it is, it is a refusal
        return {**result, "raises": type(error).__name__}
    as_bytes = {"do_rescale": False, "do_normalize": False, "return_tensors": "pt"}
    colours, _ = whole_patches(processor, processor(picture(name), **as_bytes))
    assert str(colours.dtype) == "torch.uint8"
    result |= {"size": list(values.shape[1:]), "own": own}
    result["bytes_crc"] = zlib.crc32(colours.permute(1, 2, 0).contiguous().numpy().tobytes())
    result["values_crc"] = zlib.crc32(values.contiguous().numpy().astype("<f4").tobytes())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=CRATE_FIXTURES)
    output = parser.parse_args().output
    quiet()
    with publish(output / "shrinking") as folder, tempfile.TemporaryDirectory() as scratch:
        results = [run(Path(scratch), name, keys) for name, keys in cases()]
        write_rows(folder / "cases.json", {"versions": versions(), "cases": results})
    report(output / "shrinking")


if __name__ == "__main__":
    main()
