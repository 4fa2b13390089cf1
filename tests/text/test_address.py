"""Where a server is, as read from its address."""

from __future__ import annotations

from potstill.text.address import host_of, is_own_host, origin_of


def test_addresses() -> None:
    assert host_of("https://API.Example.COM.:8443/v1") == "api.example.com"
    assert origin_of("http://[::1]:8000/v1") == "http://[::1]:8000"
    own = ["localhost", "127.0.0.1", "10.1.2.3", "192.168.0.9", "::1", "fd00::1", "vllm"]
    own += ["gpu.local", "x.internal", "a.localhost", "172.16.0.1"]
    others = ["8.8.8.8", "api.openai.com", "2130706433", "0x7f000001", "2001:4860::8888"]
    others += ["localhost.example.com", "172.32.0.1", ""]
    assert [host for host in own if not is_own_host(host)] == []
    assert [host for host in others if is_own_host(host)] == []
