import re
from pathlib import Path
from typing import Any

import pytest

from gospa.environment import load_settings
from gospa.settings import Settings, SettingsError
from tests.gospa.settings_reference import REFERENCE, render

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def test_without_an_environment_there_are_defaults() -> None:
    assert load_settings({}) == Settings()


def test_an_empty_variable_is_the_default() -> None:
    assert load_settings({"REDIS_URL": "", "GOSPA_SESSION_IDLE": ""}) == Settings()


def test_other_variables_are_none_of_ours() -> None:
    assert load_settings({"PATH": "/bin", "REDIS": "x"}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("REDIS_URL", "rediss://u:p@h:1/2", "redis_url", "rediss://u:p@h:1/2"),
        ("REQUIRE_SHARED", "true", "require_shared", True),
        ("GOSPA_PRODUCTION", "1", "production", True),
        ("GOSPA_SESSION_GRACE", "0.5", "session_grace", 0.5),
        ("GOSPA_PATH_PREFIX", " /live\n", "path_prefix", "/live"),
        ("GOSPA_FRAME_SIZE", "2048", "frame_size", 2048),
        ("GOSPA_KEY_PREFIX", "a:b.c-d:", "key_prefix", "a:b.c-d:"),
        *(
            ("GOSPA_ALLOWED_ORIGINS", origins, "allowed_origins", origins)
            for origins in ("https://example.org", "http://[::1]:8000 , https://b.example:1")
        ),
    ],
)
def test_a_variable_sets_its_field(variable: str, value: str, field: str, expected: Any) -> None:
    assert getattr(load_settings({variable: value}), field) == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REQUIRE_SHARED", "maybe"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "http://localhost"),
        ("GOSPA_SESSION_IDLE", "0"),
        ("GOSPA_SESSION_IDLE", "-1"),
        ("GOSPA_SESSION_IDLE", "soon"),
        ("GOSPA_SESSION_IDLE", "nan"),
        ("GOSPA_SESSION_IDLE", "inf"),
        ("GOSPA_FRAME_SIZE", "1.5"),
        ("GOSPA_FRAME_SIZE", "12"),
        ("GOSPA_ALLOWED_ORIGINS", "example.org"),
        ("GOSPA_ALLOWED_ORIGINS", "https://example.org/"),
        ("GOSPA_ALLOWED_ORIGINS", "https://example.org https://example.com"),
        ("GOSPA_ALLOWED_ORIGINS", "https://*.example.org"),
        ("GOSPA_ALLOWED_ORIGINS", "null"),
        ("GOSPA_ALLOWED_ORIGINS", "ftp://example.org"),
        ("GOSPA_ALLOWED_ORIGINS", "https://bücher.example"),
        ("GOSPA_HEALTH_ADDRESS", "127.0.0.1:0"),
        ("GOSPA_FRAME_DEPTH", "33"),
        ("GOSPA_FRAMES_PER_SECOND", "0"),
        ("GOSPA_KEY_PREFIX", "a b"),
        ("GOSPA_KEY_PREFIX", "{a}"),
    ],
)
def test_what_cannot_be_used_is_named_with_a_remedy(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable) as refusal:
        load_settings({variable: value})
    assert re.search("has to|Change it", str(refusal.value))


@pytest.mark.parametrize(
    ("variable", "kind"),
    [
        ("GOSPA_DEMO", "either true or false"),
        ("GOSPA_ROOM_TTL", "a number"),
        ("GOSPA_ROOM_SIZE", "a whole number"),
    ],
)
def test_the_kind_of_a_value_is_said_in_words(variable: str, kind: str) -> None:
    with pytest.raises(SettingsError, match=f"'much' cannot be used: it is {kind}. Change it"):
        load_settings({variable: "much"})


def test_cookies_are_never_insecure_in_production() -> None:
    with pytest.raises(SettingsError, match="GOSPA_INSECURE_COOKIES"):
        load_settings({"GOSPA_PRODUCTION": "true", "GOSPA_INSECURE_COOKIES": "true"})


@pytest.mark.parametrize("form", ["redis", "rediss+cluster", "redis+sentinel", "unix"])
@pytest.mark.parametrize(
    "password", ["s3cr/et", "s3cr?et", "s3cr#et", "12/s3cret", "a@s3/cr", "#s3cr"]
)
def test_a_password_that_is_not_encoded_is_refused_and_not_told(form: str, password: str) -> None:
    for url in (f"{form}://app:{password}@host:6379/0", f"{form}://:{password}@host/main"):
        with pytest.raises(SettingsError, match="%2F %3F %23") as refusal:
            load_settings({"REDIS_URL": url})
        assert "s3" not in str(refusal.value)
        assert "cr" not in str(refusal.value).replace("encoded", "")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "redis://app:s3cr%2Fet%23%3F%40@host:6379/0",
            "redis://app:a:b@c@host/0",
            "unix:///a@b?db=0",
        ),
        *(
            "redis+sentinel://u:p@a,b:1/main/0?sentinel_password=x%40y",
            "rediss://h?ssl_ca_certs=/a/b",
        ),
    ],
)
def test_a_password_that_is_encoded_is_taken(url: str) -> None:
    assert load_settings({"REDIS_URL": url}).redis_url == url


def test_an_unknown_variable_of_ours_is_refused_with_the_name_that_was_meant() -> None:
    with pytest.raises(SettingsError, match="did you mean GOSPA_ALLOWED_ORIGINS"):
        load_settings({"GOSPA_ALOWED_ORIGIN": "x"})
    with pytest.raises(SettingsError, match=r"GOSPA_QQQQQ .* unset it"):
        load_settings({"GOSPA_QQQQQ": "x"})


def test_the_example_file_has_settings_with_their_defaults() -> None:
    lines = re.findall(r"^# (\w+)=(.*)$", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert lines
    given = {name: value for name, value in lines if name != "REDIS_URL"}
    assert load_settings(given) == Settings()


def test_the_reference_is_that_of_these_settings() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == render(), (
        "python -m tests.gospa.settings_reference"
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"GOSPA_ROOM_TTL": "3"}, "GOSPA_ROOM_TTL"),
        ({"GOSPA_VISITED_TTL": "20"}, "GOSPA_VISITED_TTL"),
        ({"GOSPA_SESSION_IDLE": "20"}, "GOSPA_SESSION_IDLE"),
        ({"GOSPA_SESSION_IDLE": "60"}, "GOSPA_SESSION_CHECK_INTERVAL"),
        ({"GOSPA_HEAD_CHECK_INTERVAL": "1e7"}, "GOSPA_HEAD_CHECK_INTERVAL"),
        ({"GOSPA_STORE_TIMEOUT": "20"}, "GOSPA_STORE_TIMEOUT"),
        ({"GOSPA_MUTATION_TTL": "1"}, "GOSPA_MUTATION_TTL"),
        ({"GOSPA_ONCE_TTL": "1"}, "GOSPA_ONCE_TTL"),
        ({"GOSPA_BYTES_PER_SECOND": "1024"}, "GOSPA_FRAME_SIZE"),
        ({"GOSPA_HANG_TIMEOUT": "29"}, "GOSPA_HANG_TIMEOUT=29"),
        ({"GOSPA_PRODUCTION": "true", "GOSPA_INSECURE_COOKIES": "true"}, "GOSPA_INSECURE_COOKIES"),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings(given)


@pytest.mark.parametrize("value", ["0", "30", "45.5"])
def test_the_time_until_a_worker_hangs_may_be_none(value: str) -> None:
    assert load_settings({"GOSPA_HANG_TIMEOUT": value}).hang_timeout == float(value)
