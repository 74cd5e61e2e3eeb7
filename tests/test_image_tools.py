"""What the image is built with: the trimming of the environment, and pip's configuration handed on."""

import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, DEPLOY / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


trim = loaded("trim_image")
build = loaded("image_build")


@pytest.fixture
def site(tmp_path):
    """Packages as installed."""
    for name in (
        "torch/include/a.h",
        "torch/bin/protoc",
        "torch/bin/torch_shm_manager",
        "scipy/linalg/tests/test_x.py",
        "numpy/tests/x.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("0123456789")
    return tmp_path


def test_pruning_deletes_what_is_listed_and_nothing_else(site):
    assert trim.prune(site) == 30
    left = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert left == {"torch/bin/torch_shm_manager", "numpy/tests/x.py"}


def test_bytecode_outlives_a_change_of_times(tmp_path):
    source = tmp_path / "twice.py"
    source.write_text("value = 1\n")
    cached = Path(py_compile.compile(str(source)))
    orphan = cached.with_name("gone.cpython-311.pyc")
    orphan.write_bytes(cached.read_bytes())
    assert trim.settle_bytecode(tmp_path) == 1
    assert not orphan.exists()
    source.write_text("value = 2\n")  # not looked at any more, whatever its time and size
    ran = subprocess.run(
        [sys.executable, "-c", "import twice; print(twice.value)"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "1\n"


LISTING = """\
:env:.index-url='http://from.the.environment/simple'
global.index-url='http://from.a.file/simple'
global.find-links='{folder}/wheels\\n{folder}/missing'
global.extra-index-url='file://{folder}/mirror/simple'
install.user='true'
"""


def test_the_environment_goes_before_files():
    options = build.pip_options(LISTING)
    assert options["index-url"] == "http://from.the.environment/simple"
    assert "user" not in options


def test_folders_that_pip_reads_are_mounted(tmp_path):
    for name in ("wheels", "mirror/simple", "mirror/files"):
        (tmp_path / name).mkdir(parents=True)
    options = build.pip_options(LISTING.format(folder=tmp_path))
    assert build.local_paths(options) == [f"{tmp_path}/mirror", f"{tmp_path}/wheels"]


def test_pip_reads_what_is_handed_on(tmp_path, monkeypatch):
    own = tmp_path / "own.conf"
    own.write_text("[global]\nindex-url = http://127.0.0.1:9/simple\nfind-links =\n    /one\n    /two\n")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(own))
    secret = next(a for a in build.pip_arguments(tmp_path) if a.startswith("--secret")).partition("src=")[2]
    monkeypatch.setenv("PIP_CONFIG_FILE", secret)
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    options = build.pip_options(listed.stdout)
    assert (options["index-url"], options["find-links"].split()) == ("http://127.0.0.1:9/simple", ["/one", "/two"])
