"""HTTP's grammar of names and hosts, for everything that reads or writes a header.

Must not: contain anything but regular expressions.
"""

from __future__ import annotations

import re

TOKEN_TEXT = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""A token (RFC 9110, 5.6.2), as part of an expression for text."""
TOKEN = TOKEN_TEXT.encode()
"""The same for bytes."""

is_token = re.compile(TOKEN).fullmatch

is_host = re.compile(  # RFC 3986, 3.2.2 and 3.2.3: a literal address, or a registered name; then a port
    rb"(?:\[[0-9A-Fa-f:.vV!$&'()*+,;=_~\-]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
).fullmatch
"""Whether it can be the value of a Host header, or the authority of a request target."""
