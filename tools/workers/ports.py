"""Ports for the processes that headrace starts: workers' pages and local brokers."""

from __future__ import annotations

import socket

HOST = "127.0.0.1"


def free_port() -> int:
    """Return a port that is free, and that this machine gives to nobody else for a minute.

    A connection to the port is opened and closed. Its remains (``TIME_WAIT``) keep the system from
    choosing the port again, while a server that names the port, as ours do, can listen on it. So
    programs that ask side by side get different ports.
    """
    with socket.create_server((HOST, 0)) as server:
        port = int(server.getsockname()[1])
        with socket.create_connection((HOST, port)) as client:
            server.accept()[0].close()  # who closes first keeps the port
            client.recv(1)
    return port
