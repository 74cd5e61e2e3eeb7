"""ORCA as a pilot: heads for the plan a stopping time ahead and avoids robots, strangers and walls as RVO2 does.

J. van den Berg, S. J. Guy, M. Lin and D. Manocha, Reciprocal n-body collision avoidance (ISRR 2011), through pyrvo. Strangers are
agents that go on as they do. Velocities become accelerations of one tick; what the limit cuts off may collide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyrvo
import torch

from planner.fleet_view import into_frame

if TYPE_CHECKING:
    from maps.scene import Scene
    from planner.rollout import FleetSimulation

LOOK_AHEAD = 2.0  # s
MOST_NEIGHBORS = 12
ROOM = 1.05  # of the radii


class Orca:
    """One simulator a fleet, made when a simulation is seen first."""

    def __init__(self) -> None:
        self._simulators: list[pyrvo.RVOSimulator] = []
        self._seen: FleetSimulation | None = None

    def act(self, simulation: FleetSimulation) -> torch.Tensor:
        """Actions of all robots, as `FleetSimulation.step` takes them."""
        if simulation is not self._seen:
            self._seen = simulation
            self._simulators = [_simulator(simulation, k) for k in range(len(simulation))]
        state, bodies, tick = simulation.state, simulation.bodies, simulation.config.filter.tick
        stopping = bodies.v_max / bodies.a_max
        way = simulation.tracks.at(state.along + stopping).position - state.position
        wanted = way / stopping[..., None]
        wanted = wanted * (bodies.v_max / wanted.norm(dim=-1).clamp_min(1e-9)).clamp_max(1.0)[..., None]
        seen = simulation.seen_strangers()
        chosen = torch.zeros_like(wanted)
        for k, simulator in enumerate(self._simulators):
            places = torch.cat([state.position[k], seen.position[k]]).tolist()
            velocities = torch.cat([state.velocity[k], seen.velocity[k]]).tolist()
            aims = torch.cat([wanted[k], seen.velocity[k]]).tolist()
            for i, (place, velocity, aim) in enumerate(zip(places, velocities, aims, strict=True)):
                simulator.set_agent_position(i, tuple(place))
                simulator.set_agent_velocity(i, tuple(velocity))
                simulator.set_agent_pref_velocity(i, tuple(aim))
            simulator.do_step()
            chosen[k] = torch.tensor([simulator.get_agent_velocity(i).to_tuple() for i in range(wanted.shape[1])])
        return into_frame((chosen - state.velocity) / tick, simulation.view.axis) / bodies.a_max[..., None]


def _simulator(simulation: FleetSimulation, k: int) -> pyrvo.RVOSimulator:
    simulator, bodies, strangers = pyrvo.RVOSimulator(), simulation.bodies, simulation.strangers
    simulator.set_time_step(simulation.config.filter.tick)
    reach = float(2.0 * bodies.v_max[k].max() * LOOK_AHEAD)
    for place, radius, top in zip(simulation.state.position[k].tolist(), bodies.radius[k].tolist(), bodies.v_max[k].tolist(), strict=True):
        simulator.add_agent(tuple(place), reach, MOST_NEIGHBORS, LOOK_AHEAD, 1.0, ROOM * radius, top)
    for place, radius in zip(strangers.position[k].tolist(), strangers.radius[k].tolist(), strict=True):
        simulator.add_agent(tuple(place), reach, 0, LOOK_AHEAD, 1.0, ROOM * radius, reach)
    for ring in _rings(simulation.scenarios[k].scene):
        simulator.add_obstacle([tuple(vertex) for vertex in ring])
    simulator.process_obstacles()
    return simulator


def _rings(scene: Scene) -> list[np.ndarray]:
    """Walls as polygons, counter-clockwise; the bounds clockwise, so that robots stay inside."""
    rings = [np.array(polygon.outer) for polygon in scene.polygons]
    rings = [ring if _area(ring) > 0 else ring[::-1] for ring in rings]
    angle = 2.0 * np.pi * np.arange(16) / 16
    circle = np.stack([np.cos(angle), np.sin(angle)], 1) / np.cos(np.pi / 16)
    rings += [np.array([x, y]) + radius * circle for x, y, radius in scene.discs.tolist()]
    if scene.grid is not None:
        rings += _runs(scene.grid.occupied, scene.grid.resolution, scene.grid.origin)
    if scene.bounds is not None:
        x0, y0, x1, y1 = scene.bounds
        rings.append(np.array([(x0, y0), (x0, y1), (x1, y1), (x1, y0)]))
    return rings


def _area(ring: np.ndarray) -> float:
    after = np.roll(ring, -1, axis=0)
    return float((ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0]).sum())


def _runs(occupied: np.ndarray, side: float, origin: tuple[float, float]) -> list[np.ndarray]:
    """Rectangles over the cells next to free ones, run by run along rows; equal runs of rows above each other are one."""
    open_runs: dict[tuple[int, int], int] = {}
    out = []
    for row in range(occupied.shape[0] + 1):
        line = occupied[row].astype(np.int8) if row < occupied.shape[0] else np.zeros(occupied.shape[1], np.int8)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line, [0]])))
        runs = {(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)}
        for run in [known for known in open_runs if known not in runs]:
            first = open_runs.pop(run)
            (x0, x1), (y0, y1) = run, (first, row)
            box = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)
            out.append(np.array(origin) + side * box)
        open_runs |= {run: row for run in runs if run not in open_runs}
    return out
