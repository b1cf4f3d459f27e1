//! One connection of an initiator: bytes to frames, requests into the lane, everything else to the daemon.

use crate::daemon::{Daemon, Input};
use crate::lane::{Admission, BadRequest, Lane};
use lull_block::{Buffer, Pool};
use lull_proto::ConnId;
use lull_transport::{Inlet, Outlet, ReadHalf, Stream};
use lull_wire::frame::Digest;
use lull_wire::messages::Request;
use lull_wire::messages::Sender;
use lull_wire::{DecodeError, FrameHeader, HEADER_LENGTH, Kind, Message};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// Received bytes that are kept for parsing; payloads go past it.
const INLET: usize = 256 << 10;
/// Bytes of answers that a peer may leave unread before nothing more of it is read: a peer that does not read must not
/// hold the buffers of those who do.
const UNREAD_LIMIT: usize = 4 << 20;

/// How long what was said last may take to leave, and the peer to close, once a connection is hung up.
const LINGER: Duration = Duration::from_secs(1);

/// What the daemon keeps of a connection.
pub struct Connection {
    pub lane: Rc<Lane>,
    pub outlet: Outlet<Buffer>,
    pub peer: String,
    pulse: Rc<Pulse>,
    closing: Rc<Notify>,
}

/// Whether a peer gave a sign of life: any byte is one, not only a PING, which may stand behind requests.
#[derive(Debug, Default)]
struct Pulse {
    felt: Cell<bool>,
    /// It is not read because this side has no room for its requests: its silence is not its own.
    kept_waiting: Cell<bool>,
}

impl Connection {
    /// Starts the connection's tasks.
    pub fn start(daemon: &Rc<Daemon>, conn: ConnId, stream: Stream) -> Self {
        let outlet = Outlet::new();
        let lane = Rc::new(Lane::new(outlet.clone(), daemon.watch()));
        let closing = Rc::new(Notify::new());
        let peer = stream.peer();
        let (reader, mut writer) = stream.into_split();
        let pump = outlet.clone();
        let written = tokio::task::spawn_local(async move {
            // A failure to write shows as a failure to read.
            let _ = pump.pump(&mut writer).await;
        });
        let pulse = Rc::new(Pulse::default());
        let task = Task {
            daemon: Rc::clone(daemon),
            conn,
            lane: Rc::clone(&lane),
            outlet: outlet.clone(),
            pulse: Rc::clone(&pulse),
        };
        let hung_up = Rc::clone(&closing);
        tokio::task::spawn_local(async move {
            task.serve(reader, &hung_up).await;
            if tokio::time::timeout(LINGER, written).await.is_err() {
                // A peer that does not read keeps neither the socket nor the buffers.
                task.outlet.abort();
            }
        });
        Self { lane, outlet, peer, pulse, closing }
    }

    /// Whether the peer gave a sign of life since this was asked last.
    pub fn take_pulse(&self) -> bool {
        self.pulse.felt.take() || self.pulse.kept_waiting.get()
    }

    /// Lets what was queued leave, then closes.
    pub fn hang_up(&self) {
        self.outlet.finish();
        self.closing.notify_one();
    }
}

struct Task {
    daemon: Rc<Daemon>,
    conn: ConnId,
    lane: Rc<Lane>,
    outlet: Outlet<Buffer>,
    pulse: Rc<Pulse>,
}

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The peer closed.
    #[error("the initiator closed the connection")]
    Closed,
    /// The stream broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// What came was no message.
    #[error("{0}")]
    NoMessage(#[from] DecodeError),
    /// A request came that may not come.
    #[error("{0}")]
    NoRequest(#[from] BadRequest),
}

impl Task {
    async fn serve(&self, mut reader: ReadHalf, hung_up: &Notify) {
        let mut inlet = Inlet::with_capacity(INLET);
        let ended = tokio::select! {
            biased;
            () = hung_up.notified() => None,
            Err(ended) = self.read(&mut reader, &mut inlet) => Some(ended),
        };
        if let Some(ended) = ended {
            self.outlet.finish();
            self.daemon.input(Input::Lost { conn: self.conn, ended });
            return;
        }
        // To the peer's end, so that what was said last is not lost with what it still sent.
        let rest = async {
            loop {
                let length = inlet.bytes().len();
                inlet.consume(length);
                if !matches!(inlet.fill(&mut reader).await, Ok(1..)) {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, rest).await;
    }

    async fn read(&self, reader: &mut ReadHalf, inlet: &mut Inlet) -> Result<(), Ended> {
        let pool = self.daemon.pool();
        loop {
            while let Some(header) = FrameHeader::read(inlet.bytes(), Sender::Initiator)? {
                if inlet.bytes().len() < header.length() {
                    break;
                }
                // [SEC-4] Whatever is asked has an answer that somebody must read.
                if self.outlet.queued() >= UNREAD_LIMIT {
                    self.outlet.below(UNREAD_LIMIT).await;
                }
                let body = &inlet.bytes()[HEADER_LENGTH..header.length()];
                header.check_body(body)?;
                if header.kind == Kind::Request {
                    let request = Request::decode(body)?;
                    inlet.consume(header.length());
                    self.request(&request, header.payload, reader, inlet, pool).await?;
                } else {
                    let message = Message::decode(header.kind, body)?;
                    inlet.consume(header.length());
                    self.daemon.input(Input::Frame { conn: self.conn, message });
                }
            }
            if inlet.fill(reader).await? == 0 {
                return Err(Ended::Closed);
            }
            self.pulse.felt.set(true);
        }
    }

    /// Waits for requests of this connection to end, and for a buffer.
    async fn wait_for_room(&self, length: u32, pool: &Pool) -> Option<Buffer> {
        self.pulse.kept_waiting.set(true);
        self.lane.room(length).await;
        let buffer = pool.take_waiting(length as usize).await;
        self.pulse.kept_waiting.set(false);
        buffer
    }

    async fn request(
        &self,
        request: &Request,
        payload: Digest,
        reader: &mut ReadHalf,
        inlet: &mut Inlet,
        pool: &Pool,
    ) -> Result<(), Ended> {
        match self.lane.admit(request, payload.length) {
            Admission::Run(op, 0) => self.lane.run(op, request, Buffer::empty()),
            Admission::Run(op, length) => {
                let buffer = match pool.take(length as usize).filter(|_| self.lane.has_room(length))
                {
                    Some(buffer) => Some(buffer),
                    None => self.wait_for_room(length, pool).await,
                };
                let Some(mut buffer) = buffer else {
                    self.pass_over(payload.length, reader, inlet).await?;
                    self.lane.refuse(request.number, lull_wire::StatusCode::Invalid);
                    return Ok(());
                };
                if payload.length > 0 {
                    inlet.read_exact_into(reader, &mut buffer).await?;
                    payload.check(&buffer)?;
                }
                self.lane.run(op, request, buffer);
            }
            Admission::Refuse(status) => {
                self.pass_over(payload.length, reader, inlet).await?;
                self.lane.refuse(request.number, status);
            }
            Admission::Drop => self.pass_over(payload.length, reader, inlet).await?,
            Admission::Violation(fault) => return Err(fault.into()),
        }
        Ok(())
    }

    async fn pass_over(
        &self,
        length: u32,
        reader: &mut ReadHalf,
        inlet: &mut Inlet,
    ) -> Result<(), Ended> {
        let mut left = length as usize;
        while left > 0 {
            let there = inlet.bytes().len().min(left);
            inlet.consume(there);
            left -= there;
            if left > 0 && inlet.fill(reader).await? == 0 {
                return Err(Ended::Closed);
            }
        }
        Ok(())
    }
}
