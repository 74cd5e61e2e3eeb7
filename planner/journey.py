"""What is tried for one scenario, in turn, until it has its plan."""

from concurrent.futures import Executor

from planner.horizon import shortest_horizon
from planner.outcome import blame
from planner.polish import polish, returned
from planner.repertoire import Repertoire
from planner.task import Task
from planner.waves import Steps


def journey(task: Task, repertoire: Repertoire, idle: Executor | None = None) -> Steps:
    """The waves of a scenario from its checks to its polish; what they lead to is in the task.

    Args:
        task: nothing is known of it yet.
        repertoire: the waves that there are.
        idle: threads that have nothing else to do, see `Repertoire.attempts`.
    """
    _check(task)
    if _open(task) and task.scenario.horizon is None:
        yield from shortest_horizon(task, lambda: _attempts(task, repertoire, idle, content=True))
    if _open(task):
        yield from _attempts(task, repertoire, idle)
    yield from _partial(task, repertoire, idle)
    for wave in repertoire.others(task):
        if task.found and len(returned(task)) < task.options.alternatives:
            yield wave
    if task.found:
        yield from polish(task, repertoire.config.polish)


def _check(task: Task) -> None:
    """Sorts out what is proven impossible; where a partial plan is allowed, the other robots go on."""
    reasons = {k: reason for k, reason in enumerate(task.asked.check()) if reason is not None}
    if reasons and task.options.allow_partial and len(reasons) < len(task.asked):
        task.leave_out(reasons)
    else:
        task.reasons.update(reasons)


def _open(task: Task) -> bool:
    """Whether a task has no plan yet and may have one."""
    return not task.found and (not task.reasons or (task.options.allow_partial and len(task.reasons) < len(task.asked)))


def _attempts(task: Task, repertoire: Repertoire, idle: Executor | None, content: bool = False) -> Steps:
    """Waves until there is a plan and, unless any will do, none that is doubtful."""
    for wave in repertoire.attempts(task, idle):
        if not task.found if content else wave.concerns(task):
            yield wave


def _partial(task: Task, repertoire: Repertoire, idle: Executor | None) -> Steps:
    """Leaves out the robots that stand most in the way, where the request allows it, until the others can go."""
    for _ in range(repertoire.config.leave_out):
        if not task.options.allow_partial or not _open(task) or task.late or len(task.kept) == 1:
            return
        task.leave_out(blame(task))
        yield from _attempts(task, repertoire, idle)
