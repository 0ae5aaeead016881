"""SyncTalklip's contrastive losses by hand, its mouths on a real face, and where frames go back."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from tests.nets.test_color_syncnet import drawn_state
from tfbench.faces.align import cut_transformed
from tfbench.methods._synctalklip_data import draw_windows
from tfbench.methods._synctalklip_losses import (
    LipCode,
    Projection,
    Scale,
    apart,
    drift,
    info_nce,
    motion_of,
    mouth_maps,
    mouths_of,
    nearest_own,
    put_back,
    swayed,
)
from tfbench.methods._synctalklip_nets import (
    CONTEXT,
    STRETCH,
    FaceGenerator,
    Listener,
    SoundEncoder,
    place_of,
)
from tfbench.nets.av_syncnet import seeded
from tfbench.nets.avhubert import audio_features, normalised

HEARD = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
SEEN = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.5]])
# Distances, a row for each sound: 2 1 1.5; 1 0 2.5; 2 3 0.5.


def test_equation_12_by_hand():
    # (2 - 1.25) + (0 - 1.75) + (0.5 - 2.5)
    assert float(apart(HEARD, SEEN, 1.0)) == pytest.approx(-3.0)
    assert float(apart(HEARD, SEEN, 0.25, torch.tensor(2.0))) == pytest.approx(-1.5)
    # Two frames: each is the other's only one. (2 - 1) + (0 - 1)
    assert float(apart(HEARD[:2], SEEN[:2], 1.0)) == pytest.approx(0.0)
    # The nearest sounds of the three frames are the second (1), the second (0), the third (0.5).
    assert float(nearest_own(HEARD, SEEN)) == pytest.approx(2 / 3)


def test_vectors_that_say_how_lips_move():
    draw = torch.Generator().manual_seed(3)
    lips = torch.randn(2, 9, 40, generator=draw) * torch.linspace(0.1, 5, 40)
    padding = torch.arange(9) >= torch.tensor([[9], [6]])
    lips[1, 6:] = 1000.0
    moved = torch.cat([lips[0] - lips[0].mean(0), lips[1, :6] - lips[1, :6].mean(0)])
    motion = motion_of([lips[0], lips[1, :6]])
    assert motion == pytest.approx(float((moved**2).mean(0).sum() ** 0.5))
    code = LipCode(motion, 7)
    right = lips @ code.mixture
    # Whatever is after the end, and wherever the mean of a clip lies, it is right.
    right[1, 6:] = -7.0
    right[0] += torch.arange(7.0)
    assert float(code.loss(right, lips, padding)) == pytest.approx(0, abs=1e-4)
    # Without motion a channel is off by what its mixture varies, about 1.
    assert 0.5 < float(code.loss(torch.zeros(2, 9, 7), lips, padding)) < 1.2
    off = right.clone()
    off[1, 2, 3] += 6.0
    # Its own frame by 5 of 6, the five others of its clip by 1 of 6; 15 frames, 7 channels.
    expected = (5.0 + 5 * 1.0) / (15 * 7)
    assert float(code.loss(off, lips, padding)) == pytest.approx(expected, abs=1e-4)
    # Of lips that never move nothing is asked.
    still = LipCode(motion_of([torch.ones(5, 40)]), 3)
    assert float(still.loss(torch.zeros(1, 5, 3), torch.ones(1, 5, 40))) == 0


def test_drift_counts_no_frame_after_the_end():
    heard, expert = torch.zeros(2, 4, 3), torch.ones(2, 4, 3)
    expert[1, 2:] = 50.0
    padding = torch.arange(4) >= torch.tensor([[4], [2]])
    assert float(drift(heard, expert, padding)) == pytest.approx(1.0)
    assert float(drift(heard[:1], 3 * expert[:1])) == pytest.approx(3.0)


def test_the_traditional_loss_by_hand():
    heard = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    seen = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    # Cosines 1, 1/root 2; 0, 1/root 2.
    c, t = 1 / math.sqrt(2), 0.5
    first = -1 / t + math.log(math.exp(1 / t) + math.exp(c / t))
    second = -c / t + math.log(1 + math.exp(c / t))
    assert float(info_nce(heard, seen, t)) == pytest.approx((first + second) / 2, rel=1e-5)


def test_the_traditional_loss_is_that_of_two_normalisations_and_a_linear_layer():
    """As in Sxjdwang/TalkLip `models/learn_sync.py`: f_a is brought to length 1 before it, too."""
    layer = Projection(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
        layer.bias.copy_(torch.tensor([1.0, 0.0]))
        found = layer(torch.tensor([[3.0, 4.0], [0.0, 0.5]]))
    # (0.6, 0.8) gives (2 x 0.8 + 1, 0.6); (0, 1) gives (3, 0).
    assert found.flatten().tolist() == pytest.approx([2.6, 0.6, 3.0, 0.0])


def test_the_factor_is_bounded_and_follows_the_loss():
    scale = Scale(2.0)
    assert float(scale().detach()) == 1.0
    optimizer = torch.optim.SGD(scale.parameters(), 100.0)
    for _ in range(50):
        optimizer.zero_grad()
        apart(HEARD, SEEN, 1.0, scale()).backward()
        optimizer.step()
    # Without a bound the factor would be above a thousand.
    assert 1.9 < float(scale().detach()) <= 2.0


def test_a_map_leads_from_the_mouth_to_the_face():
    turned = torch.tensor([[0.6, -0.8, 3.0, 0.8, 0.6, -1.0]])
    larger = torch.tensor([[2.0, 0.0, 5.0, 0.0, 2.0, 7.0]])
    (row,) = mouth_maps(turned, larger).view(1, 2, 3)
    # (10, 20) of the frame is (-7, 19) of the face and (25, 47) of the mouth.
    assert (row @ torch.tensor([25.0, 47.0, 1.0])).tolist() == pytest.approx([-7.0, 19.0])


def test_a_mouth_is_cut_as_crops_are_and_gradients_come_back():
    rng = np.random.default_rng(0)
    small = torch.from_numpy(rng.integers(0, 256, (1, 1, 8, 8), dtype=np.uint8)).float()
    faces = nn.functional.interpolate(small, (64, 64), mode="bicubic").clamp(0, 255).round()
    faces = faces.expand(1, 3, 64, 64)
    maps = torch.tensor([[0.5, 0.06, 9.0, -0.06, 0.5, 14.0]])
    back = torch.linalg.inv(torch.cat([maps.view(2, 3), torch.tensor([[0.0, 0, 1]])]))[:2]
    expected = cut_transformed(faces.byte(), back.flatten()[None], 88)[:, 0]
    values = (faces / 255).requires_grad_()
    found = mouths_of(values, maps)
    torch.testing.assert_close(found, expected.float(), atol=0.6, rtol=0)
    found[0, 40, 30].backward()
    reached = values.grad.abs().sum((0, 1)).nonzero()
    # Mouth (x 30, y 40) lies at face (26.4, 32.2): only its four neighbours are reached.
    assert reached.tolist() == [[32, 26], [32, 27], [33, 26], [33, 27]]
    assert float(values.grad.sum()) == pytest.approx(255, rel=1e-4)


def test_beyond_the_face_and_its_soft_edge_the_true_mouth_is_seen():
    faces = torch.zeros(1, 3, 64, 64)
    maps = torch.tensor([[1.0, 0.0, -10.0, 0.0, 1.0, 0.0]])
    opacity = torch.ones(64, 64)
    opacity[:, :2] = 0.5
    around = torch.full((1, 88, 88), 100.0)
    found = mouths_of(faces, maps, around, opacity)[0]
    assert found[30, :9].tolist() == [100.0] * 9
    assert found[30, 10:14].tolist() == pytest.approx([50.0, 50.0, 0.0, 0.0], abs=1e-3)
    assert found[70, 30] == 100


def test_drawn_frames_go_back_to_their_places():
    mouths = torch.randint(0, 256, (2, 6, 88, 88), dtype=torch.uint8)
    padding = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    drawn = torch.full((3, 88, 88), 7.0)
    drawn[2] = 9
    video = put_back(mouths, drawn, torch.tensor([1, 2, 6 + 3]), padding)
    true = normalised(mouths)
    for b, t in np.ndindex(2, 6):
        if bool(padding[b, t]):
            assert not video[b, t].any()
        elif (b, t) in {(0, 1), (0, 2), (1, 3)}:
            gray = torch.full((88, 88), 9.0 if b else 7.0)
            assert torch.equal(video[b, t], normalised(gray[None])[0])
        else:
            assert torch.equal(video[b, t], true[b, t])


def test_what_the_expert_sees_is_moved_turned_and_scaled():
    """Twenty pixels a side, of which a shift by a tenth of half of that is one."""
    video = torch.rand(2, 3, 20, 20, requires_grad=True)
    same, moved = swayed(video, torch.tensor([[0.0, 0, 0, 0], [0.1, -0.2, 0, 0]]))
    torch.testing.assert_close(same, video[0])
    torch.testing.assert_close(moved[:, :-2, 1:], video[1, :, 2:, :-1])
    torch.testing.assert_close(moved[:, -3:, 0], video[1, :, -1:, 0].expand(-1, 3))
    quarter = swayed(video, torch.tensor([[0, 0, math.pi / 2, 0]]).expand(2, 4))
    torch.testing.assert_close(quarter, video.rot90(1, (2, 3)), rtol=1e-4, atol=1e-4)
    grown = swayed(video, torch.tensor([[0, 0, 0, 1.0]]).expand(2, 4))
    torch.testing.assert_close(
        grown.mean((2, 3)), video[:, :, 5:15, 5:15].mean((2, 3)), atol=0.03, rtol=0
    )
    moved.sum().backward()
    assert video.grad is not None
    assert not video.grad[0].any()
    assert video.grad[1].any()


def test_windows_share_no_frame_and_leave_some_out():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        at = draw_windows(30, 5, 4, rng)
        assert len(set(at.tolist())) == 20
        assert at[0] >= 0
        assert at[-1] < 30
        assert all((at.reshape(4, 5)[:, 0, None] + np.arange(5) == at.reshape(4, 5)).ravel())
        seen |= set(at.tolist())
    assert seen == set(range(30))
    assert len(draw_windows(25, 5, 9, rng)) == 20
    assert len(draw_windows(25, 24, 9, rng)) == 24


def test_layers_and_pictures_are_the_references():
    """Recorded with TalkLip's class (Sxjdwang/TalkLip `models/talklip.py`) and these weights."""
    net, linear = FaceGenerator().eval(), nn.Linear(1024, 512)
    n = sum(p.numel() for part in (net, linear) for p in part.parameters())
    assert n == 34_010_163
    net.load_state_dict(drawn_state(net))
    linear.load_state_dict(drawn_state(linear))
    draw = np.random.RandomState(5)
    faces = torch.from_numpy(draw.uniform(size=(3, 6, 96, 96))).float()
    heard = torch.from_numpy(draw.standard_normal((7, 1024))).float()
    with torch.inference_mode():
        drawn = net(linear(heard[[1, 3, 6]]), faces)
    pixels = [0.52603728, 0.51241231, 0.51653194, 0.52622032, 0.51767337, 0.50976175]
    assert drawn[:2, :, 50, 40].flatten().tolist() == pytest.approx(pixels, abs=1e-6)


@pytest.fixture(scope="module")
def encoder() -> SoundEncoder:
    return SoundEncoder.of(seeded(3).encoder, 8).eval()


def test_the_audio_encoder_hears_what_the_expert_hears(encoder: SoundEncoder):
    expert, sound = seeded(3), torch.randn(2, 9, 104)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[1, 6:] = True
    with torch.inference_mode():
        found, expected = encoder(sound, padding), expert.hear(sound, padding)
    assert torch.equal(found[~padding], expected[~padding])
    assert not any("video" in name for name in encoder.state_dict())
    again = SoundEncoder(**encoder.settings)
    assert again.settings == encoder.settings
    assert again.state_dict().keys() == encoder.state_dict().keys()


def test_sound_of_any_length_is_heard_in_stretches(encoder: SoundEncoder):
    noise = torch.randn(640 * 620, generator=torch.Generator().manual_seed(0)) * 0.1
    with torch.inference_mode():
        short = Listener(encoder, noise[: 640 * 100])
        whole = encoder(audio_features(noise[: 640 * 100], 100)[None])[0]
        every = [Fraction(k) for k in range(100)]
        torch.testing.assert_close(short.at(every), whole, atol=1e-5, rtol=0)
        halves = short.at([Fraction(7, 2), Fraction(-3), Fraction(500)])
        torch.testing.assert_close(halves[0], (whole[3] + whole[4]) / 2, atol=1e-5, rtol=0)
        torch.testing.assert_close(halves[1:], whole[[0, -1]], atol=1e-5, rtol=0)
        long = Listener(encoder, noise)
        for first in range(0, 620, 31):
            heard = long.at([Fraction(k) for k in range(first, first + 31)])
            assert len(long.held) <= 2
            assert heard.shape == (31, encoder.dim)
        low, high = STRETCH - CONTEXT, 2 * STRETCH + CONTEXT
        middle = encoder(audio_features(noise[640 * low : 640 * high], high - low)[None])[0]
        again = Listener(encoder, noise).at([Fraction(STRETCH), Fraction(2 * STRETCH - 1)])
        torch.testing.assert_close(again, middle[[CONTEXT, -CONTEXT - 1]], atol=1e-5, rtol=0)


def test_frames_of_other_rates_hear_what_is_said_in_their_middle():
    assert [place_of(k, Fraction(25)) for k in (0, 7)] == [0, 7]
    # At 50 a second, two frames share a feature's time: a quarter before and after its middle.
    assert [place_of(k, Fraction(50)) for k in (2, 3)] == [Fraction(3, 4), Fraction(5, 4)]
    assert place_of(1, Fraction(30)) == Fraction(3, 4)


def test_a_very_short_sound_is_heard(encoder: SoundEncoder):
    with torch.inference_mode():
        assert Listener(encoder, torch.ones(10)).at([Fraction(0)]).shape == (1, encoder.dim)
