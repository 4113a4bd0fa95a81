"""Writes what transformers makes of pictures: decoded files, resized bytes, normalised numbers.

    python reference/image_processors.py

Two folders below `vlm-vision/tests/fixtures`:

- `files`: small pictures of every mode that Pillow writes, and in `expected.json` the size and the
  CRC-32 of the RGB bytes that transformers' `load_image` reads from each.
- `processor`: `cases.json`, for each case the picture, the image processor's JSON, and the size and
  CRC-32 of its result with the torchvision backend: as bytes (with rescaling and normalising turned
  off) and as little-endian `f32`. Results of a few pixels are there in full, as hexadecimal. A case in
  which the reference raises has the exception's name instead.

The photographs are those of `reference/images.py`. Synthetic pictures, named by `height x width`, have
the value `(x * x * 3 + y * 7 + x * y + channel * 50) % 256`.
"""

import argparse
import itertools
import json
import tempfile
import zlib
from pathlib import Path

from common import FIXTURES, REPOSITORY, publish, quiet, report, versions

import numpy as np
from PIL import Image, PngImagePlugin
from transformers import AutoImageProcessor
from transformers.image_utils import load_image

CRATE_FIXTURES = REPOSITORY / "vlm-vision" / "tests" / "fixtures"
#: Results of at most this many pixels are written in full.
FULL = 64

CLIP, LLAVA, SIGLIP = "CLIPImageProcessor", "LlavaImageProcessor", "SiglipImageProcessor"


# Pictures for the processors


def picture(name: str) -> Image.Image:
    """A photograph by its name, or a synthetic picture by its size."""
    if not name[0].isdigit():
        return load_image(str(FIXTURES / "images" / f"{name}.png"))
    height, width = (int(side) for side in name.split("x"))
    y, x, channel = np.meshgrid(range(height), range(width), range(3), indexing="ij")
    values = (x * x * 3 + y * 7 + x * y + channel * 50) % 256
    return Image.fromarray(values.astype(np.uint8))


def cases():
    """(picture, keys) of every case."""
    yield from resize_cases()
    yield from clip_cases()
    yield from llava_cases()
    yield from siglip_cases()
    yield from arithmetic_cases()
    yield from refused_cases()


def resize_cases():
    """Every filter, up and down, on one axis and on both, at odd sizes."""
    pictures = {
        "chelsea": ([57, 83], [141, 60], [70, 187], [301, 215]),
        "coffee": ([61, 31], [259, 150], [200, 33]),
        "strip": ([5, 17], [40, 40], [1, 2]),
        "pixel": ([3, 5],),
        "1x1000": ([7, 7],),
        "1000x1": ([7, 7],),
        "2x333": ([90, 5],),
    }
    for resample, (name, sizes) in itertools.product((0, 1, 2, 3), pictures.items()):
        for height, width in sizes:
            size = {"height": height, "width": width}
            keys = {"size": size, "resample": resample, "do_center_crop": False}
            yield name, {"image_processor_type": CLIP, **keys}


def clip_cases():
    def clip(**keys):
        return {"image_processor_type": CLIP, **keys}

    yield "astronaut", clip()
    yield "chelsea", clip(size=98, crop_size=98)
    yield "chelsea", clip(size={"shortest_edge": 42}, crop_size={"height": 42, "width": 42})
    yield "coffee", clip(size=56, crop_size=56, resample=2)
    yield "coffee", clip(size=[56, 40], do_center_crop=False)
    yield "coffee", clip(size=45, default_to_square=True, do_center_crop=False)
    yield "strip", clip(size=28, crop_size=28)
    yield "pixel", clip(size=6, crop_size=6)
    yield "pixel", clip(size=3, crop_size=8)
    yield "2x300", clip(size=14, crop_size=14)
    # A crop that is larger, on one axis or on both, by an odd number or an even one.
    yield "chelsea", clip(do_resize=False, crop_size={"height": 150, "width": 200})
    yield "chelsea", clip(do_resize=False, crop_size={"height": 150, "width": 50})
    yield "coffee", clip(do_resize=False, crop_size={"height": 33, "width": 97})
    yield "coffee", clip(do_resize=False, crop_size={"height": 200, "width": 96})
    yield "coffee", clip(do_resize=False, do_center_crop=False)
    # Other forms of size.
    for name in ("chelsea", "coffee", "strip", "90x90"):
        for edges in ((60, 70), (60, 500), (101, 71)):
            size = {"shortest_edge": edges[0], "longest_edge": edges[1]}
            yield name, clip(size=size, do_center_crop=False)
        yield name, clip(size={"max_height": 50, "max_width": 67}, do_center_crop=False)
    yield "chelsea", clip(use_square_size=True, size={"shortest_edge": 30})
    # Padding of the normalised planes.
    keys = {"size": 40, "do_center_crop": False, "do_pad": True}
    yield "chelsea", clip(**keys, pad_size={"height": 50, "width": 60})
    yield "coffee", clip(**keys, pad_size=90)
    yield "coffee", clip(**keys)
    # Names and keys of old files.
    yield "coffee", {"feature_extractor_type": "CLIPFeatureExtractor", "size": 40, "crop_size": 32}
    yield "coffee", {
        **{"image_processor_type": "CLIPImageProcessorFast", "size": 40, "crop_size": 32},
        **{"processor_class": "LlavaProcessor", "data_format": "channels_first", "device": None},
        **{"do_pad": None, "disable_grouping": None, "input_data_format": None, "pad_size": None},
        **{"return_tensors": None, "image_seq_length": None, "size_divisor": None},
    }


def llava_cases():
    def llava(**keys):
        return {"image_processor_type": LLAVA, **keys}

    small = {"size": 42, "crop_size": 42}
    yield "chelsea", llava()
    for name in ("chelsea", "coffee", "astronaut", "strip", "pixel", "5x2", "2x5", "1x300"):
        yield name, llava(**small, do_pad=True)
    yield "coffee", llava(**small, do_pad=True, image_mean=[0.1, 0.999, 0.0])
    yield "coffee", llava(do_pad=True, do_resize=False, do_center_crop=False)
    yield "coffee", llava(do_pad=True, size=28, crop_size=28, resample=2, do_normalize=False)


def siglip_cases():
    def siglip(**keys):
        return {"image_processor_type": SIGLIP, **keys}

    yield "chelsea", siglip()
    yield "coffee", siglip(size={"height": 56, "width": 56})
    yield "coffee", siglip(size=50)
    yield "strip", siglip(size=[30, 31], resample=2)
    yield "coffee", siglip(do_center_crop=True, crop_size=70)


def arithmetic_cases():
    """Every combination of rescaling and normalising."""
    base = {"image_processor_type": CLIP, "size": 30, "crop_size": 28}
    numbers = (
        {},
        {"rescale_factor": 1 / 127.5},
        {"rescale_factor": 0.00392156862745098},
        {"image_mean": 0.4, "image_std": 0.3},
        {"image_mean": [0.4], "image_std": [0.3]},
        {"image_mean": [0, 0, 0], "image_std": [1, 1, 1]},
        {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.7, 0.8, 0.9], "rescale_factor": 0.01},
    )
    for rescale, normalize, keys in itertools.product((True, False), (True, False), numbers):
        yield "coffee", {**base, "do_rescale": rescale, "do_normalize": normalize, **keys}


def refused_cases():
    """What the reference cannot serve either."""
    clip, llava = {"image_processor_type": CLIP}, {"image_processor_type": LLAVA}
    yield "coffee", {**clip, "resample": 4}
    yield "coffee", {**clip, "resample": 5}
    yield "coffee", {**clip, "resample": 6}
    yield "coffee", {**clip, "size": {"longest_edge": 30}}
    yield "coffee", {**clip, "size": {"min_pixels": 30, "max_pixels": 900}}
    yield "coffee", {**clip, "size": {"height": 30}}
    yield "coffee", {**clip, "crop_size": {"shortest_edge": 30}}
    yield "coffee", {**clip, "size": 0}
    yield "coffee", {**clip, "do_pad": True, "pad_size": 100}
    yield "coffee", {**clip, "rescale_factor": 0}
    yield "coffee", {**llava, "do_pad": True, "image_mean": 0.5}
    yield "coffee", {"image_processor_type": SIGLIP, "do_center_crop": True}
    size = {"shortest_edge": 10, "longest_edge": 30}
    yield "1x1000", {**clip, "size": size, "do_center_crop": False}
    size = {"max_height": 30, "max_width": 30}
    yield "1x1000", {**clip, "size": size, "do_center_crop": False}


def run(folder: Path, name: str, keys: dict) -> dict:
    """One case: the reference's results, or the name of the exception that it raises."""
    result = {"picture": name, "keys": keys}
    (folder / "preprocessor_config.json").write_text(json.dumps(keys))
    image = picture(name)
    try:
        processor = AutoImageProcessor.from_pretrained(folder)
        assert processor.backend == "torchvision"
        pixels = processor(image, return_tensors="pt")["pixel_values"][0]
    except Exception as error:  # whatever it is, it is a refusal
        return {**result, "raises": type(error).__name__}
    as_bytes = {"do_rescale": False, "do_normalize": False, "return_tensors": "pt"}
    if keys.get("image_processor_type") != LLAVA:
        # Their padding is of the planes, after everything else.
        as_bytes["do_pad"] = False
    picture_bytes = processor(image, **as_bytes)["pixel_values"][0]
    assert str(picture_bytes.dtype) == "torch.uint8"
    values = pixels.numpy().astype("<f4")
    colours = picture_bytes.permute(1, 2, 0).contiguous().numpy()
    result["size"] = list(values.shape[1:])
    result["bytes_crc"] = zlib.crc32(colours.tobytes())
    result["values_crc"] = zlib.crc32(values.tobytes())
    if values[0].size <= FULL:
        result["bytes"] = colours.tobytes().hex()
        result["values"] = values.tobytes().hex()
    return result


# Picture files


def write_files(folder: Path) -> None:
    """Writes a small picture in every mode and format."""
    small = picture("chelsea").resize((37, 23), Image.Resampling.LANCZOS)
    ramp = np.tile(np.linspace(0, 255, 37).astype(np.uint8), (23, 1))
    alpha = Image.fromarray(ramp)
    rgba, grey_alpha = small.copy(), small.convert("L")
    rgba.putalpha(alpha)
    grey_alpha.putalpha(alpha)
    palette = small.convert("P", palette=Image.Palette.ADAPTIVE, colors=40)
    few = small.convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    modes = {"rgb": small, "rgba": rgba, "grey": small.convert("L"), "grey_alpha": grey_alpha}
    modes |= {"palette": palette, "bit": small.convert("1")}
    for mode, extension in itertools.product(modes, ("png", "gif", "bmp", "tif", "webp")):
        if (mode, extension) in {("grey_alpha", "bmp"), ("grey_alpha", "tif"), ("palette", "tif")}:
            continue
        exact = {"lossless": True, "exact": True} if extension == "webp" else {}
        modes[mode].save(folder / f"{mode}.{extension}", **exact)
    palette.save(folder / "palette_transparent.png", transparency=3)
    palette.save(folder / "palette_transparent.gif", transparency=3)
    palette.save(folder / "palette_alpha.png", transparency=bytes(range(0, 240, 6)))
    few.save(folder / "palette_2_bits.png", bits=2)
    modes["grey"].save(folder / "grey_transparent.png", transparency=100)
    small.save(folder / "rgb_transparent.png", transparency=(10, 20, 30))
    few.save(folder / "animated.gif", save_all=True, append_images=[few.rotate(180)], duration=50)
    small.save(folder / "lossy.webp", quality=80)
    rgba.save(folder / "lossy_alpha.webp", quality=60)
    for compression in ("tiff_lzw", "tiff_deflate", "packbits"):
        small.save(folder / f"{compression}.tif", compression=compression)
    modes["bit"].save(folder / "group4.tif", compression="group4")
    small.convert("CMYK").save(folder / "cmyk.tif")
    write_wide(folder)
    write_jpegs(folder, small)
    write_turned(folder, small)


def with_black(picture: Image.Image) -> Image.Image:
    """The picture's inks and a ramp of black, which Pillow's own conversion would leave at 0."""
    inks = picture.convert("CMYK").split()[:3]
    ramp = np.tile(np.linspace(0, 255, picture.width).astype(np.uint8), (picture.height, 1))
    return Image.merge("CMYK", (*inks, Image.fromarray(ramp)))


def write_wide(folder: Path) -> None:
    """Pictures of 16 bits a channel."""
    values = np.random.default_rng(16).integers(0, 65536, (9, 11, 4)).astype(">u2")
    for name, colour, channels in (("rgb", 2, 3), ("grey_alpha", 4, 2), ("rgba", 6, 4), ("grey", 0, 1)):
        rows = b"".join(b"\0" + row[:, :channels].tobytes() for row in values)
        header = np.array([11, 9], ">u4").tobytes() + bytes([16, colour, 0, 0, 0])
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
        with open(folder / f"{name}_16_bits.png", "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            for kind, data in chunks:
                check = zlib.crc32(kind + data).to_bytes(4, "big")
                file.write(len(data).to_bytes(4, "big") + kind + data + check)


def write_jpegs(folder: Path, small: Image.Image) -> None:
    photograph = picture("chelsea")
    for subsampling, progressive in itertools.product((0, 1, 2), (False, True)):
        name = f"{('444', '422', '420')[subsampling]}{'_progressive' if progressive else ''}.jpg"
        photograph.save(folder / name, quality=80, subsampling=subsampling, progressive=progressive)
    for width, height in ((1, 1), (2, 3), (17, 33), (31, 1), (1, 31)):
        odd = photograph.resize((width, height))
        odd.save(folder / f"odd_{width}_{height}.jpg", quality=90, subsampling=2)
    small.convert("L").save(folder / "grey.jpg")
    with_black(small).save(folder / "cmyk.jpg", quality=90)
    small.save(folder / "restart.jpg", restart_marker_rows=1, optimize=True)
    small.save(folder / "rgb.jpg", keep_rgb=True)


def write_turned(folder: Path, small: Image.Image) -> None:
    """Every EXIF orientation, and XMP's where there is no EXIF."""
    tiny = small.resize((11, 7))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        for extension in ("jpg", "png", "webp", "tif"):
            exact = {"lossless": True} if extension == "webp" else {}
            tiny.save(folder / f"exif_{orientation}.{extension}", exif=exif, **exact)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    tiny.save(folder / "xmp_6.jpg", xmp=xmp)
    tiny.save(folder / "xmp_6.webp", xmp=xmp, lossless=True)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp.decode())
    tiny.save(folder / "xmp_6.png", pnginfo=text)


def expected(file: Path) -> dict:
    """What `load_image` reads from a file."""
    image = load_image(str(file))
    pixels = image.tobytes()
    if file.stem == "grey_16_bits":
        # The one deviation: Pillow clips to 255 where the high byte is meant.
        high = (np.array(Image.open(file)) >> 8).astype(np.uint8)
        pixels = np.repeat(high[:, :, None], 3, axis=2).tobytes()
    return {"size": [image.height, image.width], "crc": zlib.crc32(pixels)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=CRATE_FIXTURES)
    output = parser.parse_args().output
    quiet()
    with publish(output / "files") as folder:
        write_files(folder)
        found = {file.name: expected(file) for file in sorted(folder.iterdir())}
        write_rows(folder / "expected.json", found)
    report(output / "files")
    with publish(output / "processor") as folder, tempfile.TemporaryDirectory() as scratch:
        results = [run(Path(scratch), name, keys) for name, keys in cases()]
        write_rows(folder / "cases.json", {"versions": versions(), "cases": results})
    report(output / "processor")


def write_rows(path: Path, value: dict) -> None:
    """Writes JSON with one entry a line, so that a change of one case is a change of one line."""
    rows = []
    for key, item in value.items():
        if isinstance(item, list):
            inner = ",\n".join(json.dumps(entry) for entry in item)
            rows.append(f"{json.dumps(key)}: [\n{inner}\n]")
        else:
            rows.append(f"{json.dumps(key)}: {json.dumps(item)}")
    path.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
