"""What an initiator of Lull keeps, and until when: the table at the end of ../spec/data.md."""
import fcntl, json, os, time
from concurrent.futures import Future

from frames import CHANGES, NONE16, encode


class Memory:
    """What an attachment is known by. With a file it outlives this process: the next one is its heir [SAFE-5]."""
    IDS = ("attachment", "owner", "identity", "incarnation")

    def __init__(self, path=None):
        self.path, self.attachment, self.owner = path, os.urandom(16), NONE16
        self.identity, self.incarnation, self.epoch, self.tenure, self.found = NONE16, NONE16, 0, 0, False
        self.noted = []  # [SAFE-5] lives that sent ATTACH since `owner` was stored; any of them may own it by now
        if path:
            self.lock = open(path + ".lock", "w")
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one heir, not two
            if os.path.exists(path):
                with open(path) as file:
                    found = json.load(file)
                self.__dict__.update({k: bytes.fromhex(v) if k in self.IDS else v for k, v in found.items()})
                self.noted = [bytes.fromhex(one) for one in found.get("noted", [])]
                self.found = True
        self.heirs_of = [self.owner, *reversed(self.noted)]  # whom this life names, one after the other

    def store(self):  # durable before the message that relies on it is sent
        if self.path:
            keep = {k: getattr(self, k).hex() for k in self.IDS} | {"epoch": self.epoch, "tenure": self.tenure}
            keep["noted"] = [one.hex() for one in self.noted]
            with open(self.path + ".new", "w") as file:
                json.dump(keep, file)
                file.flush()
                os.fsync(file.fileno())
            os.rename(self.path + ".new", self.path)

    def forget(self):
        if self.path and os.path.exists(self.path):
            os.unlink(self.path)

    def release(self):
        if self.path:
            self.lock.close()


class LullError(OSError):
    """A request was answered with an error, or the attachment is not to be had."""


class Request:
    def __init__(self, op, offset=0, length=0, data=b"", flags=0, own=False):
        self.op, self.offset, self.length, self.data, self.flags, self.own = op, offset, length, data, flags, own
        self.number, self.covers, self.not_executed = 0, 0, False
        self.arrived, self.answer = time.monotonic(), Future()

    def meets(self, other):
        return (self.op in CHANGES and other.op in CHANGES and self.offset < other.offset + other.length
                and other.offset < self.offset + self.length)


class Connection:
    """One byte stream. `stage`: greeting, welcomed, attaching, attached, sharing, leaving."""

    def __init__(self, sock, began):
        self.sock, self.began, self.heard, self.stage = sock, began, began, "greeting"
        self.received, self.to_send = bytearray(), bytearray()
        self.outstanding, self.replay, self.replayed, self.replayed_bytes = set(), set(), 0, 0
        self.keep_alive, self.ping_at, self.token, self.probe = 2.0, None, 0, None
        self.resume_span, self.resume_by, self.ready_sent = 60.0, None, False

    def send(self, name, **fields):
        self.to_send += encode(name, **fields)
