"""How well the flow policies learn tasks on a few cores: a maze from recorded data, and two bodies online.

python benchmarks/policy_tasks.py maze --out out/policies [--agents fql,qam] [--seeds 0,1] [--updates 4000]
python benchmarks/policy_tasks.py pendulum --out out/policies [--steps 4000] [--pictures docs]
python benchmarks/policy_tasks.py cheetah --out out/policies [--steps 20000] [--pictures docs]

Each run is a `flowfleet train policy` of its own, in a folder of its own: what is done already is not done again, and what was stopped
goes on. `--jobs` run at a time, one thread each; `--settle` only tells what the folder holds.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cells import table

ROOT = Path(__file__).resolve().parents[1]
DATA = "pointmaze-medium.npz"


@dataclass(frozen=True)
class Task:
    """What is learned, and how, the same for all agents."""

    env: str  # name of the environment
    options: tuple[str, ...]  # of `flowfleet train policy`
    networks: dict[str, str]  # settings by field; an agent takes those that it has
    agents: dict[str, dict[str, str]]  # by name: settings of its own
    length: int  # updates from data, or steps of the environment
    recorded: bool = False  # from data that are made first, not online
    seeds: tuple[int, ...] = (0,)
    measure: str = "return"  # of the evaluation, in pictures
    scale: float = 1.0  # of that measure, in the table


@dataclass(frozen=True)
class Run:
    """One agent with one seed on one task."""

    task: str
    agent: str
    seed: int
    length: int  # updates or steps
    folder: Path = field(compare=False)

    @property
    def place(self) -> Path:
        """Its folder."""
        return self.folder / f"{self.task}-{self.agent}-{self.seed}-{self.length}"

    def rows(self, name: str) -> list[dict[str, float]]:
        """Of the table `log` or `evaluation`, so far."""
        path = self.place / f"{name}.csv"
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as stream:
            return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]

    @property
    def done(self) -> bool:
        """Whether it was judged at its end."""
        rows = self.rows("evaluation")
        return bool(rows) and rows[-1]["step"] >= self.length


SMALL = {"critic.hidden": "[256,256]", "critic.activation": "relu"}
FLOW = {"hidden": "[128,128]", "activation": "relu"}
ONLINE = {f"{name}.hidden": "[128,128]" for name in ("critic", "actor", "flow")}
TASKS = {
    "maze": Task(
        "pointmaze-medium-navigate-singletask-v0",
        ("--normalize", "--chunk", "5", "--episodes", "50", "--evaluate-every", "1000000"),
        SMALL
        | {f"{name}.{key}": value for name in ("actor", "flow") for key, value in FLOW.items()}
        | {"solver.steps": "2", "q_agg": "min", "learning.discount": "0.995", "learning.polyak": "0.02", "learning.rate": "0.0005"},
        {
            "bc": {},
            "ifql": {"num_samples": "16"},
            "fql": {"alpha": "0.05", "critics": "4"},
            "qam": {"inv_temp": "0.5"},
            "gfp": {"alpha": "0.1", "eta_temperature": "0.01"},
            "df-dir": {"lam": "15"},
        },
        4000,
        recorded=True,
        seeds=(0, 1),
        measure="success",
        scale=100.0,
    ),
    "pendulum": Task(
        "Pendulum-v1",
        ("--random-steps", "500", "--wait", "500", "--batch", "128", "--episodes", "5", "--evaluate-every", "500"),
        ONLINE | {"learning.rate": "0.001", "learning.polyak": "0.01"},
        {"sac": {}, "swfp": {"pretrain": "0", "alpha": "0.002", "eta": "10"}, "fpmd-r": {}, "fpmd-m": {}, "flowrl": {}},
        4000,
    ),
    "cheetah": Task(
        "HalfCheetah-v4",
        (
            "--random-steps",
            "1000",
            "--wait",
            "1000",
            "--update-every",
            "4",
            "--batch",
            "128",
            "--episodes",
            "2",
            "--evaluate-every",
            "2500",
        ),
        ONLINE | {"learning.rate": "0.001", "learning.polyak": "0.01"},
        {"sac": {}, "swfp": {"pretrain": "0", "alpha": "0.01", "eta": "3"}, "fpmd-r": {}, "fpmd-m": {}, "flowrl": {}},
        20_000,
    ),
}


def command(run: Run, task: Task) -> list[str]:
    """What trains it."""
    from models.policies.registry import policy_config

    config = policy_config(run.agent, "cpu", {})
    settings = {name: value for name, value in task.networks.items() if hasattr(config, name.split(".")[0])} | task.agents[run.agent]
    steps = ["--offline-steps" if task.recorded else "--online-steps", str(run.length)]
    data = ["--data", str(run.folder / DATA)] if task.recorded else []
    resume = ["--resume"] if list(run.place.glob("state-*/run.json")) else []
    chosen = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    fixed = ["--agent", run.agent, "--env", task.env, "--preset", "cpu", "--seed", str(run.seed), "--no-tensorboard"]
    return ["train", "policy", str(run.place), *fixed, *steps, *data, *task.options, *chosen, *resume]


def flowfleet(arguments: list[str], log: Path) -> int:
    """A command in a process of its own, one thread; its exit code. What it says goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with log.open("a", encoding="utf-8") as stream:
        one = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, "-m", "api.cli", *arguments], stdout=stream, stderr=stream, env=one, check=False).returncode


def do(run: Run, task: Task) -> None:
    """Trains and judges it, unless that is done."""
    if run.done:
        return
    code = flowfleet(command(run, task), run.folder / f"{run.place.name}.txt")
    print(f"{run.place.name}: {'done' if code == 0 else f'exit code {code}'}", file=sys.stderr, flush=True)


def told(runs: list[Run], task: Task) -> str:
    """The table of the runs that are done."""
    rows = []
    for agent in task.agents:
        mine = [run for run in runs if run.agent == agent and run.done]
        if mine:
            ends, spent = [run.rows("evaluation")[-1] for run in mine], [run.rows("log")[-1] for run in mine]
            found = [end[task.measure] * task.scale for end in ends]
            steps = sum(end["length"] for end in ends) / len(ends)
            each = ", ".join(f"{value:.0f}" for value in found)
            cells = [f"{sum(found) / len(found):.0f}", each, f"{steps:.0f}"]
            rows.append([agent, *cells, int(spent[0]["updates"]), f"{max(row['minutes'] for row in spent):.1f}"])
    unit = " %" if task.scale == 100.0 else ""
    return table(["agent", f"{task.measure}{unit}, mean", "each seed", "steps an episode", "updates", "min"], rows)


def draw(runs: list[Run], task: Task, path: Path) -> None:
    """The curves of the evaluations: the mean of the seeds, and a band between the least and the most."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 3.6), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    for agent in task.agents:
        curves = [run.rows("evaluation") for run in runs if run.agent == agent and run.done]
        if curves:
            steps = [row["step"] for row in curves[0]]
            values = [[curve[k][task.measure] for curve in curves] for k in range(len(steps))]
            (line,) = axes.plot(steps, [sum(row) / len(row) for row in values], label=agent, linewidth=1.5)
            axes.fill_between(steps, [min(row) for row in values], [max(row) for row in values], color=line.get_color(), alpha=0.15)
    axes.set_title(f"{task.env}: {task.measure} of an episode", fontsize=10)
    axes.set_xlabel("steps of the environment")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures how well flow policies learn tasks.")
    parser.add_argument("task", choices=sorted(TASKS))
    parser.add_argument("--out", type=Path, required=True, help="folder of data and runs")
    parser.add_argument("--agents", help="of the task's, with commas; all unless given")
    parser.add_argument("--seeds", help="with commas; the task's unless given")
    parser.add_argument("--updates", "--steps", dest="length", type=int, help="of each run")
    parser.add_argument("--jobs", type=int, default=2, help="at a time")
    parser.add_argument("--pictures", type=Path, help="folder for the curves")
    parser.add_argument("--settle", action="store_true", help="tells what is done already, and does nothing")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    task, folder = TASKS[arguments.task], arguments.out.resolve()
    agents = arguments.agents.split(",") if arguments.agents else list(task.agents)
    seeds = [int(seed) for seed in arguments.seeds.split(",")] if arguments.seeds else task.seeds
    runs = [Run(arguments.task, agent, seed, arguments.length or task.length, folder) for seed in seeds for agent in agents]
    if not arguments.settle:
        if task.recorded and not (folder / DATA).exists():
            flowfleet(["make-data", "pointmaze", str(folder / DATA)], folder / "make-data.txt")
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(lambda run: do(run, task), runs))
    print(told(runs, task))
    if arguments.pictures is not None:
        draw(runs, task, arguments.pictures / f"policies_{arguments.task}.png")


if __name__ == "__main__":
    main()
