"""The dashboard's token stands in the address that it prints, and in no log."""

from __future__ import annotations

import http.cookiejar
import re
import urllib.error
import urllib.request

import pytest

from tests.support.processes import process, until


def test_the_token_is_in_no_log() -> None:
    command = ("-m", "corral.cli", "dashboard", "tcp://127.0.0.1:1", "--port", "0")
    with process(*command, CORRAL_LOG_LEVEL="debug", CORRAL_LOG_FORMAT="json") as page:
        found = until(lambda: re.search(r"(http://\S+)\?token=(\S+)", page.output), 60, "the page's address")
        address, token = found.groups()
        cookies = http.cookiejar.CookieJar()
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
        assert browser.open(f"{address}?token={token}", timeout=30).status == 200
        with pytest.raises(urllib.error.HTTPError):
            browser.open(f"{address}?token={token[:-1]}", timeout=30)
        page.end()
        assert page.output.count(token[:-1]) == 1  # where it is printed
        assert cookies
        for cookie in cookies:
            assert cookie.value is not None
            assert cookie.value not in page.output
