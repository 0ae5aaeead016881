from collections import Counter

import pytest

from tfbench.core.errors import ConfigError
from tfbench.datasets.puppets.emotions import EMOTIONS
from tfbench.datasets.puppets.plan import REDRAWN, SPLITS, plan
from tfbench.datasets.puppets.sentences import is_grammar_sentence, split_of


@pytest.mark.parametrize("split", SPLITS)
def test_a_larger_split_begins_with_the_smaller_one(split: str):
    long = plan(split, 50)
    assert plan(split, 7) == long[:7]
    assert plan(split, 1) == long[:1]
    assert len(plan(split)) == SPLITS[split].size
    assert [clip.id for clip in long] == sorted({clip.id for clip in long})


def test_nobody_of_a_test_split_is_in_another_one():
    people = {split: {clip.identity for clip in plan(split, 300)} for split in SPLITS}
    assert people["test-seen"] <= people["train"]
    apart = [people[split] for split in SPLITS if split != "test-seen"]
    assert len(set().union(*apart)) == sum(len(some) for some in apart)
    other_seed = {clip.identity for clip in plan("train", 300, seed=1)}
    assert not other_seed & set().union(*people.values())


def test_sentences_of_test_and_val_are_never_trained_on():
    said = {split: {clip.text for clip in plan(split, 300)} for split in SPLITS}
    tested = said["test"] | said["test-seen"] | said["test-emotion"]
    assert not tested & (said["train"] | said["val"])
    assert not said["train"] & said["val"]
    assert {split_of(text) for text in tested} == {"test"}


def test_each_person_has_four_clips_of_all_kinds():
    clips = plan("test")
    assert set(Counter(clip.identity for clip in clips).values()) == {4}
    for k in range(0, len(clips), 4):
        four = [(clip.kind, clip.emotion == "neutral") for clip in clips[k : k + 4]]
        assert len(set(four)) == 4
    assert len({clip.text for clip in clips}) == len(clips)
    assert len({clip.seed for clip in clips}) == len(clips)


def test_emotions_and_levels_are_met_equally_often():
    counts = Counter((clip.emotion, clip.level) for clip in plan("train", 420))
    assert counts.pop(("neutral", 1)) == 210
    assert set(counts.values()) == {10}
    assert len(counts) == 21


def test_one_person_says_one_sentence_in_all_ways():
    clips = plan("test-emotion")
    for k in range(0, len(clips), 22):
        of_one = clips[k : k + 22]
        assert len({(clip.emotion, clip.level) for clip in of_one}) == 22
        assert len({(clip.identity, clip.text, clip.seed) for clip in of_one}) == 1
    assert len({clip.text for clip in clips}) == 4


@pytest.mark.parametrize("kind", ["grammar", "open"])
@pytest.mark.parametrize("split", ["train", "test-emotion"])
def test_one_kind_of_sentence(split: str, kind: str):
    for clip in plan(split, 40, kind=kind):
        assert is_grammar_sentence(clip.text) == (kind == "grammar")
        assert clip.kind == kind


def test_some_emotions():
    assert {c.emotion for c in plan("val", emotions=("neutral",))} == {"neutral"}
    some = Counter(clip.emotion for clip in plan("val", 24, emotions=("sad", "happy")))
    assert some == {"sad": 12, "happy": 12}
    assert len(plan("test-emotion", 6, emotions=("fear", "angry"))) == 6


def test_another_seed_is_another_split():
    assert not {clip.text for clip in plan("test", 8)} & {
        clip.text for clip in plan("test", 8, seed=3)
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"split": "tets"}, "did you mean 'test'.*train, val, test, test-seen, test-emotion"),
        ({"split": "test", "size": 0}, "1 to 1,000,000 clips; got size 0"),
        ({"split": "test", "size": -3}, "got size -3"),
        ({"split": "test", "size": 1_000_001}, "got size 1000001"),
        ({"split": "test", "seed": -1}, "seed of puppets is 0 or more; got -1"),
        ({"split": "test", "kind": "opem"}, "did you mean 'open'"),
        ({"split": "test", "emotions": ("hapy",)}, "did you mean 'happy'"),
        ({"split": "test", "emotions": ()}, "got none"),
        ({"split": "test", "emotions": ("sad", "sad")}, "each once; got sad, sad"),
    ],
)
def test_wrong_words_are_answered_with_right_ones(words: dict, said: str):
    with pytest.raises(ConfigError, match=said):
        plan(**words)


def test_all_emotions_are_in_by_default():
    assert {clip.emotion for clip in plan("train")} == set(EMOTIONS)


def test_clips_that_fail_after_compression_begin_with_another_attempt():
    usual = {spec.id: spec.attempt for split in SPLITS for spec in plan(split)}
    assert {clip for clip, attempt in usual.items() if attempt} == set(REDRAWN)
    assert all(spec.attempt == 0 for spec in plan("test", seed=1))
    longer = plan("test", size=SPLITS["test"].size + 20)
    assert longer[:-20] == plan("test")
