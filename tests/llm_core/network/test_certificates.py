"""An untrusted certificate gives a one-line error at once; one that the system trusts works."""

import datetime
import http.server
import ipaddress
import ssl
import threading

import pytest

from llm_core.errors import UserError
from llm_core.network.downloads import Client

x509 = pytest.importorskip("cryptography.x509")


@pytest.fixture
def secure(tmp_path):
    """(address of a server whose certificate nobody knows, the certificate's file, list of its connections)."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a company's proxy")])
    now = datetime.datetime.now(datetime.UTC)
    place = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(place, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "certificate.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}/x", file, asked
    server.shutdown()
    server.server_close()


def test_an_unknown_certificate_is_reported_at_once(secure, network, capfd):
    address, _, asked = secure
    with pytest.raises(UserError, match=r"certificate is not trusted; if a company proxy .* SSL_CERT_FILE"):
        Client(network).get(address)
    assert not asked and "try 2" not in capfd.readouterr().err


def test_a_certificate_of_the_systems_store_is_trusted(secure, network, monkeypatch):
    address, file, _ = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(file))  # where OpenSSL looks for the system's certificates
    assert Client(network).get(address) == b"ok"
