import json

import numpy as np
import pytest
import shapely

from maps.errors import InvalidMapFile, InvalidScene, LimitExceeded
from maps.files.geojson import read_geojson
from maps.files.shapes import ShapeCaps, checked_polygon, frame_warnings
from maps.files.wkt import read_wkt
from maps.world import obstacle_distance

SQUARE = [[0, 0], [4, 0], [4, 3], [0, 3], [0, 0]]
HOLE = [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]


def feature(shape: str, coordinates, /, **properties) -> dict:
    return {"type": "Feature", "geometry": {"type": shape, "coordinates": coordinates}, "properties": properties}


def collection(*features: dict) -> str:
    return json.dumps({"type": "FeatureCollection", "features": features})


def distance(scene, x: float, y: float) -> float:
    return obstacle_distance(float(x), float(y), scene.world, 100.0)[0]


def test_geojson_reads_polygons_with_holes_and_discs():
    second = [[[10 + x, y] for x, y in SQUARE]]
    text = collection(
        feature("MultiPolygon", [[SQUARE, HOLE], second]), feature("Point", [7, 1, 5.0], radius=0.5), {"type": "Feature", "geometry": None}
    )
    scene = read_geojson(text)
    assert scene.bounds is None
    assert scene.discs.tolist() == [[7.0, 1.0, 0.5]]
    assert [len(p.outer) for p in scene.polygons] == [4, 4]
    assert distance(scene, 1.5, 1.5) == pytest.approx(0.5)
    assert distance(scene, 3.0, 1.5) == pytest.approx(-1.0)
    assert distance(scene, 10.5, 1.0) == pytest.approx(-0.5)


@pytest.mark.parametrize("text", [json.dumps({"type": "Polygon", "coordinates": [SQUARE]}), json.dumps(feature("Polygon", [SQUARE]))])
def test_geojson_may_be_a_bare_geometry_or_feature(text):
    assert len(read_geojson(text.encode()).polygons) == 1


def test_a_rectangular_boundary_becomes_the_bounds():
    scene = read_geojson(collection(feature("Polygon", [SQUARE, HOLE], kind="boundary")))
    assert scene.bounds == (0.0, 0.0, 4.0, 3.0)
    assert len(scene.polygons) == 1
    assert distance(scene, 1.5, 1.5) == pytest.approx(-0.5)


def test_a_boundary_of_any_shape_is_a_frame():
    corner = [[0, 0], [4, 0], [4, 1], [1, 1], [1, 3], [0, 3]]
    for scene in (
        read_geojson(collection(feature("Polygon", [corner], kind="boundary"))),
        read_wkt("GEOMETRYCOLLECTION EMPTY", shapely.Polygon(corner).wkt),
    ):
        assert scene.bounds == (0.0, 0.0, 4.0, 3.0)
        assert distance(scene, 0.5, 2.0) == pytest.approx(0.5)
        assert distance(scene, 2.0, 2.0) < -0.9


def test_wkt_reads_the_same_as_shapely_does():
    shape = shapely.MultiPolygon([shapely.Polygon(SQUARE, [HOLE]), shapely.box(10, 0, 11, 1)])
    scene = read_wkt(shapely.GeometryCollection([shape]).wkt)
    for x, y in np.random.default_rng(0).uniform(-2, 12, (200, 2)):
        point = shapely.Point(x, y)
        assert distance(scene, x, y) == pytest.approx(shape.distance(point) or -shape.boundary.distance(point))


def test_orientation_and_repetition_do_not_matter():
    there, back = checked_polygon(SQUARE), checked_polygon([[0, 0], *SQUARE[::-1]])
    assert len(there.outer) == len(back.outer) == 4


@pytest.mark.parametrize(
    ("outer", "holes", "word"),
    [
        ([[0, 0], [1, 1], [1, 0], [0, 1]], [], "Self-intersection"),
        ([[0, 0], [1, 0], [2, 0]], [], "not simple"),
        ([[0, 0], [1, 0], [1, 0]], [], "three"),
        ([[0, 0], [1, 0], [float("nan"), 1]], [], "finite"),
        ([[0, 0], [1, 0], [2e6, 1]], [], "reach"),
        ([[0, 0], [1], [1, 1]], [], "pairs"),
        ([[0, 0], ["a", 1], [1, 1]], [], "pairs"),
        (7, [], "pairs"),
        (SQUARE, [[[10, 10], [11, 10], [11, 11]]], "Hole lies outside"),
        (SQUARE, [HOLE, HOLE], "Self-intersection|overlap|Duplicate|Nested|nested"),
    ],
)
def test_a_polygon_that_is_not_simple_is_refused(outer, holes, word):
    with pytest.raises(InvalidScene, match=word) as error:
        checked_polygon(outer, holes, "/here")
    assert error.value.pointer == "/here"


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("", ""),
        ("[1, 2", ""),
        ("[" * 100_000, ""),
        ("null", "/type"),
        (b"\xff\xfe", ""),
        ('{"type": "FeatureCollection", "features": 3}', "/features"),
        (collection(feature("LineString", [[0, 0], [1, 1]])), "/features/0/geometry/type"),
        (collection(feature("Point", [0, 0])), "/features/0/geometry"),
        (collection(feature("Point", [0, 0], radius=-1)), "/features/0/geometry"),
        (collection(feature("Point", [0, 0], radius=True)), "/features/0/geometry"),
        (collection(feature("Point", [10**400, 0], radius=1)), "/features/0/geometry"),
        ('{"type": "Point", "coordinates": [1' + "0" * 5000 + ", 0]}", ""),
        (collection(feature("Polygon", [])), "/features/0/geometry/coordinates"),
        (collection(feature("Polygon", [[1, 2, 3]])), "/features/0/geometry/coordinates"),
        (collection(feature("MultiPolygon", [[SQUARE], [[[0, 0], [1, 1], [1, 0], [0, 1]]]])), "/features/0/geometry/coordinates/1"),
        (collection(feature("Polygon", [[[0, 0], [1, 0], [float("nan"), 1]]])), "/features/0/geometry/coordinates"),
        (
            collection(feature("Polygon", [SQUARE], kind="boundary"), feature("Polygon", [SQUARE], kind="boundary")),
            "/features/1/geometry/coordinates",
        ),
    ],
)
def test_a_bad_geojson_is_refused_at_its_place(text, pointer):
    with pytest.raises(InvalidMapFile) as error:
        read_geojson(text)
    assert error.value.pointer == pointer


@pytest.mark.parametrize(
    "text",
    ["", "POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))", "POINT (1 1)", "POLYGON ((0 0, 1 0", "LINESTRING (0 0, 1 1)", "POLYGON EMPTY", b"\xff"],
)
def test_a_bad_wkt_is_refused(text):
    with pytest.raises(InvalidMapFile):
        read_wkt(text)


def test_caps_hold():
    caps = ShapeCaps(polygons=2, vertices=12, polygon_vertices=9, characters=2_000)
    ring = [[float(np.cos(a)), float(np.sin(a))] for a in np.linspace(0, 6, 10)]
    for many in ([SQUARE] * 3, [ring]):
        with pytest.raises(LimitExceeded):
            read_geojson(collection(*[feature("Polygon", [r]) for r in many]), caps)
        with pytest.raises(LimitExceeded):
            read_wkt(shapely.MultiPolygon([shapely.Polygon(r) for r in many]).wkt, caps=caps)
    with pytest.raises(LimitExceeded):
        read_geojson(" " * 2_001, caps)


def test_degrees_are_noticed():
    degrees = [[8.40 + x * 1e-5, 49.0 + y * 1e-5] for x, y in SQUARE]
    assert "degrees" in frame_warnings(read_geojson(json.dumps({"type": "Polygon", "coordinates": [degrees]})))[0]
    assert frame_warnings(read_geojson(json.dumps({"type": "Polygon", "coordinates": [SQUARE]}))) == ()
