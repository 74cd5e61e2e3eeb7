"""What can go wrong with what was asked, as one tree of exceptions.

    PlanningError                  anything this product raises on purpose
    |-- InvalidInput               the caller's data cannot be used; carries where, received, allowed
    |   |-- InvalidScene           an obstacle, bound or grid
    |   |-- InvalidFleet           a robot's size, limits or name
    |   |-- InvalidScenario        a start, goal, horizon or moving obstacle
    |   |-- InvalidMapFile         a map file that cannot be read
    |   `-- LimitExceeded          more than a cap allows
    |-- UnknownMap                 no map of that id
    |-- InvalidCheckpoint          stored weights that are not what they should be
    `-- DivergedTraining           a loss that is no number any more

An outcome of planning (a goal that cannot be reached, a plan not found) is no exception: it is a
`maps.reason.Reason` in the plan.
"""


class PlanningError(Exception):
    """The root of the tree."""


class InvalidInput(PlanningError, ValueError):
    """Data that cannot be used.

    Args:
        message: what is wrong, in a sentence.
        pointer: JSON pointer to the offending value, relative to what was handed over ("" for all of it).
        code: machine-readable name of the fault.
        value: what was received, where it is a number or a short text.
        limit: what would be allowed, where it is a number or a short text.
    """

    code = "INVALID_INPUT"

    def __init__(
        self,
        message: str,
        *,
        pointer: str = "",
        code: str | None = None,
        value: int | float | str | None = None,
        limit: int | float | str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.code = code or type(self).code
        self.value = value
        self.limit = limit

    def under(self, prefix: str) -> "InvalidInput":
        """The same fault, seen from a document that holds this one at `prefix` (a JSON pointer)."""
        self.pointer = prefix + self.pointer
        return self


class InvalidScene(InvalidInput):
    """An obstacle, a bound or a grid that is no valid shape."""

    code = "INVALID_SCENE"


class InvalidFleet(InvalidInput):
    """A robot without a positive radius or limits, or two robots of one name."""

    code = "INVALID_FLEET"


class InvalidScenario(InvalidInput):
    """A start, goal, horizon or moving obstacle that makes no sense."""

    code = "INVALID_SCENARIO"


class InvalidMapFile(InvalidInput):
    """A map file that cannot be read as what it claims to be."""

    code = "INVALID_MAP_FILE"


class LimitExceeded(InvalidInput):
    """More than a cap allows; `limit` holds the cap."""

    code = "LIMIT_EXCEEDED"


class UnknownMap(PlanningError, LookupError):
    """No map of that id is registered."""

    def __init__(self, map_id: str) -> None:
        super().__init__(f"no map has the id {map_id!r}")
        self.map_id = map_id


class InvalidCheckpoint(PlanningError, ValueError):
    """Stored weights that are missing, damaged or made for something else.

    Args:
        message: what is wrong, in a sentence; `file` is put before it.
        file: the file or folder that is at fault.
        value: what was found, where it is a number or a short text.
        limit: what should be there, where it is a number or a short text.
    """

    def __init__(self, message: str, *, file: str, value: int | float | str | None = None, limit: int | float | str | None = None) -> None:
        super().__init__(f"{file}: {message}")
        self.message = message
        self.file = file
        self.value = value
        self.limit = limit


class DivergedTraining(PlanningError, ArithmeticError):
    """A loss or its gradient is not finite; `step` counts from 1, `state` is the last good state, if there is one."""

    def __init__(self, step: int, state: str | None) -> None:
        kept = f"the last good state is {state}" if state else "no state was stored before"
        super().__init__(f"the loss or its gradient is not finite at step {step}; {kept}")
        self.step = step
        self.state = state
