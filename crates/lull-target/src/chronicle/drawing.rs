//! What was said on the line in a restart, from which its drawing is made.

use super::words::{self, describe, plain};
use super::{Chronicle, RECORD_LIMIT};
use lull_admin::Message;
use lull_proto::target::Target;
use lull_proto::{ConnId, MonoTime};
use lull_wire::Message as Said;

impl Chronicle {
    /// A message was sent: part of the drawing.
    pub fn sent(&mut self, now: MonoTime, machine: &Target, conn: ConnId, message: &Said) {
        let to = self.drawn(machine, conn);
        let from = self.node.clone();
        self.draw(now, from, to, message);
    }

    /// Whose column of the drawing a connection belongs to, also when the machine has let its session go.
    fn drawn(&self, machine: &Target, conn: ConnId) -> String {
        let name = self.peers.get(&conn).cloned().unwrap_or_else(|| words::name_of(machine, conn));
        words::told_apart(&self.node, name)
    }

    /// A connection is gone, and nothing more is said of it.
    pub fn forget(&mut self, conn: ConnId) {
        self.peers.remove(&conn);
    }

    /// A message came.
    pub fn received(&mut self, now: MonoTime, machine: &Target, conn: ConnId, message: &Said) {
        if let Said::Hello(hello) = message {
            self.peers.insert(conn, hello.node.to_string());
        }
        let from = self.drawn(machine, conn);
        let to = self.node.clone();
        self.draw(now, from, to, message);
    }

    fn draw(&mut self, now: MonoTime, from: String, to: String, message: &Said) {
        let now_us = self.clock.unix_us(now);
        let Some(record) = &mut self.current else { return };
        let Some(detail) = describe(message) else { return };
        if record.messages.len() < RECORD_LIMIT {
            let offset_us = now_us.saturating_sub(record.started * 1000);
            let name = message.kind().to_string();
            let [from, to, detail] = [from, to, detail].map(|text| plain(&text).into_owned());
            record.messages.push(Message { offset_us, from, to, name, detail });
        }
    }
}
