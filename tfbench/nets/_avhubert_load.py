"""What AV-HuBERT a checkpoint of fairseq holds, and its parameters under this package's names.

Sizes are read from the shapes of the parameters, what shapes do not tell from the configuration
that the file carries. Names are the same but for the wrapper around a fine-tuned encoder; two
things of the file have no place here: the labels of pre-training that a fine-tuned file still
carries, and a buffer of the decoder's positions that nothing reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tfbench.core.errors import AssetError
from tfbench.nets._avhubert_decoder import DecoderSettings
from tfbench.nets._avhubert_encoder import EncoderSettings
from tfbench.nets._avhubert_file import read_fairseq
from tfbench.nets._subwords import NEVER

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from tfbench.nets._avhubert_file import FairseqFile

__all__ = ["SIZES", "ReaderParts", "encoder_parts", "reader_parts"]

SIZES = {"base": (12, 768), "large": (24, 1024)}
"""Layers and width of the encoder."""

WRAPPER = "encoder.w2v_model."
UNUSED = ("encoder.w2v_model.label_embs_concat", "decoder.embed_positions._float_tensor")

DEFAULTS: dict[str, Any] = {
    "activation_fn": "gelu",
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "audio_dropout": 0.0,
    "decoder_activation_dropout": 0.0,
    "decoder_attention_dropout": 0.0,
    "decoder_attention_heads": 4,
    "decoder_dropout": 0.0,
    "decoder_layerdrop": 0.0,
    "decoder_normalize_before": False,
    "dropout": 0.1,
    "dropout_input": 0.0,
    "encoder_attention_heads": 12,
    "encoder_layerdrop": 0.0,
    "feature_grad_mult": 1.0,
    "layer_norm_first": False,
    "logit_temp": 0.1,
    "mask_length_audio": 10,
    "mask_length_image": 10,
    "mask_prob_audio": 0.65,
    "mask_prob_image": 0.65,
    "mask_selection": "static",
    "masking_type": "input",
    "max_target_positions": 2048,
    "modality_dropout": 0.0,
    "modality_fuse": "concat",
    "no_mask_overlap": False,
    "no_scale_embedding": True,
    "selection_type": "same_other_seq",
    "sim_type": "cosine",
    "untie_final_proj": False,
}
"""What the reference takes where a configuration, such as an older one, does not say it: the
fields' defaults in `AVHubertConfig` and `AVHubertSeq2SeqConfig`."""

T = TypeVar("T", bound=str)


def encoder_parts(path: Path, size: str = "") -> tuple[EncoderSettings, dict[str, Tensor]]:
    """Read a pre-trained encoder.

    Args:
        path: The file.
        size: A key of `SIZES` that it must have; "" for any.

    Returns:
        What to build, and its parameters and buffers.

    Raises:
        AssetError: The file cannot be read, is of another size or no pre-trained AV-HuBERT.
    """
    file = read_fairseq(path)
    if "label_embs_concat" not in file.model or "final_proj.weight" not in file.model:
        raise AssetError(
            f"{path} is no pre-trained AV-HuBERT: it lacks 'label_embs_concat' or 'final_proj'; "
            f"it begins with {_beginning(file)}"
        )
    settings = _encoder(_Known(file, file.model, file.settings.get("model")), labelled=True)
    _check_size(path, settings, size)
    return settings, file.model


class ReaderParts(NamedTuple):
    """A reader's parts.

    Attributes:
        encoder: What to build.
        decoder: What to build.
        subwords: In the order of their numbers.
        scores: Of the subwords; None where the file does not hold them.
        state: Parameters and buffers.
    """

    encoder: EncoderSettings
    decoder: DecoderSettings
    subwords: tuple[str, ...]
    scores: tuple[float, ...] | None
    state: dict[str, Tensor]


def reader_parts(path: Path, size: str = "") -> ReaderParts:
    """Read an encoder that was fine-tuned with a decoder, such as for lip reading.

    Args:
        path: The file.
        size: A key of `SIZES` that its encoder must have; "" for any.

    Raises:
        AssetError: The file cannot be read, is of another size, has a dictionary or a tokeniser
            that does not belong to its decoder, or is no such AV-HuBERT.
    """
    file = read_fairseq(path)
    if "decoder.embed_tokens.weight" not in file.model or f"{WRAPPER}mask_emb" not in file.model:
        raise AssetError(
            f"{path} is no AV-HuBERT that writes text: it lacks the encoder '{WRAPPER}*' or the "
            f"decoder 'decoder.*' (a pre-trained or CTC file?); it begins with {_beginning(file)}"
        )
    model = {name: value for name, value in file.model.items() if name not in UNUSED}
    renamed = {name.replace(WRAPPER, "encoder.", 1): value for name, value in model.items()}
    tuned = file.settings.get("model")
    inner = tuned.get("w2v_args") if isinstance(tuned, dict) else None
    inside = {name[len(WRAPPER) :]: v for name, v in model.items() if name.startswith(WRAPPER)}
    nested = inner.get("model", inner) if isinstance(inner, dict) else None
    encoder = _encoder(_Known(file, inside, nested), labelled=False)
    decoder = _decoder(_Known(file, model, tuned), encoder.dim)
    _check_size(path, encoder, size)
    subwords = file.subwords()
    if len(subwords) != decoder.subwords:
        raise AssetError(
            f"{path}: its dictionary has {len(subwords)} subwords, its decoder writes "
            f"{decoder.subwords}; the parts are of different vocabularies"
        )
    return ReaderParts(encoder, decoder, subwords, _scores(file, subwords), renamed)


def _scores(file: FairseqFile, subwords: tuple[str, ...]) -> tuple[float, ...] | None:
    """Give each subword the score of the tokeniser's piece; those that are no piece get `NEVER`."""
    known = file.scores()
    if known is None:
        return None
    if not any(subword in known for subword in subwords):
        raise AssetError(
            f"{file.path}: no subword of its dictionary is a piece of its tokeniser; the parts are "
            "of different vocabularies"
        )
    return tuple(known.get(subword, NEVER) for subword in subwords)


class _Known:
    """Parameters and configuration, with errors that name what is missing."""

    def __init__(self, file: FairseqFile, model: dict[str, Tensor], settings: object) -> None:
        if not isinstance(settings, dict):
            raise AssetError(f"{file.path} lacks the configuration of its network under 'cfg'")
        self.file, self.model, self.settings = file, model, settings

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.model:
            raise AssetError(f"{self.file.path} is no AV-HuBERT: it lacks parameter '{name}'")
        return tuple(self.model[name].shape)

    def count(self, prefix: str) -> int:
        """Count the layers whose parameters begin so."""
        numbers = {n[len(prefix) :].split(".")[0] for n in self.model if n.startswith(prefix)}
        return len(numbers)

    def number(self, name: str) -> float:
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AssetError(f"{self.file.path}: '{name}' is {value!r}, not a number")
        return value

    def flag(self, name: str) -> bool:
        return bool(self._value(name))

    def choice(self, name: str, *allowed: T) -> T:
        value = self._value(name)
        for one in allowed:
            if value == one:
                return one
        raise AssetError(
            f"{self.file.path}: '{name}' is {value!r}; known here: {', '.join(allowed)}"
        )

    def _value(self, name: str) -> Any:
        return self.settings.get(name, DEFAULTS[name])


def _encoder(known: _Known, *, labelled: bool) -> EncoderSettings:
    known.choice("activation_fn", "gelu")
    known.choice("mask_selection", "static")
    if known.flag("no_mask_overlap"):
        raise AssetError(f"{known.file.path}: 'no_mask_overlap' is on; masks overlap here")
    dim, audio_dim = known.shape("feature_extractor_audio.proj.weight")
    pos_conv = known.shape("encoder.pos_conv.0.weight_v")
    resnet = "feature_extractor_video.resnet."
    stages = [known.shape(f"{resnet}trunk.layer{n}.0.conv1.weight")[0] for n in (1, 2, 3, 4)]
    label_dim = known.shape("label_embs_concat")[1] if labelled else EncoderSettings.label_dim
    return EncoderSettings(
        layers=known.count("encoder.layers."),
        dim=dim,
        ffn=known.shape("encoder.layers.0.fc1.weight")[0],
        heads=int(known.number("encoder_attention_heads")),
        audio_dim=audio_dim,
        fuse=known.choice("modality_fuse", "concat", "add"),
        norm_first=known.flag("layer_norm_first"),
        conv_pos=pos_conv[2],
        conv_pos_groups=dim // pos_conv[1],
        widths=(known.shape(f"{resnet}frontend3D.0.weight")[0], *stages),
        prelu=f"{resnet}frontend3D.2.weight" in known.model,
        dropout=known.number("dropout"),
        attention_dropout=known.number("attention_dropout"),
        activation_dropout=known.number("activation_dropout"),
        input_dropout=known.number("dropout_input"),
        layerdrop=known.number("encoder_layerdrop"),
        front_gradient=known.number("feature_grad_mult"),
        modality_dropout=known.number("modality_dropout"),
        audio_dropout=known.number("audio_dropout"),
        masking=known.choice("masking_type", "input", "feature"),
        mask_prob_video=known.number("mask_prob_image"),
        mask_length_video=int(known.number("mask_length_image")),
        mask_prob_audio=known.number("mask_prob_audio"),
        mask_length_audio=int(known.number("mask_length_audio")),
        mask_source=known.choice("selection_type", "same_seq", "same_other_seq"),
        classes=_classes(known) if labelled else (),
        label_dim=label_dim,
        own_projections=known.flag("untie_final_proj"),
        similarity=known.choice("sim_type", "cosine", "dot"),
        temperature=known.number("logit_temp"),
    )


def _decoder(known: _Known, memory_dim: int) -> DecoderSettings:
    subwords, dim = known.shape("decoder.embed_tokens.weight")
    return DecoderSettings(
        subwords=subwords,
        layers=known.count("decoder.layers."),
        dim=dim,
        ffn=known.shape("decoder.layers.0.fc1.weight")[0],
        heads=int(known.number("decoder_attention_heads")),
        memory_dim=memory_dim,
        norm_first=known.flag("decoder_normalize_before"),
        scaled=not known.flag("no_scale_embedding"),
        max_subwords=int(known.number("max_target_positions")),
        dropout=known.number("decoder_dropout"),
        attention_dropout=known.number("decoder_attention_dropout"),
        activation_dropout=known.number("decoder_activation_dropout"),
        layerdrop=known.number("decoder_layerdrop"),
    )


def _classes(known: _Known) -> tuple[int, ...]:
    """Count the labels of each set; several sets are told apart by their dictionaries only."""
    dictionaries = known.file.task.get("dictionaries")
    rows = known.shape("label_embs_concat")[0]
    if not isinstance(dictionaries, list) or len(dictionaries) < 2:
        return (rows,)
    counts = tuple(len(one["symbols"]) for one in dictionaries)
    if sum(counts) != rows:
        raise AssetError(
            f"{known.file.path}: its dictionaries have {' + '.join(map(str, counts))} labels, "
            f"'label_embs_concat' has {rows}"
        )
    return counts


def _check_size(path: Path, settings: EncoderSettings, size: str) -> None:
    if size and (settings.layers, settings.dim) != SIZES[size]:
        layers, dim = SIZES[size]
        raise AssetError(
            f"{path} holds an AV-HuBERT of {settings.layers} layers of width {settings.dim}; "
            f"wanted {size}, {layers} layers of width {dim}: put that file there"
        )


def _beginning(file: FairseqFile) -> str:
    return ", ".join(f"'{name}'" for name in list(file.model)[:3])
