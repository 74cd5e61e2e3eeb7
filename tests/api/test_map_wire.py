import base64
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from api.map_wire import InlineMap, outside_bounds, to_scene
from maps.errors import InvalidScene
from maps.files.inline import write_inline
from maps.scene import Grid, Polygon, Scene


def scene_of(document) -> Scene:
    return to_scene(InlineMap.model_validate(document))


def packed(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw)).decode()


def grid_document(rows: int, columns: int, data: str) -> dict:
    return {"grid": {"resolution": 0.5, "origin": [1.0, 2.0], "shape": [rows, columns], "encoding": "packbits+zlib+base64", "data": data}}


def test_bits_are_cells_from_the_lowest_row_up_the_first_cell_in_the_highest_bit() -> None:
    scene = scene_of(grid_document(2, 3, packed(bytes([0b10000100]))))
    assert scene.grid is not None
    assert scene.grid.occupied.tolist() == [[True, False, False], [False, False, True]]
    assert scene.bounds == (1.0, 2.0, 2.5, 3.0)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)), st.floats(0.01, 10), st.floats(-100, 100))
def test_a_grid_survives_the_way_out_and_back(occupied, resolution, origin) -> None:
    scene = Scene(grid=Grid(occupied, resolution, (origin, -origin)))
    back = scene_of(write_inline(scene))
    assert back.grid is not None
    assert np.array_equal(back.grid.occupied, occupied)
    assert (back.grid.resolution, back.grid.origin, back.bounds) == (resolution, (origin, -origin), scene.bounds)


def test_discs_and_polygons_survive_the_way_out_and_back() -> None:
    square = Polygon(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]), (np.array([[1.0, 1.0], [2.0, 1.0], [1.0, 2.0]]),))
    scene = Scene((-1.0, -2.0, 9.0, 9.5), torch.tensor([[7.0, 7.0, 0.1]], dtype=torch.float64), (square,))
    back = scene_of(write_inline(scene))
    assert back.bounds == scene.bounds
    assert torch.equal(back.discs, scene.discs)
    assert np.array_equal(back.polygons[0].outer, square.outer)
    assert np.array_equal(back.polygons[0].holes[0], square.holes[0])


@pytest.mark.parametrize(
    "data",
    [
        packed(b"\0"),
        packed(b"\0\0\0"),
        packed(b"\0" * 50_000_000),
        packed(b"\0\0")[:-8],
        "!",
        "",
        "äöü",
        base64.b64encode(b"no zlib").decode(),
        base64.b64encode(zlib.compress(b"\0\0") + b"more").decode(),
    ],
)
def test_data_that_do_not_hold_the_cells_of_the_shape_are_refused(data: str) -> None:
    with pytest.raises(InvalidScene) as caught:
        scene_of(grid_document(4, 4, data))
    assert caught.value.pointer == "/grid/data"


def test_a_grid_that_reaches_too_far_is_refused() -> None:
    document = grid_document(4, 4, packed(b"\0\0"))
    document["grid"]["resolution"] = 1e6
    with pytest.raises(InvalidScene):
        scene_of(document)


@pytest.mark.parametrize(
    ("polygon", "pointer"),
    [
        ({"vertices": [[0, 0], [2, 2], [2, 0], [0, 2]]}, "/obstacles/0/vertices"),  # a bow tie
        ({"vertices": [[0, 0], [1, 0], [2, 0]]}, "/obstacles/0/vertices"),  # no area
        ({"vertices": [[0, 0], [0, 0], [0, 0], [1, 1]]}, "/obstacles/0/vertices"),  # two places only
        ({"vertices": [[0, 0], [4, 0], [4, 4], [0, 4]], "holes": [[[5, 5], [6, 5], [5, 6]]]}, "/obstacles/0/holes"),  # a hole outside
        ({"vertices": [[0, 0], [4, 0], [4, 4], [0, 4]], "holes": [[[1, 1], [1, 1], [2, 2]]]}, "/obstacles/0/holes"),
    ],
)
def test_a_polygon_that_is_not_simple_is_refused(polygon, pointer) -> None:
    with pytest.raises(InvalidScene) as caught:
        scene_of({"obstacles": [{"type": "polygon", **polygon}]})
    assert (caught.value.code, caught.value.pointer) == ("INVALID_POLYGON", pointer)


def test_a_ring_may_repeat_its_first_vertex() -> None:
    scene = scene_of({"obstacles": [{"type": "polygon", "vertices": [[0, 0], [1, 0], [1, 1], [0, 0]]}]})
    assert len(scene.polygons[0].outer) == 3


def test_only_obstacles_wholly_outside_of_the_bounds_are_warned_of() -> None:
    inside, over, out = ({"type": "circle", "x": x, "y": 1, "radius": 0.5} for x in (1, 2.2, 4))
    away = {"type": "polygon", "vertices": [[5, 5], [6, 5], [5, 6]]}
    across = {"type": "polygon", "vertices": [[1, 1], [6, 1], [1, 6]]}
    warnings = outside_bounds(scene_of({"bounds": [0, 0, 2, 2], "obstacles": [inside, over, out, away, across]}))
    assert len(warnings) == 2
    assert "disc at (4, 1)" in warnings[0]
    assert outside_bounds(scene_of({"obstacles": [out]})) == []
