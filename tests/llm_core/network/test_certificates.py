"""An untrusted certificate gives a one-line error at once; one that the system trusts works."""

import subprocess
import sys

import pytest

from llm_core.errors import UserError
from llm_core.network.downloads import Client


def test_an_unknown_certificate_is_reported_at_once(secure, network, capfd):
    address, _, asked = secure
    with pytest.raises(UserError, match=r"certificate is not trusted; if a company proxy .* SSL_CERT_FILE"):
        Client(network).get(address)
    assert not asked and "try 2" not in capfd.readouterr().err


def test_a_certificate_of_the_systems_store_is_trusted(secure, network, monkeypatch):
    address, file, _ = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(file))  # where OpenSSL looks for the system's certificates
    assert Client(network).get(address) == b"ok"


def test_object_storage_connects_after_the_hub_has_been_read() -> None:
    """In one process, as where a corpus of the hub is written to S3; botocore is imported first."""
    program = (
        "import botocore.httpsession\n"
        "from llm_core.network.sessions import trust_the_system\n"
        "trust_the_system()\n"
        "botocore.httpsession.URLLib3Session()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-300:]
