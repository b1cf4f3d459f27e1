//! A virtual machine without a processor: the half of vhost-user that a monitor has, and a driver of its rings.

#![allow(dead_code, missing_docs, reason = "each test binary uses its own part")]

use std::cell::{Cell, RefCell};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use lull_frontend::nbd::{Closer, Device};
use lull_frontend::vhost_user::memory::Memory;
use lull_frontend::vhost_user::wire::Region;
use lull_frontend::vhost_user::{Identity, ServeEnd, Told, serve};
use lull_transport::Stream;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::task::{JoinHandle, yield_now};

pub const SIZE: u16 = 64;
/// Where the guest has its memory, and where its monitor has it.
const GUEST: u64 = 1 << 32;
const USER: u64 = 0x7000_0000_0000;
const LENGTH: u64 = 8 << 20;
/// Where data may lie; before it are the rings, 64 KiB for each.
pub const DATA: u64 = GUEST + (1 << 20);

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

pub const EVENT_INDEX: u64 = 1 << 29;
pub const FEATURES: u64 = 1 << 9 | 1 << 28 | EVENT_INDEX | 1 << 30 | 1 << 32;

/// What outlives a connection.
pub struct Board {
    file: OwnedFd,
    pub memory: Memory,
    pub record: RefCell<Option<(OwnedFd, Vec<u8>)>>,
    /// It keeps no record.
    pub forgets: Cell<bool>,
}

impl Board {
    pub fn new() -> Rc<Board> {
        let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, LENGTH).unwrap();
        let view = Memory::none().with(region(), file.try_clone().unwrap()).unwrap();
        let (record, forgets) = Default::default();
        Rc::new(Board { file, memory: view, record, forgets })
    }
}

fn region() -> Region {
    Region { guest: GUEST, size: LENGTH, user: USER, offset: 0 }
}

/// A monitor's connection to a disk.
pub struct Machine {
    pub board: Rc<Board>,
    stream: Stream,
    pub closer: Closer,
    pub task: JoinHandle<Result<(), ServeEnd>>,
    pub told: Rc<RefCell<Vec<Told>>>,
    rings: Vec<Driver>,
}

/// A driver's side of one ring.
struct Driver {
    kick: OwnedFd,
    call: OwnedFd,
    /// Where its parts are, from the start of memory.
    base: u64,
    next: u16,
    free: u16,
    seen: u16,
}

impl Machine {
    pub fn connect<D: Device + 'static>(
        board: &Rc<Board>,
        device: &Rc<D>,
        identity: Identity,
    ) -> Machine {
        let (ours, theirs) = Stream::pair().unwrap();
        let (closer, told) = (Closer::new(), Rc::new(RefCell::new(Vec::new())));
        let hears = Rc::clone(&told);
        let tell = move |one| hears.borrow_mut().push(one);
        let served = serve(theirs, Rc::clone(device), identity, closer.clone(), tell);
        let task = tokio::task::spawn_local(served);
        Machine { board: Rc::clone(board), stream: ours, closer, task, told, rings: Vec::new() }
    }

    /// The same to one that another process serves.
    pub fn over(board: &Rc<Board>, stream: Stream) -> Machine {
        let (closer, told) = Default::default();
        let task = tokio::task::spawn_local(async { Ok(()) });
        Machine { board: Rc::clone(board), stream, closer, task, told, rings: Vec::new() }
    }

    /// A machine whose rings run.
    pub async fn up<D: Device + 'static>(
        board: &Rc<Board>,
        device: &Rc<D>,
        queues: u32,
    ) -> Machine {
        let mut machine = Machine::connect(board, device, Identity::default());
        machine.begin(FEATURES, queues).await;
        machine
    }

    /// What QEMU says, in its order.
    pub async fn begin(&mut self, features: u64, queues: u32) {
        self.introduce(features).await;
        for queue in 0..queues {
            self.ring(queue).await;
        }
    }

    pub async fn introduce(&mut self, features: u64) {
        let offered = self.get(1, &[], &[]).await.0;
        assert_eq!(number(&offered) & features, features, "what is taken is offered");
        let protocol = number(&self.get(15, &[], &[]).await.0);
        self.say(16, &protocol.to_ne_bytes(), &[]).await;
        self.say(3, &[], &[]).await;
        let record = self.board.record.borrow_mut().take();
        let kept = match record {
            _ if self.board.forgets.get() => None,
            Some(kept) => Some(kept),
            None => {
                let mut payload = [0; 24];
                payload[16..18].copy_from_slice(&2u16.to_ne_bytes());
                payload[18..20].copy_from_slice(&SIZE.to_ne_bytes());
                let (said, fds) = self.get(31, &payload, &[]).await;
                assert_eq!(said.len(), 24, "as long as it was asked");
                Some((fds.into_iter().next().expect("memory for the record"), said))
            }
        };
        if let Some((record, said)) = kept {
            self.say(32, &said, &[record.as_fd()]).await;
            self.board.record.replace(Some((record, said)));
        }
        self.say(2, &features.to_ne_bytes(), &[]).await;
        let mut table = [1u32.to_ne_bytes(), [0; 4]].concat();
        for word in [GUEST, LENGTH, USER, 0] {
            table.extend(word.to_ne_bytes());
        }
        let file = self.board.file.try_clone().unwrap();
        self.say(5, &table, &[file.as_fd()]).await;
    }

    pub async fn ring(&mut self, queue: u32) {
        let kick = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        self.ring_kicked_by(queue, kick.try_clone().unwrap(), kick).await;
    }

    /// The same where what the device hears by is another descriptor than what the driver kicks with.
    pub async fn ring_kicked_by(&mut self, queue: u32, kick: OwnedFd, hears: OwnedFd) {
        let base = u64::from(queue) << 16;
        let board = Rc::clone(&self.board);
        let used = board.memory.load(GUEST + base + 0x3002).unwrap();
        let next = board.memory.load(GUEST + base + 0x2002).unwrap();
        self.say(8, &words(&[queue, SIZE.into()]), &[]).await;
        self.say(10, &words(&[queue, used.into()]), &[]).await;
        let mut place = words(&[queue, 0]);
        for part in [0x1000, 0x3000, 0x2000, 0] {
            place.extend((USER + base + part).to_ne_bytes());
        }
        self.say(9, &place, &[]).await;
        let call = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let number = u64::from(queue).to_ne_bytes();
        self.say(12, &number, &[hears.as_fd()]).await;
        self.say(13, &number, &[call.as_fd()]).await;
        self.say(18, &words(&[queue, 1]), &[]).await;
        let free = 0;
        self.rings.push(Driver { kick, call, base, next, free, seen: used });
    }

    /// Says something that has no answer of its own, and waits until it is done.
    pub async fn say(&self, request: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) {
        self.send(request, 9, payload, fds);
        // Acknowledgements begin with the messages behind the one that takes them.
        if !matches!(request, 16) {
            assert_eq!(number(&self.hear().await.0), 0, "{request} is done");
        }
    }

    pub async fn get(
        &self,
        request: u32,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> (Vec<u8>, Vec<OwnedFd>) {
        self.send(request, 1, payload, fds);
        self.hear().await
    }

    pub fn send(&self, request: u32, flags: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) {
        let bytes = [words(&[request, flags, payload.len() as u32]), payload.to_vec()].concat();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
        }
        sendmsg(&self.stream, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)
            .unwrap();
    }

    async fn hear(&self) -> (Vec<u8>, Vec<OwnedFd>) {
        let mut bytes = vec![0; 4096];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.stream, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::AGAIN) => yield_now().await,
                other => {
                    let count = other.unwrap().bytes;
                    assert!(count >= 12, "the connection has ended");
                    let length = u32::from_ne_bytes(bytes[8..12].try_into().unwrap());
                    assert_eq!(count, 12 + length as usize, "one message");
                    let mut fds = Vec::new();
                    for message in ancillary.drain() {
                        if let RecvAncillaryMessage::ScmRights(came) = message {
                            fds.extend(came);
                        }
                    }
                    return (bytes[12..count].to_vec(), fds);
                }
            }
        }
    }

    /// Makes a chain available: pieces with their flags, which get NEXT where another follows. Its head.
    pub fn offer(&mut self, queue: usize, pieces: &[(u64, u32, u16)]) -> u16 {
        let driver = &mut self.rings[queue];
        let table = GUEST + driver.base + 0x1000;
        let head = driver.free;
        for (at, (address, length, flags)) in pieces.iter().enumerate() {
            let index = (head + at as u16) % SIZE;
            let more = if at + 1 < pieces.len() { NEXT } else { 0 };
            let bytes = descriptor(*address, *length, flags | more, (index + 1) % SIZE);
            self.board.memory.write(table + 16 * u64::from(index), &bytes).unwrap();
        }
        driver.free = (head + pieces.len() as u16) % SIZE;
        self.post(queue, head);
        head
    }

    /// Makes a head available, whatever it is.
    pub fn post(&mut self, queue: usize, head: u16) {
        let driver = &mut self.rings[queue];
        let available = GUEST + driver.base + 0x2000;
        let slot = u64::from(driver.next % SIZE);
        self.board.memory.write(available + 4 + 2 * slot, &head.to_le_bytes()).unwrap();
        driver.next = driver.next.wrapping_add(1);
        self.board.memory.store(available + 2, driver.next).unwrap();
    }

    /// Says that so much is available, whatever is.
    pub fn claim(&self, queue: usize, index: u16) {
        let available = GUEST + self.rings[queue].base + 0x2000;
        self.board.memory.store(available + 2, index).unwrap();
    }

    pub fn kick(&self, queue: usize) {
        rustix::io::write(&self.rings[queue].kick, &1u64.to_ne_bytes()).unwrap();
    }

    /// Nobody can kick any more, and whoever hears kicks finds that out.
    pub fn kicks_no_more(&mut self, queue: usize) {
        self.rings[queue].kick = self.rings[queue].call.try_clone().unwrap();
    }

    /// Wants to be called from this used index on.
    pub fn call_from(&self, queue: usize, index: u16) {
        let available = GUEST + self.rings[queue].base + 0x2000;
        self.board.memory.store(available + 4 + 2 * u64::from(SIZE), index).unwrap();
    }

    /// How often it was called since the last time.
    pub fn calls(&self, queue: usize) -> u64 {
        let mut count = [0; 8];
        let read = rustix::io::read(&self.rings[queue].call, &mut count);
        read.map_or(0, |_| u64::from_ne_bytes(count))
    }

    /// From which index on kicks are wanted.
    pub fn kicked_from(&self, queue: usize) -> u16 {
        let used = GUEST + self.rings[queue].base + 0x3000;
        self.board.memory.load(used + 4 + 8 * u64::from(SIZE)).unwrap()
    }

    /// What was used since the last time.
    pub fn used(&mut self, queue: usize) -> Vec<(u16, u32)> {
        let driver = &mut self.rings[queue];
        let used = GUEST + driver.base + 0x3000;
        let now = self.board.memory.load(used + 2).unwrap();
        let mut all = Vec::new();
        while driver.seen != now {
            let mut element = [0; 8];
            let slot = u64::from(driver.seen % SIZE);
            self.board.memory.read(used + 4 + 8 * slot, &mut element).unwrap();
            let word = |at: usize| u32::from_le_bytes(element[at..at + 4].try_into().unwrap());
            all.push((word(0) as u16, word(4)));
            driver.seen = driver.seen.wrapping_add(1);
        }
        all
    }

    /// Waits until so many are used.
    pub async fn wait_used(&mut self, queue: usize, count: usize) -> Vec<(u16, u32)> {
        let mut all = Vec::new();
        while all.len() < count {
            yield_now().await;
            all.extend(self.used(queue));
        }
        assert_eq!(all.len(), count);
        all
    }

    /// A request of the usual form: its header, its data, its status. Data and status lie at `at`.
    pub fn ask(&mut self, queue: usize, kind: u32, sector: u64, at: u64, data: Data<'_>) -> u16 {
        let memory = &self.board.memory;
        let header = [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
        memory.write(at, &header).unwrap();
        memory.write(at + 16, &[0xff]).unwrap();
        let (length, flags) = match data {
            Data::Out(bytes) => {
                memory.write(at + 32, bytes).unwrap();
                (bytes.len() as u32, 0)
            }
            Data::In(length) => (length, WRITE),
        };
        let (head, status) = ((at, 16, 0), (at + 16, 1, WRITE));
        match length {
            0 => self.offer(queue, &[head, status]),
            _ => self.offer(queue, &[head, (at + 32, length, flags), status]),
        }
    }

    /// The status of a request that [`Machine::ask`] placed at `at`.
    pub fn status(&self, at: u64) -> u8 {
        let mut status = [0];
        self.board.memory.read(at + 16, &mut status).unwrap();
        status[0]
    }

    /// Its data.
    pub fn data(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.board.memory.read(at + 32, &mut bytes).unwrap();
        bytes
    }

    /// One request from its beginning to its end; its status.
    pub async fn done(&mut self, kind: u32, sector: u64, data: Data<'_>) -> u8 {
        self.ask(0, kind, sector, DATA, data);
        self.kick(0);
        self.wait_used(0, 1).await;
        self.status(DATA)
    }

    /// Ends the connection as a monitor that dies does; how that was taken.
    pub async fn vanish(self) -> Result<(), ServeEnd> {
        drop(self.stream);
        self.task.await.unwrap()
    }
}

/// What a request brings or takes.
#[derive(Clone, Copy)]
pub enum Data<'a> {
    Out(&'a [u8]),
    In(u32),
}

pub fn descriptor(address: u64, length: u32, flags: u16, next: u16) -> Vec<u8> {
    let (length, flags, next) = (length.to_le_bytes(), flags.to_le_bytes(), next.to_le_bytes());
    [&address.to_le_bytes()[..], &length, &flags, &next].concat()
}

pub fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

pub fn number(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes.try_into().expect("a number"))
}
