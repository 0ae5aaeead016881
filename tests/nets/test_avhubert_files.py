"""Files of AV-HuBERT that fairseq wrote, and what is no such file."""

import collections
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.nets.test_avhubert import TINY, TINY_DECODER, batch, mouths
from tests.nets.test_subwords import MODEL
from tfbench.core.errors import AssetError, ConfigError, InputError, MissingAsset
from tfbench.nets._avhubert_load import encoder_parts
from tfbench.nets.avhubert import (
    ENCODERS,
    VARIANTS,
    AVHubert,
    AVHubertReader,
    Decoder,
    load,
    load_encoder,
    load_reader,
    seeded,
)


class _Fake:
    """In place of fairseq's dictionary: an object of a class that is nowhere to be found."""

    def __init__(self, **fields: object) -> None:
        self.__dict__.update(fields)


PUBLIC = {
    "encoder_attention_heads": 4,
    "layer_norm_first": True,
    "modality_fuse": "concat",
    "masking_type": "input",
    "selection_type": "same_seq",
    "untie_final_proj": True,
}
SMALL = replace(TINY, widths=(4, 4, 4, 6, 8))


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Save what fairseq's trainer would: parameters, configuration and task of foreign classes."""
    names = ["fairseq", "fairseq.data", "fairseq.data.dictionary"]
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    foreign = type("Dictionary", (_Fake,), {"__module__": names[-1], "__qualname__": "Dictionary"})
    sys.modules[names[-1]].Dictionary = foreign

    def save(*, reader: bool = True, words: int = 30, lacking: str = "", **changes: object) -> Path:
        net = AVHubert(replace(SMALL, classes=() if reader else (12,)))
        model = collections.OrderedDict(
            (("encoder.w2v_model." if reader else "") + name, parameter.half())
            for name, parameter in net.state_dict().items()
        )
        settings: dict[str, object] = dict(PUBLIC)
        task: dict[str, object] = {"dictionaries": [foreign(symbols=["x"] * 12)]}
        if reader:
            tail = Decoder(TINY_DECODER).state_dict()
            model.update({f"decoder.{name}": parameter for name, parameter in tail.items()})
            model["encoder.w2v_model.label_embs_concat"] = torch.zeros(12, 6)
            model["decoder.embed_positions._float_tensor"] = torch.zeros(1)
            settings = {
                "decoder_attention_heads": 2,
                "decoder_normalize_before": True,
                "w2v_args": {"model": PUBLIC},
            }
            task = {"target_dictionary": foreign(symbols=[f"w{n}" for n in range(words)])}
        model.pop(lacking, None)
        content = {"args": None, "cfg": {"model": settings}, "model": model, "task_state": task}
        path = tmp_path / "fairseq.pt"
        torch.save({**content, **changes}, path)
        return path

    yield save


def _tokeniser(monkeypatch: pytest.MonkeyPatch, model: bytes) -> object:
    """Make what the task holds: a tokeniser that holds SentencePiece's, stored as bytes."""
    name = "sentencepiece"
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    fields = {"__module__": name, "__qualname__": "P", "__getstate__": lambda self: self.model}
    fields["__setstate__"] = lambda self, state: self.__dict__.update(model=state)
    sys.modules[name].P = type("P", (_Fake,), fields)
    return sys.modules["fairseq.data.dictionary"].Dictionary(sp=sys.modules[name].P(model=model))


def _dictionary(*symbols: str) -> object:
    filling = [f"w{n}" for n in range(26 - len(symbols))]
    foreign = sys.modules["fairseq.data.dictionary"].Dictionary
    return foreign(symbols=["<s>", "<pad>", "</s>", "<unk>", *symbols, *filling])


def test_texts_become_the_subwords_of_an_official_file(saved, monkeypatch: pytest.MonkeyPatch):
    tokeniser = _tokeniser(monkeypatch, MODEL)
    pieces = ["\u2581b", "in", "e", "\u2581", "g", "re", "n"]
    task = {"target_dictionary": _dictionary(*pieces), "s2s_tokenizer": tokeniser}
    path = saved(task_state=task)
    monkeypatch.delitem(sys.modules, "sentencepiece")
    reader = load_reader(path)
    assert "sentencepiece" not in sys.modules
    assert reader.scores[4:7] == pytest.approx((-3.3703, -3.2186, -2.3283), abs=1e-4)
    tokens = reader.tokenise("Bin green.")
    assert [reader.subwords[k] for k in tokens] == [
        *("\u2581b", "in", "\u2581", "g", "re", "e", "n", "</s>")
    ]
    assert reader.spell(tokens) == "bin green"


def test_a_tokeniser_of_another_vocabulary_is_refused(saved, monkeypatch: pytest.MonkeyPatch):
    task = {"target_dictionary": _dictionary(), "s2s_tokenizer": _tokeniser(monkeypatch, MODEL)}
    with pytest.raises(AssetError, match="no subword of its dictionary is a piece"):
        load_reader(saved(task_state=task))
    task["s2s_tokenizer"] = _tokeniser(monkeypatch, MODEL[:-3])
    with pytest.raises(AssetError, match="no model of SentencePiece"):
        load_reader(saved(task_state=task))


def test_without_scores_texts_are_cut_into_the_fewest_subwords_and_that_is_said(saved, caplog):
    task = {"target_dictionary": _dictionary("\u2581", "a", "b", "\u2581ab", "ab")}
    reader = load_reader(saved(task_state=task))
    assert reader.scores is None
    assert caplog.text == ""
    tokens = reader.tokenise("ab abab")
    assert [reader.subwords[k] for k in tokens[:-1]] == ["\u2581ab", "\u2581ab", "ab"]
    assert "holds no scores of subwords" in caplog.text


def test_files_of_fairseq_load_without_its_classes(saved, monkeypatch: pytest.MonkeyPatch):
    path = saved()
    monkeypatch.delitem(sys.modules, "fairseq.data.dictionary")
    reader = load_reader(path)
    assert "fairseq.data.dictionary" not in sys.modules
    assert reader.encoder.settings.heads == 4
    assert reader.decoder.settings == replace(TINY_DECODER, dropout=0.0, activation_dropout=0.0)
    assert reader.subwords[29] == "w29"
    assert not reader.training
    assert isinstance(reader.read(mouths(3)), str)


def test_a_pretrained_file_loads_whole(saved):
    settings, state = encoder_parts(saved(reader=False))
    assert (settings.classes, settings.label_dim) == ((12,), 6)
    assert settings.widths == SMALL.widths
    assert state.keys() == AVHubert(settings).state_dict().keys()


def test_a_file_runs_nothing(tmp_path: Path):
    class Call:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "bad.pt"
    torch.save({"model": {"a": torch.zeros(1)}, "cfg": {"model": {}}, "x": Call()}, path)
    with pytest.raises(AssetError):
        load_reader(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": 31}, "31 subwords, its decoder writes 30"),
        ({"reader": False}, "no AV-HuBERT that writes text"),
        ({"task_state": {}}, "lacks task_state.target_dictionary"),
        ({"cfg": None}, "lacks the configuration"),
        ({"model": {"a": torch.zeros(1)}}, "begins with 'a'"),
        ({"model": None}, "lacks parameters under 'model'"),
        ({"cfg": {"model": {"w2v_args": {"modality_fuse": "sum"}}}}, "'modality_fuse' is 'sum'"),
        ({"cfg": {"model": {"w2v_args": {"encoder_attention_heads": 5}}}}, "5 attention heads"),
        ({"cfg": {"model": {"w2v_args": {"dropout": "x"}}}}, "'dropout' is 'x', not a number"),
    ],
)
def test_other_files_are_refused(saved, changes: dict[str, object], message: str):
    with pytest.raises(AssetError, match=message):
        load_reader(saved(**changes))


def test_another_size_is_refused(saved):
    with pytest.raises(AssetError, match="3 layers of width 16; wanted large, 24 layers"):
        load_reader(saved(), "large")
    with pytest.raises(AssetError, match="wanted base, 12 layers of width 768"):
        encoder_parts(saved(reader=False), "base")


def test_cut_off_and_incomplete_files_are_refused(saved):
    path = saved()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AssetError, match="no readable checkpoint"):
        load_reader(path)
    with pytest.raises(AssetError, match=r"lacks parameter 'decoder\.layers\.1\.fc1\.bias'"):
        load_reader(saved(lacking="decoder.layers.1.fc1.bias"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.prepare(torch.zeros(2, 3, 88, 88, dtype=torch.uint8)), "3, 96, 96"),
        (lambda r: r.prepare(torch.zeros(2, 3, 96, 96)), "uint8"),
        (
            lambda r: r.prepare(torch.zeros(2, 3, 96, 96, dtype=torch.uint8), torch.zeros(2, 6)),
            "regions",
        ),
        (lambda r: r.read(torch.zeros(3, 96, 96, dtype=torch.uint8)), "88, 88"),
        (lambda r: r.encode(), "got None, None"),
        (lambda r: r.encode(video=mouths(0)), "T >= 1"),
        (lambda r: r.encode(mouths(3), torch.zeros(4, 104)), "of one B and T"),
        (lambda r: r.encode(audio=torch.zeros(4, 26)), r"\(B, T, 104\)"),
        (lambda r: r.encoder.predict(*batch()[1:], np.random.RandomState(0)), "no labels"),
        (lambda r: r.write(audio=torch.full((4, 104), torch.nan)), "not finite"),
        (lambda r: AVHubertReader(TINY, TINY_DECODER, ["a"]), "1 subwords"),
    ],
)
def test_what_cannot_be_read_is_refused(call, message: str):
    with pytest.raises((InputError, ConfigError), match=message):
        call(seeded())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_reader_that_is_not_here_is_named(variant: str):
    with pytest.raises(MissingAsset, match=VARIANTS[variant]):
        load(variant)


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_that_is_not_here_is_named(name: str):
    with pytest.raises(MissingAsset, match=ENCODERS[name]):
        load_encoder(name)
