"""Runs initiator.py against a real target: `python3 test_initiator.py` (LULL names the binary if it is elsewhere)."""
import json, os, pathlib, random, select, shutil, socket, subprocess, sys, tempfile, threading, time, unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import frames
from initiator import Initiator, LullError, RO, RW, WRITE

HERE = pathlib.Path(__file__).resolve().parent
SPAN = 30.0  # no step takes as long


def find_lull():
    built = [HERE.parent.parent / "target" / kind / "lull" for kind in ("release", "debug")]
    for path in [os.environ.get("LULL"), shutil.which("lull"), *map(str, built)]:
        if path and os.access(path, os.X_OK):
            return os.path.abspath(path)
    raise unittest.SkipTest("no lull: build it, or set LULL")


def until(condition, what):
    deadline = time.monotonic() + SPAN
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {SPAN:g} s")
        time.sleep(0.005)


class WithTarget(unittest.TestCase):
    def setUp(self):
        self.lull, self.said = find_lull(), []
        self.dir = tempfile.mkdtemp(prefix="lull-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.address, self.admin = f"unix:{self.dir}/t.sock", f"unix:{self.dir}/admin.sock"
        self.start()
        self.addCleanup(self.stop)

    def start(self):
        self.log = open(f"{self.dir}/log", "a")
        self.target = subprocess.Popen(
            [self.lull, "target", "--name", "store", "--state", f"{self.dir}/state", "--admin", self.admin, "--listen",
             self.address, f"db1=file:{self.dir}/db1.img,size=16M"], stdout=self.log, stderr=self.log)
        self.addCleanup(self.log.close)

    def pid(self):  # a restart replaces the process; the status names the present one
        status = self.command("status").stdout
        return int(status.split("process ")[1].split(",")[0])

    def stop(self):
        try:
            os.kill(self.pid(), 9)
        except (IndexError, ProcessLookupError):
            pass
        self.target.kill()
        self.target.wait()

    def command(self, *words):
        return subprocess.run([self.lull, *words, "--admin", self.admin], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=2 * SPAN)

    def initiator(self, **options):
        made = Initiator(self.address, "db1", **{"say": self.said.append, **options})
        self.addCleanup(made.abandon)
        return made

    def load(self, one, stop, errors):
        """Writes, reads back and compares, so that each round leaves the disk other than it was."""
        chance, rounds = random.Random(7), 0
        try:
            while not stop.is_set():
                offset, data = 4096 * chance.randrange(1000), chance.randbytes(4096)
                one.write(offset, data, SPAN)
                if one.read(offset, 4096, SPAN) != data:
                    raise AssertionError(f"other data at {offset}")
                rounds += 1
        except BaseException as error:
            errors.append(error)
        errors.append(rounds)


class Work(WithTarget):
    def test_what_is_written_is_read_back_and_an_error_is_an_answer(self):
        one = self.initiator()
        self.assertEqual(one.attached(SPAN).size, 16 << 20)
        data = random.Random(1).randbytes(3 << 19)
        one.write(8192, data, SPAN)
        one.flush(SPAN)
        self.assertEqual(one.read(8192, len(data), SPAN), data)
        with self.assertRaisesRegex(LullError, "out of range"):
            one.read(16 << 20, 512, SPAN)
        with self.assertRaisesRegex(LullError, "invalid request"):
            one.write(100, bytes(512), SPAN)
        self.assertTrue(one.detach(SPAN))
        self.assertEqual(one.fate, "detached")
        other = self.initiator(access=RO)
        self.assertEqual(other.read(8192, len(data), SPAN), data)
        with self.assertRaisesRegex(LullError, "read-only"):
            other.write(0, bytes(512), SPAN)

    def test_a_second_writer_is_refused_with_the_reason_and_a_reader_is_not(self):
        self.initiator(node="first").attached(SPAN)
        with self.assertRaisesRegex(LullError, "refused: .*first"):
            self.initiator(node="second").attached(SPAN)
        self.initiator(node="third", access=RO).attached(SPAN)
        shown = subprocess.run([sys.executable, HERE / "initiator.py", self.address, "db1", "write", "0"],
                               input=bytes(512), capture_output=True, timeout=SPAN)
        self.assertEqual(shown.returncode, 1)
        self.assertRegex(shown.stderr.decode(), "refused .final.*first")

    def test_the_command_writes_reads_and_stays(self):
        def run(*words, data=b""):
            return subprocess.run([sys.executable, HERE / "initiator.py", self.address, "db1", *words], input=data,
                                  capture_output=True, timeout=SPAN, check=True)
        data = os.urandom(5 * 4096)
        run("write", "4096", data=data)
        self.assertEqual(run("read", "4096", str(len(data))).stdout, data)
        self.assertIn(b'"size": 16777216', run("status").stdout)
        self.assertIn(b"longest stall", run("stay", "--seconds", "0.2").stderr)

    def test_a_state_file_lets_the_next_process_go_on_in_the_place_of_a_killed_one(self):
        state = f"{self.dir}/initiator.state"
        held = [sys.executable, HERE / "initiator.py", "--state", state, self.address, "db1", "write", "0"]
        first = subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.assertIn(b"attached", first.stderr.readline())
        first.kill()
        first.communicate()
        kept = json.loads(pathlib.Path(state).read_text())  # as if it had died before it stored that it was granted
        pathlib.Path(state).write_text(json.dumps(kept | {"owner": bytes(16).hex(), "noted": [kept["owner"]]}))
        one = self.initiator(state=state)
        self.assertEqual(one.attached(SPAN).tenure, 1)
        one.write(0, bytes(512), SPAN)
        self.assertTrue(one.detach(SPAN))
        self.assertFalse(os.path.exists(state))


class Restarts(WithTarget):
    def test_five_planned_restarts_under_load_are_only_lulls(self):
        one, stop, result = self.initiator(), threading.Event(), []
        one.attached(SPAN)
        load = threading.Thread(target=self.load, args=(one, stop, result))
        load.start()
        try:
            for count in range(1, 6):
                done = self.command("restart", "--daemon", "--pause-timeout", "10s")
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                until(lambda: one.restarts == count and one.status()["state"] == "sharing", f"restart {count}")
        finally:
            stop.set()
            load.join(SPAN)
        self.assertEqual(len(result), 1, result)
        self.assertGreater(result[0], 5)
        self.assertEqual((one.restarts, one.losses), (5, 0), self.said)
        self.assertGreater(one.longest_stall, 0)
        print(f"five restarts, {result[0]} rounds, longest stall {one.longest_stall * 1000:.0f} ms", file=sys.stderr)
        self.assertTrue(one.detach(SPAN))

    def test_what_is_asked_in_a_pause_is_held_and_an_abort_lets_it_go(self):
        one = self.initiator()
        one.write(0, b"\1" * 512, SPAN)
        self.assertEqual(self.command("pause").returncode, 0)
        until(lambda: one.status()["state"] == "paused", "pause")
        self.assertEqual(one.status()["unflushed"], 0)  # [PAUSE-3]
        held = one.submit(WRITE, 512, 512, b"\2" * 512)
        self.assertFalse(held.done())
        self.assertEqual(one.status()["held"] + len(one._arrivals), 1)
        self.assertEqual(self.command("abort").returncode, 0)
        held.result(SPAN)
        self.assertEqual(one.read(0, 1024, SPAN), b"\1" * 512 + b"\2" * 512)
        self.assertEqual((one.restarts, one.losses), (0, 0))

    def test_a_killed_target_is_waited_for_and_what_was_unanswered_is_sent_again(self):
        one = self.initiator()
        one.attached(SPAN)
        data = [random.Random(n).randbytes(65536) for n in range(64)]
        os.kill(self.target.pid, 19)  # frozen: nothing is answered any more
        writes = [one.submit(WRITE, 65536 * n, 65536, data[n]) for n in range(64)]
        until(lambda: one.status()["unanswered"] == 64, "requests on their way")
        self.target.kill()
        self.target.wait()
        until(lambda: one.status()["state"] != "sharing", "loss")
        self.assertFalse(any(write.done() for write in writes))
        held = one.submit(WRITE, 8 << 20, 512, b"h" * 512)
        self.start()
        for write in writes:
            write.result(SPAN)
        held.result(SPAN)
        self.assertGreaterEqual(one.resent, 64)
        self.assertEqual((one.restarts, one.losses), (0, 1))
        self.assertEqual(one.read(0, 64 * 65536, SPAN), b"".join(data))
        self.assertTrue(one.detach(SPAN))


class Hostile(unittest.TestCase):
    """A target of our own, which sends what it should not: the connection ends, and is dialled again."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="lull-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listener.close)
        self.listener.bind(f"{self.dir}/t.sock")
        self.listener.listen()
        self.listener.settimeout(SPAN)
        self.said = []
        self.one = Initiator(f"unix:{self.dir}/t.sock", "db1", say=self.said.append)
        self.addCleanup(self.one.abandon)

    def accept(self):
        sock, _ = self.listener.accept()
        self.addCleanup(sock.close)
        sock.settimeout(SPAN)
        self.assertEqual(self.receive(sock, bytearray()).name, "HELLO")
        return sock

    def receive(self, sock, buffer):
        while True:
            for message in frames.frames(buffer, 1 << 20, "I"):
                return message
            data = sock.recv(65536)
            if not data:
                return None
            buffer += data

    def test_garbage_ends_the_connection_and_the_initiator_dials_again(self):
        welcome = frames.encode("WELCOME", version=1, instance=b"t" * 16, node="store", software="", keep_alive_ms=2000)
        connect = frames.encode("CONNECT", restart=0, barrier_ms=0)
        damaged = bytearray(connect)
        damaged[-1] ^= 1
        wrong = bytearray(connect)
        wrong[6] = 1  # a flag, and the header's checksum made to fit
        wrong[28:32] = frames.crc32c(wrong[:28]).to_bytes(4, "little")
        not_text = bytearray(welcome)  # a byte that UTF-8 does not know, and the checksums made to fit
        not_text[32 + 20] = 0xff
        not_text[16:20] = frames.crc32c(not_text[32:]).to_bytes(4, "little")
        not_text[28:32] = frames.crc32c(not_text[:28]).to_bytes(4, "little")
        for sent in (b"HTTP/1.1 400 Bad Request\r\n", os.urandom(64), welcome + damaged, welcome + wrong,
                     connect, welcome + welcome, welcome + frames.encode("DETACH", reason=""),
                     not_text,
                     frames.encode("WELCOME", version=2, instance=b"t" * 16, node="s", software="",
                                   keep_alive_ms=2000)):
            with self.subTest(sent=sent):
                sock = self.accept()
                sock.sendall(sent)
                buffer = bytearray()
                self.assertIsNone(self.receive(sock, buffer), "a message where the end of the connection was due")
        sock = self.accept()  # and once more: all is well now
        sock.sendall(welcome + connect)
        self.assertEqual(self.receive(sock, bytearray()).name, "ATTACH")


if __name__ == "__main__":
    unittest.main(verbosity=2)
