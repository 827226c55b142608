"""A proxy whose settings are what `policy-router connect` writes."""

from __future__ import annotations

import json
from pathlib import Path

from policy_router.cli import main
from tests.hosts.common.logs import Log
from tests.hosts.litellm.test_litellm import Proxy, policy_of, text_of
from tests.support.hosting import Peers


class Connected(Proxy):
    """A proxy that was connected before it started."""

    def prepare(self) -> None:
        file, policy = self.folder / "config.yaml", self.folder / "policy.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        del config["litellm_settings"]["callbacks"]
        file.write_text(json.dumps(config), encoding="utf-8")
        words = ["connect", "litellm", str(policy), "--settings", str(file)]
        assert main([*words, "--home", str(self.log)]) == 0

    def _environ(self, folder: Path) -> dict[str, str]:
        variables = super()._environ(folder)
        return {key: it for key, it in variables.items() if not key.startswith("POLICY_ROUTER_")}


def test_a_connected_proxy_runs_on_what_the_policy_decides(tmp_path: Path) -> None:
    with Peers() as peers:
        proxy = Connected(tmp_path, peers, policy_of(peers))
        try:
            proxy.wait()
            status, answer = proxy.chat("policy:coding")
            refused, _ = proxy.chat("m-unknown")
        finally:
            proxy.stop()
    assert (status, refused) == (200, 403), proxy.said
    assert text_of(answer)
    assert len(Log(proxy.log).decisions) == 2
