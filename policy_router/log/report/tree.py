"""The tree below a decision: its children, their children, and what all of it cost."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from msgspec import Struct

from policy_router.errors import LogError
from policy_router.log.entry import Kind, known_views
from policy_router.log.folder import LogFolder, readable
from policy_router.log.replay.chunks import Chunk, Job, chunks, over_all
from policy_router.log.report.cases import Case, case_reader, in_time
from policy_router.log.report.cost_status import CaseCost, Run, read_run

MOST_OF_A_TREE = 100_000
"""How many decisions a tree may have: they are kept in memory."""
_PARENT = b'"parent":"'


class TreeNode(Struct, eq=False):
    """A decision in its tree.

    Attributes:
        case: the decision.
        depth: how many are above it, up to the one that was asked for.
        cost_status: how its cost is known.
        nano: what it cost, measured and estimated, in nano-dollars.
        total_nano: the same with all that stand below it.
        below: how many stand below it.
        unknown: of how many, itself among them, the cost is unknown.
    """

    case: Case
    depth: int
    cost_status: CaseCost
    nano: int
    total_nano: int
    below: int = 0
    unknown: int = 0


def tree_of(folder: LogFolder, top: Case, *, workers: int | None = None) -> list[TreeNode]:
    """Return a decision and all that stand below it, each before its own children.

    Raises:
        LogError: they are too many.
    """
    job, spread = Job.of(folder), partial(over_all, workers=workers)
    found, level = {top.id: top}, {top.id}
    children: dict[str, list[Case]] = {}
    with readable(folder):
        pieces = chunks(folder)
        while level:
            parts = spread(partial(_children, job, level), pieces)
            made = sorted((it for part in parts for it in part), key=_place)
            made = [it for it in made if it.id not in found]  # a circle of parents ends here
            if len(found) + len(made) > MOST_OF_A_TREE:
                reason = f"the tree has more than {MOST_OF_A_TREE:,} decisions"
                raise LogError(str(folder.path), reason)
            for case in made:
                if case.id not in found:
                    found[case.id] = case
                    children.setdefault(case.line.parent, []).append(case)
            level = {it.id for it in made}
        for ends in spread(partial(_ends, {*found} - {top.id}), pieces):
            for decision_id, runs in ends.items():
                case = found[decision_id]
                case.runs = tuple(sorted((*case.runs, *runs), key=in_time))
    return _summed(top, children)


def _summed(top: Case, children: dict[str, list[Case]]) -> list[TreeNode]:
    """Return the nodes in the order of a walk, with their sums."""
    nodes: list[TreeNode] = []
    above: list[TreeNode] = []
    waiting = [(top, 0)]
    while waiting:
        case, depth = waiting.pop()
        status, measured, estimated = case.cost()
        nano = measured + estimated
        node = TreeNode(case, depth, status, nano, nano, 0, int(status.is_unknown))
        del above[depth:]
        for it in above:
            it.total_nano += nano
            it.below += 1
            it.unknown += status.is_unknown
        above.append(node)
        nodes.append(node)
        waiting += [(child, depth + 1) for child in reversed(children.get(case.id, ()))]
    return nodes


def _place(case: Case) -> tuple[int, str, int]:
    return case.time, case.writer, case.line.seq


def _children(job: Job, level: set[str], chunk: Chunk) -> list[Case]:
    """Return the decisions of a piece whose parent is one of some."""
    reader, writer = case_reader(job), Path(chunk.path).parent.name
    lines = (line for line in chunk.lines() if _PARENT in line)
    found = []
    for line in known_views(lines):
        if line is not None and line.kind == Kind.DECISION and line.parent in level:
            case = reader.case(line, writer)
            if case is not None:
                found.append(case)
    return found


def _ends(ids: set[str], chunk: Chunk) -> dict[str, list[Run]]:
    """Return the ends of some decisions that a piece has."""
    found: dict[str, list[Run]] = {}
    for line in known_views(chunk.lines()):
        if line is not None and line.execution and line.id in ids:
            run = read_run(line.time, line.execution)
            if run is not None:
                found.setdefault(line.id, []).append(run)
    return found
