import io
import math
import zlib

import numpy as np
import pytest
import shapely
from PIL import Image

from maps.errors import InvalidInput, InvalidMapFile, LimitExceeded
from maps.files.image import read_image
from maps.files.nav2 import Nav2Description, occupancy, parse_description, read_nav2
from maps.files.rotation import rotated
from maps.scene import Grid

LEVELS = np.array([[0, 51, 90], [127, 205, 255]], dtype=np.uint8)
YAML = "image: map.pgm\nresolution: 0.5\norigin: [-1.0, 2.0, 0.0]\nnegate: 0\noccupied_thresh: 0.65\nfree_thresh: 0.25\n"


def pgm(level: np.ndarray, comment: str = "") -> bytes:
    return f"P5\n{comment}{level.shape[1]} {level.shape[0]}\n255\n".encode() + level.astype(np.uint8).tobytes()


def png(level: np.ndarray, mode: str = "L") -> bytes:
    out = io.BytesIO()
    Image.fromarray(level, mode=None).convert(mode).save(out, "PNG") if mode != "RGBA" else Image.fromarray(level).save(out, "PNG")
    return out.getvalue()


def values(mode: str = "trinary", negate: bool = False, image: bytes | None = None) -> np.ndarray:
    told = Nav2Description("map.pgm", 0.5, (0.0, 0.0, 0.0), negate, 0.65, 0.25, mode)
    return occupancy(told, read_image(image or pgm(LEVELS), 100))


def test_trinary_has_three_values():
    assert values().tolist() == [[100, 100, -1], [-1, 0, 0]]  # p = 1, 0.8, 0.647, 0.502, 0.196, 0


def test_scale_grades_what_lies_between():
    assert values("scale").tolist() == [[100, 100, 99], [63, 0, 0]]


def test_raw_is_the_level_itself():
    assert values("raw").tolist() == [[0, 51, 90], [-1, -1, -1]]


def test_negate_turns_black_and_white_around():
    assert values(negate=True).tolist() == [[0, 0, -1], [-1, 100, 100]]


def test_thresholds_belong_to_their_side():
    told = Nav2Description("map.pgm", 0.5, (0.0, 0.0, 0.0), True, 0.6, 0.2)
    assert occupancy(told, read_image(pgm(np.array([[153, 152, 51, 52]])), 100)).tolist() == [[100, -1, 0, -1]]


def test_pixels_that_are_not_opaque_are_unknown_except_raw():
    picture = np.zeros((1, 3, 4), dtype=np.uint8)
    picture[..., :3], picture[..., 3] = 255, [255, 254, 0]
    assert values(image=png(picture, "RGBA")).tolist() == [[0, -1, -1]]
    assert values("raw", image=png(picture, "RGBA")).tolist() == [[-1, -1, -1]]


@pytest.mark.parametrize("image", [png(LEVELS), pgm(LEVELS, "# made by hand\n"), b"P2 # plain\n3 2\n255\n0 51 90\n127 205\t255\n"])
def test_formats_agree(image):
    assert values(image=image).tolist() == values().tolist()


def interlaced_png(level: np.ndarray) -> bytes:
    """Adam7 by hand, since Pillow writes none."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = [bytes([0]) + row.tobytes() for x, y, right, down in passes for row in level[y::down, x::right] if len(row)]

    def chunk(name: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)

    header = level.shape[1].to_bytes(4) + level.shape[0].to_bytes(4) + bytes([8, 0, 0, 0, 1])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (9, 13)])
def test_interlaced_pngs_are_read(shape):
    level = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(read_image(interlaced_png(level), 1000).level, level)


def test_pictures_of_one_bit_and_with_a_palette_are_read():
    black_white = np.array([[0, 255, 255], [255, 0, 0]], dtype=np.uint8)
    for mode in ("1", "P", "RGB"):
        np.testing.assert_array_equal(read_image(png(black_white, mode), 100).level, black_white)


def test_sixteen_bit_images_keep_their_levels():
    wide = b"P5\n2 1\n65535\n" + np.array([65535, 32768], dtype=">u2").tobytes()
    assert read_image(wide, 10).level.tolist() == [[65535, 32768]]
    out = io.BytesIO()
    Image.fromarray(np.array([[65535, 32768]], dtype=np.uint16)).save(out, "PNG")
    picture = read_image(out.getvalue(), 10)
    assert (picture.level.tolist(), picture.top) == ([[65535, 32768]], 65535)


def test_the_first_row_of_the_image_is_the_top_of_the_map():
    scene = read_nav2(YAML.encode(), pgm(LEVELS))
    assert scene.grid.occupied.tolist() == [[True, False, False], [True, True, True]]
    assert read_nav2(YAML.encode(), pgm(LEVELS), unknown="free").grid.occupied.tolist() == [[False, False, False], [True, True, False]]
    assert scene.bounds == (-1.0, 2.0, 0.5, 3.0)


def test_the_image_is_read_from_beside_the_yaml(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "map.yaml").write_text(YAML.replace("map.pgm", "sub/map.pgm"))
    (tmp_path / "sub" / "map.pgm").write_bytes(pgm(LEVELS))
    assert read_nav2(tmp_path / "map.yaml").grid.occupied.sum() == 4


@pytest.mark.parametrize(
    "image", ["../../etc/passwd", "/etc/passwd", "~/map.pgm", "a/../../b.pgm", "..\\b.pgm", "C:\\map.pgm", "http://x/y.pgm"]
)
def test_an_image_elsewhere_is_refused(image, tmp_path):
    content = YAML.replace("map.pgm", f"'{image}'")
    (tmp_path / "map.yaml").write_text(content)
    for given in ((tmp_path / "map.yaml",), (content.encode(), pgm(LEVELS))):
        with pytest.raises(InvalidMapFile) as error:
            read_nav2(*given)
        assert (error.value.pointer, error.value.code) == ("/image", "PATH_NOT_ALLOWED")


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out.pgm").write_bytes(pgm(LEVELS))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "map.yaml").write_text(YAML)
    (tmp_path / "in" / "map.pgm").symlink_to(tmp_path / "out.pgm")
    with pytest.raises(InvalidMapFile, match="folder"):
        read_nav2(tmp_path / "in" / "map.yaml")


def test_a_missing_image_is_refused(tmp_path):
    (tmp_path / "map.yaml").write_text(YAML)
    with pytest.raises(InvalidMapFile, match="cannot be read"):
        read_nav2(tmp_path / "map.yaml")
    with pytest.raises(InvalidMapFile, match="missing"):
        read_nav2(YAML.encode())


@pytest.mark.parametrize(
    ("old", "new", "pointer"),
    [
        ("resolution: 0.5", "resolution: 0", "/resolution"),
        ("resolution: 0.5", "resolution: .nan", "/resolution"),
        ("resolution: 0.5", "", "/resolution"),
        ("resolution: 0.5", "resolution: 1" + "0" * 400, "/resolution"),
        ("resolution: 0.5", "resolution: 1" + "0" * 5000, ""),
        ("image: map.pgm", "image: [1]", "/image"),
        ("[-1.0, 2.0, 0.0]", "[1.0, x, 0.0]", "/origin/1"),
        ("[-1.0, 2.0, 0.0]", "[1.0]", "/origin"),
        ("[-1.0, 2.0, 0.0]", "[1.0e+9, 0, 0]", "/origin"),
        ("negate: 0", "negate: 2", "/negate"),
        ("free_thresh: 0.25", "free_thresh: 0.8", "/free_thresh"),
        ("free_thresh: 0.25", "free_thresh: 0.2\nmode: other", "/mode"),
        ("negate: 0", "negate: [", ""),
        ("negate: 0", "a: &a [1]\nb: [*a, *a]", ""),
        ("negate: 0", "when: 2020-99-99", ""),
        ("negate: 0", "deep: " + "[" * 5000, ""),
        ("negate: 0", "!!python/object/apply:os.system ['true']", ""),
    ],
)
def test_a_bad_yaml_is_refused_at_its_key(old, new, pointer):
    with pytest.raises(InvalidMapFile) as error:
        parse_description(YAML.replace(old, new).encode())
    assert error.value.pointer == pointer


@pytest.mark.parametrize("content", [b"", b"- 1\n", b"\xff\xfe\x00", b"x" * 10_000])
def test_what_is_no_yaml_mapping_is_refused(content):
    with pytest.raises(InvalidInput):
        parse_description(content)


def lying_png(width: int, height: int) -> bytes:
    honest = png(LEVELS)
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + honest[24:29]
    return honest[:12] + header + zlib.crc32(header).to_bytes(4) + honest[33:]


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"GIF89a",
        b"P5\n",
        b"P5\n3 2\n255\n" + bytes(5),
        b"P5\n3 2\n255\n" + bytes(5) + b"\x01\x01",
        b"P5\n0 2\n255\n",
        b"P5\n3 2\n0\n" + bytes(6),
        b"P5\n3 2\n70000\n" + bytes(6),
        b"P5\n3 2\n100\n" + bytes([101]) * 6,
        b"P5\n-3 2\n255\n" + bytes(6),
        b"P2\n3 1\n255\n1 2\n",
        b"P2\n3 1\n255\n1 2 3 4\n",
        b"P2\n3 1\n255\n1 2 x\n",
        b"P2\n3 1\n255\n1 2 999999999999999999999999\n",
        png(LEVELS)[:40],
        png(LEVELS)[:-20],
        lying_png(3, 20),
    ],
)
def test_a_broken_image_is_refused(image):
    with pytest.raises(InvalidMapFile):
        read_image(image, 100)


@pytest.mark.parametrize("image", [b"P5\n99999 99999\n255\n", b"P2\n99999 99999\n255\n1", lying_png(60_000, 60_000)])
def test_a_size_over_the_cap_is_refused_before_anything_is_read(image):
    with pytest.raises(LimitExceeded) as error:
        read_image(image, 16_000_000)
    assert error.value.limit == 16_000_000


def test_a_picture_that_unpacks_to_far_more_than_it_says_is_left_alone():
    honest = png(LEVELS)
    packed = zlib.compress(bytes(30_000_000), 9)
    begin, end = honest.index(b"IDAT") - 4, honest.index(b"IEND") - 4
    body = len(packed).to_bytes(4) + b"IDAT" + packed + zlib.crc32(b"IDAT" + packed).to_bytes(4)
    with pytest.raises(InvalidMapFile, match="2 rows"):
        read_image(honest[:begin] + body + honest[end:], 100)


def test_quarter_turns_are_exact():
    cells = np.random.default_rng(0).random((5, 8)) < 0.4
    turned = rotated(Grid(cells, 0.5, (1.0, 2.0)), math.pi / 2, 1000)
    expected = np.array([[cells[4 - x, y] for x in range(5)] for y in range(8)])
    np.testing.assert_array_equal(turned.occupied, expected)
    assert turned.origin == pytest.approx((1.0 - 2.5, 2.0))


@pytest.mark.parametrize("yaw", [0.3, -1.1, 2.5])
def test_a_turned_map_frees_nothing_and_blocks_only_what_overlaps(yaw):
    cells = np.random.default_rng(1).random((6, 9)) < 0.25
    grid = Grid(cells, 0.5, (1.0, -2.0))
    turned = rotated(grid, yaw, 10_000)

    def square(row, column, origin, turn):
        x, y = origin[0] + 0.5 * column, origin[1] + 0.5 * row
        return shapely.affinity.rotate(shapely.box(x, y, x + 0.5, y + 0.5), turn, origin=grid.origin, use_radians=True)

    solid = shapely.unary_union([square(i, j, grid.origin, yaw) for i, j in np.argwhere(cells)])
    whole = shapely.affinity.rotate(shapely.box(*grid.extent), yaw, origin=grid.origin, use_radians=True)
    for (row, column), blocked in np.ndenumerate(turned.occupied):
        cell = square(row, column, turned.origin, 0.0)
        overlap = cell.intersection(solid).area + cell.difference(whole).area
        assert blocked == (overlap > 1e-9)


def test_yaw_is_taken_from_the_yaml():
    content = YAML.replace("0.0]", f"{math.pi / 2}]").encode()
    scene = read_nav2(content, pgm(LEVELS))
    assert scene.grid.occupied.shape == (3, 2)
    assert scene.bounds == pytest.approx((-2.0, 2.0, -1.0, 3.5))
    with pytest.raises(LimitExceeded):
        read_nav2(YAML.replace("0.0]", "0.7]").encode(), pgm(LEVELS), max_cells=6)
