//! An initiator that says exactly what a test wants it to say.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use lull_e2e::PROMPT;
use lull_wire::extents::EXTENT_BYTES;
use lull_wire::messages::{Attach, Attached, Hello, Name, Ready, Request, Sender};
use lull_wire::{
    Access, AttachmentId, Digest, Epoch, Extent, ExtentState, FrameHeader, HEADER_LENGTH,
    Incarnation, InstanceId, Message, OpCode, RequestFlags, RequestNumber, ResourceId, StatusCode,
    Tenure,
};

pub struct Peer {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Peer {
    pub fn dial(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("a target that listens");
        stream.set_read_timeout(Some(PROMPT)).expect("a span");
        Self { stream, received: Vec::new() }
    }

    /// HELLO, with bytes behind its known fields.
    pub fn hello(&mut self, min_version: u16, max_version: u16, behind: &[u8]) {
        let hello = Hello {
            min_version,
            max_version,
            instance: InstanceId([7; 16]),
            node: Name::clipped("raw"),
            software: Name::clipped("a test"),
            callback: Default::default(),
        };
        let mut frame = Vec::new();
        Message::from(hello).encode(Digest::NONE, &mut frame);
        frame.extend_from_slice(behind);
        let body = Digest::of(&frame[HEADER_LENGTH..]);
        frame[8..12].copy_from_slice(&body.length.to_le_bytes());
        frame[16..20].copy_from_slice(&body.crc.to_le_bytes());
        let header = Digest::of(&frame[..28]).crc;
        frame[28..32].copy_from_slice(&header.to_le_bytes());
        self.stream.write_all(&frame).expect("a target that reads");
    }

    pub fn send(&mut self, message: impl Into<Message>) {
        let mut frame = Vec::new();
        message.into().encode(Digest::NONE, &mut frame);
        self.stream.write_all(&frame).expect("a target that reads");
    }

    /// The next message with its payload; `None` at the end of the connection.
    pub fn next(&mut self) -> Option<(Message, Vec<u8>)> {
        loop {
            let header = FrameHeader::read(&self.received, Sender::Target).expect("frames");
            if let Some(header) = header {
                let whole = header.length() + header.payload.length as usize;
                if self.received.len() >= whole {
                    let frame: Vec<u8> = self.received.drain(..whole).collect();
                    let (body, payload) =
                        frame[HEADER_LENGTH..].split_at(header.body_length as usize);
                    header.payload.check(payload).expect("a payload as it was sent");
                    let message =
                        Message::decode(header.kind, body).expect("fields as in the table");
                    return Some((message, payload.to_vec()));
                }
            }
            let mut bytes = [0; 65_536];
            match self.stream.read(&mut bytes).expect("an answer in time") {
                0 => return None,
                count => self.received.extend_from_slice(&bytes[..count]),
            }
        }
    }

    /// From WELCOME to RESUME; what was granted.
    pub fn attach(&mut self, resource: &str) -> Attached {
        self.send(Attach {
            attachment: AttachmentId([2; 16]),
            resource: Name::clipped(resource),
            identity: ResourceId::NONE,
            access: Access::ReadWrite,
            epoch: Epoch(1),
            predecessor: InstanceId::NONE,
            take_over: false,
            dirty: false,
            hold_ms: 0,
            incarnation: Incarnation::NONE,
            tenure: Tenure(0),
            lowest: RequestNumber(1),
        });
        let mut granted = None;
        loop {
            match self.next().expect("a target that goes on").0 {
                Message::Attached(attached) => {
                    granted = Some(*attached);
                    self.send(Ready { replayed: 0, replayed_bytes: 0 });
                }
                Message::Resume(_) => return granted.expect("ATTACHED before RESUME"),
                _ => {}
            }
        }
    }

    /// One request and its answer.
    pub fn ask(&mut self, op: OpCode, offset: u64, length: u32) -> (StatusCode, Vec<u8>) {
        let (number, flags) = (RequestNumber(1), RequestFlags::none());
        self.send(Request { number, lowest: number, offset, length, op, flags });
        loop {
            if let (Message::Reply(reply), payload) = self.next().expect("a target that goes on") {
                return (reply.status, payload);
            }
        }
    }
}

/// A list of extents, entry by entry.
pub fn extents(payload: &[u8]) -> Vec<(u64, ExtentState)> {
    let (entries, rest) = payload.as_chunks::<EXTENT_BYTES>();
    assert!(rest.is_empty());
    let extent = |entry| Extent::decode(entry).expect("an extent");
    entries.iter().map(extent).map(|extent| (extent.length, extent.state)).collect()
}
