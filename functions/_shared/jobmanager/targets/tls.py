"""TLS of webhooks, with explanations of its errors."""

import ssl
from collections.abc import Mapping
from functools import cache
from socket import socket
from typing import Any

_OF_ANOTHER_NAME = "its certificate is for another name"
_UNKNOWN_ISSUERS = (20, 21)
# https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_OF_CERTIFICATES = {
    9: "its certificate, or one that signed it, is not valid yet",
    10: "its certificate, or one that signed it, has expired",
    18: "its certificate is self-signed: its issuer is unknown",
    19: "its certificate was signed by an unknown issuer, at last by a certificate that is self-signed",
    20: "its certificate was signed by an unknown issuer",
    21: "its certificate was signed by an unknown issuer",
    62: _OF_ANOTHER_NAME,
    64: "its certificate is not for its address",
}
_OF_AN_INCOMPLETE_CHAIN = (
    "it sends its own certificate alone, and its issuer is unknown: the chain is incomplete, or ends in an"
    " authority that is not trusted"
)
_OF_THE_HANDSHAKE = {
    "HTTP_REQUEST": "it does not speak TLS on this port",
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks no version of TLS from 1.2 on",
    "UNSUPPORTED_PROTOCOL": "it speaks no version of TLS from 1.2 on",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it requires a client certificate, which webhooks do not have",
}
_BROKEN_OFF = "it closed the connection during the TLS handshake"


class NotEncrypted(OSError):
    """TLS with a target failed; the message says why."""


@cache
def context(checks_names: bool = True) -> ssl.SSLContext:
    """The TLS context, which trusts the issuers that the system trusts.

    Without ``checks_names``, the caller must check for which name a certificate is.
    """
    made = ssl.create_default_context()
    made.set_alpn_protocols(["http/1.1"])
    made.check_hostname = checks_names
    return made


def encrypted(opened: socket, name: str) -> ssl.SSLSocket:
    """Starts TLS on the connection, with the owner of ``name``. Raises OSError.

    OpenSSL matches no wildcard with a label that has an underscore, but curl does
    (https://github.com/python/cpython/issues/103490). Public authorities sign such names only by wildcards
    (https://lists.cabforum.org/pipermail/servercert-wg/2018-November/000385.html), so the name is checked
    here.
    """
    has_underscore = "_" in name
    with_tls = context(not has_underscore).wrap_socket(
        opened, server_hostname=name, do_handshake_on_connect=False
    )
    try:
        with_tls.do_handshake()
        if has_underscore and not _is_for(with_tls.getpeercert() or {}, name):
            raise NotEncrypted(_OF_ANOTHER_NAME)
    except ssl.SSLError as error:
        chain = with_tls.get_unverified_chain()
        with_tls.close()
        raise NotEncrypted(_why(error, len(chain))) from None
    except ConnectionError:
        with_tls.close()
        raise NotEncrypted(_BROKEN_OFF) from None
    except BaseException:
        with_tls.close()
        raise
    return with_tls


def what_went_wrong(error: OSError) -> str:
    """Explains a connection's error, or names its class. Reveals nothing about our network."""
    if isinstance(error, NotEncrypted):
        return str(error)
    return _why(error, 0) if isinstance(error, ssl.SSLError) else type(error).__name__


def _is_for(certificate: Mapping[str, Any], name: str) -> bool:
    """Whether a certificate, as getpeercert returns it, has this name or a wildcard for its domain."""
    names = {value.lower() for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
    domain = name.partition(".")[2]
    return name in names or ("." in domain and f"*.{domain}" in names)


def _why(error: ssl.SSLError, certificates_sent: int) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _UNKNOWN_ISSUERS and certificates_sent == 1:
            return _OF_AN_INCOMPLETE_CHAIN
        return _OF_CERTIFICATES.get(
            error.verify_code, f"its certificate is not valid: {error.verify_message}"
        )
    if isinstance(error, ssl.SSLEOFError):
        return _BROKEN_OFF
    reason = error.reason or "for no reason that is known"
    return _OF_THE_HANDSHAKE.get(reason, f"TLS failed: {reason.replace('_', ' ').lower()}")
