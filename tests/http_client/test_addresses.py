"""Where a link's host is looked up, and when again."""

from __future__ import annotations

import asyncio
import socket
import threading

import aiohttp
import pytest

from pipeline.http_client.addresses import Addresses
from pipeline.http_client.transport import Transport
from pipeline.model import Link, NoReply
from tests.http_client.servers import OK, answering, reply, serving
from tests.http_client.test_transport_contract import a_link, a_request
from tests.http_client.tls_files import Authority

HOST = "vendor.example"
NOBODY = "127.0.0.77"
CLOSING = reply(200, "Connection: close", body=b"{}")


class Names:
    """The system's name service: it knows one host, if any, and counts how often it is asked.

    answers  while it is not set, it says nothing
    """

    def __init__(self) -> None:
        self.addresses = ["127.0.0.1"]
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def getaddrinfo(self, host, port, *_more):
        assert host == HOST
        self.asked += 1
        self.answers.wait(60)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in self.addresses]


@pytest.fixture
def names(monkeypatch):
    known = Names()
    monkeypatch.setattr(socket, "getaddrinfo", known.getaddrinfo)
    return known


def to_host(port: int) -> Transport:
    link = Link(base_url=f"http://{HOST}:{port}", timeout_s=5.0, connect_timeout_s=2.0)
    return Transport(link, authorization=None, in_flight=4)


async def test_a_host_is_looked_up_once_for_many_connections(names):
    async with serving(answering(CLOSING)) as server, to_host(server.port) as sender:
        await asyncio.gather(*[sender.send(a_request()) for _ in range(4)])
        assert (await sender.send(a_request())).status == 200
    assert (server.connections, names.asked) == (5, 1)


async def test_a_host_that_moved_is_found_with_the_next_connection(names):
    names.addresses = [NOBODY]
    async with serving(answering(OK)) as server, to_host(server.port) as sender:
        lost = await sender.send(a_request())
        assert isinstance(lost, NoReply)
        assert lost.reason == "connect_failed"
        names.addresses = ["127.0.0.1"]
        assert (await sender.send(a_request())).status == 200


async def test_known_addresses_are_used_while_names_cannot_be_looked_up(names):
    addresses = Addresses(aiohttp.ThreadedResolver())
    assert [each["host"] for each in await addresses.resolve(HOST)] == ["127.0.0.1"]
    names.addresses = []
    addresses.doubt()
    assert [each["host"] for each in await addresses.resolve(HOST)] == ["127.0.0.1"]
    names.addresses = [NOBODY]
    addresses.doubt()
    assert [each["host"] for each in await addresses.resolve(HOST)] == [NOBODY]


async def test_a_name_server_that_says_nothing_keeps_no_connection_waiting(names):
    addresses = Addresses(aiohttp.ThreadedResolver())
    await addresses.resolve(HOST)
    names.addresses = [NOBODY]
    names.answers.clear()
    addresses.doubt()
    try:
        for _ in range(2):  # the second one does not wait again
            async with asyncio.timeout(10):
                assert [each["host"] for each in await addresses.resolve(HOST)] == ["127.0.0.1"]
    finally:
        names.answers.set()
    async with asyncio.timeout(10):
        while [each["host"] for each in await addresses.resolve(HOST)] != [NOBODY]:
            await asyncio.sleep(0.01)
    assert names.asked == 2


async def test_a_host_that_nobody_knows_is_not_reached(names):
    names.addresses = []
    async with serving(answering(OK)) as server, to_host(server.port) as sender:
        lost = [await sender.send(a_request()) for _ in range(2)]
        assert [each.reason for each in lost] == ["connect_failed"] * 2
        assert "cannot find the address" in lost[0].detail
        names.addresses = ["127.0.0.1"]
        assert (await sender.send(a_request())).status == 200


async def test_addresses_take_turns(names):
    names.addresses = [NOBODY, "127.0.0.1"]
    async with serving(answering(CLOSING)) as server, to_host(server.port) as sender:
        for _ in range(3):
            assert (await sender.send(a_request())).status == 200
    assert names.asked == 1


async def test_a_certificate_that_turns_bad_stops_nothing_for_good(tmp_path):
    ours = Authority.made_in(tmp_path / "ours")
    foreign = Authority.made_in(tmp_path / "foreign")
    tls = ours.server()
    async with serving(answering(CLOSING), tls=tls) as server:
        link = a_link(server, ca_file=ours.ca_file)
        async with Transport(link, authorization=None, in_flight=1) as sender:
            assert (await sender.send(a_request())).status == 200
            foreign.ca.issue_cert("127.0.0.1").configure_cert(tls)
            lost = await sender.send(a_request())
            assert isinstance(lost, NoReply)
            assert (lost.reason, lost.may_have_arrived) == ("tls_failed", False)
            assert not lost.is_permanent  # it is what was configured that works
            ours.ca.issue_cert("127.0.0.1").configure_cert(tls)
            assert (await sender.send(a_request())).status == 200
