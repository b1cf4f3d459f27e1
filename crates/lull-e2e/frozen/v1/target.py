#!/usr/bin/env python3
"""A target that speaks version 1 of the Lull protocol and nothing else, Python standard library only: one resource in a
file, everything in one thread, each request executed when it is read.

    target.py --state DIR --listen unix:/path --size BYTES [--same-incarnation] RESOURCE FILE

SIGUSR1: a planned restart up to the point where the process ends (status 0); start it again for the other half.
SIGUSR2: a pause without a restart; again: its end, as after an abort. SIGTERM: DISCONNECT(Shutdown), then the end.
`--same-incarnation`: what the last life acknowledged is still true. What happens is printed, one line each.
"""
import argparse, json, os, select, signal, socket, struct, sys, time

from frames import *

VERSION, KEEP_ALIVE_MS, SPAN_MS = 1, 500, 30_000
REFUSED_VERSION, UNKNOWN_RESOURCE, IDENTITY, PAUSING, ACCESS_NOT_OFFERED = 1, 3, 4, 9, 11
NO_SPACE, CHANGE_REFUSED, OUT_OF_RANGE, INVALID, NOT_SUPPORTED = 2, 3, 4, 5, 6
SHARED, GREETING_SPAN = 3, 10.0
OPEN = ("arriving", "sharing", "asked", "complete")  # the stages in which requests are executed
LEGAL = {"HELLO": ("accepted",), "ATTACH": ("greeted",), "READY": OPEN, "REQUEST": OPEN, "DETACH": OPEN, "STALL": OPEN,
         "PAUSE_PROGRESS": OPEN, "PAUSE_COMPLETE": OPEN, "PING": ("greeted", *OPEN), "PONG": ("greeted", *OPEN)}


def frame(name, payload=b"", **fields):
    """As `encode` of frames.py, with the lists that only a target sends."""
    body = b""
    for field in MESSAGES[KINDS[name]][4].split():
        key, kind = field.split(":")
        value = fields.pop(key)
        texts = [value] if kind[0] == "t" else value
        if kind.isdigit():
            body += value.to_bytes(int(kind), "little")
        elif kind == "id":
            body += value
        else:
            body += struct.pack("<H", len(value)) if kind[0] == "l" else b""
            body += b"".join(struct.pack("<H", len(text.encode())) + text.encode() for text in texts)
    assert not fields, fields
    head = HEADER.pack(MAGIC, KINDS[name], 0, len(body), len(payload), crc32c(body), crc32c(payload), 0, 0)[:28]
    return head + struct.pack("<I", crc32c(head)) + body + payload


class State:
    """What is on stable storage before the message that relies on it is sent [PAUSE-5]."""

    def __init__(self, directory, same_incarnation):
        os.makedirs(directory, exist_ok=True)
        self.path = os.path.join(directory, "target.json")
        self.kept = {"identity": os.urandom(16).hex(), "incarnation": None, "tenure": 0, "restart": 0, "from": 0,
                     "roster": {}}
        if os.path.exists(self.path):
            with open(self.path) as file:
                self.kept = json.load(file)
        if not same_incarnation or not self.kept["incarnation"]:
            self.kept["incarnation"] = os.urandom(16).hex()
        self.came_from, self.kept["from"] = self.kept["from"], 0
        self.store()

    def store(self):
        with open(self.path + ".new", "w") as file:
            json.dump(self.kept, file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(self.path + ".new", self.path)


class Session:
    """One connection."""

    def __init__(self, sock, now):
        self.sock, self.stage, self.received, self.to_send = sock, "accepted", bytearray(), bytearray()
        self.heard = self.began = now
        self.node = self.instance = self.attachment = self.epoch = None
        self.read_only, self.closing = False, None


class Target:
    def __init__(self, args):
        self.args, self.state = args, State(args.state, args.same_incarnation)
        self.instance, self.sessions, self.pause, self.ends = os.urandom(16), {}, None, None
        self.file = os.open(args.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self.file, args.size)
        kind, _, where = args.listen.partition(":")
        if kind == "unix":
            self.listener = socket.socket(socket.AF_UNIX)
            if os.path.exists(where):
                os.unlink(where)
            self.listener.bind(where)
        else:
            self.listener = socket.create_server((where.rpartition(":")[0], int(where.rpartition(":")[2])))
        self.listener.listen(128)
        self.listener.setblocking(False)
        self.orders, self.signalled = [], socket.socketpair()
        self.signalled[1].setblocking(False)
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, lambda number, _: self.orders.append(number))
        signal.set_wakeup_fd(self.signalled[1].fileno())
        now = time.monotonic()
        for seat in self.state.kept["roster"].values():
            seat["lost"] = now  # [SAFE-7] the target's own absence is not counted
        self.say("serves")

    def say(self, text):
        print(f"target.py: {text}", flush=True)

    # ------------------------------------------------------------------------------------------------ the loop

    def run(self):
        while not self.ends or (self.sessions and time.monotonic() < self.ends):
            socks = [one for one in self.sessions]
            waiting = [self.signalled[0]] + ([] if self.ends else [self.listener]) + socks
            readable, writable, _ = select.select(
                waiting, [sock for sock, one in self.sessions.items() if one.to_send], [], 0.1)
            if self.signalled[0] in readable:
                self.signalled[0].recv(4096)
            while self.orders:
                self.order(self.orders.pop(0))
            if self.listener in readable and not self.ends:
                sock, _ = self.listener.accept()
                sock.setblocking(False)
                self.sessions[sock] = Session(sock, time.monotonic())
            for sock in readable:
                if one := self.sessions.get(sock):
                    self.read(one)
            for sock in writable:
                if one := self.sessions.get(sock):
                    self.write(one)
            self.watch(time.monotonic())

    def read(self, one):
        try:
            data = one.sock.recv(1 << 18)
            one.received += data
            one.heard = time.monotonic()
            if one.closing:
                one.received.clear()
            else:
                for message in frames(one.received, MAX_PAYLOAD, "I"):
                    if one.stage not in LEGAL[message.name]:
                        raise Broken(f"{message.name} while {one.stage}")
                    getattr(self, "on_" + message.name.lower())(one, message)
                    if one.closing or one.sock not in self.sessions:
                        return
            if not data:
                self.lost(one, "closed")
        except BlockingIOError:
            pass
        except (Broken, OSError) as error:
            self.lost(one, str(error))

    def write(self, one):
        try:
            del one.to_send[:one.sock.send(one.to_send)]
            if one.closing and not one.to_send:
                one.sock.shutdown(socket.SHUT_WR)  # [CONN-4] what was said last is not lost with unread requests
        except BlockingIOError:
            pass
        except OSError as error:
            self.lost(one, str(error))

    def watch(self, now):
        for one in list(self.sessions.values()):
            if one.closing:
                if now > one.closing:
                    self.lost(one, "done")
            elif one.stage in ("accepted", "greeted"):
                if now > one.began + GREETING_SPAN:
                    self.lost(one, "said nothing")
            elif now > one.heard + 4 * KEEP_ALIVE_MS / 1000:  # [CONN-2]
                self.lost(one, "silence")
        roster = self.state.kept["roster"]
        taken = {one.attachment for one in self.sessions.values() if one.stage in OPEN and not one.closing}
        for key in [key for key, seat in roster.items() if key not in taken and not self.pause
                    and now > seat["lost"] + seat["hold_ms"] / 1000]:
            del roster[key]  # [SAFE-7] its span is over
            self.state.store()
        if self.pause and now > self.pause["renew"]:  # [PAUSE-10]
            self.send_pause()

    def send(self, one, name, **fields):
        one.to_send += frame(name, **fields)

    def hang_up(self, one):
        one.closing = time.monotonic() + 1.0

    def lost(self, one, why):
        one.sock.close()
        self.sessions.pop(one.sock, None)
        if seat := self.state.kept["roster"].get(one.attachment):
            if not one.closing and seat["epoch"] == one.epoch:
                seat["lost"] = time.monotonic()
                self.say(f"{one.node} lost: {why}")

    # --------------------------------------------------------------------------------- bring-up (spec/session.md)

    def on_hello(self, one, hello):
        one.node, one.instance = hello.node, hello.instance
        if not hello.node or "/" in hello.node or hello.instance == NONE16:
            raise Broken("no name")
        self.say(f"HELLO from {one.node}, versions {hello.min_version} to {hello.max_version}")
        if not hello.min_version <= VERSION <= hello.max_version:  # [CONN-8]
            return self.refuse(one, REFUSED_VERSION, "this target speaks version 1")
        self.send(one, "WELCOME", version=VERSION, instance=self.instance, node="frozen", software="target.py 1",
                  keep_alive_ms=KEEP_ALIVE_MS)
        self.send(one, "CONNECT", restart=self.state.came_from, barrier_ms=0)
        one.stage = "greeted"

    def refuse(self, one, code, detail, retry_after_ms=None, epoch=0):
        self.send(one, "REFUSED", code=code, retry=int(retry_after_ms is not None), epoch=epoch,
                  retry_after_ms=retry_after_ms or 0, tenure=self.state.kept["tenure"], detail=detail)
        self.say(f"{one.node} refused: {detail}")
        self.hang_up(one)

    def on_attach(self, one, attach):
        kept, key = self.state.kept, attach.attachment.hex()
        roster, seat = kept["roster"], kept["roster"].get(key)
        heir = seat and one.instance.hex() == seat["owner"] or seat and attach.predecessor.hex() == seat["owner"]
        writer = next((other for name, other in roster.items() if name != key and other["access"] == RW), None)
        if attach.access not in (RW, RO, SHARED) or attach.attachment == NONE16:
            raise Broken("ATTACH makes no sense")
        if attach.resource != self.args.resource:
            return self.refuse(one, UNKNOWN_RESOURCE, f"no {attach.resource} here")
        if attach.identity not in (NONE16, bytes.fromhex(kept["identity"])):
            return self.refuse(one, IDENTITY, f"another {attach.resource}")
        if attach.access == SHARED:
            return self.refuse(one, ACCESS_NOT_OFFERED, "rw or ro")
        if self.pause and not seat:
            return self.refuse(one, PAUSING, "a pause is under way", 500)  # [PAUSE-8]
        if seat and not heir and not attach.take_over:
            return self.refuse(one, OTHER_INSTANCE, "owned by another instance")
        if seat and attach.epoch <= seat["epoch"]:
            return self.refuse(one, STALE_EPOCH, "stale epoch", 0, seat["epoch"])  # [SAFE-5]
        if not seat and attach.access == RW and attach.tenure and attach.tenure < kept["tenure"]:
            return self.refuse(one, STALE_TENURE, "another writer was let in since")
        if attach.access == RW and writer:
            return self.refuse(one, CONFLICT, f"attached by {writer['node']}")
        for other in [other for other in self.sessions.values() if other.attachment == key]:
            self.lost(other, "a higher epoch")  # every request of it was executed when it was read
        if not seat and attach.access == RW:
            kept["tenure"] += 1  # [SAFE-7]
        roster[key] = {"node": one.node, "owner": one.instance.hex(), "epoch": attach.epoch, "access": attach.access,
                       "hold_ms": min(attach.hold_ms, 1 << 40), "lost": 0.0}
        self.state.store()
        one.attachment, one.epoch, one.stage, one.read_only = key, attach.epoch, "arriving", attach.access == RO
        features = HAS_DISCARD | HAS_WRITE_ZEROES | (READ_ONLY if one.read_only else 0)
        self.send(one, "ATTACHED", epoch=attach.epoch, identity=bytes.fromhex(kept["identity"]), size=self.args.size,
                  incarnation=bytes.fromhex(kept["incarnation"]), tenure=kept["tenure"], block=512, preferred=4096,
                  max_length=MAX_PAYLOAD, features=features, path=[f"frozen/{self.args.resource}"])
        self.say(f"{one.node} attached")
        if self.pause:
            one.stage = "asked"
            self.send_pause([one])

    def on_ready(self, one, _):
        if one.stage in ("arriving", "sharing"):  # [RESUME-1]; [PAUSE-6] a second one
            one.stage = "sharing"
            self.send(one, "RESUME", restart=self.state.came_from)
            self.say(f"{one.node} shares")

    def on_ping(self, one, ping):
        self.send(one, "PONG", token=ping.token)

    def on_pong(self, one, _):
        pass

    def on_stall(self, one, stall):
        self.say(f"{one.node} stalled for {stall.longest_us} us, {stall.held} held")

    def on_detach(self, one, _):
        del self.state.kept["roster"][one.attachment]  # [CONN-5]
        self.state.store()
        self.send(one, "DETACHED", epoch=one.epoch)
        self.say(f"{one.node} detached")
        self.hang_up(one)
        self.check_complete()

    # ------------------------------------------------------------------------------------ requests (spec/data.md)

    def on_request(self, one, request):
        carried = request.length if request.op == WRITE else 0
        if request.op <= WRITE_ZEROES and request.op and len(request.payload) != carried:
            raise Broken("a payload that does not fit")
        status, data = self.execute(one, request)
        self.send(one, "REPLY", number=request.number, status=status, payload=data,
                  incarnation=bytes.fromhex(self.state.kept["incarnation"]))

    def execute(self, one, request):
        op, offset, length = request.op, request.offset, request.length
        if op not in (READ, WRITE, FLUSH, DISCARD, WRITE_ZEROES):
            return NOT_SUPPORTED, b""
        if op in CHANGES and one.read_only:
            return CHANGE_REFUSED, b""
        if op != FLUSH and (not length or offset % 512 or length % 512 or (op in (READ, WRITE) and length > MAX_PAYLOAD)):
            return INVALID, b""
        if op != FLUSH and offset + length > self.args.size:
            return OUT_OF_RANGE, b""
        try:
            if op == READ:
                return DONE, os.pread(self.file, length, offset)
            if op == WRITE:
                os.pwrite(self.file, request.payload, offset)
            elif op == WRITE_ZEROES:
                for at in range(offset, offset + length, 1 << 20):
                    os.pwrite(self.file, bytes(min(1 << 20, offset + length - at)), at)
            if op == FLUSH or (op != DISCARD and request.flags & FUA):
                os.fsync(self.file)
        except OSError as error:
            return NO_SPACE if error.errno == 28 else IO_ERROR, b""
        return DONE, b""

    # ------------------------------------------------------------------------------------ pauses (spec/pause.md)

    def order(self, number):
        if number == signal.SIGTERM:
            self.leave(SHUTDOWN)
        elif self.pause and number == signal.SIGUSR2 and not self.pause["restarts"]:
            for one in self.live("asked", "complete"):  # [PAUSE-6]
                one.stage = "sharing"
                self.send(one, "RESUME", restart=self.pause["id"])
            self.pause = None
            self.say("pause ended")
        elif not self.pause:
            self.state.kept["restart"] += 1
            self.state.store()
            self.pause = {"id": self.state.kept["restart"], "restarts": number == signal.SIGUSR1, "renew": 0.0}
            self.say("PAUSE")
            for one in self.live("arriving", "sharing"):  # [PAUSE-1]
                one.stage = "asked"
            self.send_pause()
            self.check_complete()

    def live(self, *stages):
        return [one for one in self.sessions.values() if one.stage in stages and not one.closing]

    def send_pause(self, to=None):
        for one in self.live("asked", "complete") if to is None else to:
            self.send(one, "PAUSE", restart=self.pause["id"], span_ms=SPAN_MS, downtime_ms=1000, reason="frozen restart")
        self.pause["renew"] = time.monotonic() + 5.0

    def on_pause_progress(self, one, told):
        pass

    def on_pause_complete(self, one, told):
        if self.pause and told.restart == self.pause["id"] and one.stage == "asked":  # [PAUSE-11]
            one.stage = "complete"
            self.say(f"{one.node} completed, {told.in_flight_at_pause} were in flight, {told.retained} retained")
            self.check_complete()

    def check_complete(self):
        if self.pause and self.pause["restarts"] and not self.ends:
            complete = {one.attachment for one in self.live("complete")}
            if all(key in complete for key in self.state.kept["roster"]):
                os.fsync(self.file)
                self.state.kept["from"] = self.pause["id"]
                self.state.store()
                self.leave(RESTART, self.pause["id"])

    def leave(self, code, restart=0):
        self.ends = time.monotonic() + 2.0
        self.listener.close()
        for one in self.live("accepted", "greeted"):
            self.lost(one, "leaving")
        for one in self.live(*OPEN):
            self.send(one, "DISCONNECT", restart=restart, code=code, downtime_ms=1000 if restart else 0, resource="",
                      where_to=[], detail="frozen restart")
            self.hang_up(one)
        self.say("DISCONNECT")


def main():
    parser = argparse.ArgumentParser(description="A target of version 1.")
    parser.add_argument("--state", required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--same-incarnation", action="store_true")
    parser.add_argument("resource")
    parser.add_argument("file")
    Target(parser.parse_args()).run()
    sys.exit(0)


if __name__ == "__main__":
    main()
