"""Subwords beside SentencePiece.

`MODEL` is a model that SentencePiece 0.2.3 learnt (unigram, 48 pieces, rule "identity") from six
sentences; `SCORES` and `CUT` are what that package says of it.
"""

import base64
import zlib

import pytest

from tfbench.core.errors import AssetError, ConfigError, InputError
from tfbench.nets._subwords import WORD_START, Subwords, learn_pieces, read_sentencepiece

PACKED = (
    "c-l>oJ4ho@6o#XtsK*#I^0Tsq*eHnLSPF(%Sy~7_7IqO|6EkEoGtS%?V`EfM@KG$f3(LM-wotGWwNeOzrW0%}1QqQC"
    "3lRd2=Q`@GzW+bx{O7=>5S2z!W+IA!_v(r%NJ_+gQ3_R2Nkn~<M9S6oS=2U_<*1yBG&Cw;GI7__#WakYP<M_hs8~1g"
    "qtMM}1`VqNIjW=*Z+ry#odLETG~Ny}S-"
    "30=@zkUS5lt{!DGdEJxGu1D?@^FSy#Nu%&3TgjIP4Y24|ecndxmWTnN*fDTn#_>vTUYsSUJZuhQ3epOyjSVkR+30Qp"
    "k0-f&RBr8oRX%@;nn)7mI$Ew`i?niKBFc@=JdIFrss-zA$mGeB~Y&E4}L+<7hCKzp<Id*|nrm#PnZG6R$KasfOtJLc"
    ">aHjw`L_W74o5e*1e|e6If^KSAK}V1qHP<HONEM#IAX+J8>9(Q>@WG>O6s#c+BeX#^Yj&0M&ds#TG+RlQwxZB?|2DG"
    "?67bCPvM4Q+jaK(_N^kjnKj%@n%Ggac3dMz)U"
)
MODEL = zlib.decompress(base64.b85decode(PACKED))
SCORES = {"\u2581": -2.1117, "e": -2.3283, "ou": -3.6972, "\u2581flowers": -4.8879, "b": -5.2431}
CUT = {
    "bin green again": "_b in _ g re e n _a g a in",
    "place zebra at noon": "_pl a c e _ z e b r a _a t _n o on",
    "whose rivers see slow": "_w h o se _r i ve r s _se e _s l ow",
}
TEXTS = ["bin blue at f two now", "lay red by q nine again", "place green in k seven please"] * 5


@pytest.fixture(scope="module")
def official() -> Subwords:
    return Subwords(read_sentencepiece(MODEL))


def test_pieces_and_scores_are_sentencepieces(official: Subwords):
    found = dict(official.pieces)
    assert len(found) == 45
    assert {piece: found[piece] for piece in SCORES} == pytest.approx(SCORES, abs=1e-4)
    assert not {"<unk>", "<s>", "</s>"} & found.keys()


@pytest.mark.parametrize(("text", "pieces"), CUT.items())
def test_texts_are_cut_as_by_sentencepiece(official: Subwords, text: str, pieces: str):
    wanted = tuple(pieces.replace("_", WORD_START).split())
    assert official.cut(text) == wanted
    assert official.cut(f" {text.upper()}?!") == wanted


def test_equal_scores_take_the_fewest_pieces():
    cutter = Subwords([(piece, -1.0) for piece in (WORD_START, "a", "b", "ab", f"{WORD_START}a")])
    assert len(cutter.cut("abab")) == 3
    assert cutter.cut("ab") in {(WORD_START, "ab"), (f"{WORD_START}a", "b")}


def test_what_is_learnt_cuts_all_its_words_and_does_not_depend_on_their_order():
    pieces = learn_pieces(TEXTS, 50)
    assert pieces == learn_pieces(TEXTS[::-1], 50)
    assert len(pieces) <= 50
    cutter = Subwords(pieces)
    for text in TEXTS[:3]:
        joined = "".join(cutter.cut(text))
        assert joined.replace(WORD_START, " ").strip() == text
    assert len(cutter.cut("please")) < 7
    assert cutter.cut("qi")


def test_letters_that_no_text_has_are_pieces_too_but_cut_nothing_else():
    letters = "'abcdefghijklmnopqrstuvwxyz"
    plain, full = learn_pieces(TEXTS, 60), learn_pieces(TEXTS, 60, letters)
    assert len(full) <= 60
    absent = {piece for piece, _ in full} - {piece for piece, _ in plain}
    assert absent == set(letters) - set("".join(TEXTS))
    assert max(score for piece, score in full if piece in absent) < min(s for _, s in plain)
    cutter = Subwords(full)
    assert cutter.cut("jazz") == (WORD_START, "j", "a", "z", "z")
    assert [cutter.cut(text) for text in TEXTS] == [Subwords(plain).cut(text) for text in TEXTS]


def test_what_does_not_fit_is_refused(official: Subwords):
    with pytest.raises(InputError, match=r"no subword has 2, m; write numbers as words"):
        official.cut("seem 2")
    with pytest.raises(InputError, match="has no word"):
        official.cut(" ...")
    with pytest.raises(ConfigError, match="got none"):
        Subwords([])
    with pytest.raises(ConfigError, match="no room for the 22 signs"):
        learn_pieces(TEXTS, 12)
    with pytest.raises(ConfigError, match="no room for the 23 signs"):
        learn_pieces(TEXTS, 22, "aj")
    with pytest.raises(InputError, match="no words"):
        learn_pieces([" "], 12)


@pytest.mark.parametrize("bytes_", [b"", MODEL[:-3], MODEL[:40], b"\xff" * 20, b"\x0a\x02\x10\x01"])
def test_other_bytes_are_refused(bytes_: bytes):
    with pytest.raises(AssetError, match="no model of SentencePiece"):
        read_sentencepiece(bytes_)
