"""What must hold in every host: one table of cases, which each host runs with its own driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from policy_router import DecisionLog
from policy_router.hosts import PolicyHost
from policy_router.hosts.refused import RefusedError
from tests.support.hosting import (
    GOAL,
    OUTSIDE,
    SECRETS,
    THREE,
    Peers,
    decisions,
    executions,
    is_whole,
    requests,
    result_of,
)

FALLEN = [("far", "m-coder"), ("near", "m-spare")]


class Cases:
    """The cases. A host's test class drives its own agents."""

    STRICT = False
    """Whether the tool is of the strict form."""
    TELLS_SERVED = True
    """Whether the host tells which model a provider says that it served."""

    # The driver.

    def run(self, host: PolicyHost, model: str, **options: Any) -> str:
        """Run one agent with a tool ``look``, and return its answer.

        The options are ``stream``, ``settings`` of its model, and ``facts``.
        """
        raise NotImplementedError

    def lead(self, host: PolicyHost, **options: Any) -> str:
        """Run a lead agent that has the tool, whose children are other agents."""
        raise NotImplementedError

    @pytest.fixture
    def peers(self) -> Iterator[Peers]:
        with Peers() as peers:
            yield peers

    @pytest.fixture
    def host(self, peers: Peers, tmp_path: Path) -> Iterator[PolicyHost]:
        with peers.host(tmp_path) as host:
            yield host

    # Deciding.

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_run_is_decided_once_for_all_its_calls(
        self, peers: Peers, host: PolicyHost, tmp_path: Path, *, stream: bool
    ) -> None:
        peers.calls["m-coder"] = [("look", {"at": "it"})]
        assert self.run(host, "policy:coding", stream=stream) == "Hello from m-coder."
        host.close()
        assert peers.asked == [("far", "m-coder")] * 2
        (request,) = requests(tmp_path / "log")
        assert request["task"]["kind"] == "coding"
        (end,) = executions(tmp_path / "log")
        assert (end.status, end.entry) == ("completed", "coder")
        assert end.served_model == ("m-coder" if self.TELLS_SERVED else None)
        assert (end.input_tokens, end.output_tokens) == (24, 6)
        assert is_whole(tmp_path / "log")

    def test_the_name_of_a_model_is_a_wish(self, peers: Peers, host: PolicyHost) -> None:
        assert self.run(host, "spare") == "Hello from m-spare."
        assert self.run(host, "auto") == "Hello from m-small."
        assert peers.provider.talks[-1].body["temperature"] == 0.5

    def test_parameters_are_wishes_within_their_limits(
        self, peers: Peers, host: PolicyHost
    ) -> None:
        self.run(host, "spare", settings={"max_tokens": 40, "temperature": 0.25})
        body = peers.provider.talks[-1].body
        assert (body["max_tokens"], body["temperature"]) == (40, 0.25)
        assert "max_completion_tokens" not in body
        with pytest.raises(RefusedError, match="parameter_not_allowed"):
            self.run(host, "spare", settings={"max_tokens": 5000})
        assert len(peers.asked) == 1

    def test_a_name_outside_the_pool_is_refused(self, peers: Peers, host: PolicyHost) -> None:
        with pytest.raises(RefusedError, match=r"outside_pool.*permitted: small, coder") as caught:
            self.run(host, "huge")
        assert caught.value.refused.permitted == ("small", "coder", "spare", "lead")
        assert peers.asked == []

    def test_the_caller_is_stated_by_the_host_alone(self, peers: Peers, host: PolicyHost) -> None:
        with pytest.raises(RefusedError, match="secret"):
            self.run(host, "secret")
        facts = {"caller": {"team": "research"}}
        assert self.run(host, "secret", facts=facts) == "Hello from m-s."
        peers.calls["m-lead"] = [("delegate_task", {"goal": GOAL, "caller": {"team": "research"}})]
        self.lead(host)
        assert result_of(peers.provider.talks[-1])["status"] == "refused"

    # Delegating.

    def test_the_schema_of_the_tool_is_that_of_the_policy(
        self, peers: Peers, host: PolicyHost
    ) -> None:
        self.lead(host)
        (tool,) = peers.provider.talks[0].body["tools"]
        made = host.tool(strict=self.STRICT)
        assert isinstance(made, dict)
        assert tool["function"]["parameters"] == made["function"]["parameters"]
        assert tool["function"]["name"] == "delegate_task"
        assert tool["function"]["description"] == made["function"]["description"]

    def test_three_children_run_on_two_endpoints_each_with_its_key(
        self, peers: Peers, host: PolicyHost, tmp_path: Path
    ) -> None:
        peers.calls["m-lead"] = [("delegate_task", THREE)]
        assert self.lead(host) == "Hello from m-lead."
        host.close()
        lead, *children, last = peers.asked
        assert lead == last == ("lead", "m-lead")
        assert sorted(children) == [("far", "m-coder"), ("near", "m-small"), ("near", "m-spare")]
        results = result_of(peers.provider.talks[-1])["results"]
        assert [it["text"] for it in results] == [
            "Hello from m-coder.",
            "Hello from m-small.",
            "Hello from m-spare.",
        ]
        first, *others = decisions(tmp_path / "log")
        assert [it.parent for it in others] == [first.id] * 3
        parent = {"model": "m-lead", "provider": "lead", "depth": 0}
        assert [it["parent"] for it in requests(tmp_path / "log")[1:]] == [parent] * 3
        assert [it.status for it in executions(tmp_path / "log")] == ["completed"] * 4
        assert is_whole(tmp_path / "log")

    def test_a_refusal_starts_nothing_and_names_what_is_permitted(
        self, peers: Peers, host: PolicyHost, tmp_path: Path
    ) -> None:
        peers.calls["m-lead"] = [("delegate_task", OUTSIDE)]
        self.lead(host)
        host.close()
        assert peers.asked == [("lead", "m-lead")] * 2
        told = result_of(peers.provider.talks[-1])
        assert told["error"]["code"] == "outside_pool"
        assert told["error"]["permitted"] == ["small", "coder", "spare", "lead"]
        assert is_whole(tmp_path / "log")

    # Going along the plan.

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_failure_goes_to_the_next_target_of_the_plan(
        self, peers: Peers, host: PolicyHost, tmp_path: Path, *, stream: bool
    ) -> None:
        peers.faults["m-coder"] = [503]
        assert self.run(host, "policy:coding", stream=stream) == "Hello from m-spare."
        host.close()
        assert peers.asked == FALLEN
        (end,) = executions(tmp_path / "log")
        assert [it.failure for it in end.calls] == ["server_error", None]
        assert is_whole(tmp_path / "log")

    def test_a_run_stays_at_the_target_that_it_has_fallen_back_to(
        self, peers: Peers, host: PolicyHost
    ) -> None:
        peers.faults["m-coder"] = [503]
        peers.calls["m-spare"] = [("look", {"at": "it"})]
        self.run(host, "policy:coding")
        assert peers.asked == [*FALLEN, FALLEN[-1]]

    @pytest.mark.parametrize("stream", [False, True])
    def test_when_all_targets_fail_the_user_sees_it(
        self, peers: Peers, host: PolicyHost, tmp_path: Path, *, stream: bool
    ) -> None:
        peers.faults |= {"m-coder": [503], "m-spare": [503]}
        with pytest.raises(Exception, match=r"out of order|server_error"):
            self.run(host, "policy:coding", stream=stream)
        host.close()
        assert peers.asked == FALLEN
        (end,) = executions(tmp_path / "log")
        assert (end.status, end.error) == ("failed", "server_error")
        assert is_whole(tmp_path / "log")

    def test_when_all_targets_of_a_child_fail_its_parent_reads_it(
        self, peers: Peers, host: PolicyHost
    ) -> None:
        peers.faults |= {"m-coder": [503], "m-spare": [503]}
        peers.calls["m-lead"] = [("delegate_task", {"goal": GOAL, "kind": "coding"})]
        self.lead(host)
        assert peers.asked == [("lead", "m-lead"), *FALLEN, ("lead", "m-lead")]
        (result,) = result_of(peers.provider.talks[-1])["results"]
        assert (result["status"], result["error"]["code"]) == ("failed", "server_error")

    def test_after_a_part_of_an_answer_nothing_else_is_tried(
        self, peers: Peers, host: PolicyHost, tmp_path: Path
    ) -> None:
        peers.faults["m-coder"] = [200]
        with pytest.raises(Exception, match=r".") as caught:
            self.run(host, "policy:coding", stream=True)
        assert not isinstance(caught.value, AssertionError)
        host.close()
        assert peers.asked == FALLEN[:1]
        (end,) = executions(tmp_path / "log")
        assert end.status == "failed"

    # Ways in which a host would go on without a decision.

    def test_a_policy_that_cannot_be_read_refuses(self, peers: Peers, tmp_path: Path) -> None:
        host = PolicyHost(tmp_path / "none.yaml", environ=SECRETS)
        with pytest.raises(RefusedError, match="policy_unavailable"):
            self.run(host, "policy:coding")
        assert peers.asked == []

    def test_a_log_that_takes_nothing_refuses(self, peers: Peers, tmp_path: Path) -> None:
        (tmp_path / "full").write_text("no folder")
        log = DecisionLog(tmp_path / "full")
        with log, pytest.raises(RefusedError, match="log_unavailable"):
            self.run(peers.host(tmp_path, log=log), "policy:coding")
        assert peers.asked == []

    def test_a_log_that_ends_between_two_runs_refuses_the_children(
        self, peers: Peers, tmp_path: Path
    ) -> None:
        log = DecisionLog(tmp_path / "log")
        peers.calls["m-lead"] = [("delegate_task", THREE)]
        peers.meanwhile["m-lead"] = log.close
        self.lead(peers.host(tmp_path, log=log))
        assert peers.asked == [("lead", "m-lead")] * 2
        assert result_of(peers.provider.talks[-1])["error"]["code"] == "log_unavailable"

    def test_a_fault_of_the_host_refuses(self, peers: Peers, host: PolicyHost) -> None:
        def facts(_: object) -> Any:
            raise KeyError("planted-7f3a9c")

        with pytest.raises(RefusedError, match=r"bad_request: .*\(KeyError\)"):
            self.run(host, "policy:coding", facts=facts)
        assert peers.asked == []

    def test_a_fault_of_the_host_starts_no_child(self, peers: Peers, host: PolicyHost) -> None:
        def facts(_: object) -> Any:
            raise KeyError("planted-7f3a9c")

        peers.calls["m-lead"] = [("delegate_task", THREE)]
        with suppress(RefusedError):  # where the host tells its user instead of the agent
            self.lead(host, facts=facts)
        assert set(peers.asked) <= {("lead", "m-lead")}
        talks = peers.provider.talks[1:]
        assert [result_of(it)["error"]["code"] for it in talks] in ([], ["bad_request"])

    def test_a_key_that_is_missing_goes_nowhere_else(self, peers: Peers, tmp_path: Path) -> None:
        host = peers.host(tmp_path, environ={})
        with pytest.raises(RefusedError, match="no_credential"):
            self.run(host, "policy:coding")
        assert peers.asked == []
