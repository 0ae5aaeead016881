"""Conformer lip readers against the public code.

Golden numbers were recorded with torch 2.15 on a CPU by running, on the weights of `net` below
under their public names and the same mouths,

- of mpc001/Visual_Speech_Recognition_for_Multiple_Languages (commit 5e1405d) `E2E` with adim 16,
  aheads 2, eunits and dunits 24, elayers and dlayers 2, cnn_module_kernel 5, rel_pos_type "latest",
  transformer_input_layer "conv3d", relu_type "swish", 40 units: `encode` of normalised mouths,
  `ctc.log_softmax`, `decoder` given units 39 5 5 7 1 22, and `BatchBeamSearch` with
  pre_beam_score_key "decoder";
- of Sxjdwang/TalkLip (commit 7ed53ee) `models/conformer_lip_reading.py` with espnet 0.10.6 and
  the same sizes but kernel 31, called as `evaluation/teacher_force_wer.py` does.

Ours differed by at most 1e-6 there, and by 7e-6 in scores of 76 further searches, whose best
texts were the same. `PUBLIC` are counts over those classes at full size, names and shapes of which
were compared one by one: all 767 and 755 are the same.
"""

import copy
import itertools
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from tfbench.core.errors import AssetError, InputError, MissingAsset, UnknownName
from tfbench.faces.crop import WholeFrame
from tfbench.nets._conformer_search import CtcPrefixes, Search, search
from tfbench.nets.conformer import (
    CHARACTERS,
    PUBLISHED,
    UNREAD,
    VARIANTS,
    AutoAvsr,
    Conformer,
    Sizes,
    TalkLip,
    load,
    read_units,
    seeded,
    sizes_of,
)
from tfbench.nets.frozen import Frozen, state_sha256
from tfbench.nets.lipreading import ForcedReader, LipReader

SIZES = {AutoAvsr: Sizes(16, 2, 2, 24, 5, 2, 24, 40), TalkLip: Sizes(16, 2, 2, 24, 31, 2, 24, 40)}
PUBLIC = {"lrs3": (767, 250_383_410), "talklip": (755, 52_496_656)}
BOTH = pytest.mark.parametrize("build", [AutoAvsr, TalkLip])


@cache
def net(build: type[AutoAvsr | TalkLip]) -> AutoAvsr | TalkLip:
    """Weights of seed 3, normalisations near 1, ends and blanks seen often; not to be changed."""
    made = seeded(build, SIZES[build], seed=3)
    with torch.no_grad():
        for layer in made.modules():
            if isinstance(layer, nn.LayerNorm):
                layer.weight += 1
        made.decoder.output_layer.bias[39] += 2
        made.ctc["ctc_lo"].bias[0] += 4
    return made.requires_grad_(requires_grad=False)


def mouths(n: int, side: int, seed: int) -> torch.Tensor:
    pixels = np.random.RandomState(seed).randint(0, 256, (n, side, side))
    return torch.from_numpy(pixels.astype(np.uint8))


def close(found: torch.Tensor, wanted: list[list[float]]) -> None:
    torch.testing.assert_close(found, torch.tensor(wanted), atol=2e-5, rtol=0)


def test_auto_avsr_computes_what_the_public_code_computes():
    reader = net(AutoAvsr)
    encoded = reader.encode(mouths(12, 88, 0))
    close(
        encoded[[0, 5, 11], :3],
        [
            [1.705611, -0.077336, 0.603666],
            [1.712003, 0.008850, 0.543912],
            [1.925698, 0.097566, 0.497937],
        ],
    )
    close(
        reader.ctc_log_probs(encoded)[[0, 5, 11], :3],
        [
            [-2.789736, -4.381708, -4.708863],
            [-2.776355, -4.566436, -4.814634],
            [-2.681249, -4.737353, -4.827008],
        ],
    )
    close(
        reader.told(encoded, [5, 5, 7, 1, 22])[[0, 2, 5]][:, [1, 5, 39]],
        [
            [-5.863970, -5.340159, -1.984407],
            [-5.802732, -4.856614, -2.258822],
            [-5.092792, -6.395696, -1.841442],
        ],
    )


@pytest.mark.parametrize(
    ("how", "texts", "scores"),
    [
        (
            Search(4, 0.1, 0.0),
            [
                (38, 38, 23, 38, 38, 38, 38),
                (38, 23, 38, 23, 38, 38, 23, 38, 38),
                (38, 23, 38, 23, 38, 38, 23, 38, 23, 38),
            ],
            [-15.55576, -19.29284, -21.13703],
        ),
        (
            Search(10, 0.3, 0.5),
            [
                (38, 23, 38, 23, 38, 23, 38, 23, 38),
                (38, 23, 38, 7, 38, 23, 38, 23, 38),
                (38, 23, 38, 23, 38, 7, 38, 23, 38),
            ],
            [-20.17262, -20.29619, -20.30918],
        ),
    ],
)
def test_the_search_finds_what_the_public_one_finds(
    how: Search, texts: list[tuple[int, ...]], scores: list[float]
):
    reader = net(AutoAvsr)
    encoded = reader.encode(mouths(12, 88, 0))
    found = search(lambda u, k: reader.decoder(u, encoded, k), reader.ctc_log_probs(encoded), how)
    assert [text.units for text in found[:3]] == texts
    assert [text.score for text in found[:3]] == pytest.approx(scores, abs=1e-4)


def test_talklips_reader_computes_what_the_public_code_computes():
    """A text longer than the clip, so that features are filled up from 3 to 11 frames."""
    reader, said = net(TalkLip), "HELLO ALL"
    seen = mouths(3, 112, 1)
    encoded = reader.encode(seen, len(said) + 2)
    close(
        encoded[[0, 5, 10], :3],
        [
            [-1.286780, 0.562431, -0.207667],
            [-1.120510, -1.200529, -0.277264],
            [-1.781490, 1.119668, -0.052336],
        ],
    )
    log_probs = reader.told(encoded, [CHARACTERS.index(sign) for sign in said])
    close(
        log_probs[[0, 4, 9]][:, [1, 5, 39]],
        [
            [-5.118515, -3.279594, -0.840194],
            [-4.077159, -4.235246, -1.981802],
            [-4.439657, -4.023188, -2.020374],
        ],
    )
    # The public code's argmax is 39 39 16 39 18 16 16 5 16 18, of which the last is after the text.
    assert reader.read_forced(seen, said.lower()) == f"{UNREAD}{UNREAD}g{UNREAD}mggag"


def test_a_forced_reader_leaves_out_an_end_at_the_last_place_only():
    reader = copy.deepcopy(net(TalkLip))
    reader.decoder.output_layer.bias[39] += 100
    assert reader.read_forced(mouths(3, 112, 1), "we") == UNREAD
    assert reader.read_forced(mouths(3, 112, 1), "w") == ""


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_names_and_counts_are_the_public_ones(variant: str):
    chosen = PUBLISHED[variant]
    with torch.device("meta"):
        built = chosen.build(chosen.sizes, ["?"] * chosen.sizes.units)
    counts = len(built.state_dict()), sum(p.numel() for p in built.parameters())
    assert counts == PUBLIC[variant]
    assert sizes_of(built.state_dict(), "it") == chosen.sizes


@BOTH
def test_the_decoder_step_by_step_is_the_decoder_at_once(build: type[AutoAvsr | TalkLip]):
    reader = net(build)
    encoded = torch.randn(7, 16, generator=torch.Generator().manual_seed(0))
    units = torch.tensor([[39, 3, 4, 4], [39, 8, 1, 30]])
    whole, _ = reader.decoder(units, encoded)
    known: list[torch.Tensor] = []
    for n in range(4):
        step, known = reader.decoder(units[:, : n + 1], encoded, known)
        torch.testing.assert_close(step[:, 0], whole[:, n], atol=1e-5, rtol=0)


def texts_of(path: tuple[int, ...]) -> tuple[int, ...]:
    """What is left of a path when repeats are merged and blanks dropped."""
    merged = [unit for unit, _ in itertools.groupby(path)]
    return tuple(unit for unit in merged if unit != 0)


def test_prefix_probabilities_are_sums_over_all_paths():
    frames, units = 5, 4
    draw = torch.Generator().manual_seed(1)
    log_probs = torch.randn(frames, units, generator=draw).double().log_softmax(-1)
    paths = list(itertools.product(range(units), repeat=frames))
    weights = [math.exp(sum(log_probs[t, u] for t, u in enumerate(path))) for path in paths]
    found = [texts_of(path) for path in paths]
    ctc = CtcPrefixes(log_probs, units - 1)
    state, last, text = ctc.start(), None, ()
    for unit in (1, 1, 2):
        choices = torch.tensor([[1, 2, units - 1, 0]])
        begins, states = ctc.extend(state, last, choices)
        for column, number in enumerate((1, 2)):
            longer = (*text, number)
            share = sum(
                w for w, one in zip(weights, found, strict=True) if one[: len(longer)] == longer
            )
            assert begins[0, column].exp().item() == pytest.approx(share, abs=1e-12)
        whole = sum(w for w, one in zip(weights, found, strict=True) if one == text)
        assert begins[0, 2].exp().item() == pytest.approx(whole, abs=1e-12)
        assert begins[0, 3] == -math.inf
        state, last, text = states[..., unit - 1], torch.tensor([unit]), (*text, unit)


def test_a_wide_search_finds_the_best_of_all_texts():
    """With a decoder that knows nothing, the text of the highest CTC score with its bonus."""
    frames, units, how = 4, 4, Search(beam=400, ctc_weight=0.5, bonus=0.7)
    draw = torch.Generator().manual_seed(2)
    log_probs = torch.randn(frames, units, generator=draw).double().log_softmax(-1)
    log_probs[:, -1] = -50

    def step(given: torch.Tensor, known: object) -> tuple[torch.Tensor, list[torch.Tensor]]:
        return torch.full((len(given), 1, units), -math.log(units)), [torch.zeros(len(given), 1)]

    wholes: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(units - 1), repeat=frames):
        weight = math.exp(sum(log_probs[t, u] for t, u in enumerate(path)))
        wholes[texts_of(path)] = wholes.get(texts_of(path), 0) + weight

    def score(text: tuple[int, ...]) -> float:
        steps = len(text) + 1
        ctc = 0.5 * math.log(wholes[text])
        return ctc + steps * (0.7 - 0.5 * math.log(units))

    found = search(step, log_probs, how)
    ended = {text.units: text.score for text in found if len(text.units) < frames}
    for text in (one for one in wholes if len(one) < frames - 1):
        assert ended[text] == pytest.approx(score(text), abs=1e-6)


@BOTH
def test_it_reads(build: type[AutoAvsr | TalkLip]):
    reader: LipReader = net(build)
    side, window = (96, 88) if build is AutoAvsr else (224, 112)
    frames = torch.from_numpy(
        np.random.RandomState(0).randint(0, 256, (6, 3, side, side)).astype(np.uint8)
    )
    kept = reader.prepare(frames)
    assert (kept.shape, kept.dtype) == ((6, window, window), torch.uint8)
    edge = (side - window) // 2
    pixel = frames[2, :, edge, edge].double() @ torch.tensor([0.299, 0.587, 0.114]).double()
    assert kept[2, 0, 0].item() == pytest.approx(pixel.item(), abs=0.51)
    assert torch.equal(reader.prepare(frames[:2]), kept[:2])
    text = reader.read(kept)
    assert text == text.lower()
    assert reader.read(kept) == text
    assert isinstance(reader.read(kept[:1]), str)
    assert reader.read(kept[:0]) == ""


def test_words_begin_where_a_unit_says_so():
    units = ["<blank>", "\u2581HEL", "LO", "\u2581ALL", *"abcdefghijklmnopqrstuvwxyz0123456789"]
    units = [*units[:39], "<eos>"]
    reader = copy.deepcopy(net(AutoAvsr))
    reader.units = tuple(units)
    reader.decoder = _Certain([1, 2, 3])
    assert reader.read(mouths(9, 88, 0)) == "hello all"


class _Certain(nn.Module):
    """A decoder that is nearly sure of a text."""

    def __init__(self, text: list[int]) -> None:
        super().__init__()
        self.text = [*text, 39]

    def forward(
        self, units: torch.Tensor, encoded: torch.Tensor, known: object
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        place = min(units.shape[1] - 1, len(self.text) - 1)
        logits = torch.zeros(len(units), 1, 40)
        logits[..., self.text[place]] = 50
        return logits.log_softmax(-1), [torch.zeros(len(units), 1)]


def test_only_the_reader_of_characters_can_be_told_the_text():
    reader: ForcedReader = net(TalkLip)
    assert reader.crop == WholeFrame(224)
    assert not hasattr(net(AutoAvsr), "read_forced")
    assert len(set(CHARACTERS)) == len(CHARACTERS) == 40
    assert CHARACTERS.index("'") == 22
    assert (CHARACTERS[1], CHARACTERS[2], CHARACTERS[38]) == (" ", "E", "4")


@pytest.mark.parametrize("text", ["na\u00efve", "a-b", "50 %"])
def test_a_text_with_strange_signs_is_refused(text: str):
    with pytest.raises(InputError, match="has no sign for '"):
        net(TalkLip).read_forced(mouths(3, 112, 0), text)


@BOTH
def test_bad_input_is_refused(build: type[AutoAvsr | TalkLip]):
    reader = net(build)
    with pytest.raises(InputError, match="reads uint8 mouths"):
        reader.encode(torch.zeros(3, 40, 40, dtype=torch.uint8))
    with pytest.raises(InputError, match="T 1 or more"):
        reader.encode(torch.zeros(0, reader.window, reader.window, dtype=torch.uint8))
    with pytest.raises(InputError, match="takes uint8 crops"):
        reader.prepare(torch.zeros(3, 3, 50, 50))
    frames = torch.zeros(1, 3, reader.side, reader.side, dtype=torch.uint8)
    with pytest.raises(InputError, match="not whole frames"):
        reader.prepare(frames, torch.zeros(1, 4))
    with pytest.raises(InputError, match="40 units was given 3"):
        build(SIZES[build], ["a", "b", "c"])


def published(reader: Conformer, variant: str) -> dict[str, torch.Tensor]:
    """A state dict under the names of the public file."""
    names = list(reader.state_dict())
    for public, ours in PUBLISHED[variant].renamed.items():
        names = [name.replace(ours, public) for name in names]
    return dict(zip(names, reader.state_dict().values(), strict=True))


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Pretend that variants are small and that their files are these."""

    def store(variant: str, state: dict, lines: str = "") -> None:
        torch.save(state, tmp_path / "model.pth")
        (tmp_path / "units.txt").write_text(lines, "utf-8")
        chosen = PUBLISHED[variant]
        monkeypatch.setitem(PUBLISHED, variant, replace(chosen, sizes=SIZES[chosen.build]))
        files = {VARIANTS[variant]: "model.pth", chosen.vocabulary: "units.txt"}
        monkeypatch.setattr("tfbench.nets.conformer.locate", lambda name: tmp_path / files[name])

    return store


def lines(n: int) -> str:
    return "".join(f"\u2581w{k} {k}\n" for k in range(1, n + 1))


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_published_file_is_loaded(variant: str, stored):
    reader = net(PUBLISHED[variant].build)
    state = published(reader, variant)
    assert any(name.startswith(("encoder.frontend.", "visual_frontend.")) for name in state)
    stored(variant, state, lines(38))
    found = load(variant)
    assert isinstance(found, Frozen)
    assert found.name == f"conformer.{variant}"
    assert found.sha256 == state_sha256(found.module.state_dict())
    seen = mouths(4, reader.window, 0)
    assert torch.equal(found.module.encode(seen), reader.encode(seen))


def test_files_of_another_network_are_refused(stored):
    reader = net(AutoAvsr)
    state = published(reader, "lrs3")
    stored("lrs3", state, lines(37))
    with pytest.raises(AssetError, match="has 40 units and its vocabulary 39"):
        load("lrs3")
    first = "encoder.encoders.0.self_attn.pos_bias_u"
    other = {name: value for name, value in state.items() if ".encoders.1." not in name}
    other[first] = other[first].reshape(4, 4)
    stored("lrs3", other, lines(38))
    with pytest.raises(AssetError, match=r"heads=4, layers=1.* not .*heads=2, layers=2"):
        load("lrs3")
    stored("talklip", state)
    with pytest.raises(AssetError, match=r"kernel=5.*not .*kernel=31"):
        load("talklip")
    stored("lrs3", {"a": torch.zeros(3)}, lines(38))
    with pytest.raises(AssetError, match="it is no Conformer lip reader, since it lacks"):
        load("lrs3")
    del state["ctc.ctc_lo.bias"]
    stored("lrs3", state, lines(38))
    with pytest.raises(AssetError, match=r"lacks parameter 'ctc\.ctc_lo\.bias'"):
        load("lrs3")


@pytest.mark.parametrize("text", ["", "a 1\nb 3\n", "a\n", "a b c\n", "a one\n"])
def test_another_list_of_units_is_refused(text: str, tmp_path):
    path = tmp_path / "units.txt"
    path.write_text(text)
    with pytest.raises(AssetError, match="is no list of units"):
        read_units(path)


def test_units_are_numbered_between_blank_and_end(tmp_path):
    path = tmp_path / "units.txt"
    path.write_text("<unk> 1\n' 2\n\u2581THE 3\n", "utf-8")
    assert read_units(path) == ("<blank>", "<unk>", "'", "\u2581THE", "<eos>")


def test_an_unknown_variant_is_named():
    with pytest.raises(UnknownName, match="there are lrs3, talklip"):
        load("lrs4")


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_missing_weights_are_named(variant: str, tmp_path, monkeypatch):
    monkeypatch.setenv("TFBENCH_HOME", str(tmp_path))
    with pytest.raises(MissingAsset, match=VARIANTS[variant]):
        load(variant)


@pytest.mark.gpu
@BOTH
def test_a_gpu_computes_the_same(build: type[AutoAvsr | TalkLip]):
    reader = copy.deepcopy(net(build))
    seen = mouths(12, reader.window, 0)
    wanted, text = reader.encode(seen), reader.read(seen)
    reader.cuda()
    torch.testing.assert_close(reader.encode(seen.cuda()).cpu(), wanted, atol=1e-3, rtol=0)
    assert reader.read(seen.cuda()) == text
