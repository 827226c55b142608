"""Run the tests of each host in an environment of its own: ``python -m tests.hosts [HOST ...]``.

A host is a lock in ``requirements/hosts``, and its tests are the folder of its name here. Its
environment is in ``.hosts``; it is made if it is missing, and again when the lock changes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "requirements" / "hosts"
FOLDER = ROOT / ".hosts"
ADAPTERS = {
    "claude-agent-sdk": ("claude_code",),
    "hermes-agent": ("hermes", "chat_call"),
    "langchain": ("deepagents", "langchain"),
    "litellm": ("litellm",),
    "openai-agents": ("openai_agents",),
    "pydantic-ai": ("pydantic_ai",),
}
"""The modules of ``policy_router.hosts`` that a host's tests must cover; a recipe has none."""

_MEASURED = "[run]\nbranch = true\npatch = subprocess\nsigterm = true\n"
"""How coverage measures: a proxy runs in a process of its own, which a signal ends."""
_HEAD = ("host", "version", "lines", "tests", "coverage", "seconds")
_SWITCHES = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HERMES_SKIP_SSL_GUARD": "1",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OTEL_SDK_DISABLED": "true",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
_TAKEN = ("ANTHROPIC_", "CLAUDE", "COVERAGE_", "HERMES_", "OPENAI_", "PYTEST_")
"""Variables that would send a host elsewhere, or change what it does."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host that the package is tested with.

    Attributes:
        name: the name of its lock.
    """

    name: str

    @property
    def lock(self) -> Path:
        """The lock of its environment."""
        return LOCKS / f"{self.name}.txt"

    @property
    def distribution(self) -> str:
        """The name of its distribution, which its requirements begin with."""
        first = self.lock.with_suffix(".in").read_text(encoding="utf-8").splitlines()[0]
        return first.partition("==")[0].partition("[")[0]

    @property
    def tests(self) -> Path:
        """The folder of its tests."""
        return Path(__file__).parent / self.name.replace("-", "_")

    @property
    def environment(self) -> Path:
        """The folder of its environment."""
        return FOLDER / self.name

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return self.environment / "bin" / "python"

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules of its adapter that there are."""
        package = ROOT / "policy_router" / "hosts"
        return tuple(it for it in ADAPTERS.get(self.name, ()) if (package / f"{it}.py").exists())

    @property
    def lines(self) -> int:
        """The lines of its adapter."""
        package = ROOT / "policy_router" / "hosts"
        return sum(len((package / f"{it}.py").read_text().splitlines()) for it in self.modules)

    def version(self) -> str:
        """Return the version that its environment has."""
        places = self.environment.glob("lib/python*/site-packages")
        found = importlib.metadata.distributions(
            name=self.distribution, path=[str(it) for it in places]
        )
        return next((it.version for it in found), "-")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a host's tests.

    Attributes:
        host: the host.
        tests: how many there are, and how many failed.
        coverage: the branches of the adapter that they take, in percent.
        seconds: how long they took.
        is_good: whether all passed.
        output: what they printed.
    """

    host: Host
    tests: str
    coverage: str
    seconds: float
    is_good: bool
    output: str

    def row(self) -> tuple[str, ...]:
        """Return its row of the table."""
        lines = str(self.host.lines or "-")
        name, version = self.host.name, self.host.version()
        return name, version, lines, self.tests, self.coverage, f"{self.seconds:.1f}"


def hosts() -> list[Host]:
    """Return all hosts, by name."""
    return [Host(path.stem) for path in sorted(LOCKS.glob("*.txt"))]


def make(host: Host, until: float = math.inf) -> None:
    """Make a host's environment, where it is missing or its lock has changed.

    Args:
        host: the host.
        until: the moment of the steady clock at which it is given up.

    Raises:
        subprocess.CalledProcessError: it cannot be made.
        subprocess.TimeoutExpired: it is not made in time.
    """
    pip = ROOT / "requirements" / "pip.txt"
    install = (str(host.python), "-m", "pip", "install", "-qq", "--no-deps")
    if not _is_new(host.environment / "locked", host.lock, pip):
        shutil.rmtree(host.environment, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(host.environment), until=until)
        for lock in (pip, host.lock):
            _run(*install, "--require-hashes", "-r", str(lock), until=until)
        node = host.tests / "package.json"
        if node.exists():
            quiet = ("--silent", "--no-audit", "--no-fund", "--ignore-scripts")
            _run("npm", "ci", *quiet, cwd=node.parent, until=until)
        _note(host.environment / "locked", host.lock, pip)
    own = ROOT / "pyproject.toml"
    if not _is_new(host.environment / "installed", own):
        with tempfile.TemporaryDirectory() as wheels:
            _run(*install, "--no-index", str(_editable(Path(wheels))), until=until)
        _run(str(host.python), "-m", "pip", "check", until=until)
        _note(host.environment / "installed", own)


def _editable(folder: Path) -> Path:
    """Build what installs the checkout in place: a host's environment needs nothing to build."""
    build = "import hatchling.build as b, sys; b.build_editable(sys.argv[1])"
    _run(sys.executable, "-c", build, str(folder))
    return next(folder.glob("*.whl"))


def _is_new(stamp: Path, *files: Path) -> bool:
    """Tell whether something was made from these files as they are."""
    return stamp.exists() and stamp.read_text(encoding="utf-8") == _digest(*files)


def _note(stamp: Path, *files: Path) -> None:
    stamp.write_text(_digest(*files), encoding="utf-8")


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def test(host: Host, options: list[str]) -> Outcome:
    """Run the tests of a host."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report, settings = Path(folder, "report.xml"), Path(folder, "coverage.ini")
        settings.write_text(_MEASURED, encoding="utf-8")
        command = [str(host.python), "-m", "pytest", "-q", str(host.tests), *options]
        command += [
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
            "-o",
            "filterwarnings=default",
        ]
        command += [f"--cov=policy_router.hosts.{it}" for it in host.modules]
        if host.modules:
            command += [f"--cov-config={settings}", "--cov-report=term"]
        done = subprocess.run(
            command,
            check=False,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_environ(host, Path(folder)),
        )
        counts = _counts(report)
    taken = time.monotonic() - began
    return Outcome(host, counts, _coverage(done.stdout), taken, done.returncode == 0, done.stdout)


def _environ(host: Host, folder: Path) -> Mapping[str, str]:
    """Return the variables of a host's tests: a home of their own, and no telemetry."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_TAKEN)}
    home, authority = folder / "home", folder / "authority.pem"
    home.mkdir()
    authority.write_text(_one_authority(host), encoding="ascii")
    own = {"HOME": home, "COVERAGE_FILE": folder / "coverage", "SSL_CERT_FILE": authority}
    return {**kept, **_SWITCHES, **{name: str(path) for name, path in own.items()}}


def _one_authority(host: Host) -> str:
    """Return one certificate of those that a host brings.

    Nothing here speaks TLS, and each client of a host would read all of them.
    """
    end = "-----END CERTIFICATE-----\n"
    known = next(host.environment.glob("lib/python*/site-packages/certifi/cacert.pem"))
    return known.read_text(encoding="utf-8").partition(end)[0].split("\n\n")[-1] + end


def _counts(report: Path) -> str:
    if not report.exists():
        return "none"
    suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314 - pytest has written it
    if suite is None:
        return "none"
    number = {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
    wrong, skipped = number["failures"] + number["errors"], number["skipped"]
    more = [f"{wrong} failed"] * bool(wrong) + [f"{skipped} skipped"] * bool(skipped)
    return ", ".join([str(number["tests"]), *more])


def _coverage(output: str) -> str:
    total = [line.split()[-1] for line in output.splitlines() if line.startswith("TOTAL")]
    return total[-1] if total else "-"


def _run(*command: str, cwd: Path = ROOT, until: float = math.inf) -> None:
    left = None if until == math.inf else max(until - time.monotonic(), 0.001)
    subprocess.run(command, check=True, cwd=cwd, stdin=subprocess.DEVNULL, timeout=left)


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _made(chosen: list[Host], seconds: float) -> list[Host]:
    """Make environments, and return the hosts that have one after some time."""
    until, found = time.monotonic() + seconds, []
    for host in chosen:
        try:
            make(host, until)
        except subprocess.TimeoutExpired:
            print(f"left out: the environment of {host.name} is not made within {seconds:g} s")
        else:
            found.append(host)
    return found


def main() -> int:
    """Make the environments, run the tests two hosts at a time, and print the table."""
    known = {host.name: host for host in hosts()}
    parser = argparse.ArgumentParser(prog="python -m tests.hosts", description=__doc__)
    parser.add_argument("host", nargs="*", metavar="HOST", help=f"one of: {', '.join(known)}")
    parser.add_argument("--make-only", action="store_true", help="make the environments only")
    parser.add_argument(
        "--within",
        type=float,
        default=math.inf,
        metavar="SECONDS",
        help="leave out the hosts whose environments are not made in this time",
    )
    parser.add_argument("-k", metavar="EXPRESSION", help="only the tests that pytest selects by it")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.host if name not in known]
    if unknown:
        parser.error(f"no host is called `{unknown[0]}`; there are {', '.join(known)}")
    chosen = [known[name] for name in arguments.host or known]
    chosen = _made(chosen, arguments.within)
    if arguments.make_only:
        return 0
    options = ["-k", arguments.k] if arguments.k else []
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda host: test(host, options), chosen))
    for bad in (it for it in found if not it.is_good):
        print(f"=== {bad.host.name}\n{bad.output}")
    print(_table([_HEAD, *(it.row() for it in found)]))
    return 0 if all(it.is_good for it in found) else 1


if __name__ == "__main__":
    sys.exit(main())
