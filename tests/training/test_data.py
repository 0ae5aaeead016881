from tfbench.datasets.base import Row
from tfbench.training.data import half_of

PEOPLE = [Row(f"{k:03d}", f"person-{k // 4}") for k in range(400)]
ALONE = [Row(f"{k:03d}", "s1") for k in range(400)]


def test_halves_share_no_person_and_lose_no_clip():
    a, b = half_of(PEOPLE, "a"), half_of(PEOPLE, "b")
    assert not {row.identity for row in a} & {row.identity for row in b}
    assert sorted(a + b) == PEOPLE
    assert half_of(PEOPLE, "all") == tuple(PEOPLE)
    assert 0.4 < len(a) / len(PEOPLE) < 0.6


def test_one_persons_clips_are_halved_by_clip():
    a, b = half_of(ALONE, "a"), half_of(ALONE, "b")
    assert sorted(a + b) == ALONE
    assert 0.4 < len(a) / len(ALONE) < 0.6
