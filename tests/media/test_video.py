from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.media.clips import SIZE, ffmpeg, number, raw_frames, write_numbered
from tfbench.core.errors import InputError
from tfbench.core.types import Speech, TensorVideo
from tfbench.media.video import VideoFile, open_clip, read_comment, write_video


def read(path: Path, **options) -> torch.Tensor:
    return torch.cat(list(VideoFile(path, **options).frames()))


def numbers(path: Path) -> list[int]:
    return [number(frame.permute(1, 2, 0).numpy()) for frame in read(path)]


def moving(n: int = 20, height: int = 48, width: int = 64) -> torch.Tensor:
    ramp = torch.linspace(0, 255, width).expand(3, height, width)
    return torch.stack([ramp.roll(3 * k, 2) for k in range(n)]).to(torch.uint8)


def tone(seconds: float, rate: int = 16_000) -> Speech:
    t = torch.arange(int(seconds * rate)) / rate
    return Speech(0.4 * torch.sin(2 * torch.pi * (300 + 400 * t) * t), rate)


UNEVEN = np.cumsum(
    [0, 0.04, 0.04, 0.1, 0.04, 0.02, 0.02, 0.02, 0.2, 0.04, 0.04, 0.033, 0.033, 0.04]
).tolist()
TIMES = {
    "25": [k / 25 for k in range(30)],
    "30": [k / 30 for k in range(60)],
    "29.97": [k * 1001 / 30_000 for k in range(60)],
    "24": [k / 24 for k in range(50)],
    "60": [k / 60 for k in range(90)],
    "15": [k / 15 for k in range(25)],
    "12.5": [k / 12.5 for k in range(20)],
    "uneven": UNEVEN,
    "one": [0.0],
}


@pytest.mark.parametrize("name", sorted(TIMES))
def test_frames_at_25_fps_are_those_of_ffmpegs_fps_filter(tmp_path: Path, name: str):
    path = write_numbered(tmp_path / "clip.mp4", TIMES[name])
    wanted = [number(f) for f in raw_frames(path, SIZE, SIZE, "-vf", "fps=25")] or [0]
    assert numbers(path) == wanted
    assert VideoFile(path).n_frames == len(wanted)


@pytest.mark.parametrize("fps", [25, 30, 24, 60, 15])
def test_no_frame_is_shown_more_than_half_a_tick_from_its_time(tmp_path: Path, fps: int):
    path = write_numbered(tmp_path / "clip.mp4", [k / fps for k in range(60)])
    late = [n / 25 - k / fps for n, k in enumerate(numbers(path))]
    assert min(late) >= -0.5 / 25 - 1e-3
    assert max(late) < 0.5 / 25 + 1 / fps


def test_ffmpegs_output_rate_option_drifts_where_this_does_not(tmp_path: Path):
    """`-r 25` keeps 30 fps material back by up to two ticks; at 25 fps it is the same."""
    path = write_numbered(tmp_path / "clip.mp4", TIMES["30"])
    out = tmp_path / "out.mp4"
    ffmpeg("-i", path, "-r", "25", "-c:v", "libx264", "-qp", "0", out)
    theirs = [number(f) for f in raw_frames(out, SIZE, SIZE)]
    assert max(n / 25 - k / 30 for n, k in enumerate(theirs)) > 1.5 / 25
    same = write_numbered(tmp_path / "same.mp4", TIMES["25"])
    ffmpeg("-i", same, "-r", "25", "-c:v", "libx264", "-qp", "0", out)
    assert [number(f) for f in raw_frames(out, SIZE, SIZE)] == numbers(same)


def test_a_late_start_is_the_first_tick(tmp_path: Path):
    path = write_numbered(tmp_path / "clip.mp4", [0.5 + k / 25 for k in range(10)])
    assert numbers(path) == list(range(10))


def test_native_rate_delivers_every_frame_once(tmp_path: Path):
    path = write_numbered(tmp_path / "clip.mp4", TIMES["30"])
    video = VideoFile(path, fps=None)
    assert (video.n_frames, float(video.fps)) == (60, pytest.approx(30, abs=0.01))
    assert len(torch.cat(list(video.frames()))) == 60


def test_chunks_and_ranges(tmp_path: Path):
    path = write_numbered(tmp_path / "clip.mp4", TIMES["25"])
    video = VideoFile(path)
    whole = torch.cat(list(video.frames()))
    assert [len(chunk) for chunk in video.frames(3, 17, chunk=5)] == [5, 5, 4]
    assert torch.equal(torch.cat(list(video.frames(3, 17, chunk=5))), whole[3:17])
    tensor = TensorVideo(whole)
    assert torch.equal(torch.cat(list(tensor.frames(3, 17, chunk=5))), whole[3:17])


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotated_files_come_upright(tmp_path: Path, angle: int):
    plain, turned = tmp_path / "plain.mp4", tmp_path / "turned.mp4"
    write_video(plain, [moving()], 25, None, comment="test")
    ffmpeg("-display_rotation", angle, "-i", plain, "-c", "copy", turned)
    got = read(turned)
    wanted = raw_frames(turned, *got.shape[2:])
    assert tuple(got.shape[2:]) == ((48, 64) if angle == 180 else (64, 48))
    assert np.array_equal(got.permute(0, 2, 3, 1).numpy(), wanted)


FORMATS = {
    "yuv420p10le": "libx265",
    "gray": "ffv1",
    "yuv444p": "libx264",
    "yuv422p": "ffv1",
    "bgra": "ffv1",
    "rgb24": "png",
    "pal8": "gif",
}


@pytest.mark.parametrize("pix_fmt", sorted(FORMATS))
def test_any_pixel_format_becomes_the_rgb_that_ffmpeg_gives(tmp_path: Path, pix_fmt: str):
    plain = tmp_path / "plain.mp4"
    path = tmp_path / ("clip.gif" if pix_fmt == "pal8" else "clip.mkv")
    write_video(plain, [moving()], 25, None, comment="test")
    filters = ["-vf", "fps=25"] if pix_fmt == "pal8" else []
    chosen = [] if pix_fmt == "pal8" else ["-c:v", FORMATS[pix_fmt], "-pix_fmt", pix_fmt]
    ffmpeg("-i", plain, *filters, *chosen, path)
    got = read(path)
    wanted = raw_frames(path, 48, 64, "-vf", "fps=25")
    assert np.abs(got.permute(0, 2, 3, 1).numpy().astype(int) - wanted).max() <= 1
    assert got.float().std() > 20


def test_real_clips_equal_ffmpeg_bit_for_bit(shared_data: Path):
    for name in ("voxceleb2/Input_00010.mp4", "grid/multi/bbaf2n.mpg"):
        got = read(shared_data / name).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(got, raw_frames(shared_data / name, *got.shape[1:3]))


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63)])
def test_what_is_written_comes_back(tmp_path: Path, height: int, width: int):
    frames = moving(30, height, width)
    path = tmp_path / "clip é.mp4"
    n = write_video(path, frames.split(7), 25, tone(1.2), comment="method=test")
    clip = open_clip(path)
    got = torch.cat(list(clip.video.frames()))
    assert n == clip.video.n_frames == 30
    assert (clip.video.height, clip.video.width) == (height, width)
    assert (got.float() - frames.float()).abs().mean() < 2
    assert "synthetic" in read_comment(path)
    assert "method=test" in read_comment(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_sound_stays_in_time_through_aac(tmp_path: Path, rate: int):
    path = tmp_path / "clip.mp4"
    write_video(path, [moving(50)], 25, tone(2.0, rate), comment="test")
    got, wanted = open_clip(path).speech.waveform, tone(2.0).waveform
    middle = wanted[8000:24_000]
    lags = [float((got[8000 + k : 24_000 + k] * middle).sum()) for k in range(-200, 201)]
    assert abs(int(np.argmax(lags)) - 200) <= 2
    assert abs(len(got) - len(wanted)) <= 2048


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    for name in "ab":
        write_video(tmp_path / name, moving(30).split(8), 25, tone(1.2), comment="test")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_encoder_gives_the_same_bytes_whatever_lay_in_memory(tmp_path: Path):
    """As large and as long as needed to show what x264 does without `cpu-independent`."""
    draw = torch.Generator().manual_seed(0)
    small = torch.rand(40, 3, 36, 46, generator=draw).cumsum(0) / 40
    clip = torch.nn.functional.interpolate(small, (288, 368), mode="bilinear")
    frames, written = (255 * clip).round().byte(), set()
    for k in range(3):
        litter = [torch.full((700_000 + k,), k, dtype=torch.uint8) for _ in range(20)]
        del litter
        write_video(tmp_path / "x.mp4", [frames], Fraction(25), None, comment="")
        written.add((tmp_path / "x.mp4").read_bytes())
    assert len(written) == 1


def test_a_failure_leaves_no_file(tmp_path: Path):
    def breaks():
        yield moving(4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "clip.mp4", breaks(), 25, None, comment="test")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([], "no frame to write"),
        ([torch.zeros(2, 3, 8, 8)], "must be uint8"),
        ([moving(2), moving(2, 32, 32)], r"\(t, 3, 48, 64\); got"),
    ],
)
def test_frames_that_cannot_be_written_are_refused(tmp_path: Path, chunks: list, message: str):
    with pytest.raises(InputError, match=message):
        write_video(tmp_path / "clip.mp4", chunks, 25, None, comment="test")


class TestBadFiles:
    def bad(self, path: Path, message: str) -> None:
        with pytest.raises(InputError, match=message):
            read(path)

    def test_missing(self, tmp_path: Path):
        self.bad(tmp_path / "no.mp4", "does not exist")

    def test_folder(self, tmp_path: Path):
        self.bad(tmp_path, "is not a file")

    def test_empty(self, tmp_path: Path):
        (tmp_path / "a.mp4").touch()
        self.bad(tmp_path / "a.mp4", "is empty")

    def test_text(self, tmp_path: Path):
        (tmp_path / "a b.mp4").write_text("hello\n" * 100)
        self.bad(tmp_path / "a b.mp4", "cannot be opened as a video")

    def test_sound_only(self, tmp_path: Path):
        path = tmp_path / "a.mp4"
        ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)
        self.bad(path, "no video stream")

    def test_no_frame(self, tmp_path: Path):
        path = tmp_path / "a.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width = stream.height = 64
            audio = container.add_stream("aac", rate=16_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
            frame.sample_rate = 16_000
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
        self.bad(path, "no video frame|cannot be opened|no video stream|damaged")

    @pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
    def test_cut_off(self, tmp_path: Path, share: float):
        path = tmp_path / "a.mp4"
        noise = torch.randint(0, 256, (40, 3, 64, 64), dtype=torch.uint8)
        write_video(path, [noise], 25, None, comment="test")
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        self.bad(path, "cut off|damaged|cannot be opened")

    def test_cut_off_sound_is_refused_too(self, tmp_path: Path):
        path = tmp_path / "a.mp4"
        noise = torch.randint(0, 256, (40, 3, 64, 64), dtype=torch.uint8)
        write_video(path, [noise], 25, tone(1.6), comment="test")
        path.write_bytes(path.read_bytes()[: int(0.5 * path.stat().st_size)])
        with pytest.raises(InputError):
            list(open_clip(path).video.frames())

    def test_header_at_the_end_is_lost(self, tmp_path: Path):
        path = write_numbered(tmp_path / "a.mp4", TIMES["25"])
        path.write_bytes(path.read_bytes()[:-400])
        self.bad(path, "cannot be opened as a video")


def test_a_tensor_of_another_kind_is_refused():
    with pytest.raises(InputError, match="must be uint8"):
        TensorVideo(torch.zeros(2, 3, 4, 4))
    assert TensorVideo(moving(5), Fraction(30)).seconds == pytest.approx(1 / 6)


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg4", "mjpeg"])
@pytest.mark.parametrize("fps", [25, 30])
def test_a_bare_stream_without_times_has_as_many_frames_as_it_yields(
    tmp_path: Path, codec: str, fps: int
):
    path = tmp_path / {"mpeg1video": "clip.m1v", "mpeg4": "clip.m4v", "mjpeg": "clip.mjpeg"}[codec]
    pattern = f"testsrc=size=64x48:rate={fps}:duration=2"
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    ffmpeg("-f", "lavfi", "-i", pattern, "-c:v", codec, "-pix_fmt", pixels, path)
    assert VideoFile(path).n_frames == len(read(path)) > 45
