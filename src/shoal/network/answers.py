"""DNS messages: what our resolver answers itself, and what it leaves to others. Pure but for the shuffle's `rng`."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from shoal.network.names import Names, find, find_reverse

TTL = 2
"""Seconds that an answer may be remembered: names follow the tasks."""


def answer(query: bytes, views: Sequence[Names], rng: Random, *, tcp: bool) -> bytes | None:
    """The answer to `query` for somebody who sees `views`; None when others must be asked.

    What is not a query at all gets an empty answer, which means: say nothing.
    """
    try:
        message = dns.message.from_wire(query)
    except dns.exception.DNSException:
        return refusal(query, dns.rcode.FORMERR)
    if message.opcode() != dns.opcode.QUERY or len(message.question) != 1:
        return refusal(query, dns.rcode.NOTIMP)
    question = message.question[0]
    response = dns.message.make_response(message, recursion_available=True)
    if question.rdtype == dns.rdatatype.PTR:
        if not (name := _pointer(question.name, views)):
            return None
        response.answer.append(dns.rrset.from_text(question.name, TTL, "IN", "PTR", f"{name}."))
        return _wire(response, tcp=tcp)
    addresses = find(views, question.name.to_text(omit_final_dot=True))
    if addresses is None:
        return None
    if not addresses:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype in (dns.rdatatype.A, dns.rdatatype.ANY):
        shuffled = rng.sample(addresses, len(addresses))
        response.answer.append(dns.rrset.from_text(question.name, TTL, "IN", "A", *shuffled))
    return _wire(response, tcp=tcp)


def refusal(query: bytes, code: dns.rcode.Rcode = dns.rcode.SERVFAIL) -> bytes:
    """An answer that says only what is wrong: the question's header, and the question when it can be read."""
    try:
        message = dns.message.from_wire(query)
        response = dns.message.make_response(message, recursion_available=True)
        response.set_rcode(code)
        return response.to_wire()
    except dns.exception.DNSException:
        if len(query) < 12 or query[2] & 0x80:
            return b""
        return query[:2] + bytes([0x80 | query[2] & 0x79, 0x80 | int(code)]) + bytes(8)


def _pointer(name: dns.name.Name, views: Sequence[Names]) -> str | None:
    try:
        return find_reverse(views, dns.reversename.to_address(name))
    except (dns.exception.DNSException, ValueError):
        return None


def _wire(response: dns.message.Message, *, tcp: bool) -> bytes:
    if tcp:
        return response.to_wire(max_size=65535)
    size = max(512, response.request_payload)
    return response.to_wire(max_size=min(size, 4096), prefer_truncation=True)
