//! One bare initiator: it says what the protocol asks for and has no consumer, so that a thousand of them fit into one
//! process.

use super::board::Board;
use anyhow::{Result, bail};
use lull_wire::frame::{Digest, FrameHeader, HEADER_LENGTH};
use lull_wire::messages::{Attach, Hello, Name, PauseComplete, Ping, Ready, Sender, Stall};
use lull_wire::{
    Access, AttachmentId, Epoch, InstanceId, Message, OLDEST_VERSION, RequestNumber, RestartId,
    VERSION,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How long it rests after a dial that came to nothing: nobody listens there, or the socket's queue is full.
const DIAL_REST: Duration = Duration::from_millis(5);
/// How often it says that it is there.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Which attachment a session is.
pub struct Bare {
    /// Its place among the sessions.
    pub number: usize,
    pub resource: String,
    pub access: Access,
    pub listen: PathBuf,
    pub board: Arc<Board>,
}

impl Bare {
    /// Attaches and stays, through every restart of the target.
    pub async fn stay(self) -> Result<()> {
        let mut epoch = Epoch(0);
        loop {
            let Ok(stream) = UnixStream::connect(&self.listen).await else {
                tokio::time::sleep(DIAL_REST).await;
                continue;
            };
            epoch = epoch.next();
            self.talk(stream, epoch).await?;
        }
    }

    /// One connection, to its end.
    async fn talk(&self, stream: UnixStream, epoch: Epoch) -> Result<()> {
        let (mut reader, mut writer) = stream.into_split();
        let mut out = Vec::new();
        put(&hello(self.number).into(), &mut out);
        let mut beat = tokio::time::interval(PING_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        beat.tick().await;
        let mut inbox = Vec::with_capacity(256);
        loop {
            if !out.is_empty() {
                if writer.write_all(&out).await.is_err() {
                    return Ok(());
                }
                out.clear();
            }
            let came = tokio::select! {
                came = reader.read_buf(&mut inbox) => came,
                _ = beat.tick() => {
                    put(&Ping { token: 0 }.into(), &mut out);
                    continue;
                }
            };
            if !matches!(came, Ok(1..)) {
                return Ok(());
            }
            while let Some((message, length)) = first(&inbox)? {
                inbox.drain(..length);
                self.hear(message, epoch, &mut out)?;
            }
        }
    }

    fn hear(&self, message: Message, epoch: Epoch, out: &mut Vec<u8>) -> Result<()> {
        match message {
            Message::Connect(_) => {
                self.board.connected();
                put(&self.attach(epoch).into(), out);
            }
            Message::Attached(_) => put(&Ready { replayed: 0, replayed_bytes: 0 }.into(), out),
            Message::Resume(resume) => {
                self.board.resumed();
                put(&stall(resume.restart).into(), out);
            }
            Message::Pause(pause) => {
                self.board.asked();
                put(&complete(pause.restart).into(), out);
            }
            // The target closes after it.
            Message::Disconnect(_) => self.board.disconnected(),
            Message::Refused(refused) => {
                bail!("session {} was refused: {}", self.number, refused.detail)
            }
            _ => {}
        }
        Ok(())
    }

    fn attach(&self, epoch: Epoch) -> Attach {
        attach(self.number, &self.resource, self.access, epoch)
    }
}

/// The ATTACH of a session of this number.
pub fn attach(number: usize, resource: &str, access: Access, epoch: Epoch) -> Attach {
    Attach {
        attachment: AttachmentId(id(number, 2)),
        resource: Name::clipped(resource),
        identity: Default::default(),
        access,
        epoch,
        predecessor: InstanceId::NONE,
        take_over: false,
        dirty: false,
        hold_ms: u64::MAX,
        incarnation: Default::default(),
        tenure: Default::default(),
        lowest: RequestNumber(1),
    }
}

/// The HELLO of a session of this number.
pub fn hello(number: usize) -> Hello {
    Hello {
        min_version: OLDEST_VERSION,
        max_version: VERSION,
        instance: InstanceId(id(number, 1)),
        node: Name::clipped(&format!("node{number}")),
        software: Name::clipped("xtask"),
        callback: Default::default(),
    }
}

fn complete(restart: RestartId) -> PauseComplete {
    PauseComplete {
        restart,
        in_flight_at_pause: 0,
        not_executed: 0,
        retained: 0,
        retained_bytes: 0,
        drain_us: 0,
        flush_us: 0,
    }
}

fn stall(restart: RestartId) -> Stall {
    Stall { restart, longest_us: 0, held: 0, away_us: 0, resume_us: 0 }
}

/// A number that is not zero, the same in every run.
fn id(number: usize, kind: u8) -> [u8; 16] {
    let mut id = [kind; 16];
    id[..8].copy_from_slice(&(number as u64).to_le_bytes());
    id
}

/// Appends a message.
pub fn put(message: &Message, out: &mut Vec<u8>) {
    message.encode(Digest::NONE, out);
}

/// The first message of what came, and its length; none while it is not whole.
pub fn first(bytes: &[u8]) -> Result<Option<(Message, usize)>> {
    let Some(header) = FrameHeader::read(bytes, Sender::Target)? else { return Ok(None) };
    if bytes.len() < header.length() {
        return Ok(None);
    }
    let body = &bytes[HEADER_LENGTH..header.length()];
    header.check_body(body)?;
    Ok(Some((Message::decode(header.kind, body)?, header.length())))
}
