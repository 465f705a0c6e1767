"""Where the Hub is and who gets its token: the environment of the Hub's own client, read as that client reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from weightswarm.errors import InvalidInput
from weightswarm.hub import DEFAULT_ENDPOINT, Hub, hub_from_environment

VARIABLES = ("HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_DISABLE_IMPLICIT_TOKEN")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))


def test_without_a_word_it_is_the_public_hub_and_nobody() -> None:
    assert hub_from_environment() == Hub(DEFAULT_ENDPOINT, None)


def test_the_token_is_that_of_the_environment_or_of_the_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_login\n")
    assert hub_from_environment().token == "hf_login"
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert hub_from_environment().token is None
    monkeypatch.setenv("HF_TOKEN", " hf_environment\n")
    assert hub_from_environment().token == "hf_environment"


def test_the_token_goes_to_the_endpoint_alone() -> None:
    hub = Hub("https://hub.test", "secret")
    assert hub.token_for(hub.resolve_url("org/model", "main", "a b.json")) == "secret"
    assert hub.token_for("https://hub.test:443/x") == "secret"
    for url in ("http://hub.test/x", "https://hub.test:8443/x", "https://hub.test.evil/x", "https://cdn.hub.test/x",
                "https://evil/hub.test", "ftp://hub.test/x", "https://hub.test@evil/x", "https://[", ""):  # fmt: skip
        assert hub.token_for(url) is None, url
    assert "secret" not in repr(hub)


def test_below_a_path_the_token_goes_to_nobody_beside_it() -> None:
    hub = Hub("https://host.test/hub", "secret")
    assert hub.token_for(hub.resolve_url("org/model", "main", "a")) == "secret"
    for url in ("https://host.test/x", "https://host.test/hubs/x", "https://host.test/stranger/o/m/resolve/main/a"):
        assert hub.token_for(url) is None, url
        assert not hub.serves(url), url


def test_what_a_link_may_ask_of_the_hub_is_a_file() -> None:
    hub = Hub("https://h", "secret")
    file = "o/m/resolve/main/a"
    for path in (f"{file} b", "m/resolve/main/d/a", "datasets/o/d/resolve/refs%2Fpr%2F1/a", "o/m/resolve/v/%"):
        assert hub.serves(f"https://h/{path}"), path
    for path in ("", "api/whoami-v2", f"oauth/authorize?a=/{file}", f"{file}?x=1", "o/m/raw/main/a", f"a/b/{file}",
                 f"{file}/../../../../api/whoami-v2", "o/m/resolve/%2e%2e/%2E%2e/api/a", "o/m/resolve/..%2fa/b",
                 f"{file}/..\\..\\a", f"{file}//a", "api/models/o/resolve/main/a", "/resolve/main/a",
                 "resolve/main/a"):  # fmt: skip
        assert not hub.serves(f"https://h/{path}"), path


def test_resolve_urls_are_quoted() -> None:
    assert Hub("https://h").resolve_url("o/m", "refs/pr/1", "a b/c#.bin") == (
        "https://h/o/m/resolve/refs%2Fpr%2F1/a%20b/c%23.bin"
    )


@pytest.mark.parametrize(
    "endpoint", ["hub.test", "ftp://hub.test", "https://", "https://user@hub.test", "https://h\x1b"]
)
def test_an_endpoint_that_is_no_url_is_named(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(InvalidInput, match="HF_ENDPOINT"):
        hub_from_environment()
