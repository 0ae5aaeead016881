"""`tfbench generate` as a user types it, on tiny pictures and clips."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

from tfbench.cli import common
from tfbench.core.errors import GenerationError
from tfbench.core.types import Need, Request, Speech
from tfbench.media.audio import write_wav
from tfbench.media.video import MARK, open_clip, read_comment, write_video
from tfbench.methods.base import Generator, n_frames_for

NTSC = Fraction(30000, 1001)


@pytest.fixture
def run(run):
    return lambda *words: run("generate", "--accelerator", "cpu", *words)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture, a clip of 12 frames at 29.97 fps with sound, one without, and 0.8 s of speech."""
    folder = tmp_path_factory.mktemp("own files")
    tone = Speech(0.3 * torch.sin(torch.arange(12_800) / 12))
    write_wav(folder / "speech.wav", tone)
    Image.new("RGB", (64, 48), (200, 30, 30)).save(folder / "face.png")
    Image.new("RGB", (48, 64)).save(folder / "upright.png")
    frames = torch.stack([torch.full((3, 64, 80), 15 * k, dtype=torch.uint8) for k in range(12)])
    write_video(folder / "clip.mp4", [frames], NTSC, tone, comment="")
    write_video(folder / "mute.mp4", [frames], NTSC, None, comment="")
    (folder / "text.png").write_text("hello")
    return folder


class Echo(Generator, torch.nn.Module):
    """Plays the source from its start again and again; says that two frames were left."""

    name = "echo"
    needs = frozenset({Need.SPEECH, Need.SOURCE})
    unedited = 2

    def frames(self, request: Request):
        assert request.source is not None
        assert request.pose is request.source.video
        assert not self.training
        self.asked = request
        left = n_frames_for(request)
        while left:
            for chunk in request.source.video.frames(0, left):
                left -= len(chunk)
                yield chunk


class Broken(Generator):
    """Fails after its first frames, as `error` says."""

    name = "broken"
    needs = frozenset()
    error: BaseException = GenerationError("no face in the picture")

    def frames(self, request: Request):
        yield torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
        raise self.error


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Echo:
    """Make `echo` and `broken` known by name."""
    real, made = common.build, {"echo": Echo(), "broken": Broken()}
    monkeypatch.setattr(
        common, "build", lambda kind, name, words: made.get(name) or real(kind, name, words)
    )
    return made["echo"]


def test_a_picture_and_speech(run, files: Path, tmp_path: Path):
    said = run(
        *("--method", "still", "--image", files / "face.png"),
        *("--audio", files / "speech.wav", "--out", "new/dub.mp4"),
    )
    assert said.code == 0, said.text
    assert "new/dub.mp4: 20 frames of 64x48, 0.80 s at 25 fps, by still" in said.text
    clip = open_clip(tmp_path / "new/dub.mp4", fps=None)
    assert (clip.video.fps, clip.video.n_frames) == (25, 20)
    colour = torch.cat(list(clip.video.frames())).float().mean((0, 2, 3))
    assert (colour - torch.tensor([200.0, 30, 30])).abs().max() < 4
    assert clip.speech is not None
    assert abs(clip.speech.seconds - 0.8) < 0.07
    assert read_comment(tmp_path / "new/dub.mp4") == f"{MARK}; method=still"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["dub.mp4"]


def test_silent_sound_is_told(run, files: Path, tmp_path: Path):
    frames = torch.zeros(12, 3, 64, 80, dtype=torch.uint8)
    silence = Speech(torch.zeros(16_000))
    write_video(tmp_path / "silent.mp4", [frames], 25.0, silence, comment="")
    words = ("--method", "still", "--image", files / "face.png", "--out", "dub.mp4")
    said = run(*words, "--audio", "silent.mp4")
    assert said.code == 0, said.text
    assert "silent.mp4 is silent: its " in said.text
    assert "is silent" not in run(*words, "--overwrite", "--audio", files / "speech.wav").text


def test_a_video_is_written_back_at_its_own_rate(run, files: Path, tmp_path: Path, echo: Echo):
    said = run(
        *("--method", "echo", "--video", files / "clip.mp4", "--face", 1, "--length", "stop"),
        *("--audio", files / "speech.wav", "--out", "dub.mp4", "--emotion", "Happy", "--seed", 7),
    )
    assert said.code == 0, said.text
    assert "23 frames of 80x64, 0.77 s at 29.97 fps" in said.text
    assert "2 of 23 frames show no face and are left as they were" in said.text
    assert "echo does not ask for an emotion" in said.text
    assert open_clip(tmp_path / "dub.mp4", fps=None).video.fps == NTSC
    request = echo.asked
    assert (request.fps, request.face, request.length, request.seed) == (NTSC, 1, "stop", 7)
    assert request.emotion is not None
    assert request.emotion.text == "happy"
    assert request.identity.shape == (1, 3, 64, 80)
    assert request.identity.float().mean() < 3


def test_the_rate_can_be_chosen_and_the_speech_be_a_videos(run, files: Path, tmp_path: Path, echo):
    said = run(
        *("--method", "echo", "--video", files / "mute.mp4", "--fps", "12.5"),
        *("--image", files / "face.png", "--image", files / "face.png"),
        *("--audio", files / "clip.mp4", "--out", "dub.mp4"),
    )
    assert said.code == 0, said.text
    assert echo.asked.identity.shape == (2, 3, 48, 64)
    assert echo.asked.source.video.fps == Fraction(25, 2)
    assert open_clip(tmp_path / "dub.mp4", fps=None).video.n_frames == 10


def test_several_methods_with_grid_and_strip(run, files: Path, tmp_path: Path, echo: Echo):
    said = run(
        *("--method", "still,echo", "--method", "external", "--strip", "many/strip.png"),
        *("--set", "external:label=copy", "--set", "external:release=1", "--frames", 4),
        *("--set", "external:command=cp {video} {out}"),
        *("--video", files / "clip.mp4", "--audio", files / "speech.wav", "--out", "many"),
    )
    assert said.code == 0, said.text
    names = sorted(path.name for path in (tmp_path / "many").iterdir())
    assert names == ["copy.mp4", "echo.mp4", "grid.mp4", "still.mp4", "strip.png"]
    grid = open_clip(tmp_path / "many/grid.mp4", fps=None)
    assert (grid.video.fps, grid.video.n_frames) == (NTSC, 23)
    assert (grid.video.height, grid.video.width) == (148, 4 * 160 + 3 * 4)
    assert grid.speech is not None
    frames = torch.cat(list(grid.video.frames()))[:, 0].float()
    source, still, echoed, copied = (frames[:, 84, 164 * k + 80].round().tolist() for k in range(4))
    wanted = [15 * (k % 12) for k in range(23)]
    for shown in (source, echoed):
        assert max(abs(a - b) for a, b in zip(shown, wanted, strict=True)) < 8
    assert max(still) < 8
    assert min(copied[12:]) > 150  # the last frame is held where a method stops early
    with Image.open(tmp_path / "many/strip.png") as strip:
        assert strip.size[1] == 24 + 4 * 162


def test_a_grid_of_one_method_begins_with_the_image(run, files: Path, tmp_path: Path):
    said = run(
        *("--method", "still", "--image", files / "face.png", "--audio", files / "speech.wav"),
        *("--out", "a.mp4", "--grid", "g.mp4", "--overwrite"),
    )
    assert "g.mp4: image, still side by side" in said.text
    assert open_clip(tmp_path / "g.mp4").video.n_frames == 20


def test_an_existing_file_is_kept_unless_told_otherwise(run, files: Path, tmp_path: Path):
    words = ("--method", "still", "--image", files / "face.png", "--audio", files / "speech.wav")
    (tmp_path / "a.mp4").write_text("mine")
    said = run(*words, "--out", "a.mp4")
    assert (said.code, (tmp_path / "a.mp4").read_text()) == (1, "mine")
    assert "a.mp4 is there already; --overwrite replaces it" in said.text
    assert run(*words, "--out", "a.mp4", "--overwrite").code == 0
    assert open_clip(tmp_path / "a.mp4").video.n_frames == 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--method stil", "did you mean 'still'"),
        ("--method still,Still", "names 'still' twice"),
        ("--method ,", "--method is empty"),
        ("--method still --set x:fps=3", "is for 'x', which is not among the methods: still"),
        ("--method still --set a=3", "unknown key 'a'"),
        ("--method ground_truth", "ground_truth needs the true recording"),
        ("--method still --image", "still needs a face: give --image or --video"),
        ("--method echo", "echo needs a video to edit: give --video"),
        ("--method files --set root={files}/clip.mp4", "makes no video"),
        ("--method still --audio {files}/mute.mp4", "mute.mp4 has no audio stream"),
        ("--method still --audio {files}/none.wav", "cannot be read: No such file"),
        ("--method still --audio {files}/text.png", "text.png has no audio stream"),
        ("--method still --image {files}/text.png", "cannot be read as an image"),
        ("--method still --image {files}/none.png", "is not there"),
        ("--method still --image {files}/face.png --image {files}/upright.png", "of one size"),
        ("--method still --video {files}/speech.wav", "has no video stream"),
        ("--method still --video {files}/none.mp4", "does not exist"),
        ("--method still --fps fast", "such as 25, 29.97 or 30000/1001; got 'fast'"),
        ("--method still --fps 1/0", "got '1/0'"),
        ("--method still --fps 1000", "from 1 to 240"),
        ("--method still --emotion hapy", "did you mean 'happy'?; there are: neutral, happy"),
        ("--method still --accelerator abacus", "--accelerator abacus cannot be used"),
        ("--method still --out a.avi", "ends in .mp4; got a.avi"),
        ("--method still --out . --overwrite", "ends in .mp4; got ."),
        ("--method still --out folder.mp4 --overwrite", "folder.mp4 is a folder"),
        ("--method still --out {files}/text.png/a.mp4", "cannot write to"),
        ("--method still --video {files}/clip.mp4 --out {files}/clip.mp4", "over the input"),
        ("--method still --grid a.mp4", "a grid would be written over a video at a.mp4"),
        ("--method still --strip a.jpg", "ends in .png; got a.jpg"),
        ("--method still,echo", "--out of several methods is a folder; a.mp4 is the name of"),
        ("--method broken", "no face in the picture"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    run, files: Path, tmp_path: Path, echo: Echo, words: str, message: str
):
    (tmp_path / "folder.mp4").mkdir()
    given = [word.replace("{files}", str(files)) for word in words.split(" ")]
    usual = {"--image": files / "face.png", "--audio": files / "speech.wav", "--out": "a.mp4"}
    if given[-1] == "--image":
        del given[-1], usual["--image"]
    for option, value in usual.items():
        given += [] if option in given else [option, str(value)]
    said = run(*given)
    assert said.code == 1, said.text
    assert message in said.text.partition("tfbench: ")[2]
    assert [path.name for path in tmp_path.iterdir()] == ["folder.mp4"]


@pytest.mark.parametrize(("size", "works"), [((1, 1), True), ((3, 3), True), ((20_000, 2), False)])
def test_pictures_of_odd_sizes(run, files: Path, tmp_path: Path, size, works: bool):
    Image.new("RGB", size, "white").save(tmp_path / "odd.png")
    said = run(
        *("--method", "still", "--image", "odd.png", "--audio", files / "speech.wav"),
        *("--out", "new/a.mp4"),
    )
    assert (said.code == 0) is works
    assert works or "still: the video cannot be encoded" in said.text
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"] * works


def test_ctrl_c_leaves_nothing_half_written(run, files: Path, tmp_path: Path, echo, monkeypatch):
    monkeypatch.setattr(Broken, "error", KeyboardInterrupt())
    said = run(
        *("--method", "still,broken", "--image", files / "face.png"),
        *("--audio", files / "speech.wav", "--out", "new"),
    )
    assert said.code == 130
    assert "interrupted" in said.text
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["still.mp4"]


def test_a_real_clip_and_the_speech_of_another(run, shared_data: Path, tmp_path: Path):
    source, speech = sorted((shared_data / "lrs3/test").rglob("*.mp4"))[:2]
    said = run("--method", "still", "--video", source, "--audio", speech, "--out", "a.mp4")
    assert said.code == 0, said.text
    made = open_clip(tmp_path / "a.mp4", fps=None).video
    wanted = open_clip(speech, fps=None).video
    assert abs(made.n_frames - wanted.n_frames) <= 1
    assert (made.height, made.width, made.fps) == (224, 224, 25)
