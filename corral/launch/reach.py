"""How far one comes to somebody who does not answer: what is wrong between here and there."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from corral.protocol.sockets import is_private


def how_far(address: str, timeout_s: float = 1.0) -> str:
    """What a person can do about silence at `address`, in one clause. Tries to connect for `timeout_s`."""
    where = urlsplit(address)
    if where.scheme != "tcp" or where.port is None:
        return "does a server of this machine listen there?"
    try:
        with socket.create_connection((where.hostname, where.port), timeout_s):
            return (
                "something listens there and says nothing: a server with keys answers nobody whose key it does not "
                "know (--keys), and nobody without; else it is no Corral server"
            )
    except socket.gaierror:
        return f"the name {where.hostname} is not known here: check it, or use the address"
    except ConnectionRefusedError:
        # On this machine the default address will do.
        there = "" if is_private(address) else f", with --address tcp://0.0.0.0:{where.port}"
        return f"nothing listens there: is the server up{there}?"
    except TimeoutError:
        return f"{where.hostname} says nothing at all: a firewall between (docs/machines.md), or no such machine"
    except OSError as error:
        return str(error.strerror or error)
