//! The one place where what a machine wants done becomes I/O.

use std::rc::Rc;

use lull_admin::Fault;
use lull_proto::initiator::{self as proto, Action, End, Origin, Report, Slot, Why};
use lull_proto::{MonoTime, says_the_same};
use lull_wire::messages::Request;
use lull_wire::{Digest, Message, OpCode, StatusCode};

use crate::attachment::{Attachment, Core};
use crate::buffer::Shared;
use crate::command::Run;
use crate::config::Policy;
use crate::connection::Connection;
use crate::daemon::News;
use crate::hook;
use crate::outstanding::Carries;
use crate::slots::Data;
use crate::state_file::Kept;
use crate::unserved;
use crate::wording;

impl Attachment {
    /// Does one thing. Actions are done in the order in which the machine gave them.
    pub(crate) fn perform(self: &Rc<Self>, core: &mut Core, now: MonoTime, action: Action) {
        match action {
            Action::Transmit { conn, origin, request } => {
                if core.connection.as_ref().is_some_and(|connection| connection.id == conn) {
                    transmit(core, origin, &request);
                }
            }
            Action::Answer { slot, status } => answer(core, now, slot, status),
            Action::Retain { slot, place, ask } => {
                let Some(entry) = core.slots.get_mut(slot) else {
                    unreachable!("only an answer frees a slot, and it comes behind")
                };
                let (payload, digest) = match &entry.data {
                    Data::Send(payload, digest) => (payload.as_ref(), *digest),
                    Data::None | Data::Fill(_) => (&[][..], Digest::NONE),
                };
                core.journal.push(place, &ask, payload, digest);
            }
            Action::Release { before } => core.journal.release(before),
            Action::Settle(incarnation) => {
                core.journal.settle(incarnation);
                if core.settled.is_some() {
                    core.settled = Some(incarnation);
                    self.write_state(core);
                }
            }
            Action::LifeLost => {
                if let Some(lost) = &self.made.life_lost {
                    lost();
                }
            }
            Action::Send { conn, message } => {
                if let Some(connection) = core.connection.as_ref().filter(|c| c.id == conn) {
                    // From here on the target may keep a place, whether or not it gets round to saying so.
                    if matches!(message, Message::Attach(_)) {
                        let first = !std::mem::replace(&mut core.told.known_there, true);
                        core.told.first_attach = first.then_some(conn);
                    }
                    core.frame.clear();
                    message.encode(Digest::NONE, &mut core.frame);
                    connection.outlet.push_bytes(&core.frame);
                }
            }
            Action::Dial { conn } => core.connection = Some(Connection::dial(self, conn)),
            Action::HangUp { conn } => {
                core.connection.take_if(|connection| connection.id == conn);
            }
            Action::Open(geometry) => {
                core.geometry = Some(geometry);
                if self.access(core.geometry) != self.config().access {
                    let text = "the target lets it only read, which its consumers are told".into();
                    self.tell("read_only", text);
                }
                self.note_awaited(core);
                self.turned.notify_one();
                // Whoever shares a medium on is a front end itself.
                if self.made.life_lost.is_none() {
                    self.face.open(self, geometry);
                }
            }
            Action::Resize(size) => {
                if let Some(geometry) = &mut core.geometry {
                    geometry.size = size;
                }
                self.note_awaited(core);
                self.face.grown().notify_waiters();
                let text = format!("the resource has grown to {}", lull_admin::show_bytes(size));
                self.tell("resized", text);
            }
            Action::Remember(memory) => {
                core.remembered = Some(memory);
                self.write_state(core);
            }
            Action::RunHook(timer) => {
                if let Policy::Hook(command) = &self.made.config.policy {
                    let (run, of) =
                        (Run::new(command, now), hook::environment(self, core, now, timer));
                    core.told.hook = Some(Rc::clone(&run));
                    tokio::task::spawn_local(hook::run(Rc::clone(self), run, of));
                }
            }
            Action::PrepareShutdown(timer) => self.prepare_shutdown(core, now, timer),
            Action::CancelShutdown => self.cancel_shutdown(core),
            Action::ShutDown => self.shut_down(core, now),
            Action::Report(report) => {
                if ends_or_begins_a_wait(&report) {
                    self.note_awaited(core);
                }
                self.report(core, report);
                self.turned.notify_one();
            }
        }
    }

    /// The state file is to hold what is known now; before this life was let in it is the last one's.
    fn write_state(&self, core: &Core) {
        let (attachment, instance) = (self.made.kept.attachment, self.made.instance);
        if let (Some(memory), Some(writer)) = (core.remembered, &*self.writer.borrow()) {
            let (noted, log) = (Vec::new(), core.settled);
            writer.write(Kept { attachment, instance, noted, memory, log });
        }
    }

    /// The same for a life that was never let in and has nothing to leave: all but the log is the last one's still.
    fn note_no_log(&self) {
        if let Some(writer) = &*self.writer.borrow() {
            writer.write(Kept { log: None, ..self.made.kept.noting(self.made.instance) });
        }
    }

    fn report(self: &Rc<Self>, core: &mut Core, report: Report) {
        let report = match report {
            Report::LogLeft { changes, bytes } if !self.made.outlives => {
                Report::LogLost { changes, bytes }
            }
            report => report,
        };
        let words = match (&report, &self.made.life_lost) {
            (Report::Ended(End::Fenced), Some(_)) => wording::fenced_medium(&self.made.config),
            _ => wording::of_report(&report, &core.told, &self.made.config),
        };
        let name = &self.made.config.name;
        match report {
            Report::Sharing(interruption) => {
                let gone = interruption.marks.gone.unwrap_or(interruption.resumed);
                // What consumers asked while nobody read is known to them alone.
                let stall = match interruption.why {
                    Why::Successor => interruption.resumed.since(gone),
                    _ => interruption.longest,
                };
                let _ = self.made.news.send(News::Shares { name: name.clone(), stall });
                let stall = u64::try_from(interruption.longest.as_millis()).unwrap_or(u64::MAX);
                if core.told.shared_once {
                    core.told.longest_stall_ms = core.told.longest_stall_ms.max(stall);
                }
                core.told.shared_once = true;
                // A shutdown that came to nothing is over with its outage.
                let failed = self.made.host.descent().is_none();
                core.told.shutdown.take_if(|shutdown| shutdown.begun && failed);
                (core.told.trouble, core.told.refusal, core.told.replay_fault) = (None, None, None);
            }
            Report::PauseAborted { longest, .. } | Report::HoldOver { longest, .. } => {
                let stall = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
                core.told.longest_stall_ms = core.told.longest_stall_ms.max(stall);
            }
            Report::Away { leaving, .. } => core.told.leaves_unheard |= leaving,
            Report::Pausing { reason, .. } => core.told.reason = reason.as_str().to_owned(),
            Report::Refused { last, .. } => {
                // What was never granted before, and is refused, is nowhere.
                let present = core.connection.as_ref().map(|connection| connection.id);
                if core.told.first_attach.take_if(|conn| Some(*conn) == present).is_some() {
                    core.told.known_there = false;
                }
                let known = core.told.refusal.as_deref();
                if known.is_some_and(|known| says_the_same(known, &words.text)) && !last {
                    return; // It was said.
                }
                core.told.refusal = Some(words.text.clone());
                if last {
                    // Its end says it.
                    self.made.chronicle.detail(name, words.what, words.text);
                    return;
                }
            }
            Report::Unusable => {
                if core.told.refusal.as_ref() == Some(&words.text) {
                    return; // It was said.
                }
                core.told.refusal = Some(words.text.clone());
            }
            Report::Connected { .. } => {
                let back = core.told.trouble.take().is_some();
                if core.told.refusal.is_some() && !back {
                    return; // It answers each time it is asked again, and refuses.
                }
            }
            Report::Violation(_) => core.told.trouble = Some(words.text.clone()),
            Report::Faulted { .. } => {
                core.told.tally.faults += 1;
                core.told.trouble = Some(words.text.clone());
                let since = core.told.replay_fault.take();
                let since = since.map_or_else(|| self.made.clock.now(), |(since, _)| since);
                core.told.replay_fault = Some((since, words.text.clone()));
            }
            Report::Missed { changes, .. } => {
                core.told.missed_changes += changes;
                let (since, why) = (self.made.chronicle.wall_ms(), words.text.clone());
                core.told.missed = Some(Fault { since, why });
            }
            Report::LogMissing { changed: true } => {
                let (since, why) = (self.made.chronicle.wall_ms(), words.text.clone());
                core.told.log_lost = Some(Fault { since, why });
            }
            Report::Expired { policy: proto::Policy::Error | proto::Policy::Shutdown, .. }
                if core.geometry.is_none() =>
            {
                let attachment = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    let is_unserved = |one: &Attachment| one.core.borrow().geometry.is_none();
                    unserved::take_away(&attachment, is_unserved).await;
                });
            }
            Report::Ended(end) => {
                self.depart(core, end);
                // What ends a daemon is what it says last.
                if self.made.alone && !matches!(end, End::Detached | End::Left) {
                    self.made.chronicle.detail(name, words.what, words.text);
                    return;
                }
            }
            Report::Attached { .. }
            | Report::Replaying { .. }
            | Report::LogLost { .. }
            | Report::LogLeft { .. }
            | Report::LogMissing { changed: false }
            | Report::Drained { .. }
            | Report::Paused { .. }
            | Report::Expired { .. }
            | Report::ShutdownCancelled
            | Report::ShuttingDown
            | Report::Holding { .. }
            | Report::HoldSilent
            | Report::GivenBack
            | Report::LateAnswered => {}
        }
        self.made.chronicle.record(name, words.what, words.text, words.restart);
    }

    /// The attachment is over: its state is settled, its consumers leave, then the daemon is told.
    fn depart(self: &Rc<Self>, core: &mut Core, end: End) {
        self.face.close();
        // Whoever could not serve consumers may have a next life that can, as long as it is the same attachment.
        let goes_on = end == End::Left && core.told.failure.is_some();
        if !goes_on {
            self.note_unawaited();
        }
        self.alarm().wake();
        // [SAFE-10] What its target still waits for is left to the next life, and what is still to be done about the one before.
        let untold = core.remembered.is_none() && core.journal.is_missing();
        let owes = !core.journal.is_empty() || untold || !core.machine.has_settled_its_heritage();
        let leaves = end == End::Left && core.told.known_there && (owes || goes_on);
        if !leaves && !untold {
            core.settled = None;
            match core.remembered {
                Some(_) => self.write_state(core),
                None => self.note_no_log(),
            }
        }
        let guard = self.guard.borrow_mut().take();
        let writer = self.writer.borrow_mut().take();
        if let Some(writer) = &writer {
            // Off the roster nothing of it is left anywhere; refused at the first try nothing ever was.
            if end == End::Detached || !core.told.known_there {
                writer.remove();
            }
        }
        let saving = (leaves && self.made.outlives).then(|| self.save(core)).flatten();
        let never_served = core.geometry.is_none() || !goes_on && self.face.served().is_empty();
        let attachment = Rc::clone(self);
        tokio::task::spawn_local(async move {
            if let Some(saving) = saving {
                saving.await;
            }
            attachment.face.closed().await;
            if never_served {
                unserved::take_away(&attachment, |_| true).await;
            }
            if let Some(writer) = writer {
                writer.finish().await;
            }
            if let Some(guard) = guard {
                guard.finish(leaves).await;
            }
            let name = attachment.made.config.name.clone();
            let _ = attachment.made.news.send(News::Departed { name, end });
        });
    }
}

/// Whether consumers wait from here on, or no more, or until another time.
fn ends_or_begins_a_wait(report: &Report) -> bool {
    matches!(
        report,
        Report::Away { .. }
            | Report::Expired { .. }
            | Report::Sharing(_)
            | Report::PauseAborted { .. }
    )
}

/// Sends a request, a write with its payload, which stays where it is as well.
fn transmit(core: &mut Core, origin: Origin, request: &Request) {
    let Some(connection) = &mut core.connection else { return };
    let (slot, payload) = match origin {
        Origin::Consumer(slot) => match core.slots.get_mut(slot) {
            Some(entry) => {
                entry.number = Some(request.number.0);
                match &entry.data {
                    Data::Send(shared, digest) => (Some(slot), Some((shared.clone(), *digest))),
                    Data::None | Data::Fill(_) => (Some(slot), None),
                }
            }
            None => (None, None),
        },
        Origin::Retained(place) => {
            let (changes, bytes) = core.told.tally.replayed;
            core.told.tally.replayed = (changes + 1, bytes + u64::from(request.length));
            let kept = core.journal.copy(place).filter(|(bytes, _)| !bytes.is_empty());
            (None, kept.map(|(bytes, digest)| (Shared::copied(bytes), digest)))
        }
        Origin::Nobody => {
            core.told.tally.own_flushes += u64::from(request.op == OpCode::Flush);
            (None, None)
        }
    };
    let carries = Carries::of(request.op, request.length);
    connection.outstanding.sent(request.number.0, slot, carries);
    core.frame.clear();
    match payload {
        Some((shared, digest)) => {
            request.encode(digest, &mut core.frame);
            connection.outlet.push_frame(&core.frame, shared);
        }
        None => {
            request.encode(Digest::NONE, &mut core.frame);
            connection.outlet.push_bytes(&core.frame);
        }
    }
}

/// [CONN-3] Answers the consumer.
fn answer(core: &mut Core, now: MonoTime, slot: Slot, status: StatusCode) {
    if status != StatusCode::Done {
        core.told.errors += 1;
        if status == StatusCode::NoSpace {
            core.told.full_at = Some(now);
        }
    }
    let number = core.slots.answer(slot, status);
    // What was answered with an error here may still be outstanding there; its slot has another tenant soon.
    if let (Some(number), Some(connection)) = (number, &mut core.connection) {
        connection.outstanding.orphan(number, slot);
    }
}
