from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from policy_router.log.write import decision_log
from tests.support.commands import STRICT, WARNS, WRONG, Ran, Run, in_this_process, write
from tests.support.provider import Provider
from tests.support.service import Service


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one command in a temporary folder that holds a few policies."""
    write(tmp_path, policy_yaml=STRICT, warns_yaml=WARNS, wrong_yaml=WRONG)
    monkeypatch.chdir(tmp_path)

    def run(*words: str, stdin: str | bytes = b"") -> Ran:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        return in_this_process(*words, cwd=Path(), stdin=data)

    return run


@pytest.fixture(scope="module")
def counted_lines() -> Iterator[None]:
    """Write logs as they were before lines told of policies, for tests that count their lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decision_log, "TELLS_POLICIES", False)
        yield


@pytest.fixture(scope="session")
def one_provider() -> Iterator[Provider]:
    """Start a provider of models, for all tests."""
    with Provider() as provider:
        yield provider


@pytest.fixture
def peer(one_provider: Provider) -> Provider:
    """Return a provider of models that was asked for nothing yet, and has nothing planned."""
    one_provider.reset()
    return one_provider


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    """Serve the policy in the folder of a module, with a log and no other option."""
    with Service(folder, "--log", "log") as made:
        yield made


@pytest.fixture(scope="module")
def client(service: Service) -> httpx.Client:
    """Return a client of the service of a module."""
    return service.client()
