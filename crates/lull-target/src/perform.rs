//! The one place where what the machine says becomes input and output.

use crate::daemon::{Core, Daemon, Input, Plan};
use crate::executor::{Executor, ended_by};
use crate::lane::Terms;
use crate::local::Command;
use crate::refusal;
use crate::store::{Commit, SeatRow};
use lull_admin::Missed;
use lull_block::{Backend, Buffer, IoStatus, Op};
use lull_proto::target::{Action, Change, Ended, Report, ResourceIndex, Row, RowState, Ticket};
use lull_proto::{ConnId, MonoTime};
use lull_wire::frame::Digest;
use lull_wire::{Message, RestartId};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often is looked whether a backend that is flushed has gone away.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Daemon {
    /// Does one thing that the machine wants done.
    pub(crate) fn perform(self: &Rc<Self>, core: &mut Core, now: MonoTime, action: Action) {
        match action {
            Action::Send { conn, message } => self.send(core, now, conn, &message),
            Action::Refuse { conn, refusal } => {
                let agentless = self.agentless(core);
                let message = refusal::message(&refusal, now, &self.clock, agentless.iter());
                self.send(core, now, conn, &message.into());
                self.hang_up(core, conn);
            }
            Action::Renew { resource } => {
                let shared = self.shared(resource);
                shared.backend.renew();
                core.lives[resource.0] = shared.life.number();
            }
            Action::Open { conn, resource, read_only, version, share } => {
                let incarnation = core.machine.resources()[resource.0].incarnation;
                let life = core.lives[resource.0];
                let keep_alive = self.config.silence / 4;
                let terms = Terms { read_only, version, incarnation, life, share, keep_alive };
                self.ask(core, conn, Command::Open { conn, resource, terms });
            }
            Action::Close { conn } => self.ask(core, conn, Command::Close { conn }),
            Action::HangUp { conn } => self.hang_up(core, conn),
            Action::Record { ticket, change } => self.record(core, now, ticket, &change),
            Action::StartWriteBack => {
                self.shared.iter().for_each(|shared| shared.backend.start_write_back())
            }
            Action::MakeDurable { restart } => self.make_durable(restart),
            Action::GiveBack { resource, on } => self.shared(resource).backend.give_back(on),
            Action::StopAccepting => {
                core.accepting.drain(..).chain(core.watcher.take()).for_each(|task| task.abort());
                self.threads.let_agentless_go();
            }
            Action::Down { restart: _ } => {
                core.chronicle.down(now, self.threads.last_answer(), &core.store);
                if core.plan != Plan::Stop {
                    core.store.bequeath();
                }
                core.down = true;
            }
            Action::Report(report) => {
                core.chronicle.report(now, &core.machine, &report, &core.store);
                // [CHAIN-1] So it is with media of other servers, which hold what they cannot pass on.
                if let Report::Pausing { .. } | Report::Aborted { .. } = report {
                    let on = matches!(report, Report::Pausing { .. });
                    self.shared.iter().for_each(|shared| shared.backend.give_back(on));
                }
                if let Report::Missed { entry } = &report {
                    let last =
                        Missed { initiator: entry.node.to_string(), at: self.clock.unix_ms(now) };
                    let before = core.missed.get(&entry.resource).map_or(0, |(count, _)| *count);
                    core.missed.insert(entry.resource, (before + 1, last));
                }
                if let Report::Quiet { .. } = report {
                    self.quiet(core);
                }
                if let Report::Aborted { .. } = report {
                    self.threads.end_watch();
                    self.forget_successor(core);
                }
            }
        }
    }

    fn send(&self, core: &mut Core, now: MonoTime, conn: ConnId, message: &Message) {
        core.chronicle.sent(now, &core.machine, conn, message);
        let mut frame = Vec::new();
        message.encode(Digest::NONE, &mut frame);
        self.ask(core, conn, Command::Send { conn, frame });
    }

    /// Asks the thread of a connection; what concerns one connection stays in order.
    fn ask(&self, core: &Core, conn: ConnId, command: Command) {
        if let Some(link) = core.connections.get(&conn) {
            self.threads.ask(link.thread, command);
        }
    }

    fn hang_up(&self, core: &mut Core, conn: ConnId) {
        self.ask(core, conn, Command::HangUp { conn });
        if core.machine.session(conn).is_none() {
            self.forget(core, conn);
        }
    }

    fn record(&self, core: &mut Core, now: MonoTime, ticket: Ticket, change: &Change) {
        let name = |place: &ResourceIndex| self.shared(*place).name.clone();
        let commits = match change {
            Change::Owner(entry, tenure) => {
                vec![Commit::Seat(SeatRow::of(entry, &name(&entry.resource)), tenure.0)]
            }
            Change::Gone(attachment) => vec![Commit::Gone(attachment.to_string())],
            Change::Missed(whom, place, tenure) => {
                let gone = whom.iter().map(|attachment| Commit::Gone(attachment.to_string()));
                gone.chain([Commit::Tenure(name(place), tenure.0)]).collect()
            }
            Change::Incarnation(place, incarnation) => vec![
                Commit::Incarnation(name(place), incarnation.to_string()),
                Commit::Dirty(writers(core, |row| row.entry.resource == *place, now), true),
            ],
            Change::Intent(_) => vec![Commit::Restart(Box::new(core.chronicle.record()))],
            Change::Clean(_) => vec![
                Commit::Restart(Box::new(core.chronicle.clean(now))),
                Commit::Dirty(writers(core, is_clean, now), false),
            ],
            Change::Revoked(_) => vec![
                Commit::Restart(Box::new(core.chronicle.revoked(now))),
                Commit::Dirty(writers(core, |_| true, now), true),
            ],
        };
        core.keeping.leaves(ticket, change);
        core.store.commit(Some(ticket), commits);
    }

    fn make_durable(self: &Rc<Self>, restart: RestartId) {
        let daemon = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let ok = daemon.flush_or_fail(Some(restart)).await;
            daemon.input(Input::Durable { restart, ok });
        });
    }

    /// Flushes every backend, for a restart that waits for it or in advance of one; false where one failed, whose life
    /// ends [SAFE-4].
    pub(crate) async fn flush_or_fail(self: &Rc<Self>, restart: Option<RestartId>) -> bool {
        let lives = self.core.borrow().lives.clone();
        let flushes: Vec<_> = (0..self.shared.len())
            .map(|resource| {
                let daemon = Rc::clone(self);
                tokio::task::spawn_local(async move { daemon.flush(resource, restart).await })
            })
            .collect();
        let mut all = true;
        for (resource, flush) in flushes.into_iter().enumerate() {
            // Nobody aborts these tasks; one that panicked has flushed nothing.
            let Err(why) = flush.await.unwrap_or(Err(Ended::WriteBack)) else { continue };
            if self.shared[resource].life.end(lives[resource]) {
                let resource = ResourceIndex(resource);
                self.input(Input::LifeEnded { resource, why });
            }
            all = false;
        }
        all
    }

    /// Flushes one backend. While a restart waits for it, it is named.
    ///
    /// # Errors
    /// It could not be, which ends its life.
    async fn flush(&self, resource: usize, restart: Option<RestartId>) -> Result<(), Ended> {
        let shared = &self.shared[resource];
        let executor = Executor::new(shared);
        let started = executor.start(Op::Flush, 0, 0, Buffer::empty(), ());
        let mut done: Vec<_> = started.into_iter().map(|((), done)| done).collect();
        if done.is_empty() {
            if let Some(restart) = restart {
                let chronicle = &mut self.core.borrow_mut().chronicle;
                chronicle.flushing(restart, resource, &shared.name, &shared.backend.describe());
            }
            match restart {
                Some(_) => executor.next(&mut done).await,
                // In advance nobody waits for who is away.
                None => tokio::select! {
                    () = executor.next(&mut done) => {}
                    () = is_away(&shared.backend) => {}
                },
            }
            if let Some(restart) = restart {
                self.core.borrow_mut().chronicle.flushed(restart, resource);
            }
        }
        let mut flushed = Ok(());
        for done in &done {
            executor.ticket(done);
            match done.result {
                Ok(()) => {}
                // [CHAIN-1] Whoever wrote it keeps what was not flushed.
                Err(IoStatus::NotExecuted) => {
                    tracing::warn!("{} is away and was not flushed", shared.backend.describe());
                }
                Err(status) => {
                    tracing::error!("{} could not be flushed: {status}", shared.backend.describe());
                    flushed = Err(ended_by(done.result).unwrap_or(Ended::WriteBack));
                }
            }
        }
        flushed
    }

    /// A successor that is not wanted is ended without waiting for it here.
    pub(crate) fn forget_successor(&self, core: &mut Core) {
        if let Some(watcher) = core.watcher.take() {
            watcher.abort();
        }
        if let Some(successor) = core.successor.take() {
            tokio::task::spawn_local(successor.end());
        }
    }
}

/// Returns when a backend is found to wait for somebody behind a network.
async fn is_away(backend: &Arc<dyn Backend>) {
    while backend.waiting().is_none() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The attachments that may write, of those in these rows.
fn writers(core: &Core, which: impl Fn(&Row) -> bool, now: MonoTime) -> Vec<String> {
    let rows = core.machine.rows(now);
    let writes = |row: &&Row| row.entry.access.writes() && which(row);
    rows.iter().filter(writes).map(|row| row.entry.attachment.to_string()).collect()
}

/// Whether it has completed a pause and has nothing to send again.
fn is_clean(row: &Row) -> bool {
    matches!(row.state, RowState::Complete(proof) if proof.is_clean())
}
