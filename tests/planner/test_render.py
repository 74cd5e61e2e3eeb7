"""Pictures show what the plan says, where it says it."""

import io
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from maps.curve import curve_basis, end_control_points
from maps.errors import InvalidInput
from maps.fleet import Fleet
from maps.scenario import MovingObstacle, Scenario
from maps.scene import Grid, Polygon, Scene
from planner.drawing import FLOOR, OUTSIDE, PALETTE, WALL, round_step, view_box
from planner.film import film_frames, film_times
from planner.plan import Plan, PlanStatus, RobotPlan
from planner.render import render_file, render_scene_png
from planner.staging import BANDS, LOST, Motion, PictureConfig

SMALL = PictureConfig(still_width=400, still_dpi=100, film_width=400, seconds_per_frame=0.5)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def rgb(name):
    return np.array([int(name[k : k + 2], 16) for k in (1, 3, 5)])


@pytest.fixture
def scene():
    occupied = np.zeros((8, 10), dtype=bool)
    occupied[6, 1:4] = True
    ring = Polygon(
        np.array([[6.0, 1.0], [9.0, 1.0], [9.0, 4.0], [6.0, 4.0]]), (np.array([[7.0, 2.0], [8.0, 2.0], [8.0, 3.0], [7.0, 3.0]]),)
    )
    return Scene(grid=Grid(occupied, 1.0, (0.0, 0.0)), polygons=(ring,), discs=tensor([[4.0, 4.0, 0.8]]))


@pytest.fixture
def scenario(scene):
    start, goal = tensor([[1.0, 1.0], [8.0, 6.0]]), tensor([[1.0, 4.5], [5.5, 7.0]])
    still = torch.zeros_like(start)
    fleet = Fleet(("left", "right"), tensor([0.5, 0.4]), tensor([1.0, 1.0]), tensor([1.0, 1.0]))
    cart = MovingObstacle("cart", 0.3, tensor([0.0, 4.0]), tensor([[3.0, 0.5], [5.0, 0.5]]))
    return Scenario(scene, fleet, start, goal, still, still, 5.0, moving=(cart,))


@pytest.fixture
def plan(scenario):
    zero = torch.zeros_like(scenario.start)
    control = end_control_points(curve_basis(16), scenario.start, zero, zero, scenario.goal, tensor([5.0, 5.0])).numpy()
    return Plan(PlanStatus.PARTIAL, 5.0, 0, (RobotPlan("left", control[0], "straight"), RobotPlan("right", None)))


class Picture:
    """Pixels by their place on the map."""

    def __init__(self, image, box, bands, dpi):
        self.pixels = np.asarray(image.convert("RGB")).astype(int) if isinstance(image, Image.Image) else image.astype(int)
        self.box, self.top = box, bands[0] * dpi
        self.scale = self.pixels.shape[1] / (box[2] - box[0])

    def at(self, x, y):
        return self.pixels[round(self.top + (self.box[3] - y) * self.scale), round((x - self.box[0]) * self.scale)]

    def shows(self, x, y, color, within=4):
        return bool(np.abs(self.at(x, y) - rgb(color)).max() <= within)


def test_preview_shows_walls_where_they_are_and_holes_empty(scene):
    image = Image.open(io.BytesIO(render_scene_png(scene, 500)))
    picture = Picture(image, view_box(scene, np.zeros((0, 2)), 0.0), (0.0, 0.0), 100)
    assert image.size[0] == 500
    for place in ((4.0, 4.0), (6.5, 2.5), (8.5, 3.5), (2.5, 6.5)):
        assert picture.shows(*place, WALL), place
    for place in ((7.5, 2.5), (5.0, 2.0), (2.5, 5.5), (4.0, 4.95), (9.5, 7.5)):
        assert picture.shows(*place, FLOOR), place
    assert picture.shows(-0.1, 4.0, OUTSIDE)


def test_preview_does_not_depend_on_the_turn_of_rings(scene):
    polygon = scene.polygons[0]
    turned = Polygon(polygon.outer[::-1].copy(), tuple(hole[::-1].copy() for hole in polygon.holes))
    both = Scene(grid=scene.grid, polygons=(turned,), discs=scene.discs)
    assert render_scene_png(scene, 300) == render_scene_png(both, 300)


def test_preview_of_an_open_plane_is_a_picture():
    assert Image.open(io.BytesIO(render_scene_png(Scene(), 200))).size == (200, 200)


def test_still_shows_robots_at_their_ends(scenario, plan, tmp_path):
    render_file(scenario, plan, tmp_path / "plan.png", SMALL)
    with Image.open(tmp_path / "plan.png") as image:
        image.load()
    picture = Picture(image, Motion(scenario, plan).box(), BANDS, SMALL.still_dpi)
    assert picture.shows(1.0, 4.8, PALETTE[0])  # over the name on the goal's disc
    assert picture.shows(1.0, 4.18, PALETTE[0])
    assert picture.shows(1.0, 0.6, FLOOR)  # a start is a ring
    assert picture.shows(8.0, 6.3, LOST)  # a robot without a curve stands grey at its start
    assert picture.shows(5.0, 6.8, FLOOR)


def test_stills_are_the_same_every_time(scenario, plan, tmp_path):
    for name in ("one.png", "two.png"):
        render_file(scenario, plan, tmp_path / name, SMALL)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_svg_is_well_formed_and_says_what_it_shows(scenario, plan, tmp_path):
    render_file(scenario, plan, tmp_path / "plan.svg", SMALL)
    assert ElementTree.parse(tmp_path / "plan.svg").getroot().tag.endswith("svg")
    assert "2 robots, 5.0 s" in (tmp_path / "plan.svg").read_text()


def test_film_shows_every_robot_where_its_curve_is(scenario, plan):
    motion = Motion(scenario, plan)
    times = film_times(5.0, SMALL)
    for time, frame in zip(times, film_frames(motion, SMALL), strict=True):
        picture = Picture(frame, motion.box(), BANDS, SMALL.film_dpi)
        x, y = motion.position(np.array([time]))[0, 0]
        assert picture.shows(x + 0.05, y + 0.33, PALETTE[0])
        assert not picture.shows(x - 0.65, y, PALETTE[0])
        assert picture.shows(8.0, 6.25, LOST)


def test_positions_are_those_of_the_curves(scenario, plan):
    place = Motion(scenario, plan).position(np.array([0.0, 2.5, 5.0]))
    np.testing.assert_allclose(place[0], [[1.0, 1.0], [1.0, 2.75], [1.0, 4.5]], atol=1e-9)
    np.testing.assert_allclose(place[1], [[8.0, 6.0]] * 3)


def test_gif_lasts_as_long_as_told(scenario, plan, tmp_path):
    render_file(scenario, plan, tmp_path / "plan.gif", SMALL)
    durations = []
    with Image.open(tmp_path / "plan.gif") as film:
        for k in range(film.n_frames):
            film.seek(k)
            durations.append(film.info["duration"])
    assert sum(durations) == 10 * 50 + 1200
    assert len(durations) == 11


def test_mp4_holds_all_frames(scenario, plan, tmp_path):
    reader = pytest.importorskip("imageio_ffmpeg")
    render_file(scenario, plan, tmp_path / "plan.mp4", SMALL)
    frames, seconds = reader.count_frames_and_secs(str(tmp_path / "plan.mp4"))
    assert frames == 11 + 24
    assert seconds == pytest.approx(frames / 20, abs=0.02)


def test_film_times_span_the_plan_in_even_steps():
    times = film_times(5.0, PictureConfig())
    np.testing.assert_allclose(times, np.arange(51) * 0.1, atol=1e-12)
    assert len(film_times(1000.0, PictureConfig())) == 300
    assert list(film_times(0.0, PictureConfig())) == [0.0]


def test_failed_plan_without_horizon_is_drawn(scenario, tmp_path):
    lost = Plan(PlanStatus.FAILED, None, 0, (RobotPlan("left", None), RobotPlan("right", None)))
    for name in ("plan.png", "plan.gif"):
        render_file(scenario, lost, tmp_path / name, SMALL)
        with Image.open(tmp_path / name) as image:
            assert image.size[0] == 400


def test_other_endings_and_other_robots_are_refused(scenario, plan, tmp_path):
    with pytest.raises(InvalidInput, match=r"\.png, \.svg, \.gif, \.mp4"):
        render_file(scenario, plan, tmp_path / "plan.bmp")
    other = Plan(PlanStatus.FAILED, None, 0, (RobotPlan("left", None),))
    with pytest.raises(InvalidInput, match="not of this scenario"):
        render_file(scenario, other, tmp_path / "plan.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "step"), [(0.7, 0.5), (1.0, 1.0), (2.49, 2.0), (9.99, 5.0), (10.0, 10.0), (0.031, 0.02)])
def test_round_steps(size, step):
    assert round_step(size) == pytest.approx(step)


def test_drawing_is_imported_late():
    code = "import sys, planner.render; sys.exit('matplotlib' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
