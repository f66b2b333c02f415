"""Hosts with a network each, and links between them that can be cut as if somebody pulled a cable.

A host is a network namespace of Linux, without a name: nothing is left of it once this process and
those that were started in it have ended, however they end.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CURRENT = "/proc/thread-self/ns/net"
NEW_NETWORK = 0x40000000  # CLONE_NEWNET of <sched.h>, for which Python 3.11 has no name


class Host:
    """What is started or connected `inside` reaches only the hosts that this one is linked to."""

    def __init__(self) -> None:
        """Skips the test, with the reason, where there can be no host."""
        if shutil.which("ip") is None:
            pytest.skip("there is no `ip` (of iproute2)")
        try:
            with _moved("unshare", NEW_NETWORK):
                self.handle = os.open(CURRENT, os.O_RDONLY)
        except (OSError, AttributeError) as error:
            pytest.skip(f"only root on Linux makes network namespaces: {error}")
        self.ip("link set lo up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have this thread in the network of the host."""
        with _moved("setns", self.handle, NEW_NETWORK):
            yield

    def link(self, other: "Host", name: str, subnet: str) -> None:
        """Connect this host, which becomes `<subnet>.1`, with another, `<subnet>.2`."""
        there = f"/proc/{os.getpid()}/fd/{other.handle}"
        try:
            self.ip(f"link add {name} type veth peer name {name} netns {there}")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this kernel has no links between network namespaces: {error.stderr}")
        for number, host in enumerate((self, other), 1):
            host.ip(f"address add {subnet}.{number}/24 dev {name}")
            host.ip(f"link set {name} up")

    @contextmanager
    def cut(self, name: str) -> Iterator[None]:
        """Cut a link at this end. What is sent at the other one is lost, and nobody is told."""
        self.ip(f"link set {name} down")
        try:
            yield
        finally:
            self.ip(f"link set {name} up")

    def close(self) -> None:
        os.close(self.handle)

    def ip(self, command: str) -> None:
        """Run `ip` inside."""
        arguments = ["ip", *command.split()]
        with self.inside():
            subprocess.run(arguments, check=True, capture_output=True, text=True)


@contextmanager
def _moved(call: str, *arguments: int) -> Iterator[None]:
    """Have this thread in another network for a while."""
    home = os.open(CURRENT, os.O_RDONLY)
    try:
        _call(call, *arguments)
        try:
            yield
        finally:
            _call("setns", home, NEW_NETWORK)
    finally:
        os.close(home)


def _call(name: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
