//! What is seen of initiators.

use crate::disk::SECTOR;
use crate::node::slots::Entry;
use crate::world::World;
use crate::world::wire::Payload;
use lull_history::Outcome;
use lull_proto::MonoTime;
use lull_proto::initiator::{End, Origin, Phase, Policy, Report, Retain, Timer};
use lull_proto::target::ResourceIndex;
use lull_wire::messages::{PauseComplete, Request};
use lull_wire::{Access, Message, OpCode, RequestFlags, StatusCode};
use std::time::Duration;

impl World {
    /// Something comes from the target.
    pub(crate) fn judge_node_receives(&mut self, at: usize, message: &Message) {
        let watch = &mut self.attachments[at].watch;
        match message {
            Message::Pause(pause) => watch.pausing = Some(pause.restart),
            Message::Resume(resume) if watch.pausing.is_none_or(|mine| mine == resume.restart) => {
                watch.pausing = None;
                watch.quiet = false;
            }
            _ => {}
        }
    }

    /// Its connection is over.
    pub(crate) fn judge_hung_up(&mut self, at: usize) {
        let watch = &mut self.attachments[at].watch;
        watch.pausing = None;
        watch.quiet = false;
    }

    /// It says something.
    pub(crate) fn judge_node_sends(&mut self, at: usize, message: &Message) {
        if let Message::PauseComplete(told) = message {
            self.judge_complete(at, told);
        }
        let unanswered = self.attachments[at].slots.taken();
        if matches!(message, Message::Detach(_)) && unanswered > 0 {
            self.found("CONN-5", || format!("node-{at} leaves with {unanswered} unanswered"));
        }
        // What it had to send again is executed, in this life of the target.
        if matches!(message, Message::Ready(_) | Message::PauseComplete(_))
            && self.attachments[at].config.access == Access::ReadWrite
            && self.attachments[at].serves.is_none()
            && self.is_current(at)
            && self.wire_of(at).is_some_and(|wire| self.wires[wire].at_target)
        {
            let node = &self.attachments[at];
            self.judge_replayed(node.target, node.resource);
        }
    }

    /// [PAUSE-3] "Go ahead": nothing is in flight, and what it was acknowledged in this life is on stable storage.
    fn judge_complete(&mut self, at: usize, told: &PauseComplete) {
        let node = &self.attachments[at];
        let (target, resource, life) = (node.target, node.resource, node.life);
        let outstanding = node.connection.as_ref().map_or(0, |present| present.outstanding.len());
        if outstanding > 0 {
            self.found("PAUSE-3", || {
                format!("node-{at} says PAUSE COMPLETE with {outstanding} requests in flight")
            });
        }
        let done = &self.judge.done;
        let lives = &self.attachments[at].log.lives;
        let mine = |request, _| {
            done.get(&request)
                .is_some_and(|(by, its)| *by == at && (*its == life || lives.contains(its)))
        };
        let left = self.medium(target, resource).unsynced(mine);
        if let Some(request) = left.filter(|_| told.retained == 0) {
            self.found("PAUSE-3", || {
                format!("node-{at} says PAUSE COMPLETE, and its request {request} is not durable")
            });
        }
        self.attachments[at].watch.quiet = true;
    }

    /// [SAFE-3] What it keeps stays within its bound.
    pub(crate) fn judge_retains(&mut self, at: usize) {
        let node = &self.attachments[at];
        let Retain::UpTo(bound) = node.config.retain else { return };
        let cost = |sectors: &u64| (sectors * u64::from(SECTOR) + 128).max(256);
        let kept: u64 = node.log.records.values().map(|record| cost(&record.sectors)).sum();
        if kept > bound {
            self.found("SAFE-3", || format!("node-{at} keeps {kept} bytes, of {bound}"));
        }
    }

    /// [SAFE-1] What it lets go is on stable storage.
    pub(crate) fn judge_releases(&mut self, at: usize, released: &[(Payload, u64)]) {
        let node = &self.attachments[at];
        let disk = self.medium(node.target, node.resource);
        for (payload, sectors) in released {
            let contents = payload.content..payload.content + sectors;
            let its =
                |request, content: u64| request == payload.request && contents.contains(&content);
            if disk.unsynced(its).is_some() {
                let request = payload.request;
                self.found("SAFE-1", || {
                    format!("node-{at} lets go of request {request}, which is not durable")
                });
                return;
            }
        }
    }

    /// It sends a request; `fresh`: for the first time.
    pub(crate) fn judge_transmits(
        &mut self,
        at: usize,
        origin: Origin,
        fresh: bool,
        request: &Request,
    ) {
        let watch = &self.attachments[at].watch;
        let (quiet, pausing) = (watch.quiet, watch.pausing.is_some());
        if quiet {
            self.found("PAUSE-3", || format!("node-{at} sends {request:?} after PAUSE COMPLETE"));
        } else if pausing && fresh && matches!(origin, Origin::Consumer(_)) {
            self.found("PAUSE-2", || format!("node-{at} sends {request:?} after PAUSE"));
        }
    }

    /// A consumer is answered.
    pub(crate) fn judge_answered(&mut self, at: usize, entry: &Entry, status: StatusCode) {
        let node = &mut self.attachments[at];
        let (target, resource, life) = (node.target, node.resource, node.life);
        let request = entry.wanted.request;
        let node_shares = node.config.access == Access::Shared;
        let ending = matches!(node.phase(), Some(Phase::Ended(_) | Phase::Detaching) | None);
        let allowed = node.watch.failing || node.watch.excused || node.watch.missed || ending;
        let outcome = match (status, entry.failed_there) {
            (StatusCode::Done, _) => Outcome::Done,
            (_, true) => Outcome::Failed,
            (_, false) => Outcome::Unknown,
        };
        if outcome == Outcome::Unknown {
            node.watch.orphans.push(request);
            let over = matches!(node.phase(), Some(Phase::Ended(_)) | None);
            let given_up = node.watch.failing || node.watch.missed || over;
            if node.watch.accepted.contains(&request) && !given_up {
                self.found("CONN-5", || {
                    format!("node-{at} answers request {request} with `{status}`, since it leaves")
                });
            }
            if !allowed {
                self.found("PAUSE-7", || {
                    format!(
                        "node-{at} answers request {request} with `{status}`, and nothing failed"
                    )
                });
            }
        }
        // What a discard did is nobody's loss.
        let keeps = matches!(entry.wanted.op, OpCode::Write | OpCode::WriteZeroes);
        if outcome == Outcome::Done && keeps {
            self.judge.done.insert(request, (at, life));
        }
        // [SAFE-11] Who shares is answered when it is durable.
        let durable = entry.wanted.flags.has(RequestFlags::FUA) || (keeps && node_shares);
        let disk = self.medium(target, resource);
        if outcome == Outcome::Done && durable && disk.unsynced(|one, _| one == request).is_some() {
            self.found("SAFE-1", || format!("node-{at}: request {request} is not durable"));
        }
        self.judge_ends(target, resource, request, outcome, &entry.data);
    }

    /// What it tells people.
    pub(crate) fn judge_node_reports(&mut self, at: usize, report: &Report) {
        let now = self.now;
        let node = &mut self.attachments[at];
        match report {
            Report::Connected { .. } => node.watch.connected = Some(now),
            Report::Sharing(_) => {
                node.watch.gone = None;
                node.watch.failing = false;
                node.watch.shared = true;
                if node.log.lost_in.is_some() {
                    self.found("SAFE-10", || format!("node-{at} tells nobody of its lost log"));
                }
            }
            // [SAFE-10] People are told of a loss before anybody goes on without what was lost.
            Report::LogMissing { changed } => {
                let now = node.machine.as_ref().map(|machine| machine.view(now).incarnation);
                let lost = node.log.lost_in.take();
                if !changed && lost.is_some() && lost != now {
                    self.found("SAFE-10", || {
                        format!("node-{at} says that its target has what was lost with its log")
                    });
                }
            }
            Report::Away { .. } => {
                node.watch.gone.get_or_insert(now);
                self.judge_hung_up(at);
            }
            Report::Violation(violation) => {
                self.found("violation", || format!("node-{at}: {violation}"));
            }
            Report::Faulted { status, .. } => {
                let (target, resource) = (node.target, node.resource);
                let disk = self.medium(target, resource);
                if !disk.failed && !disk.failed_before {
                    self.found("SAFE-2", || {
                        format!("node-{at}: a replay fails with {status} on a good disk")
                    });
                }
            }
            Report::Unusable => {
                self.found("CONN-7", || format!("node-{at}: the resource cannot be used any more"));
            }
            Report::Expired { timer, policy } => {
                node.watch.failing |= matches!(policy, Policy::Error | Policy::Shutdown);
                let (at_target, resource) = (node.target, ResourceIndex(node.resource));
                let (from, span) = match timer {
                    Timer::Restart => (node.watch.gone, node.config.restart_timeout),
                    Timer::Resume => (node.watch.connected, node.config.resume_timeout),
                };
                if from.is_none_or(|from| now < from + span) {
                    self.found("TIMER-1", || {
                        format!(
                            "node-{at}: the {timer:?} timer ended early, from {from:?}, {span:?}"
                        )
                    });
                }
                self.judge_holds(at, at_target, resource, *timer);
            }
            Report::Ended(end) => {
                let excused = node.watch.excused || *end == End::Refused && !node.demanded;
                if !excused {
                    self.found("SAFE-5", || format!("node-{at} ended without cause: {end:?}"));
                }
                self.forsake(at);
            }
            Report::Missed { .. } => node.watch.missed = true,
            Report::Attached { .. } => node.watch.missed = false,
            Report::Replaying { .. }
            | Report::LogLost { .. }
            | Report::LogLeft { .. }
            | Report::ShutdownCancelled
            | Report::ShuttingDown
            | Report::Pausing { .. }
            | Report::Drained { .. }
            | Report::Paused { .. }
            | Report::PauseAborted { .. }
            | Report::Refused { .. }
            | Report::Holding { .. }
            | Report::HoldOver { .. }
            | Report::HoldSilent
            | Report::GivenBack
            | Report::LateAnswered => {}
        }
    }

    /// [CHAIN-1] No resume timer ends because somebody further up is away: the target has said so.
    fn judge_holds(&mut self, at: usize, target: usize, resource: ResourceIndex, timer: Timer) {
        let host = &self.targets[target];
        let hold = host.daemon.as_ref().and_then(|daemon| daemon.machine.hold(resource));
        let long = |since: MonoTime| self.now.since(since) > Duration::from_secs(1);
        let told = hold.is_some_and(|hold| long(hold.since)) && host.thawed.is_none_or(long);
        if timer == Timer::Resume && told {
            self.found("CHAIN-1", || {
                format!("node-{at}: the resume timer ended while target-{target} holds")
            });
        }
    }
}
