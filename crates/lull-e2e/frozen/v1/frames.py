"""Frames of the Lull protocol as ../spec/framing.md and ../spec/messages.md lay them out."""
import struct
from types import SimpleNamespace

HEADER = struct.Struct("<4sHHIIIIII")  # magic kind flags body payload crc(body) crc(payload) reserved crc(header)
MAGIC, HEADER_BYTES, MAX_PAYLOAD = b"LULL", 32, 32 << 20
NONE16, NO_LIMIT = bytes(16), (1 << 64) - 1
MESSAGES = {  # kind: name, sent by (Initiator, Target), least and most bytes of the body, fields  (spec/messages.md)
    0x01: ("HELLO", "I", 26, 1434, "min_version:2 max_version:2 instance:id node:t64 software:t64 callback:t256"),
    0x02: ("WELCOME", "T", 26, 154, "version:2 instance:id node:t64 software:t64 keep_alive_ms:4"),
    0x03: ("CONNECT", "T", 16, 16, "restart:8 barrier_ms:8"),
    0x04: ("REFUSED", "T", 25, 1561, "code:2 retry:1 retry_after_ms:4 epoch:8 tenure:8 detail:t512"),
    0x05: ("ATTACH", "I", 101, 165, "attachment:id resource:t64 identity:id access:1 epoch:8 predecessor:id"
           " take_over:bool dirty:bool hold_ms:8 incarnation:id tenure:8 lowest:8"),
    0x06: ("ATTACHED", "T", 74, 2170, "epoch:8 identity:id incarnation:id tenure:8 size:8 block:4 preferred:4"
           " max_length:4 features:4 path:l16x129"),
    0x07: ("READY", "I", 16, 16, "replayed:8 replayed_bytes:8"),
    0x08: ("RESUME", "T", 8, 8, "restart:8"),
    0x09: ("PAUSE", "T", 26, 538, "restart:8 span_ms:8 downtime_ms:8 reason:t512"),
    0x0a: ("PAUSE_PROGRESS", "I", 28, 28, "restart:8 in_flight:4 oldest_ms:8 unflushed:8"),
    0x0b: ("PAUSE_COMPLETE", "I", 48, 48, "restart:8 in_flight_at_pause:4 not_executed:4 retained:8 retained_bytes:8"
           " drain_us:8 flush_us:8"),
    0x0c: ("DISCONNECT", "T", 23, 2663, "restart:8 code:1 downtime_ms:8 resource:t64 where_to:l8x256 detail:t512"),
    0x0d: ("DETACH", "I", 2, 514, "reason:t512"),
    0x0e: ("DETACHED", "T", 8, 8, "epoch:8"),
    0x0f: ("HOLD", "T", 12, 2620, "span_ms:8 path:l16x129 reason:t512"),
    0x10: ("PING", "IT", 8, 8, "token:8"),
    0x11: ("PONG", "IT", 8, 8, "token:8"),
    0x12: ("KNOCK", "T", 18, 82, "node:t64 instance:id"),
    0x13: ("RESIZED", "T", 8, 8, "size:8"),
    0x14: ("STALL", "I", 36, 36, "restart:8 longest_us:8 held:4 away_us:8 resume_us:8"),
    0x20: ("REQUEST", "I", 30, 30, "number:8 lowest:8 offset:8 length:4 op:1 flags:1"),
    0x21: ("REPLY", "T", 25, 25, "number:8 status:1 incarnation:id"),
}
KINDS = {row[0]: kind for kind, row in MESSAGES.items()}
LATER_BYTES_ALLOWED = ("HELLO", "REFUSED")  # [CONN-8]
RW, RO = 1, 2
READ, WRITE, FLUSH, DISCARD, WRITE_ZEROES = 1, 2, 3, 4, 5
CHANGES = (WRITE, DISCARD, WRITE_ZEROES)
FUA, KEEP_ALLOCATED = 1, 2
HAS_DISCARD, HAS_WRITE_ZEROES, READ_ONLY = 1, 2, 4
DONE, IO_ERROR, NOT_EXECUTED = 0, 1, 7
STATUS = ("done", "input/output error", "no space left", "read-only", "out of range", "invalid request",
          "not supported", "not executed")
CONFLICT, STALE_EPOCH, OTHER_INSTANCE, STALE_TENURE = 5, 6, 7, 8  # of REFUSED
RESTART, WRITE_BACK_FAILED, TAKEN_OVER, SHUTDOWN, EVICTED = 1, 2, 3, 4, 5  # of DISCONNECT


class Broken(Exception):
    """The peer sent what may not come: the connection ends, without an answer."""


def _crc_table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


_CRC = tuple(_crc_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def encode(name, payload=b"", **fields):
    body = b""
    for field in MESSAGES[KINDS[name]][4].split():
        key, kind = field.split(":")
        value = fields.pop(key)
        if kind.isdigit():
            body += value.to_bytes(int(kind), "little")
        elif kind == "id":
            body += value
        elif kind == "bool":
            body += bytes([value])
        else:  # texts; an initiator sends no lists
            body += struct.pack("<H", len(value.encode())) + value.encode()
    assert not fields, fields
    head = HEADER.pack(MAGIC, KINDS[name], 0, len(body), len(payload), crc32c(body), crc32c(payload), 0, 0)[:28]
    return head + struct.pack("<I", crc32c(head)) + body + payload


def decode(kind, body):
    name, at, message = MESSAGES[kind][0], 0, SimpleNamespace(name=MESSAGES[kind][0])

    def take(count):
        nonlocal at
        at += count
        if at > len(body):
            raise Broken(f"{name} is too short")
        return body[at - count:at]

    def number(size):
        return int.from_bytes(take(size), "little")

    def text(most):
        length = number(2)
        if length > most:
            raise Broken(f"a text of {name} is too long")
        return take(length).decode()

    for field in MESSAGES[kind][4].split():
        key, what = field.split(":")
        if what.isdigit():
            value = number(int(what))
        elif what == "id":
            value = bytes(take(16))
        elif what == "bool":
            value = number(1)
            if value > 1:
                raise Broken(f"{key} is neither 0 nor 1")
        elif what[0] == "t":
            value = text(int(what[1:]))
        else:
            most, bytes_each = map(int, what[1:].split("x"))
            count = number(2)
            if count > most:
                raise Broken(f"too many entries in {key}")
            value = [text(bytes_each) for _ in range(count)]
        setattr(message, key, value)
    if at < len(body) and name not in LATER_BYTES_ALLOWED:
        raise Broken(f"bytes left over behind {name}")
    return message


def frames(buffer, max_payload, sender="T"):
    """Takes whole frames off the front of `buffer`, judging each length before it is waited for [SEC-4]."""
    while buffer:
        if not MAGIC.startswith(bytes(buffer[:4])):
            raise Broken("another protocol")
        if len(buffer) < HEADER_BYTES:
            return
        _, kind, flags, body_bytes, payload_bytes, body_crc, payload_crc, reserved, crc = HEADER.unpack_from(buffer)
        if crc32c(buffer[:28]) != crc:
            raise Broken("damaged header")
        if flags or reserved or kind not in MESSAGES:
            raise Broken("header says what nobody knows")
        name, by, least, most, _ = MESSAGES[kind]
        if sender not in by:
            raise Broken(f"{name} is not for this side to receive")  # [SEC-3]
        if not least <= body_bytes <= most:
            raise Broken(f"body of {name} has {body_bytes} bytes")
        if payload_bytes > max_payload or (name not in ("REQUEST", "REPLY") and (payload_bytes or payload_crc)):
            raise Broken(f"payload of {name} has {payload_bytes} bytes")
        body_end = HEADER_BYTES + body_bytes
        if len(buffer) < body_end + payload_bytes:
            return
        body, payload = bytes(buffer[HEADER_BYTES:body_end]), bytes(buffer[body_end:body_end + payload_bytes])
        if crc32c(body) != body_crc or crc32c(payload) != payload_crc:
            raise Broken("damaged " + name)
        try:
            message = decode(kind, body)
        except UnicodeDecodeError:
            raise Broken(f"a text of {name} is not UTF-8") from None
        message.payload = payload
        del buffer[:body_end + payload_bytes]
        yield message
