"""A disk under libnbd's Python client: many requests at once, extents, zeroes, discards.

    libnbd.py URI STOP [--again]

Rounds go on until the file STOP exists, at least one. Each round writes blocks that tell where and
when they were written, reads them back, and compares. --again: a lost connection is made anew, after
which everything that was acknowledged before must be there, and everything that was asked is either
there or not. One JSON document at the end; any other output is a failure.
"""

import json
import os
import sys

import nbd

BLOCK = 4096
BLOCKS = 256
DEPTH = 16
ZEROES = BLOCKS * BLOCK
ZEROED = 1 << 20


class Lost(Exception):
    """The connection has ended."""


def content(number, turn):
    return (b"%08d of %08d," % (number, turn)).ljust(32, b".") * (BLOCK // 32)


class Disk:
    def __init__(self, uri):
        self.uri = uri
        self.turn = 0
        self.summary = {"rounds": 0, "connections": 0, "extents": 0, "context": False}
        # What each block holds; where a write was not acknowledged, what it may hold as well.
        self.acknowledged = {}
        self.asked = {}
        self.connect()

    def connect(self):
        self.nbd = nbd.NBD()
        self.nbd.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        self.nbd.connect_uri(self.uri)
        self.summary["connections"] += 1
        self.summary["context"] = self.nbd.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)

    def check(self, error):
        """An error is the end of the connection, or a failure."""
        if self.nbd.aio_is_dead() or self.nbd.aio_is_closed():
            raise Lost from error
        raise SystemExit(f"a request failed: {error}")

    def call(self, method, *args):
        try:
            return method(*args)
        except nbd.Error as error:
            self.check(error)

    def at_depth(self, begin):
        """begin(number, completion) starts a request for each block."""
        failed = []

        def completion(number):
            def completed(error):
                if error.value:
                    failed.append((number, error.value))
                else:
                    done.append(number)
                return 1
            return completed

        done, buffers = [], {}
        for number in range(BLOCKS):
            while self.nbd.aio_in_flight() >= DEPTH:
                self.call(self.nbd.poll, -1)
            try:
                buffers[number] = begin(number, completion(number))
            except nbd.Error as error:
                self.check(error)
        while self.nbd.aio_in_flight() and not failed:
            self.call(self.nbd.poll, -1)
        if failed:
            self.check(failed[0])
        assert len(done) == BLOCKS
        return buffers

    def write(self):
        def begin(number, completion):
            self.asked[number] = content(number, self.turn)

            def acknowledged(error):
                if not error.value:
                    self.acknowledged[number] = self.asked.pop(number)
                return completion(error)

            buffer = nbd.Buffer.from_bytearray(bytearray(self.asked[number]))
            self.nbd.aio_pwrite(buffer, number * BLOCK, acknowledged)
            return buffer

        self.at_depth(begin)

    def compare(self):
        def begin(number, completion):
            buffer = nbd.Buffer(BLOCK)
            self.nbd.aio_pread(buffer, number * BLOCK, completion)
            return buffer

        for number, buffer in self.at_depth(begin).items():
            found = bytes(buffer.to_bytearray())
            if found not in (self.acknowledged.get(number, bytes(BLOCK)), self.asked.get(number)):
                raise SystemExit(f"block {number} of turn {self.turn} holds {found[:32]!r}")
            self.acknowledged[number] = found

    def extents(self, offset, length):
        """(length, flags) of the range, asked for until it is covered."""
        told = []
        end = offset + length
        while offset < end:
            entries = []

            def extent(context, at, these, error):
                assert context == nbd.CONTEXT_BASE_ALLOCATION and at == offset
                entries.extend(zip(these[::2], these[1::2]))

            self.call(self.nbd.block_status, end - offset, offset, extent)
            assert entries and all(length for length, _ in entries)
            told += entries
            offset += sum(length for length, _ in entries)
        self.summary["extents"] += len(told)
        return told

    def allocation(self):
        if not self.summary["context"]:
            return
        zero = nbd.STATE_ZERO
        written = self.extents(0, ZEROES)
        if any(flags & zero for _, flags in written):
            raise SystemExit(f"what holds data is told to be zero: {written}")
        self.extents(0, self.nbd.get_size())

    def zeroes(self):
        self.call(self.nbd.pwrite, b"x" * ZEROED, ZEROES)
        kinds = [nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FUA, 0]
        flags = kinds[self.turn % len(kinds)]
        if self.nbd.can_fast_zero():
            flags |= nbd.CMD_FLAG_FAST_ZERO
        self.call(self.nbd.zero, ZEROED, ZEROES, flags)
        if self.nbd.can_cache():
            self.call(self.nbd.cache, ZEROED, ZEROES)
        pieces = []

        def chunk(data, offset, status, error):
            zero = status == nbd.READ_HOLE or not any(data)
            pieces.append((offset, len(data), zero))

        self.call(self.nbd.pread_structured, ZEROED, ZEROES, chunk)
        covered = sum(length for _, length, _ in pieces)
        if covered != ZEROED or not all(zero for _, _, zero in pieces):
            raise SystemExit(f"zeroes are read as {pieces}")
        self.call(self.nbd.trim, ZEROED, ZEROES)

    def round(self):
        self.turn += 1
        self.write()
        self.compare()
        self.zeroes()
        self.allocation()
        self.call(self.nbd.flush)
        self.summary["rounds"] += 1

    def again(self):
        while True:
            self.connect()
            try:
                self.compare()
            except Lost:
                continue
            self.asked.clear()
            return


def main():
    uri, stop, *again = sys.argv[1:]
    disk = Disk(uri)
    while True:
        try:
            disk.round()
        except Lost as lost:
            if not again:
                raise SystemExit(f"the connection was lost: {lost.__cause__}")
            disk.again()
            continue
        if os.path.exists(stop):
            break
    disk.nbd.shutdown()
    print(json.dumps(disk.summary))


main()
