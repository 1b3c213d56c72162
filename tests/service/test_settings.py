"""Settings: which source stands over which, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings, SettingsError, load_settings


def complaint(
    path: Path | None = None, environment: dict[str, str] | None = None, **overrides: object
) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environment=environment or {}, **overrides)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "onward.toml"


def test_defaults_need_no_file_and_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(environment={})
    assert settings == Settings()
    topics = settings.topics
    assert [topics.events, topics.labels, topics.predictions, topics.dead_letters, topics.checkpoints] == [
        "onward.events",
        "onward.labels",
        "onward.predictions",
        "onward.dead-letters",
        "onward.checkpoints",
    ]
    assert settings.http.host == "127.0.0.1"
    assert settings.specification().targets == ("value",)


def test_environment_stands_over_file_and_overrides_over_both(file: Path) -> None:
    file.write_text('[kafka]\ngroup_id = "file"\nbootstrap_servers = "file:1"\n[http]\nport = 1\n')
    environment = {
        "ONWARD_KAFKA__GROUP_ID": "environment",
        "ONWARD_KAFKA__BOOTSTRAP_SERVERS": "environment:1",
    }
    settings = load_settings(file, environment=environment, kafka__group_id="override", http__port=None)
    assert settings.kafka.group_id == "override"
    assert settings.kafka.bootstrap_servers == "environment:1"
    assert settings.http.port == 1


def test_the_file_is_found_by_argument_variable_or_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, port in (("onward.toml", 1), ("variable.toml", 2), ("argument.toml", 3)):
        (tmp_path / name).write_text(f"[http]\nport = {port}\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings(environment={}).http.port == 1
    environment = {"ONWARD_CONFIG": str(tmp_path / "variable.toml")}
    assert load_settings(environment=environment).http.port == 2
    assert load_settings(tmp_path / "argument.toml", environment=environment).http.port == 3


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    file.write_text("")
    monkeypatch.setenv("ONWARD_HTTP__PORT", "4321")
    assert load_settings(file).http.port == 4321


def test_a_variable_set_to_nothing_counts_as_not_set() -> None:
    assert load_settings(environment={"ONWARD_HTTP__PORT": "", "ONWARD_LOG__LEVEL": " "}) == Settings()


def test_variables_that_are_no_settings_are_left_alone() -> None:
    """Kubernetes sets variables of these forms in every pod beside a Service called onward or onward-http."""
    environment = {
        "ONWARD_SERVICE_HOST": "10.0.0.1",
        "ONWARD_PORT": "tcp://10.0.0.1:80",
        "ONWARD_HTTP_PORT": "tcp://10.0.0.1:80",
        "ONWARD_REQUIRE_ALL": "1",
        "PATH": "/bin",
    }
    assert load_settings(environment=environment) == Settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("load", {"load": "load"}),
        ("load, temperature", {"load": "load", "temperature": "temperature"}),
        ("load=payload.kw,t=payload.t", {"load": "payload.kw", "t": "payload.t"}),
        ('["load"]', {"load": "load"}),
        ('{"load": "payload.kw"}', {"load": "payload.kw"}),
    ],
)
def test_fields_in_the_environment_are_lists_or_mappings(text: str, expected: dict[str, str]) -> None:
    settings = load_settings(environment={"ONWARD_FIELDS__TARGETS": text})
    assert settings.fields.targets == expected
    assert settings.specification().targets == tuple(expected)


def test_fields_in_the_file_are_tomls_own(file: Path) -> None:
    file.write_text(
        '[fields]\nseries = "@key"\nfeatures = ["humidity"]\n[fields.targets]\nload = "payload.kw"\n'
        '[model]\nprofile = "fast"\nhorizons = [1, 24]\nunits = 4\n'
    )
    settings = load_settings(file, environment={})
    specification = settings.specification()
    assert settings.fields.targets == {"load": "payload.kw"}
    assert (specification.targets, specification.features) == (("load",), ("humidity",))
    assert (specification.horizons, specification.units, specification.lags) == ((1, 24), 4, 16)


def test_a_password_comes_from_its_file_and_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    environment = {
        "ONWARD_KAFKA__SECURITY__PROTOCOL": "SASL_SSL",
        "ONWARD_KAFKA__SECURITY__USERNAME": "u",
        "ONWARD_KAFKA__SECURITY__PASSWORD_FILE": str(tmp_path / "password"),
    }
    security = load_settings(environment=environment).kafka.security
    assert (security.sasl, security.ssl, security.read_password()) == (True, True, "s3cret")
    del environment["ONWARD_KAFKA__SECURITY__PASSWORD_FILE"]
    environment["ONWARD_KAFKA__SECURITY__PASSWORD"] = "s3cret"
    settings = load_settings(environment=environment)
    assert settings.kafka.security.read_password() == "s3cret"
    assert "s3cret" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_SSL"])
def test_no_complaint_shows_a_password(file: Path, protocol: str) -> None:
    file.write_text(f'[kafka.security]\nprotocol = "{protocol}"\npassword = "s3cret"\nnonsense = 1\n')
    assert "s3cret" not in complaint(file)
    file.write_text(f'[kafka.security]\nprotocol = "{protocol}"\npassword = 12345678\n')
    assert "12345678" not in complaint(file)


def test_a_complaint_names_the_variable_the_key_or_the_option(file: Path) -> None:
    file.write_text('[http]\nport = 99999\n[log]\nlevel = "LOUD"\n')
    text = complaint(file, {"ONWARD_LOG__LEVEL": "SILENT"}, topics__events="no topic")
    assert len(text.splitlines()) == 3
    assert f"http.port in {file}: " in text
    assert "not 99999" in text
    assert "ONWARD_LOG__LEVEL: " in text
    assert "'DEBUG', 'INFO', 'WARNING' or 'ERROR', not 'SILENT'" in text
    assert "topics.events given to the command: " in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[kafka]\ngroup_idd = 'x'", "did you mean kafka.group_id?"),
        ("[kafkaa]\ngroup_id = 'x'", "did you mean kafka?"),
        ("bootstrap_servers = 'x:1'", "did you mean kafka.bootstrap_servers?"),
        ("[model]\nrecord_bytes_max = 5", "did you mean limits.record_bytes_max?"),
        ("[log]\nzzzzz = 5", "remove it, or write one of format, level"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(
    file: Path, content: str, expected: str
) -> None:
    file.write_text(content)
    text = complaint(file)
    assert f"in {file}: no such setting; " in text
    assert expected in text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "ONWARD_KAFKA__GROUPID",
            "ONWARD_KAFKA__GROUPID: no such setting; did you mean ONWARD_KAFKA__GROUP_ID?",
        ),
        (
            "ONWARD_KAFAK__GROUP_ID",
            "ONWARD_KAFAK__GROUP_ID: no such setting; did you mean ONWARD_KAFKA__GROUP_ID?",
        ),
        (
            "ONWARD_KAFKA_GROUP_ID",
            "ONWARD_KAFKA_GROUP_ID: no such setting; write ONWARD_KAFKA__GROUP_ID, with",
        ),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_known_one(name: str, expected: str) -> None:
    assert expected in complaint(environment={name: "x"})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("kafka__bootstrap_servers", "localhost", "host:port is needed"),
        ("kafka__bootstrap_servers", "kafka://a:1", "host:port is needed"),
        ("kafka__bootstrap_servers", ",", "at least one host:port"),
        ("kafka__security__protocol", "SASL_SSL", "needs username and password"),
        ("kafka__security__username", "u", "not used by PLAINTEXT"),
        ("kafka__security__ssl_cafile", "/nowhere/ca.pem", "no readable file /nowhere/ca.pem"),
        ("topics__labels", "onward.events", "onward.events is used for two things"),
        ("topics__events", "a" * 250, "should match pattern"),
        ("fields__targets", [], "at least 1 item"),
        ("fields__targets", ["a", "a"], "stands twice"),
        ("fields__targets", [1], "valid dictionary"),
        ("fields__targets", ["time"], "'time' stands for two things"),
        ("fields__targets", ["time.x"], "cannot be a value and hold"),
        ("fields__features", ["a..b"], "'a..b' is no field"),
        ("fields__targets", '{"a": ', "Expecting value"),
        ("fields__extra", "allow", "'forbid' or 'ignore'"),
        ("limits__value_abs_max", "nan", "finite number"),
        ("limits__depth_max", 0, "greater than or equal to 1"),
        ("policy__gap_factor", 1.0, "greater than 1"),
        ("model__profile", "quick", "profile: one of fast, balanced, accurate, pooled, not 'quick'"),
        ("model__horizons", [24, 1], "horizons: different whole numbers in ascending order"),
        ("model__units", 0, "units: between 1 and 256, not 0"),
        ("model__cell", "gru2", "cell: one of feedforward, "),
        (
            "model__experts",
            ["last_value", "oracle"],
            "experts: one of last_value, seasonal, drift, smoothing, linear, linear_quick, linear_long, linear_joint, linear_pooled, recurrent,",
        ),
        ("model__mixture", "average", "mixture: one of polynomial, exponential, stacked, not 'average'"),
        ("model__drift_inputs", "eyes", "drift_inputs: one of page_hinkley, cusum, adwin"),
        ("challenger__cell", "gru2", "challenger: cell: one of feedforward, "),
        ("challenger__profile", "quick", "profile: one of fast, balanced, accurate, pooled, not 'quick'"),
        ("challenger__profile", "accurate", "challenger is the model itself"),
        ("challenger__interval_levels", [0.5], "challenger.interval_levels must be the model's"),
        ("challenger__horizons", [1], "no such setting; did you mean model.horizons?"),
        ("challenger__margin", 1.0, "less than 1"),
        ("challenger__margin", 0.1, "margin without a challenger; set a key of model in this group"),
        ("challenger__promotion", "command", "promotion without a challenger; set a key of model"),
        ("challenger__window", 0, "greater than or equal to 10"),
        ("challenger__promotion", "vote", "'rule' or 'command'"),
        ("checkpoint__store", "redis", "'kafka' or 'sqlite'"),
        ("stream__batch_size", "many", "valid integer"),
    ],
)
def test_what_cannot_work_is_refused_where_it_was_written(key: str, value: Any, expected: str) -> None:
    text = complaint(**{key: value})
    assert expected in text
    assert text.startswith(key.replace("__", ".")), "the complaint opens with the place"


def test_security_is_complete_or_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    both = {"password": "p", "password_file": str(tmp_path / "file"), "username": "u", "protocol": "SASL_SSL"}
    assert "keep one" in complaint(kafka={"security": both})
    unused = {
        "protocol": "SASL_PLAINTEXT",
        "username": "u",
        "password": "p",
        "ssl_cafile": str(tmp_path / "file"),
    }
    assert "certificates are not used by SASL_PLAINTEXT" in complaint(kafka={"security": unused})
    half = {"protocol": "SSL", "ssl_certfile": str(tmp_path / "file")}
    assert "set both or neither" in complaint(kafka={"security": half})


def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path, file: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert "there is no such file" in complaint(missing)
    assert "ONWARD_CONFIG: there is no file" in complaint(environment={"ONWARD_CONFIG": str(missing)})
    file.write_text("[kafka\n")
    assert f"{file}: is not TOML" in complaint(file)
    file.write_bytes(b"\xff\xfe")
    assert f"{file}: is not TOML" in complaint(file)
    file.write_text("kafka = 5\n")
    assert f"kafka in {file}: " in complaint(file)


def test_a_challenger_is_the_model_with_what_its_group_changes() -> None:
    settings = Settings.model_validate(
        {
            "model": {"profile": "balanced", "horizons": [1, 4], "units": 4},
            "fields": {"targets": ["x"], "features": ["f"]},
            "challenger": {"profile": "accurate", "lags": 12},
        }
    )
    model, challenger = settings.specifications()
    assert settings.specification() == model
    assert (model.units, model.lags) == (4, 24)
    assert (challenger.units, challenger.lags, challenger.horizons) == (4, 12, (1, 4))
    assert (challenger.targets, challenger.features) == (("x",), ("f",))
    assert len(challenger.experts) > len(model.experts)


def test_a_rule_without_a_challenger_is_refused_unless_it_is_the_default() -> None:
    rule = {"margin": 0.1, "alpha": 0.1, "window": 50, "promotion": "command"}
    text = complaint(challenger=rule)
    assert "promotion, margin, alpha, window without a challenger; set a key of model in this group" in text
    assert len(Settings.model_validate({"challenger": rule | {"units": 5}}).specifications()) == 2
    dumped = Settings().model_dump()
    assert dumped["challenger"]["margin"] == Settings().challenger.margin
    assert Settings.model_validate(dumped) == Settings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().http.port = 1  # type: ignore[misc]
