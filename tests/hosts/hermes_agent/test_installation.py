"""The package and its host, in one environment."""

from __future__ import annotations

from importlib.metadata import version


def test_the_environment_holds_the_host_that_its_page_names() -> None:
    assert version("hermes-agent") == "0.19.0"
