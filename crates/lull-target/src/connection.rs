//! One connection of an initiator: bytes to frames, requests into the lane, everything else to the machine.

use crate::daemon::Input;
use crate::gauge::Gauge;
use crate::lane::{Admission, BadRequest, Lane, Terms};
use crate::local::Local;
use crate::threads::Berth;
use lull_block::{Buffer, Pool};
use lull_proto::ConnId;
use lull_proto::target::ResourceIndex;
use lull_transport::{Felt, Inlet, Outlet, ReadHalf, Stream};
use lull_wire::frame::Digest;
use lull_wire::messages::Request;
use lull_wire::messages::Sender;
use lull_wire::{DecodeError, FrameHeader, HEADER_LENGTH, Kind, Message};
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Received bytes that are kept for parsing; payloads go past it.
const INLET: usize = 256 << 10;
/// Bytes of answers that a peer may leave unread before nothing more of it is read: a peer that does not read must not
/// hold the buffers of those who do.
const UNREAD_LIMIT: usize = 4 << 20;
/// Bytes within the silence that keep a connection which has memory that others wait for: what takes it longer is
/// begun again on the next one, when others have had theirs.
const ENOUGH: u64 = 16 << 10;

/// How long what was said last may take to leave, and the peer to close, once a connection is hung up.
const LINGER: Duration = Duration::from_secs(1);

/// What its thread keeps of a connection.
pub struct Connection {
    pub outlet: Outlet<Buffer>,
    lane: Rc<Lane>,
    closing: Rc<Notify>,
    completer: RefCell<Option<AbortHandle>>,
}

impl Connection {
    /// Starts the connection's tasks.
    pub fn start(
        local: &Rc<Local>,
        conn: ConnId,
        stream: Stream,
        gauge: Arc<Gauge>,
        berth: Berth,
    ) -> Self {
        let outlet = Outlet::new();
        let lane = Lane::new(outlet.clone(), Arc::clone(&local.watch), Arc::clone(&gauge));
        let lane = Rc::new(lane);
        let closing = Rc::new(Notify::new());
        let (reader, mut writer) = stream.into_split();
        let pump = outlet.clone();
        let written = tokio::task::spawn_local(async move {
            // A failure to write shows as a failure to read.
            let _ = pump.pump(&mut writer).await;
        });
        let task = Task {
            local: Rc::clone(local),
            conn,
            lane: Rc::clone(&lane),
            outlet: outlet.clone(),
            gauge,
            receives: Cell::default(),
            taken: Cell::default(),
            crawled: Cell::default(),
        };
        let hung_up = Rc::clone(&closing);
        tokio::task::spawn_local(async move {
            let _berth = berth;
            task.serve(reader, &hung_up).await;
            if tokio::time::timeout(LINGER, written).await.is_err() {
                // A peer that does not read keeps neither the socket nor the buffers.
                task.outlet.abort();
            }
        });
        Self { outlet, lane, closing, completer: RefCell::default() }
    }

    /// Opens the lane.
    pub fn open(&self, local: &Rc<Local>, conn: ConnId, resource: ResourceIndex, terms: Terms) {
        let lane = Rc::clone(&self.lane);
        let open = lane.open(local, resource, terms);
        let local = Rc::clone(local);
        let completer = tokio::task::spawn_local(async move {
            lane.complete(open).await;
            local.tell(Input::Drained { conn });
        });
        self.completer.replace(Some(completer.abort_handle()));
    }

    /// Closes the lane; says whether nothing is under way already. Otherwise the machine is told when that is so.
    pub fn close(&self) -> bool {
        let drained = self.lane.close();
        if drained && let Some(completer) = self.completer.take() {
            completer.abort();
        }
        drained
    }

    /// Lets what was queued leave, then closes.
    pub fn hang_up(&self) {
        self.outlet.finish();
        self.closing.notify_one();
    }
}

struct Task {
    local: Rc<Local>,
    conn: ConnId,
    lane: Rc<Lane>,
    outlet: Outlet<Buffer>,
    gauge: Arc<Gauge>,
    /// It has memory for as long as its peer takes to send what is in it.
    receives: Cell<bool>,
    /// Bytes that its peer had taken when it was looked at last.
    taken: Cell<u64>,
    /// Bytes that came or were taken since the last sign of life, and were not enough yet.
    crawled: Cell<u64>,
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
    async fn serve(&self, reader: ReadHalf, hung_up: &Notify) {
        let mut reader = Felt::new(reader, |bytes| self.feel(bytes as u64));
        let mut inlet = Inlet::with_capacity(INLET);
        let ended = tokio::select! {
            biased;
            () = hung_up.notified() => None,
            Err(ended) = self.read(&mut reader, &mut inlet) => Some(ended),
        };
        if let Some(ended) = ended {
            self.outlet.finish();
            self.local.tell(Input::Lost { conn: self.conn, ended });
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

    async fn read(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        inlet: &mut Inlet,
    ) -> Result<(), Ended> {
        let pool = &self.local.pool;
        let mut alive = pin!(self.lane.say_alive());
        loop {
            while let Some(header) = FrameHeader::read(inlet.bytes(), Sender::Initiator)? {
                if inlet.bytes().len() < header.length() {
                    break;
                }
                // [SEC-4] Whatever is asked has an answer that somebody must read. It is not read meanwhile: as long as it
                // takes what there is, it lives [CONN-2].
                if self.outlet.queued() >= UNREAD_LIMIT {
                    self.wait(|| false, self.outlet.below(UNREAD_LIMIT)).await;
                }
                let body = &inlet.bytes()[HEADER_LENGTH..header.length()];
                header.check_body(body)?;
                if header.kind == Kind::Request {
                    let request = Request::decode(body)?;
                    inlet.consume(header.length());
                    // [CONN-2] Until all of it is there, its initiator's PING stands behind it and is not answered: it is told
                    // that this side lives.
                    tokio::select! {
                        biased;
                        taken = self.request(&request, header.payload, reader, inlet, pool) => taken?,
                        never = &mut alive => match never {},
                    }
                } else {
                    let message = Message::decode(header.kind, body)?;
                    inlet.consume(header.length());
                    self.gauge.may_tell().await;
                    self.local.tell(Input::Frame { conn: self.conn, message });
                }
            }
            if inlet.fill(reader).await? == 0 {
                return Err(Ended::Closed);
            }
        }
    }

    /// So many bytes came of it; others may have been taken by it. [SEC-4] Whoever keeps memory that others wait for lives
    /// only while they are enough, and whatever it sends, where that memory has what it was answered, while it takes that.
    fn feel(&self, came: u64) {
        let written = self.outlet.written();
        let taken = written - self.taken.replace(written);
        if came + taken == 0 {
            return;
        }
        let unread = self.is_unread();
        let keeps = (unread || self.receives.get()) && self.local.pool.waiting() > 0;
        let crawled = self.crawled.get() + if unread { taken } else { came };
        let is_enough = crawled >= ENOUGH || !keeps;
        self.crawled.set(if is_enough { 0 } else { crawled });
        if is_enough {
            self.gauge.feel();
        }
    }

    /// Whether there are answers in memory that it should take.
    fn is_unread(&self) -> bool {
        self.outlet.has_payloads()
    }

    /// Waits for this, and looks meanwhile what the peer takes of its answers; where the wait is not its own, its silence
    /// is not either.
    async fn wait<T>(&self, is_ours: impl Fn() -> bool, done: impl Future<Output = T>) -> T {
        let mut done = pin!(done);
        loop {
            self.gauge.keep_waiting(is_ours());
            let round = tokio::time::timeout(self.lane.round(), &mut done).await;
            self.feel(0);
            if let Ok(done) = round {
                self.gauge.keep_waiting(false);
                return done;
            }
        }
    }

    /// Waits for requests of this connection to end, and for a buffer. [SEC-4] That others give memory back is not waited
    /// for with memory that it only had to take its answers from.
    async fn wait_for_room(&self, length: u32, pool: &Pool) -> Option<Buffer> {
        let room = async {
            self.lane.room(length).await;
            pool.take_waiting(length as usize).await
        };
        self.wait(|| !self.is_unread() || pool.waiting() == 0, room).await
    }

    async fn request(
        &self,
        request: &Request,
        payload: Digest,
        reader: &mut (impl AsyncRead + Unpin),
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
                    self.receives.set(true);
                    inlet.read_exact_into(reader, &mut buffer).await?;
                    self.receives.set(false);
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
        reader: &mut (impl AsyncRead + Unpin),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{self, Bench};
    use lull_wire::messages::Ping;
    use lull_wire::{Incarnation, OpCode, RequestFlags, RequestNumber};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::mpsc;

    const ROUND: Duration = Duration::from_millis(1);

    /// One connection that nobody serves yet, on a disk in memory; what the machine hears of it.
    fn connection(pool: Pool, keep_alive: Duration) -> (Task, mpsc::UnboundedReceiver<Input>) {
        let Bench { local, watch, heard } = bench::with_memory(bench::open("mem:1M"), pool);
        let gauge = Arc::new(Gauge::default());
        let outlet = Outlet::new();
        let lane = Rc::new(Lane::new(outlet.clone(), watch, Arc::clone(&gauge)));
        let terms = Terms {
            read_only: false,
            version: 1,
            incarnation: Incarnation::NONE,
            life: 0,
            share: None,
            keep_alive,
        };
        lane.open(&local, bench::DISK, terms);
        let (receives, taken, crawled) = Default::default();
        (Task { local, conn: ConnId(1), lane, outlet, gauge, receives, taken, crawled }, heard)
    }

    /// The first request of a connection, without what it brings.
    fn asks(op: OpCode, length: u32, payload: Digest) -> Vec<u8> {
        let (number, flags) = (RequestNumber(1), RequestFlags::none());
        let asked = Request { number, lowest: number, offset: 0, length, op, flags };
        let mut frame = Vec::new();
        asked.encode(payload, &mut frame);
        frame
    }

    /// [CONN-2] Whose requests there is no room for is not read, and its PING behind them not answered: it hears that this
    /// side lives. [SEC-4] Once, as long as it does not read that.
    #[tokio::test]
    async fn a_peer_that_is_kept_waiting_is_told_that_this_side_lives() {
        let pool = Pool::with_classes(&[(4096, 1)]).unwrap();
        let _only = pool.take(4096).unwrap();
        let (task, _heard) = connection(pool, ROUND);
        let (ours, theirs) = Stream::pair().unwrap();
        let ((mut reader, _w), (_r, mut peer)) = (ours.into_split(), theirs.into_split());
        peer.write_all(&asks(OpCode::Read, 4096, Digest::NONE)).await.unwrap();
        let mut inlet = Inlet::with_capacity(INLET);
        let told = async {
            while task.outlet.queued() == 0 {
                tokio::task::yield_now().await;
            }
            let once = task.outlet.queued();
            for _ in 0..20 {
                tokio::time::sleep(ROUND).await;
            }
            assert_eq!(task.outlet.queued(), once);
        };
        tokio::select! {
            ended = task.read(&mut reader, &mut inlet) => panic!("{ended:?}"),
            () = told => {}
        }
        let (ours, theirs) = Stream::pair().unwrap();
        let ((_r, mut writer), (mut reader, _w)) = (ours.into_split(), theirs.into_split());
        task.outlet.finish();
        task.outlet.pump(&mut writer).await.unwrap();
        inlet.fill(&mut reader).await.unwrap();
        let said = FrameHeader::read(inlet.bytes(), Sender::Target).unwrap().unwrap();
        assert_eq!(said.kind, Kind::Ping);
    }

    /// [SEC-4] [CONN-2] As slowly as it likes, but for where others wait for the memory that it keeps.
    #[tokio::test]
    async fn a_peer_that_crawls_lives_while_nobody_waits_for_what_it_keeps() {
        let length = 4 * ENOUGH as usize;
        let pool = Pool::with_classes(&[(length, 1)]).unwrap();
        let (task, _heard) = connection(pool.clone(), Duration::from_secs(60));
        let (ours, theirs) = Stream::pair().unwrap();
        let ((reader, _w), (_r, mut peer)) = (ours.into_split(), theirs.into_split());
        let bytes = vec![7; length];
        peer.write_all(&asks(OpCode::Write, length as u32, Digest::of(&bytes))).await.unwrap();
        let mut sent = 0;
        // So many more bytes: whether they are a sign of life.
        let crawls = async |peer: &mut lull_transport::WriteHalf, more: usize, sent: &mut usize| {
            peer.write_all(&bytes[*sent..*sent + more]).await.unwrap();
            *sent += more;
            tokio::time::sleep(Duration::from_millis(50)).await;
            task.gauge.take_pulse()
        };
        let hears = async {
            assert!(crawls(&mut peer, 1, &mut sent).await && pool.take(length).is_none());
            assert!(crawls(&mut peer, 1, &mut sent).await, "nobody waits for it");
            let waits = pool.freed();
            assert!(!crawls(&mut peer, 1, &mut sent).await, "somebody does");
            assert!(crawls(&mut peer, ENOUGH as usize, &mut sent).await, "it gets on");
            drop(waits);
            assert!(crawls(&mut peer, 1, &mut sent).await);
        };
        let never = tokio::sync::Notify::new();
        tokio::select! {
            () = task.serve(reader, &never) => panic!("it has ended"),
            () = hears => {}
        }
    }

    /// [SEC-4] [CONN-2] Whatever it sends: who has answers to take, in memory that others wait for, lives as long as it takes
    /// them.
    #[tokio::test]
    async fn a_peer_that_leaves_its_answers_lives_while_nobody_waits_for_what_they_are_in() {
        let length = 1 << 20;
        let pool = Pool::with_classes(&[(length, 1)]).unwrap();
        let (task, mut heard) = connection(pool.clone(), Duration::from_secs(60));
        let (ours, theirs) = Stream::pair().unwrap();
        let ((reader, mut writer), (mut answers, mut peer)) =
            (ours.into_split(), theirs.into_split());
        let outlet = task.outlet.clone();
        outlet.push_frame(b"", pool.take(length).unwrap());
        let mut ping = Vec::new();
        Message::from(Ping { token: 1 }).encode(Digest::NONE, &mut ping);
        // Whether that is a sign of life.
        let mut pings = async || {
            peer.write_all(&ping).await.unwrap();
            assert!(matches!(heard.recv().await, Some(Input::Frame { .. })));
            task.gauge.take_pulse()
        };
        let hears = async {
            assert!(pings().await && pings().await, "nobody waits for it");
            let waits = pool.freed();
            assert!(!pings().await && !pings().await, "somebody does");
            answers.read_exact(&mut vec![0; length / 2]).await.unwrap();
            assert!(pings().await || pings().await, "it takes them");
            while pings().await {}
            drop(waits);
            assert!(pings().await);
            answers.read_exact(&mut vec![0; length / 2]).await.unwrap();
            let _waits = pool.freed();
            assert!(pings().await && pings().await, "it keeps nothing");
        };
        let never = tokio::sync::Notify::new();
        tokio::select! {
            () = task.serve(reader, &never) => panic!("it has ended"),
            ended = outlet.pump(&mut writer) => panic!("{ended:?}"),
            () = hears => {}
        }
    }

    /// [SEC-4] However little it leaves of them: all of the buffer is kept for it.
    #[tokio::test]
    async fn a_peer_that_leaves_the_last_of_its_answers_does_not_keep_another_from_their_memory() {
        let pool = Pool::with_classes(&[(4096, 1)]).unwrap();
        let (task, mut heard) = connection(pool.clone(), ROUND);
        let (other, _heard) = connection(pool.clone(), ROUND);
        let (ours, theirs) = Stream::pair().unwrap();
        let ((reader, _w), (_r, mut peer)) = (ours.into_split(), theirs.into_split());
        let (ours, theirs) = Stream::pair().unwrap();
        let ((waits, _w), (_r, mut waiter)) = (ours.into_split(), theirs.into_split());
        // Nothing is written: the peer takes no more than it has.
        task.outlet.push_frame(b"", pool.take(4096).unwrap());
        waiter.write_all(&asks(OpCode::Write, 4096, Digest::of(&[0; 4096]))).await.unwrap();
        let mut ping = Vec::new();
        Message::from(Ping { token: 1 }).encode(Digest::NONE, &mut ping);
        let hears = async {
            while pool.waiting() == 0 {
                tokio::task::yield_now().await;
            }
            for _ in 0..2 {
                peer.write_all(&ping).await.unwrap();
                assert!(matches!(heard.recv().await, Some(Input::Frame { .. })));
                assert!(!task.gauge.take_pulse(), "whatever it sends");
            }
            // It is lost for its silence.
            task.outlet.abort();
            while !other.receives.get() {
                tokio::task::yield_now().await;
            }
        };
        let never = tokio::sync::Notify::new();
        tokio::select! {
            () = task.serve(reader, &never) => panic!("it has ended"),
            () = other.serve(waits, &never) => panic!("the other has ended"),
            () = hears => {}
        }
    }

    /// [SEC-4] Nor does it by asking for more than there is room for, which others could not give back either.
    #[tokio::test]
    async fn a_peer_that_leaves_its_answers_is_not_kept_waiting() {
        let length = 1 << 20;
        let pool = Pool::with_classes(&[(length, 1)]).unwrap();
        let (task, _heard) = connection(pool.clone(), ROUND);
        let (ours, theirs) = Stream::pair().unwrap();
        let ((reader, mut writer), (mut answers, mut peer)) =
            (ours.into_split(), theirs.into_split());
        let outlet = task.outlet.clone();
        outlet.push_frame(b"", pool.take(length).unwrap());
        peer.write_all(&asks(OpCode::Read, length as u32, Digest::NONE)).await.unwrap();
        let rounds = async || {
            for _ in 0..20 {
                tokio::time::sleep(ROUND).await;
            }
        };
        let hears = async {
            while pool.waiting() == 0 {
                tokio::task::yield_now().await;
            }
            rounds().await;
            task.gauge.take_pulse();
            rounds().await;
            assert!(!task.gauge.take_pulse(), "it is its own silence");
            answers.read_exact(&mut vec![0; length]).await.unwrap();
            answers.read_exact(&mut vec![0; length]).await.unwrap();
            assert!(task.gauge.take_pulse());
        };
        let never = tokio::sync::Notify::new();
        tokio::select! {
            () = task.serve(reader, &never) => panic!("it has ended"),
            ended = outlet.pump(&mut writer) => panic!("{ended:?}"),
            () = hears => {}
        }
    }

    /// [SEC-4] Whoever does not take its answers is not heard until it does.
    #[tokio::test]
    async fn a_peer_that_does_not_read_is_not_heard() {
        let (task, mut heard) = connection(Pool::with_classes(&[(4096, 1)]).unwrap(), ROUND);
        let outlet = task.outlet.clone();
        outlet.push_bytes(&vec![0; UNREAD_LIMIT]);
        let (ours, theirs) = Stream::pair().unwrap();
        let ((mut reader, mut writer), (mut answers, mut peer)) =
            (ours.into_split(), theirs.into_split());
        let mut frame = Vec::new();
        Message::from(Ping { token: 1 }).encode(Digest::NONE, &mut frame);
        peer.write_all(&frame).await.unwrap();
        let mut inlet = Inlet::with_capacity(INLET);
        let mut reading = pin!(task.read(&mut reader, &mut inlet));
        let a_while = async {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = &mut reading => panic!("{ended:?}"),
            () = a_while => {}
        }
        assert!(heard.try_recv().is_err());
        let mut taken = tokio::io::sink();
        tokio::select! {
            ended = &mut reading => panic!("{ended:?}"),
            ended = outlet.pump(&mut writer) => panic!("{ended:?}"),
            ended = tokio::io::copy(&mut answers, &mut taken) => panic!("{ended:?}"),
            said = heard.recv() => assert!(matches!(said, Some(Input::Frame { .. }))),
        }
    }
}
