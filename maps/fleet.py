"""The robots: names, sizes and limits."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from maps.errors import InvalidFleet


@dataclass(frozen=True)
class Fleet:
    """N discs, each with its own radius and limits."""

    ids: tuple[str, ...]
    radius: Float[Tensor, " N"]  # m
    v_max: Float[Tensor, " N"]  # m/s, Euclidean norm
    a_max: Float[Tensor, " N"]  # m/s^2, Euclidean norm

    def __post_init__(self) -> None:
        """Refuses an empty fleet, repeated names and sizes or limits that are not positive and finite."""
        if not self.ids:
            raise InvalidFleet("a fleet needs at least one robot", pointer="/robots", code="NO_ROBOTS", value=0, limit=1)
        seen: dict[str, int] = {}
        for k, name in enumerate(self.ids):
            if name in seen:
                raise InvalidFleet(
                    f"robots {seen[name]} and {k} have the same id {name!r}", pointer=f"/robots/{k}/id", code="DUPLICATE_ID", value=name
                )
            seen[name] = k
        for label, pointer in (("radius", "radius"), ("v_max", "limits/v_max"), ("a_max", "limits/a_max")):
            values = getattr(self, label)
            bad = ~((values > 0) & values.isfinite())
            if bool(bad.any()):
                k = int(bad.nonzero()[0, 0])
                raise InvalidFleet(
                    f"{label} of robot {self.ids[k]!r} must be positive and finite",
                    pointer=f"/robots/{k}/{pointer}",
                    value=float(values[k]),
                    limit=0.0,
                )

    def __len__(self) -> int:
        return len(self.ids)
