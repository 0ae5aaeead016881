"""Pictures of every kind that people have, against what was put into them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tfbench.core.errors import InputError
from tfbench.media.image import read_image

RAMP = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def test_an_rgb_png_is_read_bit_for_bit(tmp_path: Path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == torch.uint8
    assert torch.equal(image, torch.from_numpy(RAMP).permute(2, 0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int):
    """What each value means is written out here from the EXIF 2.3 standard, section 4.6.4."""
    stored = RAMP
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).swapaxes(0, 1),
        8: np.rot90(stored, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0).numpy(), upright)


def test_transparent_parts_are_white(tmp_path: Path):
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")[:, 0].T.tolist()
    assert image == [[10, 20, 30], [255, 255, 255], [204, 204, 204]]


def test_a_palette_with_a_transparent_colour(tmp_path: Path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L").convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "a.png", transparency=1)
    read = read_image(tmp_path / "a.png")[:, 0].T.tolist()
    assert read == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


def test_16_bit_greys_are_scaled_not_clipped(tmp_path: Path):
    levels = np.array([[0, 257, 32768, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[:, 0].T.tolist() == [[v] * 3 for v in (0, 1, 128, 255)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str):
    ending = "png" if mode in {"1", "L", "LA"} else "jpg"
    Image.new("RGB", (8, 6), "white").convert(mode).save(tmp_path / f"a.{ending}")
    assert torch.equal(read_image(tmp_path / f"a.{ending}"), torch.full((3, 6, 8), 255).byte())


def test_what_is_no_picture_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="is not there"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="is not there"):
        read_image(tmp_path)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_image(tmp_path / "text.png")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_image(tmp_path / "cut.png")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(InputError, match="floating-point"):
        read_image(tmp_path / "float.tiff")
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(tmp_path / "deep.tiff")
    with pytest.raises(InputError, match="beyond 16 bits"):
        read_image(tmp_path / "deep.tiff")
