import builtins
import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from tfbench.core.errors import InputError, MissingAsset, UnknownName
from tfbench.validation.sync_diagnostic import (
    EmbeddedClip,
    SyncDiagnostic,
    diagnose,
    distances,
    plot,
)

SCIPY = {"l1": "cityblock", "l2": "euclidean", "cosine": "cosine"}


def clip(frames: int = 30, seed: int = 0, noise: float = 1.0, shift: int = 0) -> EmbeddedClip:
    """Pictures like the sound `shift` frames before, with noise."""
    draw = np.random.RandomState(seed)
    audio = draw.standard_normal((frames, 6))
    video = np.roll(audio, shift, 0) + noise * draw.standard_normal((frames, 6))
    return EmbeddedClip(torch.from_numpy(audio), torch.from_numpy(video), f"person-{seed}")


@pytest.mark.parametrize("distance", list(SCIPY))
def test_distances_are_those_of_scipy(distance: str):
    one = clip()
    wanted = cdist(one.audio.numpy(), one.video.numpy(), SCIPY[distance])
    found = distances(one.audio.float(), one.video.float(), distance)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("distance", list(SCIPY))
def test_shares_and_ranks_are_those_counted_one_by_one(distance: str):
    clips = [clip(20 + 7 * seed, seed) for seed in range(4)]
    nearest = near = ranks = frames = chance = 0.0
    for one in clips:
        between = cdist(one.audio.numpy(), one.video.numpy(), SCIPY[distance])
        for i, row in enumerate(between):
            own = row[i]
            # Eq. 2, with the distance in place of the similarity.
            nearest += all(own <= other for j, other in enumerate(row) if j != i)
            near += abs(int(row.argmin()) - i) <= 2
            ranks += sum(other < own for other in row) / (len(row) - 1)
            chance += sum(abs(i - j) <= 2 for j in range(len(row))) / len(row)
        frames += len(between)
    found = diagnose(clips, distance, within=2)
    assert (found.n_clips, found.n_frames) == (4, frames)
    assert found.nearest.value == pytest.approx(100 * nearest / frames)
    assert found.near.value == pytest.approx(100 * near / frames)
    assert found.mean_rank.value == pytest.approx(ranks / frames)
    assert found.chance_nearest == pytest.approx(100 * 4 / frames)
    assert found.chance_near == pytest.approx(100 * chance / frames)
    assert sum(found.ranks) == pytest.approx(100, abs=1e-3)


def test_by_hand():
    audio = torch.tensor([[0.0], [10.0], [20.0]])
    video = torch.tensor([[1.0], [19.0], [12.0]])
    found = diagnose([EmbeddedClip(audio, video, "a")], "l1", within=0, max_offset=2)
    # Sound 0 is nearest to picture 0, sound 10 to picture 12, sound 20 to picture 19.
    assert found.nearest.value == pytest.approx(100 / 3)
    # To sound 10, picture 1 is as far as its own, 19.
    assert found.mean_rank.value == pytest.approx((0 + 0.75 + 0.5) / 3)
    assert found.offsets == (-2, -1, 0, 1, 2)
    assert found.by_offset == pytest.approx((19, (9 + 1) / 2, (1 + 9 + 8) / 3, (19 + 2) / 2, 12))
    assert found.near == found.nearest


def test_identical_sides_satisfy_eq_2_and_noise_leads_to_chance():
    shares = [
        diagnose([clip(60, seed, noise) for seed in range(6)], "l2").nearest.value
        for noise in (0.0, 0.5, 1.0, 2.0, 1e6)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 100
    assert shares[-1] < 5
    lost = diagnose([clip(60, seed, 1e6) for seed in range(6)], "cosine")
    assert lost.mean_rank.value == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("distance", list(SCIPY))
def test_a_frozen_face_gets_what_chance_gets(distance: str):
    moving = clip(25)
    still = EmbeddedClip(moving.audio, moving.video[:1].expand(25, -1), "someone")
    found = diagnose([still], distance)
    assert found.nearest.value == pytest.approx(4.0)
    assert found.nearest.value == pytest.approx(found.chance_nearest)
    assert found.near.value == pytest.approx(found.chance_near)
    assert found.mean_rank.value == pytest.approx(0.5)


@pytest.mark.parametrize("shift", [-4, 0, 3])
def test_a_shift_is_where_the_mean_distance_dips(shift: int):
    found = diagnose([clip(80, seed, 0.3, shift) for seed in range(3)], max_offset=6)
    lowest = found.offsets[int(np.argmin(found.by_offset))]
    assert lowest == shift
    assert (found.nearest.value > 50) == (shift == 0)


def test_offsets_beyond_every_clip_have_no_distance():
    found = diagnose([clip(3)], max_offset=5)
    assert [math.isnan(value) for value in found.by_offset] == [abs(o) > 2 for o in range(-5, 6)]


def test_intervals_stand_on_clusters():
    clips = [clip(40, seed) for seed in range(8)]
    found = diagnose(clips).nearest
    assert found.interval.low < found.value < found.interval.high
    assert found.interval.n_clusters == 8
    assert found.interval.method.startswith("cluster bootstrap")
    same = [EmbeddedClip(one.audio, one.video, "one person") for one in clips]
    none = diagnose(same).nearest
    assert none.interval.low is None
    assert none.interval.method == "none: 1 clusters are fewer than 3"
    assert none.value == found.value


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_plot_is_written(suffix: str, tmp_path):
    pytest.importorskip("matplotlib")
    clips = [clip(40, seed, 0.5) for seed in range(3)]
    found = [(f"net {name}", diagnose(clips, name, max_offset=50)) for name in SCIPY]
    plot(found, tmp_path / f"sync{suffix}")
    head = (tmp_path / f"sync{suffix}").read_bytes()
    assert len(head) > 5000
    assert head.startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def lacking(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(MissingAsset, match="tfbench\\[plots\\]"):
        plot([("net", diagnose([clip()]))], tmp_path / "a.png")


def test_bad_input_is_refused(tmp_path):
    one = clip()
    with pytest.raises(InputError, match=r"same 2 frames or more.*\(29, 6\)"):
        distances(one.audio, one.video[1:])
    with pytest.raises(InputError, match=r"2 frames or more, \(T, D\); got \(1, 6\)"):
        distances(one.audio[:1], one.video[:1])
    with pytest.raises(InputError, match="not finite"):
        distances(one.audio / 0, one.video)
    with pytest.raises(UnknownName, match="no distance 'l3'; there are l1, l2, cosine"):
        diagnose([one], "l3")
    for arguments in ([], "l1"), ([one], "l1", -1), ([one], "l1", 1, -1):
        with pytest.raises(InputError, match="needs a clip, and frames are counted from 0"):
            diagnose(*arguments)
    found: SyncDiagnostic = diagnose([one])
    with pytest.raises(InputError, match=r"a \.png, \.svg or \.pdf file"):
        plot([("net", found)], tmp_path / "a.bmp")
    with pytest.raises(InputError, match="needs a diagnostic"):
        plot([], tmp_path / "a.png")
