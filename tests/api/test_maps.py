"""Maps over HTTP: built in, registered in every format, previewed, forgotten; and files that lie."""

import io
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from api.answers import MapsAnswer, MapSummary, ProblemAnswer
from api.map_wire import InlineMap
from maps.library import map_ids

CELLS = np.zeros((4, 6), dtype=bool)
CELLS[0, :] = CELLS[2, 3] = True  # row 0 is the lowest
YAML = b"image: room.pgm\nresolution: 0.5\norigin: [1.0, 2.0, 0.0]\nnegate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.196\n"
SQUARE = {"type": "Polygon", "coordinates": [[[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]]}


def pgm(cells: np.ndarray, header: bytes | None = None) -> bytes:
    levels = np.where(cells[::-1], 0, 254).astype(np.uint8)
    return (header or b"P5\n%d %d\n255\n" % cells.shape[::-1]) + levels.tobytes()


def png(cells: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.where(cells[::-1], 0, 254).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def movingai(cells: np.ndarray) -> bytes:
    rows = ["".join("@" if c else "." for c in row) for row in cells[::-1]]
    return f"type octile\nheight {len(rows)}\nwidth {len(rows[0])}\nmap\n".encode() + "\n".join(rows).encode() + b"\n"


@pytest.fixture
def registered(client):
    """Registers under a fresh id and forgets it in the end; returns the answer."""
    name = f"map-{time.monotonic_ns()}"
    yield lambda **body: client.put(f"/v1/maps/{name}", **body)
    client.delete(f"/v1/maps/{name}")


def occupied(client, answer) -> np.ndarray:
    from api.map_wire import to_scene

    assert answer.status_code == 201, answer.text
    summary = MapSummary.model_validate(answer.json())
    grid = to_scene(InlineMap.model_validate(client.get(f"/v1/maps/{summary.id}").json())).grid
    assert grid is not None
    return grid.occupied


@pytest.mark.parametrize("image", [pgm(CELLS), png(CELLS)], ids=["pgm", "png"])
def test_a_nav2_map_is_registered_upright(client, registered, image) -> None:
    answer = registered(files={"yaml": ("room.yaml", YAML), "image": ("room.pgm", image)})
    assert np.array_equal(occupied(client, answer), CELLS)
    assert answer.json()["bounds"] == [1.0, 2.0, 4.0, 4.0]


def test_a_movingai_map_is_registered_with_its_cell_size(client, registered) -> None:
    answer = registered(files={"file": ("room.map", movingai(CELLS))}, data={"format": "movingai", "cell_size": "0.5"})
    assert np.array_equal(occupied(client, answer), CELLS)
    assert answer.json()["grid"]["resolution"] == 0.5


@pytest.mark.parametrize(("kind", "content"), [("geojson", str(SQUARE).replace("'", '"')), ("wkt", "POLYGON ((1 1, 2 1, 2 2, 1 2, 1 1))")])
def test_shapes_are_registered(client, registered, kind, content) -> None:
    answer = registered(files={"file": ("yard", content.encode())}, data={"format": kind})
    assert answer.status_code == 201, answer.text
    (obstacle,) = client.get(f"/v1/maps/{answer.json()['id']}").json()["obstacles"]
    assert sorted(obstacle["vertices"]) == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_a_registered_map_is_planned_on_like_the_inline_one(client, registered, request_body) -> None:
    inline = client.post("/v1/plans", json=request_body).json()
    answer = registered(json=request_body["map"])
    request_body["map"] = {"id": answer.json()["id"]}
    assert client.post("/v1/plans", json=request_body).json()["robots"] == inline["robots"]


def test_a_map_can_be_replaced_and_forgotten(client, registered, request_body) -> None:
    first = registered(json=request_body["map"])
    path = first.headers["location"]
    again = registered(json={"bounds": [0, 0, 3, 3]})
    assert (first.status_code, again.status_code, again.json()["obstacles"]) == (201, 200, 0)
    assert client.get(path).json() == {"bounds": [0, 0, 3, 3], "obstacles": []}
    assert client.delete(path).status_code == 204
    for answer in (client.get(path), client.delete(path), client.get(f"{path}/preview.png")):
        assert (answer.status_code, ProblemAnswer.model_validate(answer.json()).code) == (404, "UNKNOWN_MAP")


def test_built_in_maps_are_listed_shown_and_stay_as_they_are(client) -> None:
    listed = {m.id: m for m in MapsAnswer.model_validate(client.get("/v1/maps").json()).maps}
    assert len(map_ids()) >= 5
    for map_id in map_ids():
        assert listed[map_id].built_in
        InlineMap.model_validate(client.get(f"/v1/maps/{map_id}").json())
        for answer in (client.put(f"/v1/maps/{map_id}", json={}), client.delete(f"/v1/maps/{map_id}")):
            assert (answer.status_code, answer.json()["code"]) == (409, "BUILT_IN_MAP")


def test_a_preview_is_a_picture(client) -> None:
    answer = client.get(f"/v1/maps/{map_ids()[0]}/preview.png")
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size[0] > 100


BOMB = png(np.zeros((1, 1), dtype=bool)).replace(b"\0\0\0\1\0\0\0\1", (60_000).to_bytes(4, "big") * 2)
HUGE = png(np.zeros((6000, 6000), dtype=bool))  # 36 million pixels in a few kilobytes
LIES = [
    ({"yaml": YAML, "image": pgm(CELLS, b"P5\n600 400\n255\n")}, {}),
    ({"yaml": YAML, "image": pgm(CELLS, b"P5\n99999999 99999999\n255\n")}, {}),
    ({"yaml": YAML, "image": BOMB}, {}),
    ({"yaml": YAML, "image": HUGE}, {}),
    ({"yaml": YAML, "image": b"GIF89a"}, {}),
    ({"yaml": YAML.replace(b"room.pgm", b"../../etc/passwd"), "image": pgm(CELLS)}, {}),
    ({"yaml": YAML.replace(b"room.pgm", b"/etc/passwd"), "image": pgm(CELLS)}, {}),
    ({"yaml": b"a: &a [x,x]\nb: &b [*a,*a]\nimage: *b\n", "image": pgm(CELLS)}, {}),
    ({"yaml": b"!!python/object/apply:os.system ['true']", "image": pgm(CELLS)}, {}),
    ({"yaml": b"\xff\xfe\x00", "image": pgm(CELLS)}, {}),
    ({"yaml": YAML}, {}),
    ({"image": pgm(CELLS)}, {}),
    ({"yaml": YAML, "image": pgm(CELLS), "more": b""}, {}),
    ({"file": movingai(CELLS)}, {"format": "movingai"}),
    ({"file": movingai(CELLS)}, {"format": "movingai", "cell_size": "nan"}),
    ({"file": movingai(CELLS)}, {"format": "movingai", "cell_size": "-1"}),
    ({"file": b"type octile\nheight 99999\nwidth 99999\nmap\n..\n"}, {"format": "movingai", "cell_size": "1"}),
    ({"file": movingai(CELLS)}, {"format": "dxf"}),
    ({"file": movingai(CELLS)}, {}),
    ({"file": b"{"}, {"format": "geojson"}),
    ({"file": b"[" * 100_000}, {"format": "geojson"}),
    ({"file": b"POINT (1 1)"}, {"format": "wkt"}),
    ({"file": b"POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))"}, {"format": "wkt"}),
    ({"file": zlib.compress(b"0" * 10_000_000)}, {"format": "wkt"}),
]


@pytest.mark.parametrize(("files", "fields"), LIES, ids=[str(k) for k in range(len(LIES))])
def test_files_that_are_not_what_they_claim_are_refused_soon(client, registered, files, fields) -> None:
    began = time.perf_counter()
    answer = registered(files={name: (name, content) for name, content in files.items()}, data=fields)
    spent = time.perf_counter() - began
    problem = ProblemAnswer.model_validate(answer.json())
    assert (answer.status_code, problem.status) == (422, 422)
    assert "Traceback" not in answer.text
    assert "root:" not in answer.text
    assert spent < 0.1


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"nonsense", {"content-type": "multipart/form-data; boundary=x"}, 400),
        (b"", {"content-type": "multipart/form-data"}, 400),
        (b"P5", {"content-type": "image/x-portable-graymap"}, 415),
        (b"{", {"content-type": "application/json"}, 400),
        (b'{"id": "depot"}', {"content-type": "application/json"}, 422),
        (b'{"obstacles": [{"type": "circle", "x": 1, "y": NaN, "radius": 1}]}', {"content-type": "application/json"}, 422),
    ],
)
def test_uploads_that_are_none_are_refused(client, registered, body, headers, status) -> None:
    answer = registered(content=body, headers=headers)
    assert (answer.status_code, ProblemAnswer.model_validate(answer.json()).status) == (status, status)


@pytest.mark.parametrize("name", ["a b", "x" * 65, "ä", "a%00", "%2e%2e%2fetc"])
def test_an_id_that_is_none_is_refused(client, name) -> None:
    assert client.put(f"/v1/maps/{name}", json={"bounds": [0, 0, 1, 1]}).status_code in (404, 422)


def test_no_more_maps_are_kept_than_the_cap_allows() -> None:
    from api.maps_store import MapsStore
    from api.problems import Problem
    from api.settings import Settings
    from maps.scene import Scene

    store = MapsStore(Settings(max_maps=2))
    for name in ("a", "b", "a"):
        store.put(name, Scene((0.0, 0.0, 1.0, 1.0)))
    with pytest.raises(Problem) as caught:
        store.put("c", Scene((0.0, 0.0, 1.0, 1.0)))
    assert (caught.value.status, caught.value.faults[0].limit) == (422, 2)
