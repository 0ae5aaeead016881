"""`tfbench generate`: a talking face from one's own picture or video and one's own speech."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfbench.cli import common, own_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.status import Status

    from tfbench.core.types import Clip, Request
    from tfbench.methods.base import Generator
    from tfbench.report.panels import Panel

WANTED = {
    "speech": "speech: give --audio",
    "identity": "a face: give --image or --video",
    "source": "a video to edit: give --video",
    "pose": "a video whose head motion is followed: give --video",
    "emotion": "an emotion: give --emotion",
    "scene": "a scene with a mask of the speaker, which only a data set holds: see `tfbench eval`",
    "oracle": "the true recording, which new speech does not have: see `tfbench eval`",
}


@dataclass(frozen=True)
class Job:
    """One video to be made: under which name, by what, and where to."""

    caption: str
    generator: Generator
    out: Path


def generate_command(
    method: Annotated[
        list[str],
        typer.Option("--method", help="Such as wav2lip; several by commas or --method again."),
    ],
    audio: Annotated[Path, typer.Option(help="The speech: a sound file, or a video's sound.")],
    out: Annotated[Path, typer.Option(help="The mp4 file to write; of several methods a folder.")],
    image: Annotated[
        list[Path] | None, typer.Option("--image", help="A picture of the face; may be repeated.")
    ] = None,
    video: Annotated[Path | None, typer.Option(help="A video whose face is to speak.")] = None,
    fps: Annotated[
        str | None, typer.Option(help="Frames per second. Default: the video's own, else 25.")
    ] = None,
    face: Annotated[int, typer.Option(min=0, help="Which face of the video; 0: seen longest.")] = 0,
    length: Annotated[
        own_files.Length,
        typer.Option(help="Where the speech outlasts the video: start it over, or stop."),
    ] = own_files.Length.LOOP,
    emotion: Annotated[str | None, typer.Option(help="Such as happy.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of every method, key=value, or method:key=value."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the method's random draws.")] = 0,
    accelerator: common.AcceleratorOption = "auto",
    grid: Annotated[
        Path | None,
        typer.Option(help="An mp4 file that shows all side by side. Default: OUT/grid.mp4."),
    ] = None,
    strip: Annotated[
        Path | None, typer.Option(help="A PNG file with a row of frames for each method.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="How many frames the strip shows.")] = 8,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there.")
    ] = False,
) -> None:
    """Make a talking face of your own pictures or video, and your own speech.

    With --video the face in it is edited, or followed, as the method does; the rate is the
    video's own. With --image alone the picture is brought to life. Every file is marked as
    synthetic in its metadata.
    """
    jobs = _jobs(_names(method), setting or [], out)
    if len(jobs) > 1 and grid is None:
        grid = out / "grid.mp4"
    inputs = [audio, *(image or []), *([video] if video else [])]
    outputs = _check_outputs(jobs, grid, strip, inputs=inputs, overwrite=overwrite)
    request = own_files.request(
        out.stem,
        audio=audio,
        images=image or [],
        video=video,
        fps=fps,
        emotion=emotion,
        face=face,
        length=length,
        seed=seed,
    )
    for job in jobs:
        _check_needs(job, request)
    if request.speech is not None and not bool(request.speech.waveform.any()):
        _say(f"{audio} is silent: its {request.speech.seconds:.1f} s hold no sound")
    _make_folders(outputs)
    with _interruptible():
        clips = [_make(job, request, accelerator) for job in jobs]
        _show(_panels(jobs, clips, request), clips, request, grid, strip, frames)


def _names(words: Sequence[str]) -> list[str]:
    """Split names with commas; refuse none and one that comes twice."""
    from tfbench.core.errors import ConfigError

    names = [name for word in words for name in common.names(word) or []]
    twice = [name for name, n in Counter(map(str.lower, names)).items() if n > 1]
    if not names or twice:
        raise ConfigError(
            f"--method names '{twice[0]}' twice" if twice else "--method is empty; name a method"
        )
    return names


def _jobs(names: Sequence[str], settings: Sequence[str], out: Path) -> list[Job]:
    """Build the generators, and say where each one's video goes."""
    from tfbench.core.errors import InputError

    _check_owners(names, settings)
    generators = [common.build("methods", name, _own(name, settings)) for name in names]
    if len(generators) == 1:
        return [Job(generators[0].label, generators[0], out)]
    if out.is_file() or out.suffix.lower() == ".mp4":
        raise InputError(f"--out of several methods is a folder; {out} is the name of a file")
    labels = Counter(generator.label.lower() for generator in generators)
    jobs = []
    for name, generator in zip(names, generators, strict=True):
        caption = generator.label if labels[generator.label.lower()] == 1 else name
        if caption.startswith(".") or "/" in caption or "\\" in caption:
            raise InputError(f"'{caption}' cannot name a file; leave out slashes and a leading dot")
        jobs.append(Job(caption, generator, out / f"{caption}.mp4"))
    return jobs


def _check_owners(names: Sequence[str], settings: Sequence[str]) -> None:
    from tfbench.core.errors import ConfigError

    for word in settings:
        owner = word.partition("=")[0].rpartition(":")[0]
        if owner and owner not in names:
            raise ConfigError(
                f"--set {word} is for '{owner}', which is not among the methods: {', '.join(names)}"
            )


def _own(name: str, settings: Sequence[str]) -> list[str]:
    """Return the settings that are for one method, without its name."""
    own = []
    for word in settings:
        key, sign, value = word.partition("=")
        owner, _, bare = key.rpartition(":")
        if owner in {"", name}:
            own.append(f"{bare}{sign}{value}")
    return own


def _check_outputs(
    jobs: Sequence[Job],
    grid: Path | None,
    strip: Path | None,
    *,
    inputs: Sequence[Path],
    overwrite: bool,
) -> list[Path]:
    """Return the files that will be written; refuse names that cannot be, before any work."""
    from tfbench.core.errors import InputError
    from tfbench.core.files import storage_errors

    wanted = [(job.out, ".mp4", "a video") for job in jobs]
    wanted += [(grid, ".mp4", "a grid")] if grid else []
    wanted += [(strip, ".png", "a strip")] if strip else []
    taken = {path.resolve(): f"the input {path}" for path in inputs}
    for path, ending, what in wanted:
        if path.suffix.lower() != ending:
            raise InputError(f"{what} is written to a file that ends in {ending}; got {path}")
        with storage_errors(path.parent):
            is_folder, is_there = path.is_dir(), path.exists()
        if is_folder:
            raise InputError(f"{path} is a folder; give the name of a file for {what}")
        place = path.resolve()
        if place in taken:
            raise InputError(f"{what} would be written over {taken[place]}; choose another name")
        if is_there and not overwrite:
            raise InputError(f"{path} is there already; --overwrite replaces it")
        taken[place] = f"{what} at {path}"
    return [path for path, *_ in wanted]


def _check_needs(job: Job, request: Request) -> None:
    """Refuse a method that needs what was not given, or that makes no video."""
    from tfbench.core.errors import InputError

    job.generator.ready()
    absent = sorted(need for need in job.generator.needs if getattr(request, need) is None)
    if absent:
        wanted = "; ".join(WANTED[need] for need in absent)
        raise InputError(f"{job.caption} needs {wanted}")
    if job.generator.existing(request) is not None:
        raise InputError(f"{job.caption} makes no video, it finds one that is finished")
    if request.emotion is not None and "emotion" not in job.generator.needs:
        _say(f"{job.caption} does not ask for an emotion; --emotion may change nothing")


def _make_folders(paths: Sequence[Path]) -> None:
    from tfbench.core.files import storage_errors

    for path in paths:
        with storage_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)


def _make(job: Job, request: Request, accelerator: str) -> Clip:
    """Generate one video and tell about it."""
    import torch

    device = common.device_of(accelerator)
    network = job.generator if isinstance(job.generator, torch.nn.Module) else None
    if network is not None:
        network.to(device).eval()
    start = time.monotonic()
    with _busy(f"{job.caption} makes {job.out}"):
        clip = _generated(job, request)
    seconds = time.monotonic() - start
    if network is not None:
        network.to("cpu")
    _report(job, clip, seconds)
    return clip


def _generated(job: Job, request: Request) -> Clip:
    import av

    from tfbench.core.errors import GenerationError

    try:
        return job.generator.generate(request, job.out)
    except av.FFmpegError as error:
        raise GenerationError(
            f"{job.caption}: the video cannot be encoded: {error.strerror}; the encoder takes "
            "frames of up to 16384 pixels a side"
        ) from error


def _report(job: Job, clip: Clip, seconds: float) -> None:
    video = clip.video
    n = video.n_frames
    typer.echo(
        f"{job.out}: {n} frames of {video.width}x{video.height}, {video.seconds:.2f} s at "
        f"{float(video.fps):.5g} fps, by {job.caption} in {seconds:.1f} s"
    )
    unedited = int(getattr(job.generator, "unedited", 0))
    if unedited:
        _say(f"{unedited} of {n} frames show no face and are left as they were")
    if remark := getattr(job.generator, "remark", ""):
        _say(remark)


def _panels(jobs: Sequence[Job], clips: Sequence[Clip], request: Request) -> list[Panel]:
    """Return what is shown beside each other: where it comes from, then each method."""
    from tfbench.core.types import TensorVideo
    from tfbench.report.panels import Panel

    made = [Panel(job.caption, clip.video) for job, clip in zip(jobs, clips, strict=True)]
    if request.source is not None:
        return [Panel("source", request.source.video, loop=request.length == "loop"), *made]
    if request.identity is not None:
        return [Panel("image", TensorVideo(request.identity[:1], request.fps)), *made]
    return made


def _show(
    panels: Sequence[Panel],
    clips: Sequence[Clip],
    request: Request,
    grid: Path | None,
    strip: Path | None,
    n_columns: int,
) -> None:
    """Write the grid and the strip that were asked for."""
    from tfbench.core.files import storage_errors
    from tfbench.report.grid import write_grid
    from tfbench.report.strip import write_strip

    n_frames = max(clip.video.n_frames for clip in clips)
    if grid is not None:
        with _busy(f"writing {grid}"), storage_errors(grid.parent):
            write_grid(grid, panels, n_frames, request.fps, request.speech)
        typer.echo(f"{grid}: {', '.join(panel.caption for panel in panels)} side by side")
    if strip is not None:
        write_strip(strip, panels, n_frames, request.fps, n_columns)
        typer.echo(f"{strip}: {min(n_columns, n_frames)} frames of each")


def _say(text: str) -> None:
    common.notes.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _busy(text: str) -> Status:
    from rich.text import Text

    return common.notes.status(Text(text))


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _say("interrupted; files that were told above are whole, the others are not there")
        raise typer.Exit(130) from None
