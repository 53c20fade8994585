"""`corral dashboard` as a process: where it listens, whom it lets in, how it ends. What it watches is not there."""

from __future__ import annotations

import http.client
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.support.processes import Process, process, until

NOBODY = "ipc:///tmp/corral-nobody-there"


@contextmanager
def dashboard(*options: str) -> Iterator[tuple[Process, str]]:
    """A page of a server that is not there, and the address that was printed."""
    with process("-m", "corral.cli", "dashboard", NOBODY, *options) as started:
        found = until(lambda: re.search(r"http://\S+/\?token=\S+", started.output), 30, "an address")
        yield started, found[0]


def get(address: str, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and text."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    finally:
        connection.close()


def test_on_loopback_it_shows_to_all_and_ends_when_asked() -> None:
    with dashboard() as (started, address):
        assert urlsplit(address).hostname == "127.0.0.1"
        assert 5580 <= (urlsplit(address).port or 0) < 5600
        status, headers, text = get(address, "/")
        assert status == 200
        assert "read only" in text
        assert "'none'" in headers["content-security-policy"]
        assert get(address, "/docs")[0] == 404
        started.popen.send_signal(signal.SIGINT)
        assert started.popen.wait(10) == 130
        assert "Traceback" not in started.output


def test_elsewhere_it_shows_nothing_without_the_token() -> None:
    with dashboard("--host", "0.0.0.0", "--port", "0") as (started, address):
        place = urlsplit(address)
        here, token = f"http://127.0.0.1:{place.port}", place.query
        for path in ("/", "/_nicegui_ws/socket.io/?EIO=4&transport=polling", "/_nicegui/client/x"):
            assert get(here, path)[0] == 401, path
        assert get(here, "/?token=guessed")[0] == 403
        status, headers, _ = get(here, f"/?{token}")
        assert (status, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"].partition(";")[0]
        status, _, text = get(here, "/", cookie=cookie)
        assert status == 200
        assert "read only" not in text
        assert started.end() == 0


def test_two_share_the_ports_and_a_named_one_is_taken_or_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, dashboard() as (_, first), dashboard() as (_, second):
        assert urlsplit(first).port != urlsplit(second).port
        port = str(taken.getsockname()[1])
        with process("-m", "corral.cli", "dashboard", NOBODY, "--port", port) as refused:
            assert refused.popen.wait(30) == 2
            assert f"error: the dashboard cannot listen on 127.0.0.1, port {port}" in refused.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere/runs/x"], "no such folder"),
        (["a", "--file", "nowhere.toml"], "nowhere.toml: no such file"),
        (["tcp://nowhere"], "is no address"),
        (["a:1", "--learner", "b:2"], "is no address"),
        (["a:1", "--keys", "nowhere"], "nowhere: no such folder of keys"),
        (["a:1", "--host", "203.0.113.7"], "cannot listen on 203.0.113.7"),
    ],
)
def test_what_cannot_be_shown_is_told(arguments: list[str], said: str) -> None:
    with process("-m", "corral.cli", "dashboard", *arguments) as refused:
        assert refused.popen.wait(30) == 2
        assert said in refused.output
        assert "Traceback" not in refused.output
