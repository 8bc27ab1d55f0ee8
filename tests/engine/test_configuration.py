"""The one configuration: who overrides whom, where each value came from, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.configuration import Configuration, configured, fields, find, load, variable
from engine.errors import InputError
from engine.terminal import cache_folder
from tests.config.keeping import KEY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config" / "environments").mkdir(parents=True)
    return tmp_path / "config"


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        known = name in ("settings", "logging")
        path = folder / f"{name}.yaml" if known else folder / "environments" / f"{name}.yaml"
        path.write_text(text, "utf-8")


def origins(folder: Path | None, **environ: str) -> Mapping[str, tuple[object, str]]:
    found = load(folder, environ)
    return {one.name: (one.value, one.origin) for one in found.values()}


def test_without_files_and_variables_all_are_defaults() -> None:
    found = load(None, {})
    assert found.settings == Configuration()
    assert {one.origin for one in found.values()} == {"default"}
    assert found.path("cache") == Path.home() / ".cache" / "driftline"
    assert (found.path("runs"), found.path("registry")) == (Path("runs"), None)
    assert found.path("logging.folder") is None and found.registry is None


def test_later_sources_win_and_each_value_knows_its_own(folder: Path) -> None:
    write(
        folder,
        settings="runs: a\ndata: a\ns3:\n  bucket: one\n  prefix: p\n",
        logging="system: {level: error}\nfolder: l\n",
        prod="s3: {bucket: two}\nlogging:\n  system:\n    level: debug\n",
    )
    prod = folder / "environments" / "prod.yaml"
    found = origins(folder, DRIFTLINE_ENV="prod", DRIFTLINE_DATA="b", DRIFTLINE_S3__REGION="eu-1")
    assert found["runs"] == ("a", f"{folder}/settings.yaml:1:1")
    assert found["data"] == ("b", "DRIFTLINE_DATA")
    assert found["s3.bucket"] == ("two", f"{prod}:1:6")
    assert found["s3.prefix"] == ("p", f"{folder}/settings.yaml:5:3")
    assert found["s3.region"] == ("eu-1", "DRIFTLINE_S3__REGION")
    assert found["logging.system.level"] == ("debug", f"{prod}:4:5")
    assert found["logging.folder"] == ("l", f"{folder}/logging.yaml:2:1")
    assert found["logging.drift.file"] == ("drift.log", "default")
    assert origins(folder)["s3.bucket"][0] == "one"
    assert origins(folder, DRIFTLINE_S3__BUCKET="end")["s3.bucket"][0] == "end"


def test_a_log_can_be_taken_out_and_put_back(folder: Path) -> None:
    write(
        folder,
        logging="drift: null\nsystem: {level: error, format: json}\n",
        dev="logging: {system: null}\n",
    )
    found = load(folder, {"DRIFTLINE_ENV": "dev"}).settings.logging
    assert found is not None and found.drift is None and found.system is None
    again = {"DRIFTLINE_ENV": "dev", "DRIFTLINE_LOGGING__SYSTEM__LEVEL": "debug"}
    found = load(folder, again).settings.logging
    assert found is not None and found.system is not None and found.system.level == "debug"
    assert origins(folder, **again)["logging.system.format"] == ("text", "default")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"DRIFTLINE_S3__BUCKT": "x"}, "DRIFTLINE_S3__BUCKT: .* did you mean DRIFTLINE_S3__BUCKET"),
        ({"DRIFTLINE_S3__X": "x"}, r"DRIFTLINE_S3__X: there is no .* \(there are DRIFTLINE_CACHE"),
        ({"DRIFTLINE_S3__BUCKET": "Aa"}, "DRIFTLINE_S3__BUCKET: s3.bucket: must match"),
        ({"DRIFTLINE_METRICS__PORT": "x"}, "DRIFTLINE_METRICS__PORT: .* whole number, got \"x\""),
        ({"DRIFTLINE_METRICS__PORT": "1.5"}, "must be a whole number"),
        ({"DRIFTLINE_METRICS__PORT": "[1"}, "must be a whole number"),
        ({"DRIFTLINE_METRICS__PORT": "65536"}, "must be less than or equal to 65535"),
        ({"DRIFTLINE_METRICS__PORT": "-1"}, "must be greater than or equal to 0"),
        ({"DRIFTLINE_S3__REGION": "EU 1"}, "s3.region: must match"),
        ({"DRIFTLINE_S3__ENDPOINT": "minio:9000"}, "s3.endpoint: must be an address such as"),
        ({"DRIFTLINE_S3__ENDPOINT": "http://a:hidden@b"}, "must be an address .* without"),
        ({"DRIFTLINE_LOGGING__SYSTEM__LEVEL": "loud"}, "must be 'debug', 'info'"),
        ({"DRIFTLINE_LOGGING__SYSTEM__FORMAT": "xml"}, "must be 'text' or 'json'"),
        ({"DRIFTLINE_LOGGING__DRIFT__MAX_BYTES": "9"}, "greater than or equal to 1000"),
        ({"DRIFTLINE_LOGGING__DRIFT__BACKUPS": "-1"}, "greater than or equal to 0"),
        ({"DRIFTLINE_LOGGING__PERFORMANCE__EVERY": "0"}, "greater than or equal to 1"),
        ({"DRIFTLINE_ENV": "dev"}, r"no environment 'dev' in .* \(there are: none"),
        ({"DRIFTLINE_ENV": "../x"}, "DRIFTLINE_ENV: there is no environment"),
    ],
)  # fmt: skip
def test_a_variable_that_cannot_be_is_named(
    environ: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        load(None, environ)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"settings": "runs: a\nrunz: b\n"}, "settings.yaml:2:1: runz: unknown key; did you mean"),
        ({"settings": "s3:\n  bucket: 3\n"}, "settings.yaml:2:3: s3.bucket: must be a text, got 3"),
        ({"settings": "runs: ''\n"}, "settings.yaml:1:1: runs: "),
        ({"settings": "logging: {}\n"}, "settings.yaml:1:1: logging: belongs in .*logging.yaml"),
        ({"settings": "- a\n"}, "settings.yaml:1:1: a configuration is a mapping"),
        ({"settings": "a: [\n"}, "settings.yaml:.*not valid YAML"),
        ({"settings": "runs: a\nruns: b\n"}, "settings.yaml:2:1: the key 'runs' stands here a sec"),
        ({"logging": "system:\n  levle: x\n"}, "logging.yaml:2:3: system.levle: unknown key"),
        ({"logging": "performance: {every: 0}\n"}, "logging.yaml:1:15: performance.every: must"),
        ({"test": "s3: {x: 1}\n"}, "environments/test.yaml:1:6: s3.x: unknown key"),
        ({"settings": f"data: {KEY}\n"}, "settings.yaml:1:1: data: looks like a secret"),
        (
            {"test": "registry: postgresql://me:hidden@db/x\n"},
            "test.yaml:1:1: registry: looks like a secret: put it into the environment",
        ),
    ],
)
def test_a_file_that_cannot_be_is_told_with_its_line(
    folder: Path, files: dict[str, str], message: str
) -> None:
    write(folder, **files)
    with pytest.raises(InputError, match=message) as caught:
        load(folder, {"DRIFTLINE_ENV": "test"} if "test" in files else {})
    assert KEY not in str(caught.value) and "hidden" not in str(caught.value)


def test_an_unknown_environment_lists_those_there_are(folder: Path) -> None:
    write(folder, dev="{}", prod="# nothing\n")
    with pytest.raises(InputError, match=r"there are: dev, prod\)"):
        load(folder, {"DRIFTLINE_ENV": "prd"})
    assert load(folder, {"DRIFTLINE_ENV": "prod"}).settings == Configuration()


def test_what_is_empty_is_not_set_and_strangers_are_told(folder: Path) -> None:
    found = load(
        folder,
        {"DRIFTLINE_S3__BUCKET": " ", "DRIFTLINE_PORT": "tcp://1.2.3.4:80", "DRIFTLINE_CACHEE": "x",
         "DRIFTLINE_ENV": "", "PATH": "/bin"},
    )  # fmt: skip
    assert found.settings == Configuration() and found.environment is None
    assert set(found.unknown) == {"DRIFTLINE_PORT", "DRIFTLINE_CACHEE"}
    assert "did you mean DRIFTLINE_CACHE?" in found.unknown["DRIFTLINE_CACHEE"]


def test_every_setting_has_a_variable_that_sets_it() -> None:
    samples = {"max_bytes": "1000", "level": "debug", "format": "json", "endpoint": "http://x:1"}
    for location, annotation in fields().items():
        given = samples.get(str(location[-1]), "999" if "int" in str(annotation) else "text")
        found = load(None, {variable(location): given})
        value = next(one for one in found.values() if one.name == ".".join(map(str, location)))
        assert str(value.value) == given and value.origin == variable(location)


def test_a_text_of_digits_stays_a_text() -> None:
    assert load(None, {"DRIFTLINE_S3__BUCKET": "12345"}).settings.s3.bucket == "12345"
    assert load(None, {"DRIFTLINE_S3__PREFIX": "a: [b"}).settings.s3.prefix == "a: [b"


def test_paths_start_at_the_project_or_where_the_program_does(folder: Path) -> None:
    write(folder, settings="runs: r\ncache: /c\ndata: ~/d\nregistry: g\n", logging="folder: l\n")
    found = load(folder, {"DRIFTLINE_DATA": "e"})
    assert found.path("runs") == folder.parent / "r"
    assert found.path("cache") == found.cache == Path("/c")
    assert found.path("data") == Path("e")
    assert found.path("logging.folder") == folder.parent / "l"
    assert found.registry == str(folder.parent / "g")
    assert load(folder, {}).path("data") == Path.home() / "d"
    server = load(folder, {"DRIFTLINE_REGISTRY": "http://h:5000"})
    assert (server.path("registry"), server.registry) == (None, "http://h:5000")


def test_the_folder_is_the_one_named_or_the_one_that_is_here(folder: Path) -> None:
    here = folder.parent
    assert find({}, here) is None, "an empty folder is nobody's configuration"
    write(folder, settings="{}")
    assert find({}, here) == folder
    (here / "other").mkdir()
    assert find({"DRIFTLINE_CONFIG": str(here / "other")}, here) == here / "other"
    with pytest.raises(InputError, match="DRIFTLINE_CONFIG: there is no folder"):
        find({"DRIFTLINE_CONFIG": str(here / "none")}, here)


def test_the_cache_is_that_of_the_configuration(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DRIFTLINE_CACHE", "DRIFTLINE_CONFIG", "DRIFTLINE_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/driftline")
    write(folder, settings="cache: here\n")
    assert cache_folder() == Path("here")
    assert next(configured().values()).origin == "config/settings.yaml:1:1"
    monkeypatch.setenv("DRIFTLINE_CACHE", "there")
    assert cache_folder() == Path("there")


def test_a_user_without_a_home_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert load(None, {}).cache.is_absolute()
    assert load(None, {"XDG_CACHE_HOME": "/x"}).cache == Path("/x/driftline")


def test_it_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Configuration().runs = "x"
