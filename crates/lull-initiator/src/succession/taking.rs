//! What an attachment finds of the process before, and goes on with.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use lull_frontend::nbd::{Parted, Resumed};
use lull_proto::MonoTime;
use lull_proto::initiator::{Slot, Succession};

use super::estate::{self, Client, Estate, Left, Payload, Request};
use super::face::Inherited;
use crate::attachment::Attachment;
use crate::awaited::Awaited;
use crate::buffer::Bytes;
use crate::mounted::Found;
use crate::slots::{Data, Duty};
use crate::{front_end, kernel_nbd};

/// A document with something in it that this release does not know, although its form is known.
fn unknown(what: &str) -> io::Error {
    io::Error::other(format!("the old process left {what} that this release does not know"))
}

impl Attachment {
    /// Goes on with what the process before has handed over; to be called before it begins. `fuse`: the end of its
    /// mounted file.
    ///
    /// # Errors
    /// Something is missing, or of another release.
    pub fn take(
        self: &Rc<Self>,
        left: Left,
        fuse: Option<OwnedFd>,
        estate: &mut Estate,
    ) -> io::Result<()> {
        let promised = left.promised.known().ok_or_else(|| unknown("a resource"))?;
        let (mut clients, mut of_device) = (HashMap::new(), None);
        for (place, client) in left.clients.into_iter().enumerate() {
            let fd = estate.take(&estate::client_name(&left.id, place));
            let fd = fd.ok_or_else(|| unknown("no connection"))?;
            let Client { kernel, agreed, unread, unsent } = client;
            let bytes = |span| Ok::<_, io::Error>(estate.payload.get(span)?.as_ref().to_vec());
            let (unread, unsent) = (bytes(unread)?, bytes(unsent)?);
            let number = agreed.connection;
            of_device = kernel.then_some(number).or(of_device);
            let limits = if kernel { kernel_nbd::limits() } else { front_end::limits() };
            let resumed = Resumed::new(Parted { fd, agreed, unread, unsent }, limits)?;
            clients.insert(number, resumed);
        }
        let slots = self.take_requests(left.requests, &clients, &estate.payload)?;
        let known = |all: Vec<estate::Waiting>| {
            all.into_iter().filter_map(|one| one.known(&slots)).collect::<Vec<_>>()
        };
        let succession = Succession {
            promised,
            sent: known(left.sent),
            held: known(left.held),
            whole: left.whole,
            since: MonoTime(left.since),
            deadline: left.deadline.map(MonoTime),
            expired: left.expired,
            announced: left.announced,
            held_until: left.held_until.map(MonoTime),
        };
        let own = estate::listeners_of(&left.id);
        let listeners = estate.fds.extract_if(|name, _| name.starts_with(&own));
        let listeners = listeners.map(|(name, fd)| (name[own.len()..].to_owned(), fd));
        let inherited = Inherited {
            listeners: listeners.collect(),
            kernel: of_device.and_then(|number| clients.remove(&number)),
            clients: clients.into_values().collect(),
            mount: left.mount.zip(fuse).map(|(mount, fd)| Found { mount, fd, note: None }),
            block: estate.blocks.remove(&left.id),
        };
        self.core.borrow_mut().told.log_lost = left.log_lost;
        self.face.kernel_waits_for_nothing.set(left.kernel_waits_for_nothing);
        self.succeed(succession, inherited);
        Ok(())
    }

    /// Takes in what waits: each request in a slot of this process, and how many bytes are behind its present piece.
    fn take_requests(
        &self,
        requests: Vec<Request>,
        clients: &HashMap<u64, Resumed<Bytes>>,
        payload: &Payload,
    ) -> io::Result<HashMap<u32, (Slot, u64)>> {
        let mut slots = HashMap::new();
        for Request { slot, ask, rest, payload: bytes, owed } in requests {
            let ask = ask.known().ok_or_else(|| unknown("a request"))?;
            let client = clients.get(&owed.connection).ok_or_else(|| unknown("nobody"))?;
            let data = match bytes {
                Some(bytes) => Data::send(payload.get(bytes)?),
                None => Data::of(&ask, self.pool()),
            };
            let duty = Duty::Consumer(client.owes(owed));
            let taken = self.core.borrow_mut().slots.place(ask.op, data, duty);
            slots.insert(slot, (taken, rest));
        }
        Ok(slots)
    }

    /// Goes on for the consumers of a process that was killed, if any of them wait: as it was noted, or as its mounted file
    /// says. To be called before it begins.
    pub fn take_awaited(&self, noted: Option<Awaited>, mount: Option<Found>) {
        let told = mount.as_ref().map(|found| Awaited::of(found.mount.promised));
        match noted.or(told).and_then(|awaited| awaited.succession(self.clock())) {
            Some(succession) => {
                self.succeed(succession, Inherited { mount, ..Inherited::default() })
            }
            None => mount.into_iter().for_each(Found::give_up),
        }
    }

    fn succeed(&self, succession: Succession, inherited: Inherited) {
        let mut core = self.core.borrow_mut();
        core.geometry = Some(succession.promised);
        core.told.shared_once = true;
        core.machine.succeed(self.clock().now(), succession);
        self.face.inherited.replace(inherited);
    }
}
