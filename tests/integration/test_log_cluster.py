"""A log is replayed on a Dask cluster of processes, and says what it says on one machine."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dask
import distributed
import pytest

from policy_router.errors import LogError, RequestError
from policy_router.log.replay import chunks as chunks_module
from policy_router.log.replay import cluster as cluster_module
from policy_router.log.replay.replaying import replay_log
from policy_router.log.replay.what_if import what_if
from tests.support.commands import ROOT, Run
from tests.support.log_auditing import CHEAP, finished, history, policy_of, segments
from tests.support.rows import each

pytestmark = pytest.mark.timeout(240)  # to start a cluster takes a busy machine long

RULES: Final = policy_of()
OTHER: Final = policy_of(CHEAP)
KINDS: Final = ("coding", "writing", "odd", "")
WAIT_SECONDS: Final = 90


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log of two writers, with children that end in another piece than they begin in."""
    folder = tmp_path_factory.mktemp("cluster") / "log"
    for place, writer in enumerate(("a", "b")):
        requests = [
            {"task": {"kind": KINDS[n % 4], "input_tokens": n % 7}, "caller": {"id": f"c{n % 5}"}}
            for n in range(300)
        ]
        used = {1000 * place + n: finished(n, 2 * n, n / 1000) for n in range(0, 300, 3)}
        history(folder, RULES, requests, used, writer=writer, first=1000 * place)
    return folder


@dataclass(frozen=True)
class Cluster:
    """A scheduler and its workers, each a process of its own."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: tuple[subprocess.Popen[bytes], ...]

    @property
    def place(self) -> str:
        """What `--on` takes."""
        return f"dask:{self.address}"


def _started(folder: Path, program: str, *words: str) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    }
    command = (sys.executable, "-m", f"distributed.cli.{program}", *words)
    where = ("--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", "scheduler.json")
    with (folder / f"{program}.txt").open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - the words are the test's own
            [*command, *where], cwd=folder, env=environment, stdout=output, stderr=output
        )


def _until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < end, "a cluster takes too long"
        time.sleep(0.05)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Start a scheduler, and as many workers as the test asks for: two unless it does."""
    words = ("--no-nanny", "--nthreads", "1", "--local-directory", str(tmp_path))
    scheduler = _started(tmp_path, "dask_scheduler", "--port", "0")
    count = getattr(request, "param", 2)
    workers = tuple(_started(tmp_path, "dask_worker", *words) for _ in range(count))
    try:
        _until((tmp_path / "scheduler.json").exists)
        with distributed.Client(
            scheduler_file=str(tmp_path / "scheduler.json"), set_as_default=False
        ) as client:
            if count:
                client.wait_for_workers(count, timeout=WAIT_SECONDS)
            address = client.scheduler.address
        yield Cluster(address, scheduler, workers)
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def _small_pieces(monkeypatch: pytest.MonkeyPatch, size: int = 16_384) -> None:
    monkeypatch.setattr(chunks_module, "_CHUNK", size)


def _asked(log: Path, **options: Any) -> tuple[bytes, bytes]:
    """Return what replay and what-if say, as bytes."""
    return replay_log(log, **options).to_json(), what_if(log, OTHER, **options).to_json()


@pytest.mark.stress
def test_a_cluster_says_what_one_machine_says(
    log: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = _asked(log)
    assert _asked(log, on=cluster.place) == here
    _small_pieces(monkeypatch)
    assert _asked(log, on=cluster.place) == here


@pytest.mark.stress
def test_the_pieces_of_a_worker_that_was_killed_are_done_again(
    log: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = _asked(log)
    _small_pieces(monkeypatch, 4096)
    killed: list[float] = []

    def kill(done: int, total: int) -> None:
        if not killed and done > total / 10:
            cluster.workers[0].send_signal(signal.SIGKILL)
            killed.append(done / total)

    assert what_if(log, OTHER, on=cluster.place, progress=kill).to_json() == here[1]
    assert killed
    assert killed[0] < 0.9
    assert cluster.workers[0].wait(WAIT_SECONDS) == -signal.SIGKILL
    assert cluster.workers[1].poll() is None


@pytest.mark.stress
def test_a_scheduler_that_was_killed_is_told(
    log: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small_pieces(monkeypatch, 2048)

    def kill(_done: int, _total: int) -> None:
        cluster.scheduler.kill()

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(LogError, match="its scheduler is lost"),
    ):
        replay_log(log, on=cluster.place, progress=kill)


def _kills(_job: Any, _piece: Any) -> None:
    """Do what a piece does that no worker has the memory for."""
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.stress
@pytest.mark.parametrize("cluster", [3], indirect=True)  # one is left for the second death
def test_a_piece_that_kills_its_workers_is_told(
    log: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policy_router.log.replay.replaying.replay_chunk", _kills)
    with pytest.raises(LogError, match="cost several workers their lives"):
        replay_log(log, on=cluster.place)


@pytest.mark.stress
def test_the_command_takes_a_cluster(log: Path, cluster: Cluster, run: Run) -> None:
    for more in ((), ("--against", str(next((log / "policies").glob("*.json"))))):
        words = ("replay", str(log), *more, "--format", "json")
        here, there = run(*words), run(*words, "--on", cluster.place)
        assert (here.code, there) == (0, here)


@pytest.mark.stress
@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_a_cluster_without_a_worker_is_told(
    log: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "_PATIENCE_SECONDS", 0.2)
    with pytest.raises(LogError, match=r"the cluster at tcp://.*: it has no worker"):
        replay_log(log, on=cluster.place)


@pytest.mark.stress
@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_a_worker_that_does_not_share_the_folder_is_told(
    log: Path, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(log, moved)
    pieces = chunks_module.chunks

    def longer(folder: Any) -> list[chunks_module.Chunk]:
        found = pieces(folder)
        segments(moved)[0].write_bytes(b"")  # what a worker has that lags behind
        return found

    monkeypatch.setattr("policy_router.log.replay.replaying.chunks", longer)
    with pytest.raises(LogError, match="a worker has not all of "):
        replay_log(moved, on=cluster.place)


@pytest.mark.slow
def test_no_scheduler_is_told(log: Path) -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "100ms"}),
        pytest.raises(LogError, match="no scheduler answers there"),
    ):
        replay_log(log, on="dask:tcp://127.0.0.1:9")


@each("place", ["", "dask", "dask:", "ray:x", "LOCAL"])
def test_there_are_two_places(log: Path, place: str) -> None:
    with pytest.raises(RequestError, match="on: expected `local`, or `dask:`"):
        replay_log(log, on=place)


@pytest.mark.slow
@each("address", ["nowhere", "nonsense:foo", "odd://127.0.0.1:9"])
def test_an_address_names_host_and_port(log: Path, address: str) -> None:
    with pytest.raises(RequestError, match=f"on: `{address}` is not an address such as"):
        replay_log(log, on=f"dask:{address}")


def test_a_cluster_has_its_own_workers(log: Path, run: Run) -> None:
    ran = run("replay", str(log), "--on", "dask:tcp://127.0.0.1:9", "--workers", "2")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "policy-router: --workers: a cluster has its own: it needs --on local\n"


# Any executor.


@pytest.mark.parametrize("size", [700, 4096, 50_000])
def test_a_report_does_not_depend_on_how_the_log_was_split(
    log: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    here = _asked(log)
    _small_pieces(monkeypatch, size)
    with ThreadPoolExecutor(4) as executor:
        assert _asked(log, executor=executor) == here


def test_a_worker_with_another_version_is_told(log: Path) -> None:
    done = chunks_module._done_elsewhere  # noqa: SLF001 - what a worker runs

    class Older(Executor):
        def submit(self, _work: Any, /, *words: Any, **_: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(done("0.0.9", lambda _: None, *words))
            return future

    with pytest.raises(LogError, match=r"a worker has policy-router [0-9.]+; 0\.0\.9 asks"):
        replay_log(log, executor=Older())


def test_what_was_pruned_meanwhile_is_left_out(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(log, moved)
    pieces = chunks_module.chunks

    def pruned(folder: Any) -> list[chunks_module.Chunk]:
        found = pieces(folder)
        segments(moved, "b")[0].unlink()
        return found

    monkeypatch.setattr("policy_router.log.replay.replaying.chunks", pruned)
    with ThreadPoolExecutor(1) as executor:
        assert replay_log(moved, executor=executor).total == 300
