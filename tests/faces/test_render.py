"""The rasterizer: against geometry worked out pixel by pixel, and against analytic scenes."""

import numpy as np
import pytest

from tfbench.core.errors import InputError
from tfbench.faces.render import interpolate, rasterize, rasterize_into, vertex_normals


def _project(vertices: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    depth = (10 - vertices[:, 2]).astype(np.float32)
    x = size / 2 + vertices[:, 0] * 2 * size / depth
    y = size / 2 - vertices[:, 1] * 2 * size / depth
    return np.stack([x, y], 1).astype(np.float32), depth


def _ray_cast(vertices: np.ndarray, triangles: np.ndarray, size: int) -> tuple:
    """Nearest triangle and depth of every pixel by intersecting rays, in double precision."""
    y, x = np.mgrid[0:size, 0:size] + 0.5
    rays = np.stack(
        [(x - size / 2) / (2 * size), (size / 2 - y) / (2 * size), -np.ones_like(x)], -1
    )
    origin = np.array([0, 0, 10.0])
    index = np.full((size, size), -1)
    nearest = np.full((size, size), np.inf)
    for t, corners in enumerate(vertices[triangles].astype(float)):
        a, edge1, edge2 = corners[0], corners[1] - corners[0], corners[2] - corners[0]
        across = np.cross(rays, edge2)
        scale = across @ edge1
        u = (across @ (origin - a)) / scale
        turned = np.cross(origin - a, edge1)
        v = (rays @ turned) / scale
        distance = (turned @ edge2) / scale
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0) & (distance < nearest)
        nearest[hit], index[hit] = distance[hit], t
    return index, nearest


def test_a_heap_of_triangles_looks_as_rays_see_it():
    rng = np.random.default_rng(0)
    vertices = rng.uniform(-2, 2, (60, 3)).astype(np.float32)
    triangles = rng.permutation(60).reshape(20, 3).astype(np.int32)
    points, depth = _project(vertices, 64)
    raster = rasterize(points, depth, triangles, 64, 64, cull=False)
    index, nearest = _ray_cast(vertices, triangles, 64)
    assert (raster.index != index).sum() <= 3  # rounding on edges
    same = (raster.index == index) & (index >= 0)
    assert np.abs(raster.depth[same] - nearest[same]).max() < 1e-4
    assert (index >= 0).mean() > 0.1


def test_interpolation_follows_the_surface_and_not_the_picture():
    vertices = np.float32([[-1, -1, 4], [1, -1, 4], [1, 1, -4], [-1, 1, -4]])
    triangles = np.int32([[0, 1, 2], [0, 2, 3]])
    points, depth = _project(vertices, 48)
    raster = rasterize(points, depth, triangles, 48, 48, cull=False)
    seen = raster.index >= 0
    places = interpolate(raster, triangles, vertices)[seen]
    again, again_depth = _project(places, 48)
    y, x = np.nonzero(seen)
    assert np.abs(again - np.stack([x, y], 1) - 0.5).max() < 1e-3
    assert np.abs(again_depth - raster.depth[seen]).max() < 1e-4


def test_neighbours_share_an_edge_without_gap_or_overlap():
    side = np.linspace(-1, 1, 9, dtype=np.float32)
    vertices = np.stack([*np.meshgrid(side, side), np.zeros((9, 9), np.float32)], -1).reshape(-1, 3)
    corner = (np.arange(8)[:, None] * 9 + np.arange(8)).ravel()
    triangles = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + 10], 1),
            np.stack([corner, corner + 10, corner + 9], 1),
        ]
    ).astype(np.int32)
    points, depth = _project(vertices, 80)
    raster = rasterize(points, depth, triangles, 80, 80)
    inside = raster.index >= 0
    rows, columns = np.nonzero(inside)
    assert inside[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()


def test_a_triangle_seen_from_behind_is_culled_on_request():
    points = np.float32([[1, 1], [1, 9], [9, 1]])  # counter-clockwise with y up
    triangles = np.int32([[0, 1, 2]])
    depth = np.ones(3, np.float32)
    assert (rasterize(points, depth, triangles, 10, 10).index >= 0).sum() > 20
    assert (rasterize(points, depth, triangles[:, ::-1].copy(), 10, 10).index < 0).all()
    behind = rasterize(points, depth, triangles[:, ::-1].copy(), 10, 10, cull=False)
    assert (behind.index >= 0).sum() > 20


def test_what_is_not_in_front_of_the_camera_is_left_out():
    points = np.float32([[1, 1], [1, 9], [9, 1]])
    raster = rasterize(points, np.float32([1, 1, -0.5]), np.int32([[0, 1, 2]]), 10, 10)
    assert (raster.index < 0).all()
    assert np.isinf(raster.depth).all()
    assert not interpolate(raster, np.int32([[0, 1, 2]]), points).any()


def test_a_vertex_that_there_is_not_is_refused():
    points = np.float32([[1, 1], [1, 9], [9, 1]])
    with pytest.raises(InputError, match="vertices 0 to 7; there are 3"):
        rasterize(points, np.ones(3, np.float32), np.int32([[0, 1, 7]]), 10, 10)


def test_meshes_share_a_picture():
    points = np.float32([[0, 0], [0, 10], [10, 0]])
    triangles = np.int32([[0, 1, 2]])
    index = np.full((10, 10), -1, np.int32)
    buffer = np.full((10, 10), np.inf, np.float32)
    rasterize_into(points, np.full(3, 2, np.float32), triangles, index, buffer, 0, True)
    rasterize_into(points / 2, np.full(3, 1, np.float32), triangles, index, buffer, 5, True)
    rasterize_into(points, np.full(3, 3, np.float32), triangles, index, buffer, 9, True)
    assert set(np.unique(index)) == {-1, 0, 5}
    assert index[0, 0] == 5
    assert index[0, 8] == 0


def test_normals_of_a_sphere_point_outward():
    from scipy.spatial import ConvexHull

    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(400, 3))
    vertices = (vertices / np.linalg.norm(vertices, axis=1, keepdims=True)).astype(np.float32)
    hull = ConvexHull(vertices)
    triangles = hull.simplices.astype(np.int32)
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    inward = (np.cross(b - a, c - a) * a).sum(1) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    normals = vertex_normals(vertices, np.ascontiguousarray(triangles))
    assert (normals * vertices).sum(1).min() > 0.95
    assert np.linalg.norm(normals, axis=1) == pytest.approx(np.ones(400), abs=1e-5)


def test_a_vertex_without_triangle_has_no_normal():
    vertices = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]])
    normals = vertex_normals(vertices, np.int32([[0, 1, 2]]))
    assert normals[0].tolist() == [0, 0, 1]
    assert normals[3].tolist() == [0, 0, 0]
