import hashlib
import json
import pickle

import pytest
import safetensors.torch
import torch
from torch import nn

from maps.errors import InvalidCheckpoint, PlanningError
from models.checkpoint import fill_module, load_weights, save_weights, weights_folder

CONFIG = {"width": 8, "shares": [0.5, 0.25], "blind": False, "note": None}


def tensors():
    generator = torch.Generator().manual_seed(3)
    return {
        "layer.weight": torch.randn(4, 3, generator=generator),
        "layer.bias": torch.randn(4, generator=generator).bfloat16(),
        "exact": torch.randn(2, 2, 2, generator=generator, dtype=torch.float64),
        "half": torch.randn(5, generator=generator).half(),
        "scalar": torch.tensor(1e-42),  # below the smallest normal number
        "count": torch.tensor([1, -(2**40)]),
        "mask": torch.tensor([True, False]),
    }


def save(folder, **changed):
    return save_weights(folder, "net", "1.2", CONFIG, tensors() | changed)


def describe(folder, **changed):
    path = folder / "net.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def forge(folder, content):
    """Other weights, with a description that has their size and hash."""
    (folder / "net.safetensors").write_bytes(content)
    describe(folder, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def refuses(folder, match, name="net"):
    with pytest.raises(InvalidCheckpoint, match=match) as refusal:
        load_weights(folder, name)
    assert isinstance(refusal.value, PlanningError)
    assert str(folder) in str(refusal.value)
    return refusal.value


def test_what_was_stored_comes_back_bit_by_bit(tmp_path):
    identity = save(tmp_path / "deep" / "folder")
    loaded, config, found = load_weights(tmp_path / "deep" / "folder", "net")
    assert loaded == identity
    assert (loaded.name, loaded.version) == ("net", "1.2")
    assert config == CONFIG
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_description_tells_what_the_weights_hold(tmp_path):
    identity = save(tmp_path)
    packed = (tmp_path / "net.safetensors").read_bytes()
    told = json.loads((tmp_path / "net.json").read_text())
    assert told["sha256"] == identity.sha256 == hashlib.sha256(packed).hexdigest()
    assert (told["format"], told["bytes"], told["config"]) == (1, len(packed), CONFIG)
    assert told["tensors"]["layer.bias"] == {"shape": [4], "dtype": "bfloat16"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.json", "net.safetensors"]


def test_same_weights_have_the_same_hash(tmp_path):
    turned = dict(reversed(tensors().items()))
    assert save(tmp_path / "a").sha256 == save_weights(tmp_path / "b", "net", "1.3", {}, turned).sha256
    assert save(tmp_path / "c", scalar=torch.tensor(2.0)).sha256 != save(tmp_path / "a").sha256


def test_views_and_shared_memory_are_stored_as_they_look(tmp_path):
    shared = torch.arange(12.0).reshape(3, 4)
    save_weights(tmp_path, "net", "1", {}, {"a": shared.T, "b": shared, "c": shared[1]})
    found = load_weights(tmp_path, "net")[2]
    assert torch.equal(found["a"], found["b"].T)
    assert found["c"].tolist() == [4.0, 5.0, 6.0, 7.0]


def test_saving_again_replaces(tmp_path):
    save(tmp_path)
    second = save(tmp_path, scalar=torch.tensor(7.0))
    assert load_weights(tmp_path, "net")[0] == second


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    with pytest.raises(InvalidCheckpoint, match=r"'half'.*NaN or infinite"):
        save(tmp_path, half=torch.tensor([1.0, value]).half())
    assert list(tmp_path.iterdir()) == []
    save(tmp_path)
    forge(tmp_path, safetensors.torch.save(tensors() | {"half": torch.tensor([0.0, 1.0, value, 0.0, 0.0]).half()}))
    refuses(tmp_path, "'half'.*NaN or infinite")


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_missing_file_is_refused(tmp_path, ending):
    save(tmp_path)
    (tmp_path / f"net.{ending}").unlink()
    refuses(tmp_path, rf"net\.{ending}: cannot be read")


def test_changed_weights_are_refused(tmp_path):
    save(tmp_path)
    path = tmp_path / "net.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    refuses(tmp_path, "sha256")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_weights_are_refused(tmp_path, share):
    save(tmp_path)
    path = tmp_path / "net.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    error = refuses(tmp_path, "truncated")
    assert (error.value, error.limit) == (int(share * len(content)), len(content))


def test_longer_weights_are_refused(tmp_path):
    save(tmp_path)
    with (tmp_path / "net.safetensors").open("ab") as stream:
        stream.write(b"\0")
    refuses(tmp_path, "number of bytes")


def test_truncation_is_refused_even_where_the_description_agrees(tmp_path):
    save(tmp_path)
    forge(tmp_path, (tmp_path / "net.safetensors").read_bytes()[:-1])
    refuses(tmp_path, "no safetensors")


class Mischief:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_pickles_are_refused_and_not_run(tmp_path):
    save(tmp_path)
    forge(tmp_path, pickle.dumps(Mischief()))
    refuses(tmp_path, "no safetensors")
    torch.save(tensors(), tmp_path / "pickled")
    forge(tmp_path, (tmp_path / "pickled").read_bytes())
    refuses(tmp_path, "no safetensors")


@pytest.mark.parametrize(
    ("name", "other", "match"),
    [
        ("layer.weight", torch.zeros(3, 4), "'layer.weight'.*shape"),
        ("layer.weight", torch.zeros(4, 3, dtype=torch.float64), "'layer.weight'.*float64"),
        ("novel", torch.zeros(1), r"too many \['novel'\]"),
    ],
)
def test_other_tensors_than_described_are_refused(tmp_path, name, other, match):
    save(tmp_path)
    forge(tmp_path, safetensors.torch.save(tensors() | {name: other}))
    refuses(tmp_path, match)


def test_missing_tensor_is_refused(tmp_path):
    save(tmp_path)
    forge(tmp_path, safetensors.torch.save({name: tensor for name, tensor in tensors().items() if name != "mask"}))
    refuses(tmp_path, r"missing \['mask'\]")


@pytest.mark.parametrize("number", [0, 2, None, "1"])
def test_unknown_format_is_refused(tmp_path, number):
    save(tmp_path)
    describe(tmp_path, format=number)
    refuses(tmp_path, "format number")


def test_foreign_name_is_refused(tmp_path):
    save(tmp_path)
    for ending in ("json", "safetensors"):
        (tmp_path / f"net.{ending}").rename(tmp_path / f"other.{ending}")
    refuses(tmp_path, "name is 'net', not 'other'", name="other")


@pytest.mark.parametrize("name", ["", "../net", "Net", "a/b", "net.json", "net\n"])
def test_names_that_are_no_file_names_are_refused(tmp_path, name):
    refuses(tmp_path, "a name has", name=name)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff\xfe", b'{"format": 1}'])
def test_descriptions_that_are_none_are_refused(tmp_path, content):
    save(tmp_path)
    (tmp_path / "net.json").write_bytes(content)
    refuses(tmp_path, r"net\.json")


@pytest.mark.parametrize("entry", ["name", "version", "sha256", "bytes", "config", "tensors"])
def test_each_entry_is_needed_and_of_its_type(tmp_path, entry):
    save(tmp_path)
    describe(tmp_path, **{entry: [1]})
    refuses(tmp_path, f"no '{entry}'")


@pytest.mark.parametrize("other", [nn.Linear(3, 5), nn.Linear(3, 4, bias=False), nn.Sequential(nn.Linear(3, 4))])
def test_module_takes_only_tensors_that_fit(tmp_path, other):
    source, target = nn.Linear(3, 4), nn.Linear(3, 4)
    fill_module(target, source.state_dict(), tmp_path)
    assert torch.equal(target.weight, source.weight)
    with pytest.raises(InvalidCheckpoint, match="does not fit"):
        fill_module(other, source.state_dict(), tmp_path)


def test_released_weights_lie_in_the_package():
    assert (weights_folder() / "__init__.py").is_file()
    assert weights_folder().parts[-2:] == ("models", "weights")
