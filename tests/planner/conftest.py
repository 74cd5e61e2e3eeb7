"""A data set of a few small fleets, made once."""

from pathlib import Path

import pytest

from planner.dataset import DatasetConfig, make_dataset

FEW = DatasetConfig(seed=8, scenarios=8, shard=8, robots=(1, 3))


@pytest.fixture(scope="session")
def few_config() -> DatasetConfig:
    """What `few_experts` was made with."""
    return FEW


@pytest.fixture(scope="session")
def few_experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one shard of eight scenarios; never write there."""
    folder = tmp_path_factory.mktemp("experts")
    make_dataset(folder, FEW, workers=1)
    return folder
