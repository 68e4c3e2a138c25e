"""Finds the proxy for a URL in HTTPS_PROXY, HTTP_PROXY and NO_PROXY, as kubectl does.

The rules are those of golang.org/x/net/http/httpproxy: names match their subdomains too, addresses
and CIDRs are compared as numbers, and a loopback address needs no proxy.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

SCHEMES = ("http", "https", "socks5", "socks5h")
_PORTS = {"http": 80, "https": 443}


class ProxyError(ValueError):
    """An invalid proxy in the environment. The text names the variable."""


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """The proxy for a URL, or None for a direct connection. Raises ProxyError."""
    target = urlsplit(url)
    variable = f"{target.scheme}_proxy"
    name, proxy = _first(environ, variable.upper(), variable)
    if not proxy:
        return None
    if target.scheme == "http" and environ.get("REQUEST_METHOD"):
        return None  # in a CGI program HTTP_PROXY may come from a request header
    host, port = target.hostname or "", target.port or _PORTS[target.scheme]
    if _is_direct(host, port, _first(environ, "NO_PROXY", "no_proxy")[1]):
        return None
    return _checked(proxy if "://" in proxy else f"http://{proxy}", name)


def _first(environ: Mapping[str, str], *names: str) -> tuple[str, str]:
    for name in names:
        if environ.get(name):
            return name, environ[name]
    return names[0], ""


def _checked(proxy: str, name: str) -> str:
    try:
        parts = urlsplit(proxy)
        is_usable = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:  # the value is left out, since it may hold a password
        forms = "http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT"
        raise ProxyError(f"{name} is not the URL of a proxy: use {forms}")
    return proxy


def _is_direct(host: str, port: int, no_proxy: str) -> bool:
    host = host.lower()
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(
        _matches(entry.strip().lower(), host, address, port) for entry in no_proxy.split(",")
    )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _matches(
    entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int
) -> bool:
    if not entry or entry == "*":
        return entry == "*"
    if "/" in entry:
        return address is not None and _is_within(address, entry)
    name, only_port = _split(entry)
    if not name or (only_port and only_port != str(port)):
        return False
    listed = _address(name)
    if listed is not None:
        return listed == address
    suffix = name.removeprefix("*")
    if suffix.startswith("."):
        return host.endswith(suffix)
    return host == suffix or host.endswith(f".{suffix}")


def _is_within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _split(entry: str) -> tuple[str, str]:
    """The host and the port of `host`, `host:port`, an IPv6 address or `[IPv6]:port`."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""
