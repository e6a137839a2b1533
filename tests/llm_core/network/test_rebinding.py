"""A name that was public when it was checked is never asked at a private number; certificates are still the name's.

The resolver is a stub: `socket.getaddrinfo` gives a name the next of its numbers each time. 127.0.0.2 counts as
private, and 127.0.0.1, where the servers of the tests are, as public.
"""

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from llm_core.corpus.sources.listed import check_again
from llm_core.errors import UserError
from llm_core.network import addresses
from llm_core.network.addresses import check_listed, checked_numbers, is_public
from llm_core.network.downloads import Client
from llm_core.params.sources import FilesSource

PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"
Names = dict[str, list[list[str]]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """name -> its numbers at each question in turn; the last ones stay."""
    known: Names = {}
    real: Callable = socket.getaddrinfo

    def answer(host, port, *arguments, **settings):
        turns = known.get(str(host))
        if turns is None:
            return real(host, port, *arguments, **settings)
        numbers = turns.pop(0) if len(turns) > 1 else turns[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port or 0)) for number in numbers]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setattr(addresses, "_is_public_number", lambda number: number != PRIVATE)
    monkeypatch.setattr(addresses, "_PUBLIC", set())
    return known


def port_of(site) -> int:
    return urlsplit(site.address).port


def test_a_listed_name_that_changes_to_a_private_number_is_not_asked(names, site, network):
    names["evil.example"] = [[PUBLIC], [PRIVATE]]
    address = f"http://evil.example:{port_of(site)}/x"
    check_listed(address, site.address, "list:1")
    with pytest.raises(UserError, match=r"evil.example: was a public host .* private one now \(127.0.0.2\); refused"):
        Client(network).get(address)
    assert site.log == []


def test_a_redirect_to_a_name_that_changes_to_a_private_number_is_not_followed(names, site, network):
    names["evil.example"] = [[PUBLIC], [PRIVATE]]
    site.redirects["/moved"] = f"http://evil.example:{port_of(site)}/inside"
    with pytest.raises(UserError, match=r"evil\.example: was a public host"):
        Client(network).get(f"{site.address}/moved")
    assert site.requests_for("/inside") == []


def test_a_name_that_changes_between_two_requests_is_refused_at_the_second(names, site, network):
    site.files["/x"] = site.files["/y"] = b"sound"
    names["evil.example"] = [[PUBLIC], [PUBLIC], [PRIVATE]]
    address = f"http://evil.example:{port_of(site)}"
    assert is_public(address) and Client(network).get(f"{address}/x") == b"sound"
    with pytest.raises(UserError, match="refused"):
        Client(network).get(f"{address}/y")


def test_one_private_number_among_public_ones_is_enough(names):
    names["evil.example"] = [[PUBLIC], [PUBLIC, PRIVATE]]
    assert is_public("http://evil.example/")
    with pytest.raises(UserError, match="refused"):
        checked_numbers("evil.example")
    names["mixed.example"] = [[PRIVATE, PUBLIC]]
    assert not is_public("http://mixed.example/")


def test_a_list_is_checked_again_by_the_process_that_asks(names, site):
    """A run that goes on reads its list from the scratch folder; a worker has not seen the first check at all."""
    names["evil.example"] = [[PRIVATE]]
    params = FilesSource(kind="files", address_list=f"{site.address}/list.txt", paths=["http://evil.example/own.txt"])
    with pytest.raises(UserError, match="may not name a private one"):
        check_again(params, "http://evil.example/x.txt")
    check_again(params, "http://evil.example/own.txt")  # what a person configured may be private


def test_a_host_that_a_person_configured_may_be_private_and_is_asked_by_its_name(names, site, network):
    site.files["/x"] = b"sound"
    names["intranet.example"] = [["127.0.0.3", PUBLIC]]  # nothing listens at the first: the second is tried
    names["gone.example"] = [[]]
    assert Client(network).get(f"http://intranet.example:{port_of(site)}/x") == b"sound"
    with pytest.raises(UserError, match=r"gone\.example"):
        Client(network.model_copy(update={"retries": 0})).get("http://gone.example/x")


def test_the_certificate_is_checked_against_the_name(names, secure, network, monkeypatch):
    address, file, _ = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    for name in ("data.example", "other.example"):
        names[name] = [[PUBLIC]]
    port = urlsplit(address).port
    assert Client(network).get(f"https://data.example:{port}/x") == b"ok"
    with pytest.raises(UserError, match="certificate is not trusted"):
        Client(network).get(f"https://other.example:{port}/x")
