import base64
import os
import pathlib
import zlib

import numpy as np
import pytest
import torch

from maps.errors import InvalidInput, InvalidMapFile, InvalidScene, LimitExceeded
from maps.files.inline import read_inline, write_inline
from maps.files.inline_grid import decode_cells, encode_cells
from maps.files.movingai import read_movingai, read_scen
from maps.files.nav2 import read_nav2
from maps.scene import Grid, Polygon, Scene

FILES = pathlib.Path(os.environ.get("FLOWFLEET_SHARED", "../shared")) / "data"
real_files = pytest.mark.skipif(not FILES.is_dir(), reason="the folder of real maps is absent")
MAP = "type octile\nheight 2\nwidth 4\nmap\n.G@T\nSOW.\n"


@pytest.mark.parametrize("text", [MAP, MAP.replace("\n", "\r\n"), MAP.rstrip(), MAP + "\n\n", MAP.encode()])
def test_movingai_counts_rows_from_the_top(text):
    scene = read_movingai(text, 0.5)
    assert scene.grid.occupied.tolist() == [[False, True, True, False], [False, False, True, True]]
    assert scene.bounds == (0.0, 0.0, 2.0, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P5\n",
        MAP.replace("height 2", "height 3"),
        MAP.replace("width 4", "width 3"),
        MAP.replace("width 4", "width 0"),
        MAP.replace("width 4", "width -4"),
        MAP.replace("S", "?"),
        MAP + "....\n" * 1000,
        MAP.replace("map\n", ""),
    ],
)
def test_a_bad_movingai_map_is_refused(text):
    with pytest.raises(InvalidMapFile):
        read_movingai(text, 1.0)


@pytest.mark.parametrize("cell", [0.0, -1.0, float("nan"), float("inf")])
def test_a_cell_size_that_is_none_is_refused(cell):
    with pytest.raises(InvalidMapFile):
        read_movingai(MAP, cell)
    with pytest.raises(InvalidMapFile):
        read_scen("version 1\n", cell)


def test_a_huge_movingai_map_is_refused_by_its_header():
    with pytest.raises(LimitExceeded):
        read_movingai(MAP.replace("height 2", "height 999999999"), 1.0)


def test_scen_places_are_middles_of_cells_from_below():
    text = "version 1\r\n3\t/home/me/a/room.map\t4\t2\t1\t0\t3\t1\t0\r\n\r\n4\troom.map\t4\t2\t0\t1\t0\t0\t1.5\r\n"
    first, second = read_scen(text.encode(), 2.0)
    assert (first.map_name, first.start, first.goal) == ("room.map", (3.0, 3.0), (7.0, 1.0))
    assert (second.start, second.goal) == ((1.0, 1.0), (1.0, 3.0))
    assert read_scen(text, 2.0, limit=1) == (first,)


@pytest.mark.parametrize(
    "text",
    ["", "bucket", "version 1\n1\ta.map\t4\t2\t1", "version 1\n1\ta.map\t4\t2\t4\t0\t1\t1\t0", "version 1\n1\ta\tx\t2\t1\t0\t1\t1\t0"],
)
def test_a_bad_scen_is_refused(text):
    with pytest.raises(InvalidMapFile):
        read_scen(text, 1.0)


@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (5, 7), (64, 129)])
def test_cells_survive_the_way_there_and_back(shape):
    cells = np.random.default_rng(0).random(shape) < 0.3
    np.testing.assert_array_equal(decode_cells(encode_cells(cells), *shape), cells)


def test_bits_are_packed_from_the_most_significant():
    text = base64.b64encode(zlib.compress(bytes([0b10000001, 0b01000000]))).decode()
    assert np.flatnonzero(decode_cells(text, 2, 5)).tolist() == [0, 7, 9]


def bomb(size: int) -> str:
    return base64.b64encode(zlib.compress(bytes(size), 9)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "%%%",
        base64.b64encode(b"no zlib").decode(),
        bomb(1),
        bomb(3),
        bomb(50_000_000)[:2_000],
        base64.b64encode(zlib.compress(bytes(2)) + b"more").decode(),
        base64.b64encode(zlib.compress(bytes(2))[:-3]).decode(),
        "A" * 100_000,
    ],
)
def test_lying_cells_are_refused(text):
    with pytest.raises(InvalidScene) as error:
        decode_cells(text, 2, 5)
    assert error.value.pointer == "/data"


def test_a_bomb_is_never_unpacked():
    with pytest.raises(InvalidScene) as error:
        decode_cells(bomb(3_000_000), 2, 5)
    assert error.value.value == 3  # bytes: one more than needed, and no further


@pytest.mark.parametrize(("rows", "columns", "kind"), [(0, 5, InvalidScene), (-1, -5, InvalidScene), (10**6, 10**6, LimitExceeded)])
def test_shapes_that_cannot_be_are_refused(rows, columns, kind):
    with pytest.raises(kind):
        decode_cells(bomb(2), rows, columns)


def test_a_scene_survives_its_json_form():
    hole = np.array([[1.0, 1.0], [2.0, 1.0], [2.0, 2.0]])
    polygon = Polygon(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 3.0]]), (hole,))
    grid = Grid(np.eye(3, dtype=bool), 0.5, (-1.0, 2.0))
    scene = Scene((-5.0, -5.0, 5.0, 5.0), torch.tensor([[1.0, 2.0, 0.5]], dtype=torch.float64), (polygon,), grid)
    again = read_inline(write_inline(scene))
    for a, b in zip(scene.world, again.world, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "document",
    [
        {"obstacles": [{"x": 1}]},
        {"obstacles": [{"type": "circle", "x": 1, "y": 2}]},
        {"bounds": [0, 0, 1]},
        {"bounds": [0, 0, 0, 0]},
        {"grid": {"encoding": "raw"}},
        {"grid": {"encoding": "packbits+zlib+base64", "shape": [2, 5], "data": "x", "origin": [0, 0], "resolution": 1}},
        {"obstacles": [{"type": "polygon", "vertices": [[0, 0], [1, 1], [1, 0], [0, 1]]}]},
    ],
)
def test_a_bad_document_is_refused(document):
    with pytest.raises(InvalidInput):
        read_inline(document)


@real_files
@pytest.mark.parametrize(
    ("name", "width", "height", "free"),
    [
        ("depot", 30.2, 15.35, None),
        ("aws005_map", 32.0, 19.2, None),
        ("tb3_sandbox", 19.2, 19.2, None),
        ("depot_keepout", 30.2, 15.35, None),
    ],
)
def test_real_nav2_maps(name, width, height, free):
    scene = read_nav2(FILES / "nav2" / f"{name}.yaml")
    x0, y0, x1, y1 = scene.bounds
    assert (x1 - x0, y1 - y0) == pytest.approx((width, height))
    open_area = (~scene.grid.occupied).sum() * 0.05**2
    assert 10.0 < open_area < width * height
    assert (read_nav2(FILES / "nav2" / f"{name}.yaml", unknown="free").grid.occupied <= scene.grid.occupied).all()


@real_files
@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("empty-32-32", 1024),
        ("random-32-32-10", 922),
        ("room-32-32-4", 682),
        ("maze-32-32-4", 790),
        ("den312d", 2445),
        ("warehouse-10-20-10-2-1", 5699),
    ],
)
def test_real_movingai_maps_have_the_known_number_of_free_cells(name, free):
    scene = read_movingai((FILES / "movingai" / f"{name}.map").read_bytes(), 1.0)
    assert (~scene.grid.occupied).sum() == free


@real_files
def test_places_of_a_real_scenario_are_free():
    scene = read_movingai((FILES / "movingai" / "random-32-32-10.map").read_text(), 0.5)
    rows = read_scen((FILES / "movingai" / "random-32-32-10-random-1.scen").read_text(), 0.5)
    assert len(rows) == 461
    for x, y in [place for row in rows for place in (row.start, row.goal)]:
        assert not scene.grid.occupied[int(y / 0.5), int(x / 0.5)]
