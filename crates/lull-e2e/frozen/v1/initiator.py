#!/usr/bin/env python3
"""An initiator for Lull in Python, standard library only, written from ../spec alone.

As a module: `Initiator(address, resource)`, `.attached()`, `.read()`, `.write()`, `.flush()`, `.submit()`,
`.detach()`. As a command: see README.md beside this file. One thread does all that the protocol asks for; consumers
get futures. Names in brackets, such as [PAUSE-3], are the specification's rules.
"""
import argparse, collections, json, os, random, select, signal, socket, sys, threading, time
from concurrent.futures import Future
from types import SimpleNamespace

from frames import *
from kept import Connection, LullError, Memory, Request

LEGAL = {  # the stages in which the target may send it
    "WELCOME": "greeting", "CONNECT": "welcomed", "REFUSED": "greeting attaching", "ATTACHED": "attaching",
    "RESUME": "attached sharing leaving", "PAUSE": "attached sharing leaving", "REPLY": "attached sharing",
    "DISCONNECT": "welcomed attaching attached sharing leaving", "DETACHED": "leaving",
    "HOLD": "welcomed attaching attached sharing leaving", "RESIZED": "attached sharing leaving",
    "PING": "welcomed attaching attached sharing leaving", "PONG": "welcomed attaching attached sharing leaving"}

# ------------------------------------------------------------------- the session (spec/session.md, spec/pause.md)

class Initiator:
    """One attachment. Holds what its consumers ask while the target is away, and fails none of it [CONN-3]."""
    RESTART_SPAN, DIAL_SPAN, WINDOW, CHUNK = 600.0, 5.0, 4096, 1 << 20

    def __init__(self, address, resource, node=None, access=RW, state=None, hold_ms=None, take_over=False,
                 say=lambda text: None):
        self.address, self.resource, self.access, self.say = address, resource, access, say
        self.node, self.instance, self.take_over = node or socket.gethostname()[:64], os.urandom(16), take_over
        self.memory = Memory(state)
        # [SAFE-7] Whose state file lets it come back reserves without limit; another one for a minute.
        self.hold_ms = hold_ms if hold_ms is not None else NO_LIMIT if state else 60_000
        self.held, self.unanswered, self.next = collections.deque(), {}, 1  # unanswered: by number, ascending
        self.changed = self.flushed = 0  # bytes of changes answered; of those, covered by a flush
        self.unsure = self.memory.found  # an heir does not know what its predecessor had flushed
        self.geometry, self.conn, self.pause, self.hold_until, self.fate = None, None, None, 0.0, None
        self.leaving, self.leave_by, self.flush_at = None, None, 0.0
        self.dial_at, self.backoff, self.retry_after = 0.0, 0.002, 0.0
        self.lull = self._new_lull(time.monotonic(), first=True)
        self.longest_stall, self.restarts, self.losses, self.resent = 0.0, 0, 0, 0
        self._granted = Future()
        self._mutex = threading.Lock()  # of `_arrivals`, all that two threads share
        self._arrivals = collections.deque()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    # -- for consumers, from any thread

    def attached(self, span=None):
        return self._granted.result(span)  # the geometry, or the reason why not

    def submit(self, op, offset=0, length=0, data=b"", flags=0):
        request = Request(op, offset, length, data, flags)
        with self._mutex:
            if self.fate or self.leaving:
                request.answer.set_exception(LullError(self.fate or "detaching"))
            else:
                self._arrivals.append(request)
        self._wake()
        return request.answer

    def read(self, offset, length, span=None):
        chunks = [self.submit(READ, at, count) for at, count in self.chunks(offset, length)]
        return b"".join(chunk.result(span) for chunk in chunks)

    def write(self, offset, data, span=None):
        for write in [self.submit(WRITE, at, count, data[at - offset:at - offset + count])
                      for at, count in self.chunks(offset, len(data))]:
            write.result(span)

    def flush(self, span=None):
        self.submit(FLUSH).result(span)

    def chunks(self, offset, length):
        step = min(self.attached().max_length, self.CHUNK)
        return [(at, min(step, offset + length - at)) for at in range(offset, offset + length, step)]

    def detach(self, span=None):
        """[CONN-5] Ends the attachment when all that was asked is answered and flushed."""
        with self._mutex:
            self.leaving = self.leaving or "done"
        self._wake()
        self.thread.join(span)
        return not self.thread.is_alive()

    def abandon(self):
        """Goes away without DETACH: the target takes it for a lost one and keeps its place."""
        self.leaving = "abandoning"
        self._wake()
        self.thread.join()

    def status(self):
        """[TIMER-5] What holds requests, since when, until when, and what happens then."""
        now, lull, conn, pause = time.monotonic(), self.lull, self.conn, self.pause
        until = pause.deadline if pause else conn.resume_by if conn and conn.resume_by else lull and lull.deadline
        state = "ended" if self.fate else "paused" if pause else conn.stage if conn else "away"
        return {"state": state, "held": len(self.held), "unanswered": len(self.unanswered), "reason": lull and lull.why,
                "for_s": lull and round(now - lull.began, 3), "policy": "wait",
                "left_s": lull and until and round(until - now, 3), "unflushed": self._unflushed(),
                "restarts": self.restarts, "losses": self.losses, "resent": self.resent,
                "longest_stall_s": round(self.longest_stall, 6)}

    def _wake(self):
        try:
            self._wake_w.send(b"x")
        except OSError:
            pass  # the thread has ended

    # -- the thread

    def _run(self):
        last = time.monotonic()
        try:
            while not self.fate:
                conn = self.conn
                due = 0.1 if conn else min(0.1, max(0.0, self.dial_at - time.monotonic()))
                socks = [self._wake_r] + ([conn.sock] if conn else [])
                readable, writable, _ = select.select(socks, socks[1:] if conn and conn.to_send else [], [], due)
                now = time.monotonic()
                if conn and now - last > conn.keep_alive:  # [CONN-2] suspended: the peer gets a whole span first
                    conn.heard = max(conn.heard, now - 2 * conn.keep_alive)
                last = now
                if self._wake_r in readable:
                    self._wake_r.recv(4096)
                with self._mutex:
                    self.held.extend(self._arrivals)
                    self._arrivals.clear()
                if conn and conn.sock in readable:
                    self._read(conn)
                if self.conn and writable:
                    self._write(conn)
                if self.leaving == "abandoning":
                    self._end("abandoned")
                elif not self.fate:
                    self._timers(time.monotonic())
                    self._proceed()
        except Exception as error:  # a bug of ours must not leave consumers waiting
            self._end(f"internal error: {error!r}")
            raise
        finally:
            self._wake_r.close()
            self._wake_w.close()
            self.memory.release()

    def _read(self, conn):
        """All that has arrived is handled before the end of the connection is: DISCONNECT may be its last frame."""
        try:
            data = conn.sock.recv(1 << 18)
            conn.received += data
            conn.heard = time.monotonic()
            for message in frames(conn.received, self.geometry.max_length if self.geometry else MAX_PAYLOAD):
                if conn.stage not in LEGAL.get(message.name, "").split():
                    raise Broken(f"{message.name} while {conn.stage}")
                getattr(self, "_on_" + message.name.lower())(conn, message)
                if self.conn is not conn:
                    return
            if not data:
                self._lost("closed by the target")
        except BlockingIOError:
            pass
        except (Broken, OSError) as error:
            self._lost(str(error))

    def _write(self, conn):
        try:
            del conn.to_send[:conn.sock.send(conn.to_send)]
        except BlockingIOError:
            pass
        except OSError:  # what the target said last may still be unread; the end is met there
            conn.to_send.clear()

    def _timers(self, now):
        conn = self.conn
        if not conn:
            if now >= self.dial_at:
                self._dial(now)
        elif conn.stage in ("greeting", "welcomed"):
            if now > conn.began + self.DIAL_SPAN:  # [CONN-6]
                self._lost("no CONNECT within 5 s")
        elif now > conn.heard + 4 * conn.keep_alive:  # [CONN-2]
            self._lost("silence")
        elif self.pause and now > self.pause.deadline:  # [PAUSE-10]
            self._lost("the pause was not renewed")
        else:
            if now >= conn.ping_at:
                self._ping(conn, now)
            if conn.resume_by and now > max(conn.resume_by, self.hold_until) and conn.probe is None:
                self._ping(conn, now)  # [TIMER-6] its PONG decides
                conn.probe = conn.token

    def _ping(self, conn, now):
        conn.token += 1
        conn.ping_at = now + conn.keep_alive
        conn.send("PING", token=conn.token)

    def _policy(self, timer):
        """[TIMER-1] Of the policies this initiator has `wait`: it tells people, and holds on [TIMER-3]."""
        if not self.lull.policy_ran:
            self.lull.policy_ran = True
            self.say(f"the {timer} timer has run out ({self.lull.why}); holding on")

    # -- dialling [CONN-1]

    def _dial(self, now):
        kind, _, where = self.address.partition(":")
        sock = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
        try:
            sock.settimeout(self.DIAL_SPAN)
            if kind == "unix":
                sock.connect(where)
            else:
                host, _, port = where.rpartition(":")
                sock.connect((host, int(port)))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            self._failed(now, f"{self.address}: {error}")
            return
        sock.setblocking(False)
        self.conn = Connection(sock, now)
        self.conn.send("HELLO", min_version=1, max_version=1, instance=self.instance, node=self.node,
                       software="initiator.py 1", callback="")

    def _failed(self, began, why):
        """A dial failed, or a connection ended before RESUME."""
        now, lull = time.monotonic(), self.lull
        if began > lull.deadline and not lull.first:
            self._policy("restart")
        if lull.why != why and lull.first:
            self.say(f"not there yet: {why}")
            lull.why = why
        if self.leave_by and now > self.leave_by:
            self._end("detached, unconfirmed: the target keeps the place for a while")
        wait = self.backoff
        self.backoff = min(0.08 if now < lull.away + 60 else 1.0, wait * 2)
        if lull.downtime > 2 and now < lull.away + lull.downtime / 2:
            wait = max(wait, 0.25)
        self.dial_at = now + (self.retry_after or random.uniform(wait / 2, wait))
        self.retry_after = 0.0

    def _new_lull(self, now, why="first dial", first=False):
        return SimpleNamespace(began=now, why=why, first=first, restart=0, downtime=0.0, away=now, back=now,
                               deadline=now + self.RESTART_SPAN, policy_ran=False, was_away=False)

    def _lost(self, why):
        """[CONN-2] The connection ended without DISCONNECT; in a pause that is what PAUSE announced."""
        pause = self.pause
        self._gone(why, pause.restart if pause else 0, pause.downtime if pause else 0.0)

    def _gone(self, why, restart=0, downtime=0.0, at_once=False):
        conn, now, announced = self.conn, time.monotonic(), self.pause
        self._close()
        if not self.lull:
            self.lull = self._new_lull(now)
        lull = self.lull
        if conn.stage in ("attached", "sharing", "leaving") and not lull.first:
            if conn.stage == "sharing":  # else the restart timer goes on: no RESUME, no new time
                self.losses += not restart
                lull.away, lull.deadline, lull.was_away = now, now + self.RESTART_SPAN, True
                at_once = True  # a successor may have taken over the listening socket
            lull.restart, lull.downtime, lull.why = restart, downtime, why
            lull.deadline = max(lull.deadline, now + 3 * downtime, now + self.RESTART_SPAN if announced else 0.0)
            self.say(f"away: {why}" + (f", expected for {downtime:g} s" if downtime else ""))
        for number in [n for n, request in self.unanswered.items() if request.own]:
            del self.unanswered[number]  # a flush of our own is not sent again, its number is given up
        if self.leaving and conn.stage == "leaving":
            self.leave_by = self.leave_by or now + self.DIAL_SPAN  # [CONN-5]
        self._failed(conn.began, why)
        if at_once:
            self.dial_at = now

    def _close(self):
        self.conn.sock.close()
        self.conn = self.pause = None
        self.hold_until = 0.0

    def _end(self, why):
        """Ends the attachment here: answers what is left with an error [CONN-3]."""
        if self.conn:
            self._close()
        with self._mutex:
            self.fate = why
            left = list(self.unanswered.values()) + list(self.held) + list(self._arrivals)
            self.unanswered, self.held = {}, collections.deque()
        self.say(why)
        for request in left:
            request.answer.set_exception(LullError(why))
        if not self._granted.done():
            self._granted.set_exception(LullError(why))

    # -- bring-up

    def _on_welcome(self, conn, message):
        if message.version != 1 or not message.keep_alive_ms:  # [CONN-8]
            raise Broken("WELCOME makes no sense")
        conn.keep_alive, conn.stage = message.keep_alive_ms / 1000, "welcomed"

    def _on_connect(self, conn, message):
        now, memory = time.monotonic(), self.memory
        self.lull.back = now
        conn.resume_span += message.barrier_ms / 1000
        conn.resume_by, conn.ping_at = now + conn.resume_span, now + conn.keep_alive
        memory.epoch += 1  # [SAFE-5]
        predecessor = NONE16 if memory.owner == self.instance else memory.heirs_of[0]
        if memory.owner != self.instance and self.instance not in memory.noted:
            memory.noted.append(self.instance)
        memory.store()
        dirty = self.unsure or self._unflushed() > 0 or any(r.op in CHANGES for r in self.unanswered.values())
        conn.stage = "attaching"
        conn.send("ATTACH", attachment=memory.attachment, resource=self.resource, identity=memory.identity,
                  access=self.access, epoch=memory.epoch, predecessor=predecessor, take_over=self.take_over,
                  dirty=dirty, hold_ms=self.hold_ms, incarnation=memory.incarnation, tenure=memory.tenure,
                  lowest=self._lowest())

    def _on_refused(self, conn, message):
        final = message.retry == 0  # `retry` decides, an unknown value of it means "try again"
        if message.code == STALE_EPOCH and not final:
            self.memory.epoch = max(self.memory.epoch, message.epoch)
            return self._gone("stale epoch", at_once=True)
        if final and message.code == OTHER_INSTANCE and not self._granted.done() and len(self.memory.heirs_of) > 1:
            del self.memory.heirs_of[0]
            return self._gone("named another predecessor", at_once=True)
        self.say(f"refused ({'final' if final else 'try again'}): {message.detail}")
        if self.leave_by and message.code in (CONFLICT, OTHER_INSTANCE, STALE_TENURE):
            return self._on_detached(conn, message)  # [CONN-5] the place is another's: DETACH had been heard
        if final and (not self._granted.done() or message.code in (OTHER_INSTANCE, STALE_TENURE)):
            return self._end(f"refused: {message.detail}")  # given up, or fenced
        self.retry_after = max(message.retry_after_ms / 1000, 2.0 if final else 0.0)
        self._gone("refused: " + message.detail)

    def _on_attached(self, conn, message):
        memory, known = self.memory, self.geometry
        power_of_two = lambda n: n > 0 and n & n - 1 == 0
        if not (message.epoch == memory.epoch and message.path and power_of_two(message.block)
                and 512 <= message.block <= 65536 and message.size % message.block == 0
                and power_of_two(message.preferred) and message.preferred >= message.block
                and message.block <= message.max_length <= MAX_PAYLOAD and message.features < 8):
            raise Broken("ATTACHED makes no sense")
        less = known and (message.size < known.size or message.block > known.block
                          or message.max_length < known.max_length or known.features & 3 & ~message.features
                          or message.features & READ_ONLY & ~known.features)
        if less or memory.identity not in (NONE16, message.identity):  # [CONN-7] hang up, tell people
            self.retry_after = 2.0
            raise Broken("the resource offers less than before, or is another one")
        new_incarnation = memory.incarnation != message.incarnation
        memory.identity, memory.incarnation, memory.tenure = message.identity, message.incarnation, message.tenure
        memory.owner, memory.noted = self.instance, []
        memory.store()
        self.geometry, self.take_over, conn.stage = message, False, "attached"
        if new_incarnation:
            self.flushed, self.unsure = self.changed, False  # no flush covers the past (ahead.md)
            for request in self.unanswered.values():
                if request.op != READ:
                    self._transmit(request)
                    conn.replay.add(request.number)
                    conn.replayed += 1
                    conn.replayed_bytes += request.length
        self._ready_if_replayed(conn)

    def _ready_if_replayed(self, conn):
        if conn.stage == "attached" and not conn.replay and not conn.ready_sent and not self.pause:
            conn.ready_sent = True
            conn.send("READY", replayed=conn.replayed, replayed_bytes=conn.replayed_bytes)

    def _on_resume(self, conn, message):
        if conn.stage == "leaving" or (self.pause and message.restart != self.pause.restart):
            return  # [PAUSE-11]
        paused, self.pause, self.hold_until = self.pause, None, 0.0
        if conn.stage == "attached" and not conn.ready_sent and (conn.replay or not paused):
            if not paused:
                raise Broken("RESUME before READY")
            conn.resume_by = time.monotonic() + conn.resume_span
            return  # [PAUSE-6] the end of the pause, not of the bring-up
        conn.stage, conn.resume_by, self.backoff, self.dial_at = "sharing", None, 0.002, 0.0
        for request in self.unanswered.values():
            request.not_executed = False
        now, held = time.monotonic(), len(self.held)
        longest = now - min((r.arrived for r in (*self.unanswered.values(), *self.held) if not r.own), default=now)
        self._send_again(conn)
        self._proceed()  # what is held, as far as it may go now
        lull, self.lull = self.lull, None
        if not lull:
            return
        if not lull.first:
            self.longest_stall = max(self.longest_stall, longest)
            self.restarts += lull.was_away and lull.restart != 0
            self.say(f"sharing again after {now - lull.began:.3f} s; {held} requests held, the longest for "
                     f"{longest * 1000:.1f} ms")
            conn.send("STALL", restart=message.restart, longest_us=int(longest * 1e6), held=held,
                      away_us=int((lull.back - lull.away) * lull.was_away * 1e6),
                      resume_us=int((now - lull.back) * lull.was_away * 1e6))
        elif not self._granted.done():
            self.say(f"attached to {self.geometry.path[0]}, {self.geometry.size} bytes")
            self._granted.set_result(self.geometry)

    # -- requests (spec/data.md)

    def _lowest(self):
        return next(iter(self.unanswered), self.next)

    def _unflushed(self):
        return self.changed - self.flushed

    def _transmit(self, request):
        conn = self.conn
        if not request.number:
            request.number, self.next = self.next, self.next + 1
            self.unanswered[request.number] = request
        else:
            self.resent += 1
        conn.outstanding.add(request.number)
        request.covers = self.changed  # for a flush: what was answered before it was sent
        conn.send("REQUEST", number=request.number, lowest=self._lowest(), offset=request.offset,
                  length=request.length, op=request.op, flags=request.flags, payload=request.data)

    def _send_again(self, conn):
        for number, request in self.unanswered.items():
            if number not in conn.outstanding and not request.not_executed:
                self._transmit(request)

    def _proceed(self):
        """Sends what may be sent now: held requests, the steps of a pause, DETACH."""
        conn, pause = self.conn, self.pause
        if not conn or conn.stage not in ("attached", "sharing"):
            return
        if pause:
            self._advance_pause(conn, pause, time.monotonic())
        elif conn.stage == "sharing":
            while (self.held and self.next - self._lowest() < self.WINDOW  # order is kept: who waits, all wait behind
                   and not any(self.held[0].meets(other) for other in self.unanswered.values())):
                self._transmit(self.held.popleft())
        idle = not self.unanswered and not self.held and not self._arrivals
        if self.leaving and idle and (pause.completed if pause else conn.stage == "sharing"):
            if (self._unflushed() or self.unsure) and not pause:
                if time.monotonic() >= self.flush_at:  # one that fails is tried again, not at once
                    self.flush_at = time.monotonic() + conn.keep_alive
                    self._transmit(Request(FLUSH, own=True))
            else:
                conn.send("DETACH", reason="done")
                conn.stage = "leaving"

    def _on_reply(self, conn, message):
        request = self.unanswered.get(message.number)
        if message.number not in conn.outstanding or message.incarnation != self.memory.incarnation:
            raise Broken("REPLY to nothing, or of another incarnation")
        if len(message.payload) != (request.length if request.op == READ and message.status == DONE else 0):
            raise Broken("REPLY with a payload that does not fit")
        conn.outstanding.discard(message.number)
        if message.number in conn.replay:
            conn.replay.discard(message.number)
            if conn.resume_by:
                conn.resume_by = time.monotonic() + conn.resume_span
        if message.status == NOT_EXECUTED:  # no answer: kept, in its place, for the next RESUME
            request.not_executed = True
        else:
            del self.unanswered[message.number]
            if message.status != DONE:
                name = STATUS[message.status] if message.status < len(STATUS) else STATUS[IO_ERROR]
                request.answer.set_exception(LullError(name))
            else:
                if request.op in CHANGES and not request.flags & FUA:
                    self.changed += request.length
                elif request.op == FLUSH:
                    self.flushed, self.unsure = max(self.flushed, request.covers), False
                request.answer.set_result(message.payload)
        self._ready_if_replayed(conn)

    # -- the planned restart (spec/pause.md)

    def _on_pause(self, conn, message):
        if conn.stage == "leaving":
            return
        now, old = time.monotonic(), self.pause
        self.pause = pause = SimpleNamespace(
            restart=message.restart, downtime=message.downtime_ms / 1000, deadline=now + message.span_ms / 1000 + 10,
            began=now, drained=None, in_flight=len(conn.outstanding), flush_began=None, flush_us=0, progress_at=now,
            completed=False)
        if old:  # renewed: [PAUSE-3] complete again, but the figures stay
            for key in ("began", "drained", "in_flight", "flush_began", "flush_us", "progress_at"):
                setattr(pause, key, getattr(old, key))
        else:
            self.say(f"pausing: {message.reason or 'restart'}")
        if not self.lull:
            self.lull = self._new_lull(now, "paused: " + message.reason)
        self.lull.restart = message.restart
        if conn.stage == "attached":  # [PAUSE-8] let in during a pause: PAUSE where RESUME would be
            conn.resume_by = None
            self._send_again(conn)

    def _advance_pause(self, conn, pause, now):
        if conn.outstanding:  # [PAUSE-4]
            if now >= pause.progress_at:
                pause.progress_at = now + 0.5
                oldest = min(self.unanswered[number].arrived for number in conn.outstanding)
                conn.send("PAUSE_PROGRESS", restart=pause.restart, in_flight=len(conn.outstanding),
                          oldest_ms=int((now - oldest) * 1000), unflushed=self._unflushed())
            return
        if pause.drained is None:
            pause.drained = now
        if (self._unflushed() or self.unsure) and pause.flush_began is None:  # [PAUSE-3]
            pause.flush_began = now
            return self._transmit(Request(FLUSH, own=True))
        if not pause.completed:
            pause.completed = True
            if pause.flush_began is not None and not pause.flush_us:
                pause.flush_us = int((now - pause.flush_began) * 1e6)
            conn.send("PAUSE_COMPLETE", restart=pause.restart, in_flight_at_pause=pause.in_flight,
                      not_executed=sum(r.not_executed for r in self.unanswered.values()),
                      retained=1 if self._unflushed() else 0, retained_bytes=self._unflushed(),
                      drain_us=int((pause.drained - pause.began) * 1e6), flush_us=pause.flush_us)

    def _on_disconnect(self, conn, message):
        """[CONN-4] The last frame."""
        if message.code in (TAKEN_OVER, EVICTED) and conn.stage in ("attached", "sharing", "leaving"):
            why = "evicted" if message.code == EVICTED else "taken over"
            return self._end(f"fenced: {why} {message.detail}".rstrip())
        if message.code == RESTART:
            if self.pause and message.restart not in (0, self.pause.restart):
                return  # [PAUSE-11]; the end of the connection follows
            return self._gone("restart " + message.detail, message.restart, message.downtime_ms / 1000)
        self._gone(f"DISCONNECT {message.code}: {message.detail}", at_once=message.code == WRITE_BACK_FAILED)

    # -- the small ones

    def _on_ping(self, conn, message):
        conn.to_send += encode("PONG", token=message.token)

    def _on_pong(self, conn, message):
        if message.token == conn.probe and conn.resume_by:
            self._policy("resume")

    def _on_hold(self, conn, message):  # [CHAIN-1]
        self.hold_until = time.monotonic() + message.span_ms / 1000

    def _on_resized(self, conn, message):
        if message.size < self.geometry.size:
            raise Broken("the resource has shrunk")
        self.geometry.size = message.size

    def _on_detached(self, conn, message):
        self.memory.forget()
        self._end("detached")


# -------------------------------------------------------------------------------------------------- the command

def main():
    parser = argparse.ArgumentParser(description="Use a resource of a Lull target.")
    parser.add_argument("address", help="unix:/path or tcp:host:port")
    parser.add_argument("resource")
    parser.add_argument("--node", help="this initiator's name [default: the host's]")
    parser.add_argument("--state", help="a file by which the next run can go on after this one was killed")
    commands = parser.add_subparsers(dest="command", required=True)
    read = commands.add_parser("read", help="to standard output")
    read.add_argument("offset", type=int)
    read.add_argument("length", type=int)
    commands.add_parser("write", help="from standard input, then flush").add_argument("offset", type=int)
    commands.add_parser("status", help="what the resource is, then detach")
    stay = commands.add_parser("stay", help="stay attached as a reader, take part in restarts, until interrupted")
    stay.add_argument("--seconds", type=float, default=NO_LIMIT)
    args = parser.parse_args()
    access = RW if args.command == "write" else RO
    stop = threading.Event()
    initiator = Initiator(args.address, args.resource, args.node, access, args.state,
                          say=lambda text: print(f"initiator: {text}", file=sys.stderr, flush=True))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set() if args.command == "stay" else sys.exit(1))
    try:
        geometry = initiator.attached()
        if args.command == "read":
            for at, count in initiator.chunks(args.offset, args.length):
                sys.stdout.buffer.write(initiator.read(at, count))
            sys.stdout.buffer.flush()
        elif args.command == "write":
            offset, piece = args.offset, min(geometry.max_length, initiator.CHUNK)
            while data := sys.stdin.buffer.read(piece):
                initiator.write(offset, data)
                offset += len(data)
            initiator.flush()
        elif args.command == "status":
            print(json.dumps({k: v for k, v in vars(geometry).items() if isinstance(v, (int, list))}
                             | initiator.status(), indent=2))
        else:
            until = time.monotonic() + args.seconds
            while not stop.wait(0.02) and time.monotonic() < until:  # one block at a time is this consumer's load
                initiator.read(0, geometry.block)
        initiator.detach()
    except LullError as error:
        print(f"initiator: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        print(f"initiator: longest stall {initiator.longest_stall * 1000:.1f} ms", file=sys.stderr)


if __name__ == "__main__":
    main()
