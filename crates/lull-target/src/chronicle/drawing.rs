//! What was said on the line in a restart, from which its drawing is made.

use super::words::{self, describe, plain};
use super::{Chronicle, RECORD_LIMIT};
use lull_admin::Message;
use lull_proto::target::Target;
use lull_proto::{ConnId, MonoTime};
use lull_wire::Message as Said;

/// Who is at the other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// The name that it gave.
    name: String,
    /// Until it asks for something, the times of what was drawn of its greeting, in microseconds since the order: a dial
    /// that was given up before, and found in the queue of a socket that was taken over, is no part of what happened.
    greeting: Option<Vec<u64>>,
}

impl Chronicle {
    /// A message was sent: part of the drawing.
    pub fn sent(&mut self, now: MonoTime, machine: &Target, conn: ConnId, message: &Said) {
        let to = self.drawn(machine, conn);
        let from = self.node.clone();
        self.draw(now, conn, from, to, message);
    }

    /// Whose column of the drawing a connection belongs to, also when the machine has let its session go.
    fn drawn(&self, machine: &Target, conn: ConnId) -> String {
        let known = self.peers.get(&conn).map(|peer| peer.name.clone());
        words::told_apart(&self.node, known.unwrap_or_else(|| words::name_of(machine, conn)))
    }

    /// A connection is gone, and nothing more is said of it.
    pub fn forget(&mut self, conn: ConnId) {
        let Some(Peer { name, greeting: Some(greeting) }) = self.peers.remove(&conn) else {
            return;
        };
        let name = words::told_apart(&self.node, name);
        if let Some(record) = &mut self.current {
            record.messages.retain(|message| {
                !greeting.contains(&message.offset_us)
                    || (message.from != name && message.to != name)
            });
        }
    }

    /// A message came.
    pub fn received(&mut self, now: MonoTime, machine: &Target, conn: ConnId, message: &Said) {
        if let Said::Hello(hello) = message {
            let peer = Peer { name: hello.node.to_string(), greeting: Some(Vec::new()) };
            self.peers.insert(conn, peer);
        }
        let from = self.drawn(machine, conn);
        let to = self.node.clone();
        self.draw(now, conn, from, to, message);
    }

    fn draw(&mut self, now: MonoTime, conn: ConnId, from: String, to: String, message: &Said) {
        let now_us = self.clock.unix_us(now);
        let Some(record) = &mut self.current else { return };
        let Some(detail) = describe(message) else { return };
        if record.messages.len() < RECORD_LIMIT {
            let offset_us = now_us.saturating_sub(record.started * 1000);
            let name = message.kind().to_string();
            if let Some(peer) = self.peers.get_mut(&conn) {
                match message {
                    Said::Hello(_) | Said::Welcome(_) | Said::Connect(_) => {
                        peer.greeting.iter_mut().for_each(|drawn| drawn.push(offset_us));
                    }
                    _ => peer.greeting = None,
                }
            }
            let [from, to, detail] = [from, to, detail].map(|text| plain(&text).into_owned());
            record.messages.push(Message { offset_us, from, to, name, detail });
        }
    }
}
