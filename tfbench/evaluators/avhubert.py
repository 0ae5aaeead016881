"""Pre-training of AV-HuBERT: frames are clustered, and the cluster of masked frames is told.

Shi et al. 2022; "SyncTalklip", 2024, Section 3.2 and Equation 3. One run is one iteration: the
first clusters cepstra of the sound (`labels=mfcc`), each later one what a layer of the iteration
before makes of mouths and sound (`labels=RUN/bundle layer=n`). Five such runs are the paper's five
iterations. Masks and what is left out are those of facebookresearch/av_hubert
(`avhubert/hubert.py`), clusters those of its `avhubert/clustering`: k-means of batches with
k-means++, on all frames or on some. `base` has the sizes of the published base.

Deviations: cepstra are those of python_speech_features, not Kaldi's, and the clusters of the first
iteration are learnt from each fourth column, since only their labels are used; three beginnings of
k-means are tried, not twenty; the penalty on features that the reference's criterion adds is left
out, since Equation 3 has none; mouths are also turned, moved and brightened, not only mirrored and
cut at random places.
Not in the paper, decided here: alpha of Equation 3 is 0, as in the reference; the loss is the sum
over the frames that count divided by their number, as in the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from tfbench.core.errors import ConfigError, InputError
from tfbench.evaluators._mouths import UNKNOWN, Factor, spread_letters
from tfbench.evaluators._speech import SpeechConfig, SpeechTrainee, seen_mouths
from tfbench.evaluators.base import Figure, NonNegative, Positive, Share
from tfbench.nets.avhubert_encoder import PretrainedEncoder
from tfbench.nets.bundle import load_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfbench.evaluators.base import Kept
    from tfbench.nets.frozen import Frozen

__all__ = ["AVHubertTrainee", "AVHubertConfig", "cluster", "masked_loss"]

MFCC = "mfcc"
BEGINNINGS = 3
PASSES = 100
BATCH = 10_000
TOGETHER = 8
"""Most clips that are measured at once."""


@dataclass(frozen=True)
class AVHubertConfig(SpeechConfig):
    """Settings of one iteration of pre-training; see `EncoderSettings` for what masks mean.

    Attributes:
        longest: Most frames of an example; a longer clip is cut.
        labels: What is clustered: "mfcc", or the network whose features are, such as the bundle of
            the iteration before.
        layer: Of that network's transformer, the first being 1; 0 for the last.
        clusters: How many.
        cluster_frames: Most frames that clusters are learnt from.
        alpha: Weight of the frames that are not masked, Equation 3.
        masking: "feature" in the reference's first iteration, "input" later.
        mask_prob_video: Share of frames whose mouth is masked, before overlaps.
        mask_length_video: Frames of a masked span.
        mask_prob_audio: As above for sound, and for "feature".
        mask_length_audio: As above.
        modality_dropout: How often one stream is left out of a batch; 0 in the first iteration.
        audio_dropout: How often that is the sound.
        label_dim: Width in which states and labels are compared.
    """

    steps: Positive = 2000
    every: Positive = 500
    lr: Annotated[float, Field(gt=0)] = 1e-3
    warmup: Annotated[int, Field(ge=0)] = 200
    front_gradient: NonNegative = 0.1
    runs: Annotated[float, Field(ge=0, le=1)] = 0.0
    stretch: Factor = 0.0
    jitter: Annotated[float, Field(ge=0, le=0.4)] = 0.0
    hidden_frames: Annotated[int, Field(ge=0)] = 0
    longest: Positive = 500
    labels: str = MFCC
    layer: Annotated[int, Field(ge=0)] = 0
    clusters: Annotated[int, Field(ge=2)] = 100
    cluster_frames: Positive = 200_000
    alpha: NonNegative = 0.0
    masking: Literal["input", "feature"] = "input"
    mask_prob_video: Share = 0.3
    mask_length_video: Positive = 5
    mask_prob_audio: Share = 0.8
    mask_length_audio: Positive = 10
    modality_dropout: Annotated[float, Field(ge=0, le=1)] = 0.5
    audio_dropout: Annotated[float, Field(ge=0, le=1)] = 0.5
    label_dim: Positive = 64


class AVHubertTrainee(SpeechTrainee):
    """Trains one iteration.

    Args:
        config: Settings; None takes the defaults.

    Raises:
        ConfigError: `labels` is neither "mfcc" nor the name of a network.
    """

    name = "avhubert"
    Config = AVHubertConfig
    monitor: ClassVar[str] = "masked labels told"
    higher_is_better: ClassVar[bool] = True
    config: AVHubertConfig
    net: PretrainedEncoder
    """Made by `fit_to`, which finds the clusters."""

    def __init__(self, config: AVHubertConfig | None = None) -> None:
        super().__init__(config)
        self.labels: dict[str, Tensor] = {}
        self._source: Frozen[Any] | None = None

    def gather(self) -> None:
        """Load the network of the iteration before."""
        if self.config.labels != MFCC:
            self._source = self._before()

    def fit_to(self, clips: Sequence[Kept]) -> None:
        """Cluster all frames, label them, and make the network.

        Raises:
            InputError: There are fewer frames than clusters.
            ConfigError: `labels` names no AV-HuBERT, or one without such a layer.
            MissingAsset: What `labels` names is not there.
        """
        c = self.config
        features = [self.features(clip) for clip in clips]
        centres = cluster(features, c.clusters, c.cluster_frames, c.seed)
        settings = {**c.encoder(), "classes": (c.clusters,)}
        self.net = PretrainedEncoder(settings, tuple(centres.shape))
        self.net.centres.copy_(centres)
        found = (self.net.label(one) for one in features)
        self.labels = {str(clip.path): one for clip, one in zip(clips, found, strict=True)}

    def features(self, clip: Kept) -> Tensor:
        """Compute what is clustered, float32 (T, width), on the CPU."""
        if self.config.labels == MFCC:
            return clip.array("mfcc")
        if self._source is None:
            self._source = self._before()
        encoder = self._source.to(self.device).module.encoder
        audio = clip.array("audio")[None].to(self.device)
        with torch.no_grad():
            layers = encoder(seen_mouths(clip).to(self.device), audio).layers
        return layers[self.config.layer - 1][0].float().cpu()

    def _before(self) -> Frozen[Any]:
        """Load the network of the iteration before."""
        c = self.config
        found = load_network(c.labels)
        if not isinstance(found.module, PretrainedEncoder):
            raise ConfigError(
                f"labels={c.labels} holds no AV-HuBERT encoder; give 'mfcc', the folder of a "
                "bundle of `tfbench train avhubert`, or a network such as avhubert_encoder.base"
            )
        layers = found.module.encoder.settings.layers
        if c.layer > layers:
            raise ConfigError(f"layer={c.layer} of {c.labels}, which has {layers} layers")
        return found

    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a stretch of a clip, and how it is varied.

        Returns:
            As `SpeechTrainee.stretch`, and "labels" int64 (T,).
        """
        clip = clips[int(rng.integers(len(clips)))]
        n = clip.shapes["audio"][0]
        length = min(n, self.config.longest)
        start = int(rng.integers(n - length + 1))
        drawn, chosen = self.stretch(clip, start, start + length, 1, rng)
        drawn["labels"] = self.labels[str(clip.path)][start : start + length][chosen]
        return drawn

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """Fill all up to the longest; see `SpeechTrainee.collate`."""
        batch = super().collate(examples)
        batch["labels"] = pad_sequence([e["labels"] for e in examples], batch_first=True)
        return batch

    def loss(self, batch: Any) -> Tensor:
        """Compute Equation 3."""
        # From torch's generator, which a resumed run continues.
        draw = np.random.RandomState(int(torch.randint(2**31, ())))
        padding = batch["padding"]
        found = self.net.encoder.predict(self.video(batch), batch["audio"], draw, padding)
        return masked_loss(
            found.logits[0], batch["labels"], found.masked, ~padding, self.config.alpha
        )

    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Tell the labels of masked frames of held-out clips.

        Several clips are masked together, as in training: the mouths of one alone would be masked
        by zeros, those of several by other frames.

        Returns:
            The share that is told; the share of the most frequent label, which is told without a
            look; and, where times of words are known, how well clusters and letters agree: the
            share of frames whose letter is the most frequent one of their cluster, and the
            normalised mutual information (2 I / (H + H'), 0 to 1) of both.
        """
        labels = [self.net.label(self.features(clip).to(self.device)).cpu() for clip in clips]
        letters = [
            spread_letters(clip.facts.get("word_times"), len(own))
            for clip, own in zip(clips, labels, strict=True)
        ]
        told: list[float] = []
        # Batches of about equal numbers: none of a single clip where there are several.
        for k, rows in enumerate(np.array_split(np.arange(len(clips)), -(-len(clips) // TOGETHER))):
            told += self._told([clips[n] for n in rows], [labels[n] for n in rows], k)
        joined, signs = torch.cat(labels).numpy(), np.concatenate(letters)
        frequent = float(np.bincount(joined).max()) / len(joined)
        figures = [
            Figure.mean("masked labels told", told, unit="%"),
            Figure("most frequent label", 100 * frequent, n=len(joined), of="frames", unit="%"),
        ]
        known = signs != UNKNOWN
        if known.any():
            purity, information = _agreement(joined[known], signs[known])
            n = int(known.sum())
            figures.append(Figure("purity", 100 * purity, n=n, of="frames", unit="%"))
            figures.append(Figure("normalised mutual information", information, n=n, of="frames"))
        return tuple(figures)

    def _told(self, clips: Sequence[Kept], labels: Sequence[Tensor], seed: int) -> list[float]:
        """Mask clips as one batch; returns the share of each one's masked frames told, in %."""
        mouths = pad_sequence([seen_mouths(clip)[0] for clip in clips], batch_first=True)
        audio = pad_sequence([clip.array("audio") for clip in clips], batch_first=True)
        lengths = torch.tensor([len(own) for own in labels])
        padding = torch.arange(audio.shape[1]) >= lengths[:, None]
        draw = np.random.RandomState(seed)
        mouths, audio, padding = (one.to(self.device) for one in (mouths, audio, padding))
        found = self.net.encoder.predict(mouths, audio, draw, padding)
        guesses, masked = found.logits[0].argmax(2).cpu(), found.masked.cpu()
        return [
            100 * float((guess[: len(own)] == own)[mask[: len(own)]].float().mean())
            for guess, own, mask in zip(guesses, labels, masked, strict=True)
        ]

    def parts(self) -> dict[str, nn.Module]:
        """Return the encoder with its clusters."""
        return {"net": self.net}

    def adopt(self, parts: Mapping[str, nn.Module]) -> None:
        """Take a trained encoder."""
        self.net = parts["net"]  # type: ignore[assignment]


def masked_loss(
    logits: Tensor, labels: Tensor, masked: Tensor, inside: Tensor, alpha: float
) -> Tensor:
    """Compute Equation 3, divided by the number of frames that count.

    Args:
        logits: (B, T, clusters).
        labels: int64 (B, T).
        masked: bool (B, T), where the sound, the mouth or both are masked; none is padding.
        inside: bool (B, T), False where there is padding.
        alpha: Weight of the frames that are not masked.

    Returns:
        ().
    """
    losses = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")
    others = inside & ~masked
    total, n = losses[masked].sum(), masked.sum()
    if alpha:
        total, n = total + alpha * losses[others].sum(), n + others.sum()
    return total / n


def cluster(features: Sequence[Tensor], clusters: int, most: int, seed: int) -> Tensor:
    """Find clusters by k-means of batches (Sculley 2010), begun by k-means++.

    Args:
        features: Of each clip, float (T, width).
        clusters: How many.
        most: Frames that they are learnt from, at most; drawn where there are more.
        seed: Of every draw.

    Returns:
        Their centres, float32 (clusters, width).

    Raises:
        InputError: There are fewer frames than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    frames = torch.cat(list(features)).float().numpy() if features else np.zeros((0, 1))
    if len(frames) < clusters:
        raise InputError(
            f"{len(frames)} frames cannot be put into {clusters} clusters; give more clips, or "
            "fewer `clusters`"
        )
    if len(frames) > most:
        chosen = np.random.default_rng(seed).choice(len(frames), most, replace=False)
        frames = frames[np.sort(chosen)]
    found = MiniBatchKMeans(
        clusters,
        max_iter=PASSES,
        batch_size=BATCH,
        compute_labels=False,
        random_state=seed,
        max_no_improvement=PASSES,
        n_init=BEGINNINGS,
        reassignment_ratio=0.0,
    ).fit(frames)
    return torch.from_numpy(np.asarray(found.cluster_centers_, np.float32))


def _agreement(labels: np.ndarray, signs: np.ndarray) -> tuple[float, float]:
    """Compute purity and normalised mutual information of two numberings of the same frames."""
    counts = np.zeros((labels.max() + 1, signs.max() + 1))
    np.add.at(counts, (labels, signs), 1)
    joint = counts / counts.sum()
    one, other = joint.sum(1), joint.sum(0)
    entropies = _entropy(one) + _entropy(other)
    information = entropies - _entropy(joint.ravel())
    return float(joint.max(1).sum()), float(2 * information / entropies) if entropies else 0.0


def _entropy(shares: np.ndarray) -> float:
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())
