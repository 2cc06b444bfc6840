"""Database addresses, which people, files and records see without their passwords: this is the place that hides them.

SQLAlchemy, which opens an address, also takes it apart here; it is imported only for an address that can hold a
password.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

__all__ = ["ADDRESS", "check_address", "command_without_passwords", "hidden", "password_help", "shown",
           "without_passwords"]

ADDRESS: Final = r"^[a-z0-9+]+://."
_HIDDEN: Final = "***"
_NO_ADDRESS: Final = "is not a database address; write it like sqlite:///sweepwise.db"
_FILES: Final = "sqlite:///"
"""Addresses that begin so name a file, and have no password."""
_SECRET_KEY: Final = re.compile(r"pass(word|wd|phrase)|pwd|secret|token|odbc_connect", re.IGNORECASE)
"""Keys behind an address' question mark that hold a secret: `password` and `sslpassword` of libpq, and the like."""
_DATABASES: Final = r"(?:postgres|mysql|mariadb|oracle|mssql|cockroach)[a-z0-9+]*"
_PASSWORDS: Final = (
    re.compile(rf"({_DATABASES}://[^/\s:@]*:)[^\s]+(@)", re.IGNORECASE),  # SQLAlchemy takes a slash in a password
    re.compile(r"(://[^/\s:@]*:)[^/\s]+(@)"),
    re.compile(r"((?:\?|&)(?:ssl)?(?:password|passwd|passphrase)=)[^&\s'\"]+()", re.IGNORECASE),
)
"""Passwords in text of any kind: what stands around one is kept."""
_LIBPQ: Final = re.compile(r"postgresql(\+(psycopg|psycopg2|psycopg_async|asyncpg))?$")
"""Drivers that read PGPASSWORD where an address has no password: libpq's, and asyncpg."""


def check_address(address: object) -> str:
    """The address, unchanged, if a database can be meant by it. Raises ValueError, which does not repeat it: even a
    wrong one may hold a password."""
    if not isinstance(address, str) or not re.match(ADDRESS, address) or not address.isprintable():
        raise ValueError(_NO_ADDRESS)
    if address.startswith(_FILES):
        return address
    if address.count("@") > 1:  # a part of the password would be taken for the host, and be named in errors
        raise ValueError("has two '@'; write an '@' in a user's name or password as %40")
    if _parsed(address) is None:
        raise ValueError("is no address that can be read; write it like postgresql+psycopg://user@host:5432/name")
    return address


def shown(address: str) -> str:
    """The address for people and files: stars in place of a password."""
    if address.startswith(_FILES):
        return address
    url = _parsed(address)
    if url is None or address.count("@") > 1:
        return f"{address.partition('://')[0][:20]}://{_HIDDEN}" if "://" in address else _HIDDEN
    if not _secrets(address):
        return address
    secret = {key: _HIDDEN for key in url.query if _SECRET_KEY.search(key)}
    return url.update_query_dict(secret).render_as_string(hide_password=True).replace("%2A%2A%2A", _HIDDEN)


def hidden(text: str, *addresses: str) -> str:
    """The text without the passwords of these addresses, wherever they stand as a word, and of all others that look
    like one."""
    for address in addresses:
        if secrets := _secrets(address):
            text = text.replace(address, shown(address))
            text = re.sub(rf"(?<!\w)(?:{'|'.join(map(re.escape, secrets))})(?!\w)", _HIDDEN, text)
    return without_passwords(text)


def without_passwords(text: str) -> str:
    """The text without whatever looks like the password of an address."""
    for pattern in _PASSWORDS:
        text = pattern.sub(rf"\1{_HIDDEN}\2", text)
    return text


def command_without_passwords(arguments: Iterable[str]) -> str:
    """The command line to type again. Its addresses lack their passwords: stars would be tried as one."""
    return shlex.join(_argument(argument)[0] for argument in arguments)


def password_help(arguments: Sequence[str]) -> str:
    """What to add to `command_without_passwords`: how to give the password again; empty if there was none."""
    lost = [scheme for argument in arguments if (scheme := _argument(argument)[1]) is not None]
    if not lost:
        return ""
    if all(_LIBPQ.match(scheme) for scheme in lost):
        return " (with the password in the environment variable PGPASSWORD)"
    return " (with the password put into the address again)"


def _argument(argument: str) -> tuple[str, str | None]:
    """The argument without its address' password, and the address' scheme if it had one."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    scheme, found, _ = value.partition("://")
    if not found or value.startswith(_FILES):
        return argument, None
    url = _parsed(value)
    if url is None or value.count("@") > 1:
        return f"{option}{equals}{shown(value)}", scheme
    if not _secrets(value):
        return without_passwords(argument), None
    query = {key: part for key, part in url.query.items() if not _SECRET_KEY.search(key)}
    bare = type(url).create(url.drivername, url.username, None, url.host, url.port, url.database, query)
    return f"{option}{equals}{bare.render_as_string(hide_password=False)}", scheme


def _secrets(address: str) -> list[str]:
    """The passwords of an address, as written and as meant, longest first."""
    if address.startswith(_FILES) or (url := _parsed(address)) is None:
        return []
    meant = {str(url.password or "")}
    for key, values in url.query.items():
        if _SECRET_KEY.search(key):
            meant |= {values} if isinstance(values, str) else set(values)
    written = re.match(r"[^:]*://[^:/]*:([^@]*)@", address)
    found = meant | {unquote(text) for text in meant} | {unquote_plus(text) for text in meant}
    found |= {form(text) for text in meant for form in (quote, quote_plus)} | ({written[1]} if written else set())
    return sorted(found - {""}, key=lambda text: (-len(text), text))


def _parsed(address: str) -> URL | None:
    """The parts of an address; None where SQLAlchemy cannot tell them apart. Its error would repeat some of them."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(address)
    except (ArgumentError, ValueError):
        return None
