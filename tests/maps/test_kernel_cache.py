import os

from maps.kernel_cache import drop_stale_kernels


def write(file, text, when):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    os.utime(file, (when, when))
    return file


def test_one_newer_source_drops_every_kernel(tmp_path):
    caller = write(tmp_path / "a" / "__pycache__" / "calls.f-1.nbi", "", 100)
    called = write(tmp_path / "b" / "__pycache__" / "called.g-1.1.nbc", "", 120)
    source = write(tmp_path / "b" / "called.py", "@njit\ndef g(): ...", 90)
    write(tmp_path / "b" / "plain.py", "def h(): ...", 500)  # no kernels: its age does not matter
    assert drop_stale_kernels([tmp_path / "a", tmp_path / "b"]) == 0
    os.utime(source, (110, 110))
    assert drop_stale_kernels([tmp_path / "a", tmp_path / "b"]) == 2
    assert not caller.exists()
    assert not called.exists()


def test_nothing_cached_nothing_dropped(tmp_path):
    write(tmp_path / "a" / "calls.py", "@njit\ndef f(): ...", 100)
    assert drop_stale_kernels([tmp_path / "a", tmp_path / "missing"]) == 0
