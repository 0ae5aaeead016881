"""Speech2Vid: a talking face from stills and speech, frame by frame.

Chung, Jamaludin and Zisserman, "You said that?", BMVC 2017. Read beside the paper: the authors'
demonstration in MATLAB (joonson/yousaidthat), for the sound's features, and an unofficial port
(Sindhu-Hegde/you_said_that), for widths that Figure 6 of the paper shows only as a picture.

A window of 0.35 s of cepstra and one or several stills of the person, registered to a canonical
face, are encoded apart and joined; transposed convolutions draw from that the face in the middle of
the window, helped by two maps of the identity encoder. A second network, trained apart on blurred
faces, sharpens. Generation goes as Section 4.3: the face is drawn in the registered frame, the
landmarks bring it back to the source's frame, and Poisson blending joins its lower half to the
picture. Without a source video the still itself is what is edited.

Deviations, each with its reason:
- Output of 112 x 112, where the official network's is 109 x 109: the sides of all maps are then
  halves of one another. Transposed convolutions have kernels of 4 for the same reason.
- Batch normalisation in the place of VGG-M's response normalisation: the paper trains with it.
- Registration by the detector's eyes and nose (MTCNN), averaged over 5 frames, instead of dlib's 68
  landmarks: no further model is needed to generate.
- Both networks are trained in one run. Nothing passes between them: the second one sees true faces
  that were blurred.
- Pixels are 0 to 1 and the paper's fixed rate of 1e-5 goes with the sum over pixels (Equation 1);
  the variants that train on a CPU use AdamW.

Not in the paper, decided here: everything that is marked so in `Speech2VidConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from tfbench.core.assets import locate
from tfbench.core.errors import Unscorable
from tfbench.core.types import FPS, Need, TrackSettings
from tfbench.core.views import ViewKey
from tfbench.evaluators.base import Figure, NonNegative, Positive, Share
from tfbench.faces.align import AlignedFace
from tfbench.media.spectral import MfccSettings
from tfbench.media.windows import mfcc_columns
from tfbench.methods._blending import PoissonBlend, face_region
from tfbench.methods._editing import FaceEditor
from tfbench.methods._pixel_loss import dimmed, draw_gains, evened, mouth_weights, unlike
from tfbench.methods._residual import ResidualMethod
from tfbench.methods._speech2vid_nets import (
    COLUMNS,
    Deblur,
    FaceGenerator,
    begin_with_vgg_face,
    gaussian_blur,
)
from tfbench.methods.base import MethodConfig, given
from tfbench.nets.frozen import full_precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from fractions import Fraction

    from numpy.typing import NDArray

    from tfbench.core.types import Request, Sample
    from tfbench.core.views import Views
    from tfbench.evaluators.base import Kept

__all__ = ["Speech2Vid", "Speech2VidConfig"]

SOUND = MfccSettings(n_filters=40, low_hz=300.0, high_hz=3700.0, window="hamming")
"""Of the authors' demonstration; the first coefficient is left out."""

TRACKING = TrackSettings(min_frames=24, min_face=0)

BETWEEN_COLUMNS_S = 0.01
MIDDLE_S = ((COLUMNS - 1) * 10 + 25) / 2000
"""From the beginning of a window's first column to the window's middle."""

MOUTH_HEIGHT = 0.73
"""Of its middle in the registered face, as a share."""
CHECKED_EVERY = 5
"""Frames between two that are measured: the paper takes every fifth as a sample."""


@dataclass(frozen=True)
class Speech2VidConfig(MethodConfig):
    """Settings of Speech2Vid; the defaults are the paper's where it gives a value.

    Attributes:
        size: Side of the faces (Section 3.1).
        stills: Pictures of the person in the encoder; 5 in Section 4.2.
        audio: Channels of the audio encoder's convolutions. Not in the paper's text.
        identity: Of VGG-M's convolutions in the identity encoder.
        hidden: Width of FC6. Not in the paper's text.
        features: Width of FC7 (Section 3.2).
        seed_channels: Of the first map of the decoder. Not in the paper's text.
        decoder: Channels after each doubling. Not in the paper's text.
        vgg_face: Whether the identity encoder begins as VGG-M trained on VGG Face (Section 3.2);
            needs the asset `vgg-m-face`.
        skips: "two", as the paper; "none" and "early" are what Section 4.1 compares with.
        deblur: Whether the second network sharpens what is generated.
        deblur_width: Its channels. Not in the paper's text.
        deblur_layers: Ten (Section 3.3).
        deblur_batch: Blurred faces in a step. Not in the paper.
        blur: Least and largest deviation of the blur, shares of the side. Not in the paper.
        lower_weight: How much more differences in the lower half count. Not in the paper.
        mouth_weight: Added to that in the middle of the mouth. Not in the paper.
        optimizer: "sgd" with momentum (Section 3.2), or "adamw".
        momentum: Of the former. Not in the paper.
        sample_every: Frames between two that training may take (Section 2: every fifth).
        far: Least distance in frames of the stills from the frame to be drawn (Figure 7, without a
            number). Not in the paper.
        candidates: Far frames that are drawn for each still; the one whose upper half is most like
            that of the frame to be drawn is taken. Sound does not tell how the head is held: with
            one, faces are drawn as the mean over poses, which is soft. Not in the paper.
        ends: Frames at either end of a clip from which stills are taken, if they are far: where
            nobody speaks yet, or any more, the mouth is at rest, as in the first picture of a
            video; 0 takes them from anywhere. Not in the paper.
        augment: Whether faces are mirrored and the sound's colour varied. Not in the paper.
        darken: Whether faces are made darker, down to a third, or a little lighter, stills alike.
            Not in the paper.
        relative: Whether absolute differences are divided by how bright a face is around its mouth:
            those of dark faces are small. Not in the paper.
        structure_weight: Of the structural dissimilarity that is added to absolute differences, so
            that lips are not drawn as the mean of where they may be. Not in the paper.
        residual_from: Step from which the generator draws what is added to the still; 0 for none:
            it goes on as what it begins with does. As in `LipConfig`. Not in the paper.
        smoothing: Frames over which the registering points are averaged. Not in the paper.
        blend: What is put into the picture: the "lower" half (Section 4.3) or the "whole" face.
    """

    # 20 epochs of 678,389 samples (Table 1) in batches of 64; the batch is not in the paper.
    steps: Positive = 212_000
    every: Positive = 10_600
    batch: Positive = 64
    lr: Annotated[float, Field(gt=0)] = 1e-5
    warmup: Annotated[int, Field(ge=0)] = 0
    decay: Literal["cosine", "none"] = "none"
    weight_decay: NonNegative = 0.0
    patience: Annotated[int, Field(ge=0)] = 1
    size: Positive = 112
    stills: Positive = 1
    audio: tuple[int, int, int, int, int] = (64, 128, 256, 256, 512)
    identity: tuple[int, int, int, int, int] = (96, 256, 512, 512, 512)
    hidden: Positive = 512
    features: Positive = 256
    seed_channels: Positive = 512
    decoder: tuple[int, int, int, int] = (512, 256, 96, 64)
    vgg_face: bool = False
    skips: Literal["two", "none", "early"] = "two"
    deblur: bool = True
    deblur_width: Positive = 64
    deblur_layers: Annotated[int, Field(ge=2)] = 10
    deblur_batch: Positive = 16
    blur: tuple[float, float] = (0.002, 0.02)
    lower_weight: Annotated[float, Field(gt=0)] = 1.0
    mouth_weight: NonNegative = 0.0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: Share = 0.9
    sample_every: Positive = 5
    far: Annotated[int, Field(ge=0)] = 15
    candidates: Positive = 1
    ends: Annotated[int, Field(ge=0)] = 0
    augment: bool = True
    darken: bool = False
    relative: bool = False
    structure_weight: NonNegative = 0.0
    residual_from: Annotated[int, Field(ge=0)] = 0
    smoothing: Positive = 5
    blend: Literal["lower", "whole"] = "lower"


class Speech2Vid(ResidualMethod):
    """Draws each frame's face from a window of sound and stills.

    Args:
        config: Its settings.
    """

    name = "speech2vid"
    version = "4"
    Config = Speech2VidConfig
    needs = frozenset({Need.SPEECH, Need.IDENTITY})
    DRAWS = "generator"
    PARTS: ClassVar[dict[str, type[torch.nn.Module]]] = {
        "generator": FaceGenerator,
        "sharpener": Deblur,
    }
    monitor: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False
    config: Speech2VidConfig
    generator: FaceGenerator
    sharpener: Deblur

    def begin(self) -> None:
        """Make both networks."""
        c = self.config
        self.generator = FaceGenerator(
            c.size,
            c.stills,
            c.audio,
            c.identity,
            c.hidden,
            c.features,
            c.seed_channels,
            c.decoder,
            c.skips,
        )
        self.sharpener = Deblur(c.deblur_width, c.deblur_layers)
        if c.vgg_face and not c.weights:
            begin_with_vgg_face(self.generator, locate("vgg-m-face"))

    @property
    def crop(self) -> AlignedFace:
        """The registration: eyes and nose at their places in the canonical face."""
        size = self.generator.settings["size"]
        return AlignedFace(size, "dlib", True, self.config.smoothing, TRACKING)

    # Training

    @property
    def keys(self) -> tuple[ViewKey, ...]:
        """The registered faces."""
        return (ViewKey("registered", "pred", self.crop, extract=_as_they_are),)

    def keep(self, _sample: Sample, views: Views) -> dict[str, Tensor]:
        """Keep the longest track's faces and the sound of its time.

        Returns:
            "faces" uint8 (T, 3, S, S) and "sound" float32 (T, 12, 35), a window for each frame.
        """
        part = max(views.parts(self.keys[0]), key=lambda p: len(p.values))
        if len(part.values) <= self.config.far:
            raise Unscorable(
                f"{len(part.values)} frames of a face; the stills have to lie {self.config.far} "
                "frames from what is learned"
            )
        waveform = views.speech("pred").waveform
        if not bool(waveform.any()):
            raise Unscorable("the sound is silent")
        windows = sound_windows(waveform, part.start, len(part.values), FPS)
        return {"faces": part.values, "sound": windows}

    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a frame, its sound, and stills of the same video from another time.

        Returns:
            "face" uint8 (3, S, S), "stills" uint8 (3 N, S, S), "sound" float32 (12, 35).
        """
        c = self.config
        clip = clips[int(rng.integers(len(clips)))]
        n = clip.shapes["faces"][0]
        frame = int(rng.integers((n - 1) // c.sample_every + 1)) * c.sample_every
        # Distinct pictures (Section 4.2), where there are as many.
        places = rng.permutation(self._still_places(frame, n))
        chosen = np.resize(places, (c.stills, c.candidates))
        face = clip.array("faces", frame, frame + 1)[0]
        stills = torch.cat([_most_like(face, _pictures(clip, row)) for row in chosen])
        sound = clip.array("sound", frame, frame + 1)[0]
        if c.augment:
            if rng.random() < 0.5:
                face, stills = face.flip(2), stills.flip(2)
            # Another microphone: a constant on every coefficient.
            sound = sound + torch.from_numpy(rng.normal(0, 2, (12, 1)).astype(np.float32))
        if c.darken:
            gain = draw_gains(rng, 1)
            face, stills = dimmed(face, gain), dimmed(stills, gain)
        return {"face": face, "stills": stills, "sound": sound}

    def loss(self, batch: Any) -> Tensor:
        """Sum over pixels, mean over the batch (Equation 1), of both networks."""
        faces = batch["face"].float() / 255
        drawn = self.generator(batch["sound"], batch["stills"].float() / 255)
        self.log("L1", 255 * (drawn - faces).abs().mean())
        low, high = self.config.blur
        chosen = faces[: self.config.deblur_batch]
        share = torch.rand(len(chosen), device=chosen.device)
        blurred = gaussian_blur(chosen, (low + (high - low) * share) * chosen.shape[-1])
        sharpened = (self.sharpener(blurred) - chosen).abs().flatten(1)
        self.log("L1 of the sharpener", 255 * sharpened.mean())
        return self._off(drawn, faces).flatten(1).sum(1).mean() + sharpened.sum(1).mean()

    def _off(self, drawn: Tensor, faces: Tensor) -> Tensor:
        """How far pixels are from the true ones, each with its weight: (B, 3, S, S)."""
        off = (drawn - faces).abs()
        if self.config.structure_weight:
            off = off + self.config.structure_weight * unlike(drawn, faces)
        off = off * self._weights_of_pixels()
        if self.config.relative:
            off = off * evened(faces, MOUTH_HEIGHT)[:, None, None, None]
        return off

    def _weights_of_pixels(self) -> Tensor:
        c, side = self.config, self.generator.settings["size"]
        weights = mouth_weights(side, MOUTH_HEIGHT, c.mouth_weight).to(self.device)
        return torch.where(self._lower(), weights + c.lower_weight - 1, weights)

    def _lower(self) -> Tensor:
        """The lower half of a face, bool (S, S)."""
        return face_region(self.generator.settings["size"], whole=False).to(self.device)

    def configure_optimizers(self) -> Any:
        """Make the paper's SGD with a fixed rate, or AdamW with the chosen fall of the rate."""
        if self.config.optimizer == "adamw":
            return super().configure_optimizers()
        c = self.config
        return torch.optim.SGD(self.parameters(), c.lr, c.momentum, weight_decay=c.weight_decay)

    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Draw every fifth frame of each clip from stills that training may take.

        Returns:
            "loss", what the generator learns from, a mean over pixels, all clips alike; and mean
            absolute differences from the true faces, in gray levels: of what is drawn, after
            sharpening, and of the first still in the place of it, each also of the lower half.
        """
        lower = self._lower()
        rows = []
        for clip in clips:
            faces = clip.array("faces").to(self.device).float() / 255
            sound = clip.array("sound")[::CHECKED_EVERY].to(self.device)
            stills = self._stills_for_each(faces)
            drawn = self.generator.draw(sound, self.generator.look(stills))
            true = faces[::CHECKED_EVERY]
            off = (
                (drawn - true).abs(),
                (self.sharpener(drawn) - true).abs(),
                (stills[:, :3] - true).abs(),
            )
            means = [o.mean() for o in off] + [o[..., lower].mean() for o in off]
            loss = float(self._off(drawn, true).mean())
            rows.append([loss, *(255 * float(mean) for mean in means)])
        whole = ["L1", "L1, sharpened", "L1 of the still"]
        names = ["loss", *whole, *(f"{name}, lower half" for name in whole)]
        columns = zip(*rows, strict=True)
        return tuple(Figure.mean(n, list(c)) for n, c in zip(names, columns, strict=True))

    def _stills_for_each(self, faces: Tensor) -> Tensor:
        """Return what `assess` draws each checked frame from, (n, 3 N, S, S).

        Each of the N comes from a part of the places: its first one, or with several `candidates`
        that which is most like the frame.
        """
        wanted, rows = self.generator.settings["stills"], []
        for k in range(0, len(faces), CHECKED_EVERY):
            places = self._still_places(k, len(faces))
            places = np.resize(places, max(wanted, len(places)))
            row = []
            for part in np.array_split(places, wanted):
                among = part if self.config.candidates > 1 else part[:1]
                row.append(_most_like(faces[k], faces[torch.from_numpy(among)]))
            rows.append(torch.cat(row))
        return torch.stack(rows)

    def _still_places(self, frame: int, n: int) -> NDArray[np.int64]:
        """Return the numbers of the n frames that may be a still for one."""
        far, ends = _far_from(frame, n, self.config.far), self.config.ends
        # Of the two ends one is always far.
        return far[(far < ends) | (far >= n - ends)] if ends else far

    # Generation

    def frames(self, request: Request) -> Iterator[Tensor]:
        """Yield the edited video; see `Generator.frames`.

        Raises:
            GenerationError: No face is seen, or a still shows several.
            InputError: The speech is empty.
        """
        size = self.generator.settings["size"]
        # The blend takes the border's colours, and beyond the frame there is none to take.
        editor = FaceEditor(request, self.detector, self.crop.regions, size, beyond="edge")
        region = face_region(size, whole=self.config.blend == "whole")
        blend = PoissonBlend(region)
        looked = self._looked(editor)
        for piece in editor.pieces(self.batch or 1):
            faces = piece.faces.to(self.device).float()
            if len(faces):
                drawn = self._drawn(request, piece.numbers, looked)
                faces = blend(drawn, faces).clamp(0, 255)
            yield editor.paste(piece, faces, blend.opacity)
        self.unedited, self.remark = editor.unedited, editor.remark

    @torch.inference_mode()
    def _looked(self, editor: FaceEditor) -> list[Tensor]:
        """Encode the stills, once for the whole video."""
        with full_precision():
            return self.generator.look(self._stills(editor).to(self.device) / 255)

    @torch.inference_mode()
    def _drawn(self, request: Request, numbers: Tensor, looked: Sequence[Tensor]) -> Tensor:
        """Draw the faces of some frames, float (m, 3, S, S), 0 to 255."""
        first, last = int(numbers[0]), int(numbers[-1])
        waveform = given(request.speech).waveform
        windows = sound_windows(waveform, first, last + 1 - first, request.fps)
        with full_precision():
            drawn = self.generator.draw(windows[numbers - first].to(self.device), looked)
            return 255 * (self.sharpener(drawn) if self.config.deblur else drawn).clamp(0, 1)

    def _stills(self, editor: FaceEditor) -> Tensor:
        """Choose and register the stills, float (1, 3 N, S, S), 0 to 255."""
        faces = editor.stills(self.generator.settings["stills"])
        return faces.flatten(0, 1)[None].float()


def sound_windows(waveform: Tensor, first: int, n: int, fps: Fraction) -> Tensor:
    """Cut the sound around the middle of each of some consecutive frames.

    Args:
        waveform: float (S,) in [-1, 1], 16 kHz; before and after is silence.
        first: Number of the first frame.
        n: How many.
        fps: Frames per second.

    Returns:
        float32 (n, 12, 35) cepstra.
    """
    middles = (np.arange(first, first + n) + 0.5) / float(fps)
    starts = np.round((middles - MIDDLE_S) / BETWEEN_COLUMNS_S).astype(int)
    low = int(starts[0])
    columns = mfcc_columns(waveform, low, int(starts[-1]) + COLUMNS, SOUND)[:, 1:]
    windows = columns.T.unfold(1, COLUMNS, 1).permute(1, 0, 2)
    return windows[torch.from_numpy(starts - low)].contiguous()


def _as_they_are(frames: Tensor) -> Tensor:
    return frames


def _far_from(frame: int, n: int, far: int) -> NDArray[np.int64]:
    """Return the numbers of the n frames that lie far from one; of a short clip its far half."""
    return np.flatnonzero(np.abs(np.arange(n) - frame) >= min(far, n // 2))


def _pictures(clip: Kept, numbers: NDArray[np.int64]) -> Tensor:
    return torch.cat([clip.array("faces", int(k), int(k) + 1) for k in numbers])


def _most_like(face: Tensor, others: Tensor) -> Tensor:
    """Return that of (n, 3, S, S) whose upper half differs least from that of (3, S, S)."""
    if len(others) == 1:
        return others[0]
    half = face.shape[1] // 2
    off = (others[:, :, :half].float() - face[:, :half].float()).abs().flatten(1).sum(1)
    return others[int(off.argmin())]
