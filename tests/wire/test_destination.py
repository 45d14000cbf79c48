"""Where strangers' webhooks lead: to the public internet, and to the address that was judged."""

from __future__ import annotations

import pytest

from wire.destination import Destination, Unfit, Unresolved, judged, public


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:0a00:0001::1", False),
        ("fe80::1%eth0", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
    ],
)
def test_only_the_public_internet_is_reached(address: str, allowed: bool) -> None:
    """No private, local, metadata or multicast address, nor one hidden in an IPv6 form."""
    assert public(address) is allowed


@pytest.mark.parametrize("address", ["64:ff9b::8.8.8.8", "::ffff:8.8.8.8"])
def test_a_public_address_may_be_written_in_ipv6(address: str) -> None:
    """So a network of IPv6 alone writes it."""
    assert public(address)


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b::169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::a00:1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "fec0::1",
        "::",
    ],
)
def test_no_form_of_ipv6_leads_inside(address: str) -> None:
    """Behind a translator (NAT64, DNS64) a webhook's name could lead to our cloud's metadata.

    The twin: judged by Python's own table alone, all but the last counted as public."""
    assert not public(address)


async def test_the_address_that_was_judged_is_the_one_that_is_called() -> None:
    """The receiver still sees its own name, in the header and in the certificate; keys in the URL are not
    sent to it as part of its name.

    Broken twin: the name left in the URL, whatever it points to a moment later is called (seen to fail)."""

    async def resolver(host: str, port: int) -> list[str]:
        assert (host, port) == ("hooks.example", 8443)
        return ["2606:4700::1111", "8.8.8.8"]

    found = await judged("https://k:s@hooks.example:8443/a?b=c#d", private=False, resolver=resolver)
    assert found == Destination("https://[2606:4700::1111]:8443/a?b=c", "hooks.example:8443", "hooks.example")


@pytest.mark.parametrize("url", ["http://h/", "https:///x", "https://h:99999/", "ftp://h/", "https://[h/"])
async def test_what_no_request_can_go_to_is_unfit(url: str) -> None:
    """Nobody is even asked for its address."""
    with pytest.raises(Unfit):
        await judged(url, private=False, resolver=_nobody)


async def test_a_name_without_an_address_may_have_one_later() -> None:
    """And plain HTTP will do where inner addresses do."""

    async def nothing(_host: str, _port: int) -> list[str]:
        return []

    with pytest.raises(Unresolved, match="h has no address"):
        await judged("http://h/", private=True, resolver=nothing)
    with pytest.raises(Unresolved, match="h cannot be resolved"):
        await judged("http://h/", private=True, resolver=_nobody)


async def _nobody(_host: str, _port: int) -> list[str]:
    raise OSError("nobody knows")
