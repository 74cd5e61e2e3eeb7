"""Where settings come from, which goes before which, and that none is lost, misspelt or told."""

import os
import subprocess
import sys
import tomllib

import pytest

from api.settings import Settings, load_settings
from api.settings_file import settings_text
from maps.errors import InvalidInput


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "flowfleet.toml"
    path.write_text('port = 9001\nmax_robots = 7\nqueue_size = 3\napi_keys = ["k-1", "k-2"]\n')
    return path


def test_an_argument_goes_before_the_environment_and_that_before_the_file(file, monkeypatch) -> None:
    monkeypatch.setenv("FLOWFLEET_PORT", "9002")
    monkeypatch.setenv("FLOWFLEET_MAX_ROBOTS", "8")
    settings = load_settings(file, port=9003, host=None)
    assert (settings.port, settings.max_robots, settings.queue_size, settings.batch_size) == (9003, 8, 3, 32)
    assert settings.host == Settings.model_fields["host"].default


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_robot = 7", ["'max_robot'", "max_robots is one"]),
        ("[server]\nport = 1", ["'server'"]),
        ("port = ", ["is no TOML"]),
        ("port = 70000", ["PORT", "70000"]),
        ('jwt_secret = "too short to be one"', ["JWT_SECRET", "32 bytes"]),
        ('jwt_secret = "0123456789abcdef0123456789abcdef"\njwt_algorithms = ["none"]', ["JWT_ALGORITHMS"]),
        ('jwt_secret = "0123456789abcdef0123456789abcdef"\njwt_algorithms = ["RS256"]', ["JWT_ALGORITHMS"]),
        ('jwt_public_key = "x"\njwt_algorithms = ["HS256"]', ["JWT_ALGORITHMS"]),
        ('jwt_public_key = "x"', ["JWT_ALGORITHMS"]),
    ],
)
def test_what_is_no_setting_is_refused_by_name(tmp_path, text, words) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(InvalidInput) as refused:
        load_settings(tmp_path / "x.toml")
    assert all(word in refused.value.message for word in words), refused.value.message
    assert "0123456789abcdef" not in refused.value.message


def test_a_list_in_the_environment_is_parted_by_commas(monkeypatch) -> None:
    monkeypatch.setenv("FLOWFLEET_API_KEYS", "one, two,")
    monkeypatch.setenv("FLOWFLEET_CORS_ORIGINS", "https://a.example")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", "two"]
    assert settings.cors_origins == ("https://a.example",)


def test_what_is_printed_can_be_read_back_and_tells_no_secret(file) -> None:
    settings = load_settings(file, jwt_secret="s" * 32, jwt_audience='quote " and \x7f', log_level="debug")
    text = settings_text(settings)
    assert "k-1" not in text
    assert "ssss" not in text
    read = tomllib.loads(text)
    assert read["jwt_audience"] == settings.jwt_audience
    for name in set(Settings.model_fields) - {"api_keys", "jwt_secret"}:
        expected = getattr(settings, name)
        assert read.get(name) == (list(expected) if isinstance(expected, tuple) else expected), name


def test_print_config_prints_what_the_server_would_run_with(file) -> None:
    environment = os.environ | {"FLOWFLEET_CONFIG": str(file), "FLOWFLEET_QUEUE_SIZE": "5"}
    command = [sys.executable, "-m", "api.cli", "serve", "--port", "9", "--print-config"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    read = tomllib.loads(done.stdout)
    assert (read["port"], read["queue_size"], read["max_robots"]) == (9, 5, 7)
