"""What a run tells while it goes on: CSV tables, TensorBoard events and a progress bar."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from models.checkpoint import write_whole


class Table:
    """A CSV file with one row for a step; columns may join at any time, earlier rows have nothing there."""

    def __init__(self, path: Path, last_step: int) -> None:
        """Goes on with the rows up to `last_step` of a file that is there; those beyond belong to a past that is undone."""
        self._path = path
        self._columns: list[str] = []
        self._rows: list[dict[str, Any]] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                reader = csv.DictReader(stream)
                # A row that was cut off while it was written has nothing in its last columns, or no number in its first.
                self._rows = [row for row in reader if (row.get("step") or "").isdigit() and int(row["step"]) <= last_step]
                self._columns = list(reader.fieldnames or []) if self._rows else []
            self._rewrite()

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a row, or replaces the last one if it is of the same step."""
        row = {"step": str(step)} | {name: f"{value:.6g}" for name, value in values.items()}
        joined = [name for name in row if name not in self._columns]
        again = bool(self._rows) and self._rows[-1]["step"] == row["step"]
        self._columns += joined
        self._rows[-1 if again else len(self._rows) :] = [row]
        if joined or again:
            self._rewrite()
        else:
            with self._path.open("a", newline="", encoding="utf-8") as stream:
                self._writer(stream).writerow(row)

    def _rewrite(self) -> None:
        stream = io.StringIO(newline="")
        writer = self._writer(stream)
        if self._columns:
            writer.writeheader()
        writer.writerows(self._rows)
        write_whole(self._path, stream.getvalue().encode())

    def _writer(self, stream: Any) -> csv.DictWriter:
        return csv.DictWriter(stream, self._columns, restval="", lineterminator="\n")


class Journal:
    """The tables `log.csv` and `evaluation.csv` of a run, and the same as TensorBoard events."""

    def __init__(self, folder: Path, last_step: int, tensorboard: bool) -> None:
        """Goes on after `last_step`; `tensorboard`: whether to write events too, in the folder of that name."""
        self._tables = {name: Table(folder / f"{name}.csv", last_step) for name in ("log", "evaluation")}
        self._events = _event_writer(folder / "tensorboard", last_step) if tensorboard else None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._events is not None:
            self._events.close()

    def write(self, table: str, step: int, values: Mapping[str, float]) -> None:
        """One row of `log` or `evaluation`."""
        self._tables[table].append(step, values)
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(f"{table}/{name}", value, step)


def _event_writer(folder: Path, last_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        message = "event files need TensorBoard: pip install 'flowfleet[train]', or train with tensorboard=False"
        raise ModuleNotFoundError(message, name="tensorboard") from error
    return SummaryWriter(str(folder), purge_step=last_step + 1, flush_secs=30)


class ProgressBar:
    """A bar over the share that is done, by steps or time; silent where there is no terminal."""

    def __init__(self, done: float) -> None:
        """Starts where an earlier part of the run ended, so that the time left is told by this one's pace."""
        shape = "{desc}{percentage:5.1f} % |{bar}| {elapsed}, {remaining} left{postfix}"
        self._bar = tqdm(total=1.0, initial=min(done, 1.0), bar_format=shape, smoothing=0.0, disable=None)

    def move(self, done: float) -> None:
        """Draws anew, at most ten times a second."""
        self._bar.update(min(done, 1.0) - self._bar.n)

    def tell(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the latest values."""
        self._bar.set_description_str(f"step {step} ", refresh=False)
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()
