"""A small environment with the methods of Gymnasium, whose best return is known."""

from types import SimpleNamespace

import numpy as np


class Slide:
    """A point on [-1, 1] that an action moves by half of it; each step costs the distance from 0 after it; eight steps.

    The best return from x is -max(|x| - 1/2, 0). Its start is drawn from numpy's global state, as some environments do. With
    `ends`, the episode terminates at 0.
    """

    action_space = SimpleNamespace(low=np.full(1, -2.0, np.float32), high=np.full(1, 2.0, np.float32))
    ends = False

    def reset(self, *, seed=None, options=None):
        self.place, self.steps = np.random.uniform(-1.0, 1.0, 1), 0  # noqa: NPY002
        return {"place": self.place, "sign": np.sign(self.place)}, {}

    def step(self, action):
        self.place = np.clip(self.place + 0.25 * action, -1.0, 1.0)
        self.steps += 1
        aside = float(abs(self.place[0]))
        seen = {"place": self.place, "sign": np.sign(self.place)}
        return seen, -aside, self.ends and aside < 0.05, self.steps == 8, {"success": aside < 0.05}

    def close(self):
        pass


class Ending(Slide):
    """The one that terminates at 0."""

    ends = True


class Discrete(Slide):
    """One that policies cannot act in."""

    action_space = SimpleNamespace(n=3)
