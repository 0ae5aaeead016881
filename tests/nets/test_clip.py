from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import transforms

from tfbench.core.errors import AssetError, InputError, MissingAsset
from tfbench.media.video import VideoFile
from tfbench.nets.clip import (
    CONFIGS,
    DEVIATION,
    MEAN,
    CLIPImage,
    VisionConfig,
    load,
    load_state,
    prepare,
    seeded,
)
from tfbench.nets.frozen import state_sha256

SMALL = VisionConfig(64, 128, 2, 4, patch_size=32, projection_dim=32)


@pytest.fixture(scope="module")
def net() -> CLIPImage:
    return seeded(0)


def random_frame(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def as_clip_does(frame: torch.Tensor) -> torch.Tensor:
    """The transform of openai/CLIP, on Pillow images."""
    steps = transforms.Compose(
        [
            transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    return steps(Image.fromarray(frame.permute(1, 2, 0).numpy()))


def assert_prepared_alike(frame: torch.Tensor) -> None:
    levels = (prepare(frame) - as_clip_does(frame)) * torch.tensor(DEVIATION)[:, None, None] * 255
    assert levels.shape == (3, 224, 224)
    assert float(levels.abs().max()) < 1.01
    assert float((levels.abs() > 0.01).float().mean()) < 2e-3


@pytest.mark.parametrize("size", [(224, 224), (100, 77), (360, 641), (512, 512), (225, 301)])
def test_frames_are_prepared_as_clip_does_to_one_level_in_few_pixels(size: tuple[int, int]):
    assert_prepared_alike(random_frame(*size))


def test_real_frames_are_prepared_as_clip_does(shared_data: Path):
    frames = next(VideoFile(shared_data / "hdtf" / "unnamed_25fps.mp4").frames(stop=1))
    assert_prepared_alike(frames[0])


def test_b32_is_what_transformers_describes_by_default():
    from transformers import CLIPVisionConfig

    published = CLIPVisionConfig()
    assert {name: getattr(published, name) for name in asdict(CONFIGS["b32"])} == asdict(
        CONFIGS["b32"]
    )


@pytest.mark.parametrize(("variant", "count"), [("b32", 87_849_216), ("l14", 303_966_208)])
def test_sizes_are_those_of_openais_encoders(variant: str, count: int):
    with torch.device("meta"):
        assert sum(p.numel() for p in CLIPImage(CONFIGS[variant]).parameters()) == count


class QuickGELU(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


def by_torch(state: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The paper's encoder, made of torch's own transformer layers."""
    state = {name.removeprefix("tower.vision_model."): value for name, value in state.items()}
    patches = nn.functional.conv2d(images, state["embeddings.patch_embedding.weight"], stride=32)
    start = state["embeddings.class_embedding"].expand(len(images), 1, -1)
    x = torch.cat([start, patches.flatten(2).transpose(1, 2)], 1)
    x = x + state["embeddings.position_embedding.weight"]
    x = normalised(x, state, "pre_layrnorm")
    for n in range(2):
        own = {k.removeprefix(f"encoder.layers.{n}."): v for k, v in state.items()}
        layer = nn.TransformerEncoderLayer(
            64, 4, 128, 0.0, QuickGELU(), batch_first=True, norm_first=True
        )
        renamed = {}
        for kind in ("weight", "bias"):
            parts = [own[f"self_attn.{p}_proj.{kind}"] for p in "qkv"]
            renamed[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
            renamed[f"self_attn.out_proj.{kind}"] = own[f"self_attn.out_proj.{kind}"]
            for theirs, ours in (
                ("linear1", "mlp.fc1"),
                ("linear2", "mlp.fc2"),
                ("norm1", "layer_norm1"),
                ("norm2", "layer_norm2"),
            ):
                renamed[f"{theirs}.{kind}"] = own[f"{ours}.{kind}"]
        layer.load_state_dict(renamed)
        x = layer.eval()(x)
    return normalised(x[:, 0], state, "post_layernorm") @ state["tower.visual_projection.weight"].T


def normalised(x: torch.Tensor, state: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    return nn.functional.layer_norm(x, (64,), state[f"{name}.weight"], state[f"{name}.bias"])


def test_embeddings_are_those_of_torchs_transformer(net: CLIPImage):
    frames = torch.stack([random_frame(250, 300), random_frame(250, 300).flip(2)])
    with torch.inference_mode():
        wanted = by_torch(net.state_dict(), torch.stack([as_clip_does(frame) for frame in frames]))
        got = net.embed(frames)
    assert got.shape == (2, 32)
    assert got.dtype == torch.float32
    assert float((got - wanted).abs().max()) < 1e-3 * float(wanted.abs().max())
    with torch.inference_mode():
        wanted = by_torch(net.state_dict(), torch.stack([prepare(frame) for frame in frames]))
    assert float((got - wanted).abs().max()) < 1e-5 * float(wanted.abs().max())


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(2, 3, 64, 64),
        torch.zeros(3, 64, 64, dtype=torch.uint8),
        torch.zeros(2, 1, 64, 64, dtype=torch.uint8),
    ],
)
def test_other_frames_are_refused(net: CLIPImage, frames: torch.Tensor):
    with pytest.raises(InputError, match=r"CLIP reads uint8 \(t, 3, h, w\)"):
        net.embed(frames)


def whole_clip(net: CLIPImage) -> dict[str, torch.Tensor]:
    """A checkpoint as published: text tower, scale and an old buffer beside the image encoder."""
    return dict(net.tower.state_dict()) | {
        "logit_scale": torch.tensor(4.6),
        "text_projection.weight": torch.zeros(32, 16),
        "text_model.embeddings.token_embedding.weight": torch.zeros(9, 16),
        "vision_model.embeddings.position_ids": torch.arange(50)[None],
    }


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.safetensors"])
def test_the_image_encoder_comes_out_of_a_whole_clip(net: CLIPImage, tmp_path: Path, file: str):
    path = tmp_path / file
    (save_file if path.suffix == ".safetensors" else torch.save)(whole_clip(net), path)
    loaded = load_state(path, SMALL)
    assert state_sha256(loaded.state_dict()) == state_sha256(net.state_dict())
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(AssetError, match="no readable checkpoint"):
        load_state(path, SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("visual_projection.weight"), "lacks parameter 'visual_projection.weight'"),
        (lambda s: s.update({"vision_model.extra": torch.zeros(1)}), "the unknown parameter"),
        (lambda s: s.update({"visual_projection.weight": torch.zeros(9, 9)}), "misshapen"),
    ],
)
def test_another_checkpoint_is_named(net: CLIPImage, tmp_path: Path, change, message: str):
    state = whole_clip(net)
    change(state)
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path)
    with pytest.raises(AssetError, match=message):
        load_state(path, SMALL)


@pytest.mark.parametrize("variant", ["b32", "l14"])
def test_without_the_file_it_says_where_it_belongs(variant: str):
    with pytest.raises(MissingAsset, match=f"clip-vit-{variant}"):
        load(variant)
