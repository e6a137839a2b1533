"""One address, many spellings: the same host and page wherever addresses are compared; other pages stay apart."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.corpus import takedowns
from llm_core.corpus.cleaning.blocklists import Addresses
from llm_core.corpus.deduplication.stage import _url_digests
from llm_core.formats.documents import SCHEMA
from llm_core.formats.urls import domains_of, host_of, plain_url

HOSTS = {
    "example.org": [
        "example.org", "EXAMPLE.Org", "ex%61mple.org", "example%2Eorg", "example。org", "ｅxample.org", "exa\tmple.org",
    ],
    "xn--mnchen-3ya.de": ["münchen.de", "MÜNCHEN.de", "xn--mnchen-3ya.de", "XN--MNCHEN-3YA.DE", "m%C3%BCnchen.de"],
    "xn--fa-hia.de": ["faß.de", "xn--fa-hia.de"],
    "127.0.0.1": ["127.0.0.1", "127.1", "0x7f.1", "2130706433"],
}  # fmt: skip
SCHEMES = [
    "http://",
    "HTTPS://",
    "http:/",
    "http:",
    "https:\\\\",
    "http:///",
    "//",
    "\\\\",
    "ftp://",
    "wss://",
    " http://",
]
USERS = ["", "user@", "user:secret@", "@", "a@b@", "other.org%2F@", "other.org:80@"]
PORTS = ["", ":", ":80", ":443", ":8080", ":0080", ":99999"]
ENDS = ["", "/", "/page", "\\page", "?q=1", "#part", "/@other.org", "/http://other.org/", "?u=//other.org"]


@given(
    st.sampled_from([(host, spelling) for host, spellings in HOSTS.items() for spelling in spellings]),
    st.sampled_from(SCHEMES), st.sampled_from(USERS), st.sampled_from(["", "."]), st.sampled_from(PORTS),
    st.sampled_from(ENDS),
)  # fmt: skip
def test_every_reader_of_addresses_sees_the_host_that_a_browser_would_ask(named, scheme, user, dot, port, end):
    host, spelling = named
    url = f"{scheme}{user}{spelling}{dot}{port}{end}"
    assert host_of(url) == host
    assert plain_url(url).split("//")[1].split("/")[0].split("?")[0].split(":")[0] == host
    assert plain_url(plain_url(url)) == plain_url(url)
    batch = pa.RecordBatch.from_pylist([{"id": "1", "source": "s", "url": url, "text": ""}], schema=SCHEMA)
    assert takedowns.Takedowns([{"domain": host, "reason": "r"}]).match(batch) == ["domain"]
    assert takedowns.Takedowns([{"domain": "other.org", "reason": "r"}]).match(batch) == [None]
    blocked = Addresses()
    assert blocked.add(spelling) and url in blocked


@pytest.mark.parametrize(
    "one, other",
    [("http://e.org/~me", "http://e.org/%7Eme"), ("http://e.org/a b", "http://e.org/a%20b"),
     ("http://e.org/%c3%a9", "http://e.org/\u00e9"), ("http://e.org/a/../b", "http://e.org/b"),
     ("http://e.org/../b", "http://e.org/b"), ("http://%65.org/", "http://e.org"),
     ("http://e.org/a/%2e%2E/b", "http://e.org/b"), ("http:\\\\e.org\\a\\.\\b", "http://e.org/a/b"),
     ("https://e.org:443/a#b", "http://e.org:80/a"), ("http:/e.org/a", "//e.org/a/"), ("s3://Bucket/a", "S3://bucket/a")],
)  # fmt: skip
def test_spellings_of_one_address(one, other):
    assert plain_url(one) == plain_url(other)
    digests = _url_digests(pa.array([one, other, None, ""]))
    assert digests[0] == digests[1] != 0 and not digests[2:].any()


@pytest.mark.parametrize(
    "one, other",
    [("http://e.org/a%2Fb", "http://e.org/a/b"), ("http://e.org/a?x=1%262", "http://e.org/a?x=1&2"),
     ("http://e.org/100%25", "http://e.org/100"), ("http://e.org/A", "http://e.org/a"),
     ("http://e.org/?x=\\", "http://e.org/?x=/"), ("http://www.e.org/a", "http://e.org/a"),
     ("http://e.org:8080/", "http://e.org/"), ("ftp://e.org/a", "http://e.org/a"), ("Key-1", "key-1"),
     ("http://a.org/@b.org", "http://b.org"), ("http://a.org\\@b.org", "http://b.org/")],
)  # fmt: skip
def test_addresses_of_different_pages(one, other):
    assert plain_url(one) != plain_url(other)
    assert len(set(_url_digests(pa.array([one, other])))) == 2


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_a_plain_address_is_plain_already(path):
    plain = plain_url(f"http://e.org/{path}")
    assert plain_url(plain) == plain and host_of(plain) == "e.org"


@given(st.text(max_size=40))
def test_any_text_has_a_spelling(text):
    host_of(text)
    plain_url(text)


@pytest.mark.parametrize(
    "asked, hosts",
    [("example.org", {"example.org", "www.example.org", "a.example.org"}), ("a.example.org", {"a.example.org"}),
     ("org", {"example.org", "www.example.org", "a.example.org"}), ("ample.org", set()),
     ("www.example.org", {"example.org", "www.example.org"})],
)  # fmt: skip
def test_a_domain_names_its_subdomains_and_www_names_the_site(asked, hosts):
    there = ["example.org", "www.example.org", "a.example.org", "example.com"]
    assert {host for host in there if asked in domains_of(host)} == hosts
