"""Makes the pictures of docs/generator.md from the released weights.

    python docs/pictures.py [--out docs]

The scenes and seeds are fixed, so the same weights give the same pictures. Run it again when the weights change.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from maps.curve import curve_basis
from maps.fleet import Fleet
from maps.sampling import SamplingConfig, sample_scenario
from maps.sampling_ways import clearance
from maps.scenario import Scenario
from maps.scene import Scene
from planner.assembly import load_planner
from planner.choose import best
from planner.drawing import FAINT, FLOOR, INK, OUTSIDE, draw_names, draw_scene, round_step
from planner.generation import load_generator
from planner.homotopy import signature
from planner.outcome import answer
from planner.pipeline import PlannerConfig
from planner.plan import JointPlan, Plan, PlanOptions
from planner.polish import polish
from planner.render import render_file
from planner.staging import Motion, PictureConfig, add_discs, draw_ways
from planner.task import Task
from planner.waves import Wave, run_through, run_wave
from safety_filter.solver import SafetyFilter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from planner.pipeline import Planner

RED = "#e4002b"  # where robots overlap; no robot has it
INSTANTS = 400  # at which overlaps are looked for
CANDIDATES = 8
PANEL, GAP, RIM, TEXT = 3.5, 0.12, 0.1, 0.48  # inches: width of a panel, between panels, around all, height of texts
FILM = PictureConfig(film_width=600, film_dpi=72, seconds_per_frame=0.25, frames_per_second=12)


def rooms() -> Scenario:
    """Twelve robots in random rooms with narrow doors."""
    config = SamplingConfig(radius=(0.2, 0.3), slack=(1.4, 1.8), alike=1.0)
    return sample_scenario(np.random.default_rng([5, 7]), 12, "rooms", config)


def roundabout() -> Scenario:
    """Six robots around a pillar, each to the opposite side."""
    robots = 6
    angle = 2 * np.pi * np.arange(robots) / robots + 0.2
    start = torch.from_numpy(3.2 * np.stack([np.cos(angle), np.sin(angle)], 1))
    scene = Scene((-4.0, -4.0, 4.0, 4.0), torch.tensor([[0.0, 0.0, 0.5]], dtype=torch.float64))
    radius, v_max, a_max = (torch.full((robots,), value, dtype=torch.float64) for value in (0.35, 1.5, 1.0))
    fleet = Fleet(tuple(f"r{k}" for k in range(robots)), radius, v_max, a_max)
    still = torch.zeros_like(start)
    return Scenario(scene, fleet, start, -start, still, still, 12.0)


def panels(scenario: Scenario, count: int) -> tuple[Figure, list[Axes]]:
    """Maps side by side, with room for two lines of text below each."""
    x0, y0, x1, y1 = scenario.scene.extent
    high = PANEL * (y1 - y0) / (x1 - x0)
    across, down = count * (PANEL + GAP) - GAP + 2 * RIM, high + TEXT + RIM
    figure = Figure(figsize=(across, down), dpi=170, facecolor=FLOOR)
    rim = 0.004 * (x1 - x0)  # half of the line around the floor
    every = []
    for k in range(count):
        box = ((RIM + k * (PANEL + GAP)) / across, TEXT / down, PANEL / across, high / down)
        axes = figure.add_axes(box, facecolor=OUTSIDE, xticks=[], yticks=[])
        axes.set(xlim=(x0 - rim, x1 + rim), ylim=(y0 - rim, y1 + rim))
        axes.spines[:].set_visible(False)
        draw_scene(axes, scenario.scene)
        every.append(axes)
    return figure, every


def caption(axes: Axes, title: str, words: str, color: str = FAINT) -> None:
    """Two lines below a map."""
    for text, level, size, weight, ink in ((title, -14, 10, "bold", INK), (words, -27, 8, "normal", color)):
        axes.annotate(text, (0, 0), (1, level), "axes fraction", "offset points", fontsize=size, fontweight=weight, color=ink)


def draw_ends(axes: Axes, motion: Motion) -> None:
    """Rings at the starts, full discs with the robots' names at the goals."""
    every = np.arange(len(motion.radius))
    add_discs(axes, motion, every, motion.start, facecolors=(1.0, 1.0, 1.0, 0.75), linewidths=1.2, zorder=5)
    add_discs(axes, motion, every, motion.goal, facecolors=motion.colors, edgecolors=FLOOR, linewidths=0.7, zorder=6)
    draw_names(axes, [robot.id.removeprefix("r") for robot in motion.plan.robots], motion.goal, motion.radius)


def draw_bundle(axes: Axes, motion: Motion, drawn: list[np.ndarray]) -> int:
    """Joint trajectories as thin lines, with red where robots are in each other or in a wall; how many of them have any."""
    bad = 0
    for points in drawn:
        place = curve_basis(points.shape[1]).matrix(np.linspace(0.0, 1.0, INSTANTS)) @ points
        wrong = overlaps(motion, place)
        bad += bool(wrong.any())
        axes.add_collection(LineCollection(list(place), colors=motion.colors, linewidths=0.6, alpha=0.75, zorder=3), autolim=False)
        pieces = np.stack([place[:, :-1], place[:, 1:]], axis=2)[wrong[:, :-1]]
        axes.add_collection(LineCollection(list(pieces), colors=RED, linewidths=0.9, alpha=0.7, zorder=4), autolim=False)
    draw_ends(axes, motion)
    return bad


def overlaps(motion: Motion, place: np.ndarray) -> np.ndarray:
    """(N, T) whether a robot at `place` (N, T, 2) is in another robot or in a wall."""
    radius = motion.radius
    gap = np.linalg.norm(place[:, None] - place[None], axis=-1) - (radius[:, None] + radius)[:, :, None]
    gap[np.arange(len(radius)), np.arange(len(radius))] = np.inf
    room = clearance(place.reshape(-1, 2), motion.scenario.scene, 1.0).reshape(place.shape[:2]) - radius[:, None]
    return np.minimum(gap.min(1), room) < -1e-6


def draw_plan(axes: Axes, motion: Motion, step: float) -> None:
    """Ways that grow stronger with time, and discs every `step` seconds of the robots that are on their way."""
    draw_ways(axes, motion, (0.3, 1.0), 3.0)
    for time in np.arange(step, motion.horizon - 0.25 * step, step):
        place = motion.position(np.array([time]))[:, 0]
        near = np.minimum(np.linalg.norm(place - motion.start, axis=1), np.linalg.norm(place - motion.goal, axis=1))
        away = np.flatnonzero(near > 1.5 * motion.radius)
        fill = [to_rgba(motion.colors[k], 0.15 + 0.5 * time / motion.horizon) for k in away]
        add_discs(axes, motion, away, place[away], facecolors=fill, linewidths=0.8, zorder=4)
    draw_ends(axes, motion)


def draw_stages(scenario: Scenario, seed: int, path: Path) -> Plan:
    """What is drawn, what the filter makes of it, what is chosen; returns the latter.

    The planner does the same in its wave "flow", but need not draw all candidates at once.
    """
    task = Task.begin(scenario, PlanOptions(seed=seed, candidates=CANDIDATES, sources=("flow",)))
    drawn, config, safety_filter = load_generator()(task, CANDIDATES), PlannerConfig(), SafetyFilter()
    run_wave(task, Wave("flow", "generate", lambda _: drawn, config.flow), safety_filter)
    if not task.found:
        raise SystemExit(f"these weights give no certified plan for {path.name}: choose another scene or seed")
    repaired = [found.control_points for found in task.found]
    run_through(polish(task, config.polish), task, safety_filter)
    plan, cost = answer(task), best(task.found).metrics.cost
    figure, (left, middle, right) = panels(scenario, 3)
    motion = Motion(scenario, plan)
    step = round_step(motion.horizon / 4.0)
    bad = draw_bundle(left, motion, list(drawn.numpy()))
    draw_bundle(middle, motion, repaired)
    draw_plan(right, motion, step)
    caption(left, f"1. {CANDIDATES} joint trajectories drawn", f"red: in a robot or a wall, somewhere in {bad} of {CANDIDATES}", RED)
    caption(middle, "2. repaired by the safety filter", f"{len(repaired)} of {CANDIDATES} certified at every instant")
    caption(right, "3. the best, polished", f"cost {cost:.2f}; {motion.horizon:.1f} s, discs every {step:g} s, stronger later")
    figure.savefig(path, metadata={"Software": None})
    return plan


def draw_alternatives(planner: Planner, scenario: Scenario, path: Path) -> None:
    """Plans of one request that pass each other, or the pillar, on other sides."""
    plan = planner.plan(scenario, PlanOptions(candidates=CANDIDATES, alternatives=3))
    if plan.certificate is None or plan.metrics is None or len(plan.alternatives) < 2:
        raise SystemExit(f"these weights give too few plans for {path.name}: choose another scene or seed")
    plans = [JointPlan(plan.robots, plan.certificate, plan.metrics), *plan.alternatives]
    figure, every = panels(scenario, len(plans))
    curves = [np.stack([robot.control_points for robot in joint.robots if robot.control_points is not None]) for joint in plans]
    first, *others = [signature(points, scenario.scene) for points in curves]
    notes = ["discs every 3 s, stronger later"]
    for turns in others:
        pairs, robots = (int((np.abs(a - b) > np.pi).sum()) for a, b in ((turns.pairs, first.pairs), (turns.obstacles, first.obstacles)))
        notes.append(f"other sides than in plan 1: {pairs} of {len(first.pairs)} pairs, {robots} robots at the pillar")
    for k, (axes, joint) in enumerate(zip(every, plans, strict=True)):
        draw_plan(axes, Motion(scenario, replace(plan, robots=joint.robots)), 3.0)
        caption(axes, f"Plan {k + 1}: cost {joint.metrics.cost:.3f}, source {joint.robots[0].source}", notes[k])
    figure.savefig(path, metadata={"Software": None})


def main() -> None:
    """Makes all pictures."""
    parser = argparse.ArgumentParser(description="Makes the pictures of docs/generator.md.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the pictures")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    scenario = rooms()
    plan = draw_stages(scenario, 1, out / "flow_stages.png")
    render_file(scenario, plan, out / "flow.gif", FILM)
    draw_alternatives(load_planner(), roundabout(), out / "alternatives.png")


if __name__ == "__main__":
    main()
