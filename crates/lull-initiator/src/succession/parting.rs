//! What an attachment leaves: first it takes no more, then it waits for what can be answered soon, then it is taken out of
//! this process as it stands.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

use lull_admin::Access;
use lull_frontend::nbd;
use lull_proto::MonoTime;
use lull_proto::initiator::{Phase, Slot, Succession, Waiting};

use super::estate::{self, Client, Left, Payload, Request};
use super::face::Leaving;
use crate::attachment::Attachment;
use crate::block_device::Parked;
use crate::buffer::Shared;
use crate::slots::{Data, Duty, Entry};
use crate::state_writer::StateWriter;
use crate::vault::{self, AWAITED, FUSE, Guard, LOG};

/// Descriptors under their names.
type Fds = HashMap<String, OwnedFd>;
/// Devices of ublk's by the attachments that have them.
type Blocks = HashMap<String, Parked>;

impl Attachment {
    /// Why nobody could take it over now, as a phrase behind its name.
    pub fn stays(&self) -> Option<String> {
        let core = self.core.borrow();
        let hook = core.told.hook.as_ref().is_some_and(|run| run.borrow().ended.is_none());
        match core.machine.phase() {
            Phase::Detaching | Phase::Ended(_) => Some("is being detached".to_owned()),
            _ if self.face.closer().is_closed() => Some("is being detached".to_owned()),
            _ if self.face.served().is_empty() => Some("has no consumers yet".to_owned()),
            _ if core.told.shutdown.is_some() => Some("shuts this host down".to_owned()),
            _ if hook => Some("runs its hook".to_owned()),
            _ => None,
        }
    }

    /// Takes no more requests; those that it has are answered.
    pub fn quiet(&self) {
        self.face.closer().quiet();
    }

    /// Ends a [`Attachment::quiet`].
    pub fn go_on(&self) {
        self.face.closer().go_on();
    }

    /// Returns when nothing is outstanding that may be answered soon.
    pub async fn drained(&self) {
        while !self.is_drained() {
            let written =
                self.writer.borrow().as_ref().filter(|one| one.is_busy()).map(StateWriter::tried);
            let kept = self.guard.borrow().as_ref().filter(|one| one.is_busy()).map(Guard::idle);
            tokio::select! {
                () = over(written) => {}
                () = over(kept) => {}
                () = self.answered.notified() => {}
            }
        }
    }

    fn is_drained(&self) -> bool {
        let view = self.core.borrow().machine.view(self.clock().now());
        view.in_flight == 0 && self.lingers().is_none()
    }

    /// What must be over before anybody else can go on, and is not; as a phrase behind the attachment's name.
    pub fn lingers(&self) -> Option<String> {
        // Once nobody takes anything any more it would be waited for without end, by whoever goes on: the lock is on it.
        if self.writer.borrow().as_ref().is_some_and(StateWriter::is_busy) {
            let dir = self.made.state_dir.display();
            return Some(format!("has its state written, which the disk of {dir} takes long for"));
        }
        if self.guard.borrow().as_ref().is_some_and(Guard::is_busy) {
            return Some("has a keeper started for its log, which takes long".to_owned());
        }
        let left = self.core.borrow().machine.bequeath(self.clock().now());
        let is_sent = left.is_some_and(|left| !left.sent.is_empty());
        // What a guest was not answered is not handed over, and on its monitor's record it does not say whether it was sent.
        let unanswered = self.config().access == Access::RwShared
            && (is_sent || self.face.asked_once().count() > 0);
        // [SAFE-11] Another life has other numbers, by which nobody would know a repeated request.
        if unanswered {
            return Some("has unanswered requests, which other sharers may overtake".to_owned());
        }
        if self.face.asked_once().count() > 0 {
            return Some(
                "has requests of a virtual machine whose monitor keeps no record of them"
                    .to_owned(),
            );
        }
        match self.face.file_waits() {
            (true, false) => Some(
                "has requests of its mounted file, which a kernel before Linux 6.9 does not ask again"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// The descriptors that only the system can make twice. To be called before [`Attachment::freeze`]: later it would be
    /// too late to learn that there are none.
    ///
    /// # Errors
    /// There are none.
    pub fn pack(&self, fds: &mut Fds) -> io::Result<()> {
        let (id, core) = (self.made.kept.attachment, self.core.borrow());
        if core.settled.is_some() {
            fds.insert(vault::label(id, LOG), core.journal.as_fd().try_clone_to_owned()?);
        }
        if let Some(note) = &self.made.note {
            fds.insert(vault::label(id, AWAITED), note.to_owned_fd()?);
        }
        let fuse = self.face.mount_end()?;
        fds.extend(fuse.map(|fd| (vault::label(id, FUSE), fd)));
        Ok(())
    }

    /// From here on nothing happens to it any more: what was waited for stays as it is, however long the others take to
    /// part.
    pub fn freeze(&self) {
        self.frozen.set(true);
        self.alarm().wake();
        let mut core = self.core.borrow_mut();
        // [SAFE-10] Whoever takes it over goes on with this log, be it of a release that does not say so.
        core.journal.belongs_to_nobody();
        let connection = core.connection.take();
        drop(core);
        drop(connection);
    }

    /// Takes it out of this process; to be called once it is frozen, with what it has packed. Whatever becomes of the
    /// others, what it leaves is whole.
    pub async fn part(
        self: &Rc<Self>,
        since: MonoTime,
        payload: &mut Payload,
        fds: &mut Fds,
        blocks: &mut Blocks,
    ) -> Option<Left> {
        self.face.closer().part();
        self.face.closed().await;
        let mut leaving = self.face.leaves();
        blocks.extend(leaving.block.take().map(|one| (self.made.kept.attachment.to_string(), one)));
        let left = self.written(since, leaving, payload, fds);
        let writer = self.writer.borrow_mut().take();
        if let Some(writer) = writer {
            writer.finish().await;
        }
        let guard = self.guard.borrow_mut().take();
        if let Some(guard) = guard {
            guard.finish(true).await;
        }
        left
    }

    fn written(
        &self,
        since: MonoTime,
        leaving: Leaving,
        payload: &mut Payload,
        fds: &mut Fds,
    ) -> Option<Left> {
        let Leaving { listeners, kernel, mount, block: _ } = leaving;
        let parted = self.face.closer().parted().into_iter().map(|one| (one, false));
        let parted: Vec<_> = parted.chain(kernel.map(|one| (one, true))).collect();
        let mut core = self.core.borrow_mut();
        let entries = core.slots.take_all();
        let succession = core.machine.bequeath(self.clock().now())?;
        let log_lost = core.told.log_lost.clone();
        drop(core);
        let id = self.made.kept.attachment.to_string();
        let numbers = parted.iter().map(|(one, _)| one.agreed.connection).collect();
        let waiting = succession.sent.iter().chain(&succession.held);
        let waiting = waiting.map(|one| (one.slot, *one)).collect();
        let (requests, gone) = write_requests(entries, &waiting, &numbers, payload);
        let clients = write_clients(parted, &id, payload, fds);
        for (name, listener) in listeners {
            match listener.into_fd() {
                Ok(fd) => _ = fds.insert(estate::listener_name(&id, &name), fd),
                // Whoever goes on binds it anew.
                Err(error) => tracing::warn!("{}: {name} is closed: {error}", self.config().name),
            }
        }
        let asked_again = !gone.is_empty();
        if mount.is_none() {
            fds.remove(&vault::label(self.made.kept.attachment, FUSE));
        }
        let Succession {
            promised,
            sent,
            held,
            whole,
            since: away,
            deadline,
            expired,
            announced,
            held_until,
        } = succession;
        let lost = asked_again || sent.iter().any(|one| gone.contains(&one.slot.0));
        Some(Left {
            name: self.config().name.clone(),
            id,
            promised: promised.into(),
            sent: sent.iter().map(Into::into).collect(),
            held: held.iter().map(Into::into).collect(),
            whole: whole && !lost,
            since: away.min(since).0,
            deadline: deadline.map(|at| at.0),
            expired,
            announced,
            held_until: held_until.map(|until| until.0),
            requests,
            clients,
            kernel_waits_for_nothing: self.face.kernel_waits_for_nothing.get(),
            mount,
            log_lost,
        })
    }
}

/// Ends with what is under way; never where nothing is.
async fn over(under_way: Option<impl Future<Output = ()>>) {
    match under_way {
        Some(under_way) => under_way.await,
        None => std::future::pending().await,
    }
}

/// The requests whose answers are owed to somebody who goes on, and the slots of the others.
fn write_requests(
    entries: Vec<(Slot, Entry)>,
    waiting: &HashMap<Slot, Waiting>,
    clients: &HashSet<u64>,
    payload: &mut Payload,
) -> (Vec<Request>, HashSet<u32>) {
    let (mut requests, mut gone) = (Vec::new(), HashSet::new());
    for (slot, entry) in entries {
        let Entry { data, duty, .. } = entry;
        let owed = match duty {
            Duty::Consumer(reply) => reply.into_owed(),
            Duty::Sharer(token) => {
                token.abandon();
                None
            }
        };
        let owed = owed.filter(|owed| clients.contains(&owed.connection));
        let Some((owed, Waiting { ask, rest, .. })) = owed.zip(waiting.get(&slot)) else {
            gone.insert(slot.0);
            continue;
        };
        let payload = match data {
            Data::Send(bytes, _) => Some(payload.put(bytes)),
            Data::None | Data::Fill(_) => None,
        };
        requests.push(Request { slot: slot.0, ask: (*ask).into(), rest: *rest, payload, owed });
    }
    (requests, gone)
}

fn write_clients(
    parted: Vec<(nbd::Parted, bool)>,
    id: &str,
    payload: &mut Payload,
    fds: &mut Fds,
) -> Vec<Client> {
    let mut clients = Vec::new();
    for (nbd::Parted { fd, agreed, unread, unsent }, kernel) in parted {
        fds.insert(estate::client_name(id, clients.len()), fd);
        let mut put = |bytes| payload.put(Shared::copied(bytes));
        let (unread, unsent) = (put(unread), put(unsent));
        clients.push(Client { kernel, agreed, unread, unsent });
    }
    clients
}
