//! Clients without an agent: they speak to a target directly, take no part in the protocol, and are let go when it
//! goes. Models `agentless.rs` of `lull-target`.

use crate::node::history_op;
use crate::node::load::Load;
use crate::node::slots::Wanted;
use crate::target::{MOST_SECTORS, Owner, Running};
use crate::world::World;
use crate::world::queue::Happening;
use crate::world::wire::Payload;
use lull_history::Outcome;
use lull_proto::target::{Agentless, Event, ResourceIndex};
use lull_wire::{OpCode, RequestFlags, RequestNumber, StatusCode};
use std::collections::BTreeMap;
use std::time::Duration;

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    /// The target.
    pub target: usize,
    /// The resource.
    pub resource: usize,
    /// It may not write.
    pub read_only: bool,
    /// It is connected.
    pub here: bool,
    /// It was told that the target goes.
    pub dismissed: bool,
    /// What it wrote may be lost: it is answered nothing any more.
    pub cut: bool,
    /// What it waits for.
    pub waiting: BTreeMap<u64, Wanted>,
    /// What may still happen although it was cut off.
    pub orphans: Vec<u64>,
    /// Its habits.
    pub load: Load,
}

impl World {
    /// A client without an agent opens a resource, if it may.
    pub fn client_comes(&mut self, target: usize, resource: usize, load: Load) {
        let now = self.now;
        let Some(daemon) = self.targets[target].daemon.as_ref().filter(|daemon| daemon.accepts)
        else {
            return;
        };
        if self.targets[target].frozen {
            return;
        }
        let place = ResourceIndex(resource);
        let read_only = match daemon.machine.admits_agentless(now, place, false) {
            Ok(()) => false,
            Err(_) if daemon.machine.admits_agentless(now, place, true).is_ok() => true,
            Err(_) => return,
        };
        let load = Load { reads_only: read_only, ..load };
        self.note(|| format!("a client without an agent uses disk-{resource} of target-{target}, read-only: {read_only}"));
        self.judge_client_comes(target, resource, read_only);
        self.clients.push(Client {
            target,
            resource,
            read_only,
            here: true,
            dismissed: false,
            cut: false,
            waiting: BTreeMap::new(),
            orphans: Vec::new(),
            load,
        });
        self.tell_clients(target, resource);
        let client = self.clients.len() - 1;
        self.after(Duration::from_micros(200), Happening::ConsumeClient { client });
    }

    fn tell_clients(&mut self, target: usize, resource: usize) {
        let mut now = Agentless::default();
        for client in &self.clients {
            if client.here && client.target == target && client.resource == resource {
                if client.read_only {
                    now.readers += 1;
                } else {
                    now.writers += 1;
                }
            }
        }
        self.tell_target(target, Event::Agentless { resource: ResourceIndex(resource), now });
    }

    pub(crate) fn consume_client(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if !client.here || client.dismissed {
            return;
        }
        if self.targets[client.target].frozen {
            self.after(Duration::from_millis(100), Happening::ConsumeClient { client: at });
            return;
        }
        let (target, place) = (client.target, ResourceIndex(client.resource));
        let machine = self.targets[target].daemon.as_ref().map(|daemon| &daemon.machine);
        // [SAFE-7] It is let in when it is on stable storage that the writer before it has lost the right to send again.
        if !client.read_only && machine.is_some_and(|machine| machine.closed(place).is_some()) {
            self.after(Duration::from_millis(1), Happening::ConsumeClient { client: at });
            return;
        }
        if client.load.left == 0 {
            self.client_leaves_if_idle(at, true);
            return;
        }
        if client.waiting.len() < client.load.depth {
            client.load.left -= 1;
            let (target, resource) = (client.target, client.resource);
            let sectors = self.targets[target].disks[resource].sectors();
            let mut wanted = self.clients[at].load.next(&mut self.chance, sectors);
            wanted.count = wanted.count.min(MOST_SECTORS);
            self.client_asks(at, wanted);
        }
        let span = self.chance.scattered(self.clients[at].load.think);
        self.after(span.max(Duration::from_micros(100)), Happening::ConsumeClient { client: at });
    }

    fn client_asks(&mut self, at: usize, mut wanted: Wanted) {
        self.requests += 1;
        wanted.request = self.requests;
        if wanted.op == OpCode::Write {
            wanted.content = self.fresh_content(wanted.count);
        }
        let client = &mut self.clients[at];
        let (target, resource) = (client.target, client.resource);
        client.waiting.insert(wanted.request, wanted);
        // Nothing is kept for it, from the first.
        let by = u64::MAX - at as u64;
        self.judge.never_kept(target, resource, by);
        self.judge_begins(target, resource, wanted.request, by, history_op(&wanted));
        let running = Running {
            owner: Owner::Client(at),
            number: RequestNumber(wanted.request),
            op: wanted.op,
            first: wanted.first,
            count: wanted.count,
            fua: wanted.flags.has(RequestFlags::FUA),
            payload: Payload { request: wanted.request, content: wanted.content },
            resource,
            from: None,
            through: false,
            data: Vec::new(),
        };
        self.begin_op(target, running);
    }

    pub(crate) fn client_answered(&mut self, at: usize, running: &Running, status: StatusCode) {
        let client = &mut self.clients[at];
        let (target, resource) = (client.target, client.resource);
        if client.waiting.remove(&running.payload.request).is_none() {
            let request = running.payload.request;
            self.found("CONN-3", || format!("client {at} is answered {request} twice"));
            return;
        }
        let outcome = if status == StatusCode::Done { Outcome::Done } else { Outcome::Failed };
        self.judge_ends(target, resource, running.payload.request, outcome, &running.data);
        let wants = self.clients[at].load.left == 0;
        self.client_leaves_if_idle(at, wants);
    }

    fn client_leaves_if_idle(&mut self, at: usize, wants: bool) {
        let client = &mut self.clients[at];
        if client.here && client.waiting.is_empty() && (client.dismissed || wants) {
            client.here = false;
            let (target, resource) = (client.target, client.resource);
            self.note(|| format!("client {at} leaves"));
            self.tell_clients(target, resource);
        }
    }

    /// The target goes: who is connected finishes what it asked and leaves.
    pub(crate) fn dismiss_clients(&mut self, target: usize) {
        for at in 0..self.clients.len() {
            if self.clients[at].target == target && self.clients[at].here {
                self.clients[at].dismissed = true;
                self.client_leaves_if_idle(at, false);
            }
        }
    }

    /// The target died: whoever was connected is cut off.
    pub(crate) fn abandon_clients(&mut self, target: usize) {
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if client.target != target || !client.here {
                continue;
            }
            client.here = false;
            let resource = client.resource;
            for request in std::mem::take(&mut client.waiting).into_keys() {
                self.clients[at].orphans.push(request);
                self.judge.ends(target, resource, request, Outcome::Unknown, &[]);
            }
        }
    }

    /// A new life has opened the media: what died with the last one cannot happen any more.
    pub(crate) fn settle_clients(&mut self, target: usize) {
        for at in 0..self.clients.len() {
            let (of, resource) = (self.clients[at].target, self.clients[at].resource);
            if of == target {
                for request in std::mem::take(&mut self.clients[at].orphans) {
                    self.judge.settles(target, resource, request);
                }
            }
        }
    }
}
