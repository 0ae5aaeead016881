"""Cuts against PySceneDetect's own detector, hue, saturation and value against OpenCV."""

import numpy as np
import pytest
import torch

from tfbench.core.errors import ConfigError, InputError
from tfbench.faces.shots import ContentChange, cuts, hsv


def scenes(lengths: list[int], size: tuple[int, int] = (60, 80), wild: bool = False):
    """Make noisy scenes: uint8 (T, 3, *size), dark and light in turn or of random colours."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for index, length in enumerate(lengths):
        colour = torch.tensor([(30, 60, 40), (220, 200, 90)][index % 2]).view(1, 3, 1, 1)
        if wild:
            colour = torch.randint(0, 256, (1, 3, 1, 1), generator=generator)
        noise = torch.randint(-20, 21, (length, 3, *size), generator=generator)
        made.append((colour + (noise if wild else noise // 10)).clamp(0, 255))
    return torch.cat(made).to(torch.uint8)


def found_in(frames: torch.Tensor, chunk: int = 32, **settings) -> list[int]:
    change = ContentChange()
    for piece in frames.split(chunk):
        change.feed(piece)
    return cuts(change.values, **settings)


def test_hsv_of_known_colours():
    colours = [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 255),
        (0, 0, 0),
        (200, 100, 200),
        (0, 50, 25),
    ]
    found = hsv(torch.tensor(colours, dtype=torch.uint8).T[:, :, None]).squeeze(2).T.tolist()
    assert found[:5] == [[0, 255, 255], [60, 255, 255], [120, 255, 255], [0, 0, 255], [0, 0, 0]]
    assert found[5] == [150, 127, 200]  # 127.5 before rounding with a table of 12 bits
    assert found[6] == [75, 255, 50]


def test_hsv_equals_opencv():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is the reference")
    pixels = np.random.default_rng(0).integers(0, 256, (500, 700, 3), dtype=np.uint8)
    pixels[:40] = np.arange(700)[:, None] % 256
    wanted = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    found = hsv(torch.from_numpy(pixels).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize(("width", "step"), [(80, 1), (400, 2), (640, 3)])
def test_cuts_equal_those_of_pyscenedetect(width, step):
    """Frames are subsampled before they reach PySceneDetect, as its version 0.5.1 did itself."""
    pytest.importorskip("scenedetect", reason="PySceneDetect is the reference")
    from scenedetect import ContentDetector, FrameTimecode
    from scenedetect.detector import FlashFilter

    frames = scenes([20, 40, 4, 30, 16, 15, 1, 18], (30, width), wild=True)
    reference = ContentDetector(30.0, 15, filter_mode=FlashFilter.Mode.SUPPRESS)
    wanted = []
    for index, frame in enumerate(frames[:, :, ::step, ::step]):
        bgr = np.ascontiguousarray(frame.permute(1, 2, 0).numpy()[:, :, ::-1])
        wanted += [
            int(c.frame_num) for c in reference.process_frame(FrameTimecode(index, 25.0), bgr)
        ]
    assert found_in(frames) == wanted
    assert len(wanted) >= 3


@pytest.mark.parametrize("chunk", [1, 7, 200])
def test_chunks_do_not_matter(chunk):
    assert found_in(scenes([30, 30, 30]), chunk) == [30, 60]


def test_a_cut_close_to_the_one_before_is_ignored_but_the_first_may_be_anywhere():
    assert found_in(scenes([3, 14, 14, 30]), min_frames=15) == [3, 31]


def test_the_change_is_compared_in_8_bit_steps():
    """Gray levels 0 and 90: only the value changes, by 90, so the mean over channels is 30."""
    frames = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    frames[1] = 90
    assert found_in(frames, threshold=30.0) == [1]
    assert found_in(frames, threshold=30.01) == []


def test_still_empty_and_single_frames_have_no_cut():
    assert found_in(torch.zeros(0, 3, 8, 8, dtype=torch.uint8)) == []
    assert found_in(torch.full((1, 3, 8, 8), 200, dtype=torch.uint8)) == []
    assert found_in(torch.full((40, 3, 8, 8), 200, dtype=torch.uint8)) == []


@pytest.mark.parametrize(
    "frames", [torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.zeros(2, 3, 8, 8)]
)
def test_refuses_other_frames(frames):
    with pytest.raises(InputError, match="uint8"):
        ContentChange().feed(frames)


def test_refuses_a_change_of_size():
    change = ContentChange()
    change.feed(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(InputError, match="one size"):
        change.feed(torch.zeros(1, 3, 8, 9, dtype=torch.uint8))


def test_refuses_impossible_settings():
    with pytest.raises(ConfigError, match="threshold"):
        cuts([0.0], threshold=0)
