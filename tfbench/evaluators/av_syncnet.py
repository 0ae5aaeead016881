"""Training of AV-SyncNet: AV-HuBERT learns to read lips, and sound and lips come close together.

"SyncTalklip", 2024, Section 3.2: the loss is `lambda_lip` times Equation 4, the text written from
the mouths' features, plus `lambda_av` times Equation 5, the L1 distance of the features of sound
alone and of mouths alone at the same frame. It begins with an encoder that `tfbench train avhubert`
or the authors of AV-HuBERT have pre-trained. `paper`
(configs/evaluators/av_syncnet.paper.yaml) has the paper's sizes and steps and, where a setting is
known here, the reference's fine-tuning (facebookresearch/av_hubert,
`conf/finetune/large_lrs3_433h.yaml`). There, otherwise than here, Adam's betas are 0.9 and 0.98,
the rate falls exponentially to a twentieth, numbers have half precision, and a step has up to 1000
frames on each of eight GPUs.

Deviations: F of Equation 5 is 1, since a learned non-negative scale would fall to 0 at once. The
published fine-tunings first train the decoder alone (`freeze`), which the paper does not tell.
Not in the paper, decided here: tau is 1 / D, so that Equation 5 is a mean difference, whatever the
width; Equation 5 is the mean over the frames that are no padding. What lets some hundred clips
suffice is in the defaults, and off in `paper`: the loss of connectionist temporal classification
beside that of attention (`ctc`; Watanabe et al. 2017), a cross-entropy of every frame's letter
(`frame_loss`; half of it is asked of the video front end, see `tfbench.evaluators.lipreader`), and
the same losses of what is heard (`sound`), which is easy to read and to which the mouths' features
are drawn; and words that the decoder is not told (`word_drop`), so that it has to look. The layers
of CTC and letters are not part of the network. CTC counts per text as Equation 4 does, and the
letter of a frame as much as the mean text has subwords.
The best network is that with the fewest wrong characters: where the decoder learns texts by heart,
the loss of the lips rises while they are read ever better.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from tfbench.core.errors import ConfigError
from tfbench.evaluators._mouths import (
    SILENCE,
    UNKNOWN,
    draw_run,
    error_rate,
    least_frames,
    letter_loss,
    reading_figures,
    refuse_without_words,
    spelt,
    spread_letters,
)
from tfbench.evaluators._speech import SpeechConfig, SpeechTrainee, seen_mouths
from tfbench.evaluators.base import Figure, NonNegative, Positive, Share
from tfbench.metrics._error_rates import count_errors
from tfbench.nets._avhubert_decoder import EOS, PAD
from tfbench.nets._subwords import learn_pieces
from tfbench.nets.av_syncnet import AVSyncNet, filled, l1_distances, lip_loss
from tfbench.nets.avhubert import EncoderSettings
from tfbench.nets.avhubert_encoder import PretrainedEncoder
from tfbench.nets.bundle import load_network
from tfbench.nets.lipreader import ALPHABET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tfbench.core.types import Sample
    from tfbench.core.views import Views
    from tfbench.evaluators.base import Kept

__all__ = ["AVSyncNetTrainee", "AVSyncNetConfig"]

SIZES = ("layers", "dim", "ffn", "heads", "conv_pos", "conv_pos_groups", "widths")
ARCHITECTURE = (*SIZES, "audio_dim", "fuse", "norm_first", "prelu")
"""Settings of an encoder that decide what its weights mean."""


@dataclass(frozen=True)
class AVSyncNetConfig(SpeechConfig):
    """Settings of AV-SyncNet's fine-tuning.

    Attributes:
        init: What the encoder begins with: the bundle of a `tfbench train avhubert`, the name of
            an official encoder, such as "avhubert_encoder.large", or "" for random weights. Or what
            the whole network begins with, its vocabulary too: an AV-SyncNet, such as
            "av_syncnet.puppets", or the bundle of one. Its sizes must be those given here.
        lambda_lip: Weight of Equation 4.
        lambda_av: Weight of Equation 5.
        tau: The factor of Equation 5; 0 takes 1 / D.
        align_kernel: Frames of the convolution before the alignment, odd; 0 for none. The paper's
            variant `conv` names no size.
        freeze: Steps in which the encoder stays as it is.
        label_smoothing: Of Equation 4.
        vocabulary: Most subwords.
        ctc: Weight of the loss by connectionist temporal classification; 0 in the paper.
        frame_loss: Weight of the frames' letters at the start; 0 in the paper.
        frame_until: Share of the steps after `sound_first` in which that weight falls to zero.
        sound: Weight of the same three losses of what is heard; 0 in the paper.
        sound_first: Steps at the start in which nothing but these is learnt: they cost a fraction.
            After them the learning rate rises from zero once more, since the video front end has
            learnt nothing yet. Of use without `init` alone.
        word_drop: Share of the subwords before that the decoder is not told; 0 in the paper.
        activation_dropout: Inside the encoder's layers.
        decoder_layers: Of the decoder.
        decoder_dim: Its width.
        decoder_ffn: Width inside its layers.
        decoder_heads: Of its attention.
        decoder_dropout: In training.
        decoder_scaled: Whether its embeddings are multiplied by the root of its width; not in the
            reference. Otherwise places drown a narrow decoder's subwords at first.
        beam: Texts that are followed at once when lips are read.
    """

    steps: Positive = 4500
    every: Positive = 500
    lr: Annotated[float, Field(gt=0)] = 1.5e-3
    warmup: Annotated[int, Field(ge=0)] = 200
    init: str = ""
    lambda_lip: NonNegative = 1.0
    lambda_av: NonNegative = 10.0
    tau: NonNegative = 0.0
    align_kernel: Annotated[int, Field(ge=0)] = 0
    freeze: Annotated[int, Field(ge=0)] = 0
    label_smoothing: Share = 0.1
    vocabulary: Positive = 100
    ctc: NonNegative = 1.0
    frame_loss: NonNegative = 1.0
    frame_until: Annotated[float, Field(gt=0)] = 1.0
    sound: NonNegative = 1.0
    sound_first: Annotated[int, Field(ge=0)] = 700
    word_drop: Share = 0.2
    activation_dropout: Share = 0.0
    decoder_layers: Positive = 2
    decoder_dim: Positive = 128
    decoder_ffn: Positive = 384
    decoder_heads: Positive = 4
    decoder_dropout: Share = 0.2
    decoder_scaled: bool = True
    beam: Positive = 5

    def decoder(self) -> dict[str, Any]:
        """Return the arguments of `DecoderSettings` that are set here."""
        return {
            "layers": self.decoder_layers,
            "dim": self.decoder_dim,
            "ffn": self.decoder_ffn,
            "heads": self.decoder_heads,
            "dropout": self.decoder_dropout,
            "scaled": self.decoder_scaled,
        }

    def __post_init__(self) -> None:
        if self.sound_first and not self.sound:
            raise ConfigError(
                f"sound_first={self.sound_first} begins with steps of sound alone, of which "
                "sound=0 learns nothing; give sound_first=0, or sound above 0"
            )
        if self.sound_first >= self.steps:
            raise ConfigError(
                f"sound_first={self.sound_first} leaves none of steps={self.steps} in which lips "
                "are learnt; give more steps, or a lower sound_first, such as 0"
            )


class AVSyncNetTrainee(SpeechTrainee):
    """Trains AV-SyncNet.

    Args:
        config: Settings; None takes the defaults.

    Attributes:
        fitted: Whether it learns here; a bundle lacks the layer by which CTC reads.
    """

    name = "av_syncnet"
    Config = AVSyncNetConfig
    monitor: ClassVar[str] = "CER"
    higher_is_better: ClassVar[bool] = False
    config: AVSyncNetConfig
    net: AVSyncNet
    """Made by `fit_to`, which learns the vocabulary."""
    fitted: bool = False

    @cached_property
    def beginning(self) -> PretrainedEncoder | AVSyncNet:
        """What `init` names.

        Raises:
            UnknownName: There is no such network.
            ConfigError: It is neither of the two, or of another architecture.
            MissingAsset: Its file is not on this machine.
        """
        c = self.config
        found = _pretrained(c.init)
        there, wanted = vars(found.encoder.settings), vars(EncoderSettings(**c.encoder()))
        _refuse_another(c.init, {f: (there[f], wanted[f]) for f in ARCHITECTURE}, SIZES)
        if isinstance(found, AVSyncNet):
            both = {"align_kernel": (found.settings["align_kernel"], c.align_kernel)}
            for name, value in c.decoder().items():
                if name != "dropout":
                    both[f"decoder_{name}"] = (found.settings["decoder"][name], value)
            _refuse_another(c.init, both, list(both))
        return found

    def gather(self) -> None:
        """Load what `init` names, if anything."""
        if self.config.init:
            _ = self.beginning

    def keep(self, sample: Sample, views: Views) -> dict[str, Tensor]:
        """Keep mouths and sound; see `SpeechTrainee.keep`.

        Raises:
            Unscorable: There is no transcript of letters, no sound, or no face that is seen all
                the time.
        """
        spelt(sample.transcript, sample.id)
        return super().keep(sample, views)

    def fit_to(self, clips: Sequence[Kept]) -> None:
        """Learn the vocabulary, and make the network.

        Raises:
            InputError: Some clips have no transcript, or none that can be spelt.
            ConfigError: The vocabulary has no room for the letters, or `init` is of another
                architecture.
            MissingAsset: What `init` names is not there.
        """
        refuse_without_words(clips)
        c = self.config
        texts = [_text(spelt(clip.facts["transcript"], clip.id)) for clip in clips]
        begin = self.beginning if c.init else None
        reading = {"beam": c.beam, "landmarks": c.landmarks}
        if isinstance(begin, AVSyncNet):
            pieces = begin.settings["subwords"]
        else:
            pieces = learn_pieces(texts, c.vocabulary, ALPHABET.strip())
        self.adopt({"net": AVSyncNet(c.encoder(), c.decoder(), pieces, c.align_kernel, reading)})
        self.fitted = True
        if begin is None:
            return
        if isinstance(begin, AVSyncNet):
            self.net.load_state_dict(begin.state_dict())
        else:
            # A mask is of another width where features were masked, and nothing is masked here.
            own = {"mask_emb": self.net.encoder.mask_emb}
            given = begin.encoder.state_dict()
            wanted = self.net.encoder.state_dict().keys()
            self.net.encoder.load_state_dict({key: given[key] for key in wanted} | own)
        del self.beginning

    def adopt(self, parts: Any) -> None:
        """Take a network, and make the layers that only help to train it."""
        self.net = parts["net"]
        self.ctc_layer = nn.Linear(self.net.dim, len(self.net.reader.subwords))
        self.letters = nn.Linear(self.net.dim, SILENCE + 1)
        self.letters_seen = nn.Linear(self.net.dim, SILENCE + 1)

    def example(self, clips: Sequence[Kept], rng: np.random.Generator) -> dict[str, Tensor]:
        """Draw a sentence or a run of its words, and how it is varied.

        Returns:
            As `SpeechTrainee.stretch`; "text" int64 (L,), subwords with EOS; "letters" int64 (T,),
            the class of each frame.
        """
        c = self.config
        clip = clips[int(rng.integers(len(clips)))]
        n = clip.shapes["audio"][0]
        start, stop, symbols = 0, n, spelt(clip.facts.get("transcript"), clip.id)
        times = clip.facts.get("word_times")
        letters = spread_letters(times, n)
        if times and rng.random() < c.runs:
            start, stop, symbols = draw_run(times, n, symbols, rng)
        tokens = self.net.tokenise(_text(symbols))
        drawn, chosen = self.stretch(clip, start, stop, least_frames(tokens[:-1]), rng)
        drawn["text"] = torch.tensor(tokens)
        drawn["letters"] = torch.from_numpy(letters[start:stop])[chosen]
        return drawn

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """Fill all up to the longest; see `SpeechTrainee.collate`."""
        batch = super().collate(examples)
        batch["text"] = filled([e["text"].tolist() for e in examples])
        letters = [e["letters"] for e in examples]
        batch["letters"] = pad_sequence(letters, batch_first=True, padding_value=UNKNOWN)
        return batch

    def loss(self, batch: Any) -> Tensor:
        """Compute Equation 6, with what helps to learn from few clips."""
        c, padding, encoder = self.config, batch["padding"], self.net.encoder
        if self.global_step < c.sound_first:
            return self._told(self.net.hear(batch["audio"], padding), batch, "sound")
        with torch.set_grad_enabled(self.global_step >= c.freeze):
            looked = encoder.look(self.video(batch), padding)
            seen = encoder.follow(looked, padding).last
            heard = self.net.hear(batch["audio"], padding)
        apart = self.distances(heard, seen, padding)[~padding].mean()
        self.log("apart", apart)
        total = c.lambda_av * apart + c.lambda_lip * self._told(seen, batch, "lips", looked)
        if c.sound:
            total = total + c.sound * c.lambda_lip * self._told(heard, batch, "sound")
        return total

    def distances(self, heard: Tensor, seen: Tensor, padding: Tensor | None = None) -> Tensor:
        """Compute Equation 5 at each frame, (B, T), from features (B, T, D)."""
        tau = self.config.tau or 1 / self.net.dim
        apart = l1_distances(self.net.align(heard, padding), self.net.align(seen, padding))
        return apart * tau

    def _told(
        self, features: Tensor, batch: Any, stream: str, looked: Tensor | None = None
    ) -> Tensor:
        """Compute how well features tell the text: by attention, by CTC, by each frame's letter.

        The letters are asked of what the video front end gives as well, if that is `looked`.
        """
        c, text, padding = self.config, batch["text"], batch["padding"]
        logits = self.net.write_logits(features, text, padding, c.word_drop)
        total = lip_loss(logits, text, c.label_smoothing)
        self.log(stream, total)
        if c.ctc:
            ctc = self._ctc(features, text, padding)
            self.log(f"{stream}_ctc", ctc)
            total = total + c.ctc * ctc
        weight = self._letters_count()
        if weight and bool((batch["letters"] != UNKNOWN).any()):
            wanted = batch["letters"].flatten()
            letters = letter_loss(self.letters(features).flatten(0, 1), wanted)
            self.log(f"{stream}_letters", letters)
            if looked is not None:
                by_sight = letter_loss(self.letters_seen(looked).flatten(0, 1), wanted)
                self.log("letters_seen", by_sight)
                letters = (letters + by_sight) / 2
            total = total + weight * letters * (text != PAD).sum() / len(text)
        return total

    def _letters_count(self) -> float:
        """Return the weight of the frames' letters, which falls after `sound_first`."""
        c = self.config
        over = (self.global_step - c.sound_first) / (c.frame_until * (c.steps - c.sound_first))
        return c.frame_loss * min(max(1 - over, 0.0), 1.0)

    def _rate(self, step: int) -> float:
        """Return the share of the peak learning rate; it rises a second time where lips begin."""
        c, rate = self.config, super()._rate(step)
        since = step - c.sound_first
        if c.sound_first and 0 <= since < c.warmup:
            rate *= (since + 1) / c.warmup
        return rate

    def _ctc(self, features: Tensor, text: Tensor, padding: Tensor) -> Tensor:
        """Compute CTC of the subwords without their end, by texts; <s> is the blank."""
        log_probs = self.ctc_layer(features).float().log_softmax(-1).transpose(0, 1)
        frames, symbols = (~padding).sum(1), ((text != PAD) & (text != EOS)).sum(1)
        losses = F.ctc_loss(log_probs, text, frames, symbols, reduction="none", zero_infinity=True)
        return losses.mean()

    def assess(self, clips: Sequence[Kept]) -> tuple[Figure, ...]:
        """Measure reading and alignment on held-out clips.

        Returns:
            The loss of Equation 4 of the lips, without smoothing; CER and WER of lips read by
            attention, CER of lips read by the best path of CTC where that is trained, WER of GRID's
            grammar and of other sentences apart where there are both, WER against the words of
            another clip, WER of what is heard; and of the two features of a clip's frames, the
            distance of Equation 5, and the share of frames of sound whose nearest frame of mouths,
            of the whole clip, is their own, or at most one away.
        """
        rows = [self._measured(clip) for clip in clips]
        said = [str(clip.facts["transcript"]) for clip in clips]
        people = [clip.identity for clip in clips]
        lips = [row["lips"] for row in rows]
        figures = [Figure.mean("loss of lips", [row["loss"] for row in rows])]
        figures += reading_figures(said, lips, people)
        if self.config.ctc and self.fitted:
            by_ctc = [count_errors(t, row["ctc"]) for t, row in zip(said, rows, strict=True)]
            figures.append(error_rate("CER by CTC", by_ctc, people))
        heard = [count_errors(t, row["sound"]) for t, row in zip(said, rows, strict=True)]
        figures.append(error_rate("WER of sound", heard, people))
        figures.append(Figure.mean("distance", [row["apart"] for row in rows]))
        for name, key in (("own frame nearest", "own"), ("nearest within 1 frame", "near")):
            figures.append(Figure.mean(name, [100 * row[key] for row in rows], unit="%"))
        return tuple(figures)

    def _measured(self, clip: Kept) -> dict[str, Any]:
        """Read one clip by both streams and compare their features."""
        audio = clip.array("audio").to(self.device)
        seen = self.net.see(seen_mouths(clip).to(self.device))
        heard = self.net.hear(audio[None])
        text = filled([self.net.tokenise(_text(spelt(clip.facts["transcript"], clip.id)))])
        text = text.to(self.device)
        apart = torch.cdist(self.net.align(heard)[0], self.net.align(seen)[0], p=1)
        apart = apart * (self.config.tau or 1 / self.net.dim)
        off = (apart.argmin(1) - torch.arange(len(apart), device=apart.device)).abs()
        return {
            "loss": float(lip_loss(self.net.write_logits(seen, text), text)),
            "lips": self.net.read(seen),
            "ctc": self.net.spell(self.ctc_layer(seen)[0].argmax(1).unique_consecutive().tolist()),
            "sound": self.net.read(heard),
            "apart": float(apart.diagonal().mean()),
            "own": float((off == 0).float().mean()),
            "near": float((off <= 1).float().mean()),
        }

    def parts(self) -> dict[str, nn.Module]:
        """Return AV-SyncNet; the layers for CTC and letters only help to train it."""
        return {"net": self.net}


def _text(symbols: Sequence[int]) -> str:
    """Return a transcript in lower case, without punctuation."""
    return "".join(ALPHABET[number - 1] for number in symbols)


def _pretrained(name: str) -> PretrainedEncoder | AVSyncNet:
    """Load what a training begins with."""
    found = load_network(name).module
    if not isinstance(found, PretrainedEncoder | AVSyncNet):
        raise ConfigError(
            f"init={name} holds no pre-trained AV-HuBERT and no AV-SyncNet; give the folder of a "
            "bundle of `tfbench train avhubert` or `av_syncnet`, or a network such as "
            "avhubert_encoder.large"
        )
    return found


def _refuse_another(
    name: str, both: Mapping[str, tuple[Any, Any]], settable: Sequence[str]
) -> None:
    """Refuse an architecture of which some field, there and here, differs."""
    for field, (there, here) in both.items():
        if there != here:
            raise ConfigError(
                f"init={name} has another architecture: its {field} is {there}, here it is "
                f"{here}; give {', '.join(settable)} as they were in its training"
            )
