"""Wav2Lip's networks: against the public code, of other sizes, and adding to what they see."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.nets.test_color_syncnet import (
    drawn_input,
    drawn_state,
    names_and_shapes,
    write_official,
)
from tfbench.core.errors import ConfigError
from tfbench.methods._residual import begin_residual
from tfbench.methods._wav2lip_nets import (
    LipGenerator,
    QualityDiscriminator,
    cross_entropy,
    load_discriminator,
    load_generator,
)
from tfbench.nets.color_syncnet import ColorSyncNet, cosine_loss


def test_names_shapes_and_counts_are_the_references():
    generator, critic = LipGenerator(), QualityDiscriminator()
    known = "e4f1ef37a3fc50fac4b37920babfcb3edecbe19416e64dab87a4c953d6e9c021"
    assert names_and_shapes(generator) == known
    assert sum(p.numel() for p in generator.parameters()) == 36_298_035
    known = "195a40bf2937d6a2528fb3e13031205496a1930fdabfebf4ca1805494e8a2662"
    assert names_and_shapes(critic) == known
    assert sum(p.numel() for p in critic.parameters()) == 14_113_793


def test_official_checkpoints_give_the_references_pictures_and_losses(tmp_path: Path):
    """Recorded as `drawn_state` tells; losses as `hq_wav2lip_train.py` computes them."""
    path = write_official(tmp_path / "wav2lip_gan.pth", LipGenerator())
    generator = load_generator(path).eval()
    path = write_official(tmp_path / "disc.pth", QualityDiscriminator(), 1.5)
    critic = load_discriminator(path).eval()
    expert = ColorSyncNet().eval()
    expert.load_state_dict(drawn_state(expert))
    mel, faces, other = drawn_input()
    masked = faces.clone()
    masked[:, :, 48:] = 0
    with torch.inference_mode():
        drawn = generator(mel, torch.cat([masked, other], 1))
        real, fake = critic(faces), critic(drawn)
        # This expert has not been turned to RGB.
        heard, seen = expert(mel[:1], expert.look(drawn.flip(1)[None])[:, 0])
    pixels = [0.49371088, 0.52938968, 0.56274295, 0.49418887, 0.52986741, 0.55473500]
    assert drawn[:2, :, 50, 40].flatten().tolist() == pytest.approx(pixels, abs=1e-6)
    assert float(drawn.std()) == pytest.approx(0.02255347, abs=1e-6)
    judged = [0.20533498, 0.17986776, 0.20897581, 0.27501482, 0.26242286]
    assert real.tolist() == pytest.approx(judged, abs=1e-5)
    judged = [0.28770837, 0.28791395, 0.28846633, 0.28842545, 0.28899142]
    assert fake.tolist() == pytest.approx(judged, abs=1e-5)
    assert float(F.l1_loss(drawn, faces)) == pytest.approx(0.25179330, abs=1e-6)
    assert float(cosine_loss(heard, seen, torch.ones(1))) == pytest.approx(1.0875746, abs=1e-5)
    assert float(cross_entropy(fake, 1.0)) == pytest.approx(1.2437510, abs=1e-5)
    assert float(cross_entropy(real, 1.0)) == pytest.approx(1.4985821, abs=1e-5)
    assert float(cross_entropy(fake, 0.0)) == pytest.approx(0.3401005, abs=1e-5)


@pytest.mark.parametrize("side", [64, 128])
def test_faces_of_other_sides(side: int):
    net = LipGenerator(2, 8, side)
    drawn = net(torch.randn(2, 1, 80, 16), torch.rand(2, 6, side, side))
    assert drawn.shape == (2, 3, side, side)
    assert QualityDiscriminator(2, 8, side)(drawn).shape == (2,)
    again = LipGenerator(**net.settings)
    assert names_and_shapes(again) == names_and_shapes(net)
    with pytest.raises(ConfigError, match="64, 96, 128"):
        LipGenerator(side=80)


def test_a_residual_generator_adds_to_what_it_sees():
    net = LipGenerator(2, 8, 64, decoder_width=2).eval()
    begin_residual(net)
    assert LipGenerator(**net.settings).settings["residual"]
    last = net.output_block[1]
    sound, faces = torch.randn(2, 1, 80, 16), torch.rand(2, 6, 64, 64)
    with torch.inference_mode():
        drawn = net(sound, faces)
        assert torch.equal(drawn[:, :, :32], faces[:, :3, :32])
        assert torch.equal(drawn[:, :, 32:], faces[:, 3:, 32:])
        last.bias.fill_(0.5)
        assert torch.equal(net(sound, faces), (drawn + 0.5).clamp(max=1))
        # Where nothing is cut off, every pixel has a gradient.
        assert torch.equal(net.train()(sound, faces), drawn + 0.5)
