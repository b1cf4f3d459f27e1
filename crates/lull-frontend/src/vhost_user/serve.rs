//! A connection of a virtual machine's monitor: what it says is done in the order in which it is said.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use lull_transport::Stream;
use rustix::net::{SendFlags, send};
use tokio::sync::Notify;
use vhost::vhost_user::message::{BackendReq, VhostUserProtocolFeatures};

use super::config::{Features, WRITEBACK, space};
use super::live::{AskedOnce, Live, Past, Shared};
use super::memory::{Fault, Memory};
use super::queue::{Beginning, Tasks};
use super::record::{self, Record};
use super::request::SERIAL;
use super::ring::{Layout, MOST_DESCRIPTORS};
use super::signal::{Kick, Signal};
use super::socket::{Message, Socket};
use super::wire::{Ask, Header, MOST_REGIONS, Region, WireError, new_record};
use crate::device::Device;
use crate::nbd::Closer;

/// The most queues of a guest: monitors take one for each of its processors.
pub const MOST_QUEUES: u16 = 128;

/// How long a ring that is stopped may take to finish what is on record: its monitor, and with it the guest, waits. What is
/// not finished by then is asked again when the ring is started again, and forgotten where the guest has been reset.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same where nobody asks again what is not finished, so that it would be lost: beyond it the guest is told that it
/// failed. Longer than a target takes to restart; without end it would keep the monitor from everything else.
const LONG_PATIENCE: Duration = Duration::from_secs(120);

const PROTOCOL: VhostUserProtocolFeatures = VhostUserProtocolFeatures::MQ
    .union(VhostUserProtocolFeatures::REPLY_ACK)
    .union(VhostUserProtocolFeatures::BACKEND_REQ)
    .union(VhostUserProtocolFeatures::CONFIG)
    .union(VhostUserProtocolFeatures::INFLIGHT_SHMFD)
    .union(VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS);

/// Why a connection has ended, other than by leave of a [`Closer`].
#[derive(Debug, thiserror::Error)]
pub enum ServeEnd {
    /// The monitor has closed it.
    #[error("the virtual machine's monitor closed the connection")]
    Closed,
    /// The socket failed.
    #[error("the connection broke: {0}")]
    Lost(#[from] io::Error),
    /// What came is no message.
    #[error("the virtual machine's monitor sent {0}")]
    Wire(#[from] WireError),
    /// A message that cannot be obeyed.
    #[error("the virtual machine's monitor asks for {0}")]
    Refused(&'static str),
    /// The guest's memory.
    #[error(transparent)]
    Memory(#[from] Fault),
}

/// What happens beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// An earlier life of this process, or of the connection, had taken requests and not answered them: they are asked again.
    Recovered {
        /// Of this queue.
        queue: u16,
        /// So many.
        requests: usize,
    },
    /// A ring is to be stopped whose requests nobody asks again: its monitor, and with it the guest, waits for them.
    Stops {
        /// This queue's.
        queue: u16,
        /// So many.
        requests: usize,
        /// At most so long.
        within: Duration,
    },
    /// It has waited in vain: the guest is told that these have failed. They may be executed still.
    GivenUp {
        /// Of this queue.
        queue: u16,
        /// So many.
        requests: usize,
    },
    /// A ring is not served any more, until its guest starts it anew.
    Broken {
        /// This queue's.
        queue: u16,
        /// Why.
        fault: Fault,
    },
}

/// What a disk is beside its device.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// The name that it tells, filled with zeroes.
    pub serial: [u8; SERIAL],
    /// Requests of connections that have ended.
    pub past: Past,
    /// Others write to it too: a change that was in flight when a connection ended fails, since doing it again could undo
    /// what they have written since.
    pub asks_once: bool,
    /// Notified when the device has grown.
    pub grown: Rc<Notify>,
    /// Requests that nobody asks again.
    pub asked_once: AskedOnce,
}

/// Serves one connection until its monitor or `closer` closes it.
///
/// # Errors
/// Why it ended by itself.
pub async fn serve<D: Device + 'static>(
    stream: Stream,
    device: Rc<D>,
    identity: Identity,
    closer: Closer,
    told: impl Fn(Told) + 'static,
) -> Result<(), ServeEnd> {
    let Some(mut socket) = Socket::new(stream) else {
        return Err(ServeEnd::Refused("a disk over TCP, which carries no memory"));
    };
    let shared = Shared {
        memory: RefCell::new(Rc::new(Memory::none())),
        geometry: RefCell::new(device.geometry()),
        durable: Cell::new(true),
        serial: identity.serial,
        past: identity.past,
        asks_once: identity.asks_once,
        asked_once: identity.asked_once,
        closer,
    };
    let mut guest = Guest {
        device,
        shared: Rc::new(shared),
        told: Rc::new(told),
        features: Features::default(),
        protocol: VhostUserProtocolFeatures::empty(),
        through: false,
        rings: Vec::new(),
        record: None,
        backchannel: None,
    };
    let mut early = None;
    loop {
        // It may have grown while something else was waited for.
        guest.grow();
        let begun = match early.take() {
            Some(begun) => begun,
            None => tokio::select! {
                biased;
                // Its monitor is obeyed meanwhile: the guest may be stopped, or be reset.
                () = guest.finished() => return Ok(()),
                () = identity.grown.notified() => continue,
                begun = socket.begun() => begun?,
            },
        };
        let Message { header, ask, fds } = socket.rest(begun).await?;
        let acknowledged =
            header.need_reply && guest.protocol.contains(VhostUserProtocolFeatures::REPLY_ACK);
        let mut obeyed = std::pin::pin!(guest.obey(ask, fds, header.size));
        // A ring may take minutes to be stopped. A monitor that is gone meanwhile waits for nothing, and whoever comes after
        // it is not to wait either.
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut obeyed => break answer?,
                begun = socket.begun(), if early.is_none() => early = Some(begun?),
            }
        };
        let (payload, fd) = match answer {
            Answer::None if acknowledged => (0u64.to_ne_bytes().to_vec(), None),
            Answer::None => continue,
            Answer::Number(number) => (number.to_ne_bytes().to_vec(), None),
            Answer::Bytes(bytes) => (bytes, None),
            Answer::File(bytes, fd) => (bytes, Some(fd)),
        };
        socket.send(&Header::reply(header.request, &payload), fd.as_ref()).await?;
    }
}

enum Answer {
    None,
    Number(u64),
    Bytes(Vec<u8>),
    File(Vec<u8>, OwnedFd),
}

/// One ring, as the monitor has set it up.
#[derive(Debug, Default)]
struct Vring {
    size: u16,
    /// Descriptors, available and used, in the monitor's addresses.
    place: Option<(u64, u64, u64)>,
    base: u16,
    enabled: bool,
    kick: Option<OwnedFd>,
    signal: Rc<Signal>,
    live: Option<(Rc<Live>, Tasks)>,
}

impl Vring {
    fn end(&mut self) {
        if let Some((live, _)) = self.live.take() {
            live.publish(&self.signal);
            live.end();
        }
    }
}

struct Guest<D: Device> {
    device: Rc<D>,
    shared: Rc<Shared>,
    told: Rc<dyn Fn(Told)>,
    features: Features,
    protocol: VhostUserProtocolFeatures,
    /// The guest has chosen to write through.
    through: bool,
    rings: Vec<Vring>,
    record: Option<Rc<Record>>,
    backchannel: Option<OwnedFd>,
}

/// Whatever ends the connection ends its rings.
impl<D: Device> Drop for Guest<D> {
    fn drop(&mut self) {
        self.rings.iter_mut().for_each(Vring::end);
    }
}

impl<D: Device + 'static> Guest<D> {
    async fn obey(&mut self, ask: Ask, fds: Vec<OwnedFd>, size: usize) -> Result<Answer, ServeEnd> {
        let mut fds = fds.into_iter();
        let mut fd = || fds.next().ok_or(ServeEnd::Refused("something without its descriptor"));
        match ask {
            Ask::Features => return Ok(Answer::Number(self.offered().0)),
            Ask::TakeFeatures(bits) if bits & !self.offered().0 != 0 => {
                return Err(ServeEnd::Refused("features that were not offered"));
            }
            Ask::TakeFeatures(bits) => {
                self.features = Features(bits);
                self.judge_durability();
            }
            Ask::ProtocolFeatures => return Ok(Answer::Number(PROTOCOL.bits())),
            Ask::TakeProtocolFeatures(bits) => {
                self.protocol = PROTOCOL & VhostUserProtocolFeatures::from_bits_truncate(bits);
            }
            Ask::Queues => return Ok(Answer::Number(MOST_QUEUES.into())),
            Ask::Slots => return Ok(Answer::Number(MOST_REGIONS as u64)),
            Ask::Nothing | Ask::Err => {}
            Ask::Memory(regions) => {
                let mut memory = Memory::none();
                for region in regions {
                    memory = memory.with(region, fd()?)?;
                }
                self.shared.memory.replace(Rc::new(memory));
            }
            Ask::AddRegion(region) => self.add(region, fd()?)?,
            Ask::RemoveRegion(region) => {
                let memory = self.memory().without(region)?;
                self.shared.memory.replace(Rc::new(memory));
            }
            Ask::Size { queue, size } => {
                let size = u16::try_from(size)
                    .ok()
                    .filter(|size| size.is_power_of_two() && *size <= MOST_DESCRIPTORS);
                self.stopped(queue)?.size =
                    size.ok_or(ServeEnd::Refused("a ring of an impossible size"))?;
            }
            Ask::Place { queue, descriptors, available, used } => {
                // Monitors say it again while the ring is served, in order to have writes to it logged or not.
                self.ring(queue)?.place = Some((descriptors, available, used));
            }
            Ask::Base { queue, next } => self.stopped(queue)?.base = next as u16,
            Ask::Stop { queue } => return self.stop(queue).await.map(Answer::Bytes),
            Ask::Kick { none: true, .. } => {
                return Err(ServeEnd::Refused(
                    "rings that are looked at without end: have ioeventfd=on",
                ));
            }
            Ask::Kick { queue, none: false } => {
                let fd = fd()?;
                self.stopped(queue)?.kick = Some(fd);
                self.start(queue)?;
            }
            Ask::Call { queue, none } => {
                let fd = if none { None } else { Some(fd()?) };
                self.ring(queue)?.signal.set(fd);
            }
            Ask::Enable { queue, on } => {
                self.ring(queue)?.enabled = on;
                self.start(queue)?;
            }
            Ask::Backchannel => self.backchannel = Some(fd()?),
            Ask::Config { offset, size, flags } => {
                return Ok(Answer::Bytes(self.config(offset, size, flags)));
            }
            Ask::SetConfig { offset, bytes } => self.configure(offset, &bytes)?,
            Ask::NewRecord { queues, size: entries } => {
                let fits = (1..=MOST_QUEUES).contains(&queues)
                    && (1..=MOST_DESCRIPTORS).contains(&entries);
                if !fits {
                    return Err(ServeEnd::Refused("a record for an impossible number of requests"));
                }
                let file = Record::create(queues, entries)?;
                let payload = new_record(record::length(queues, entries), queues, entries, size);
                return Ok(Answer::File(payload, file));
            }
            Ask::Record { length, offset, queues, size } => {
                self.keep(Record::open(fd()?, length, offset, queues, size)?);
            }
            Ask::Unknown => return Err(ServeEnd::Refused("something that was not offered")),
        }
        Ok(Answer::None)
    }

    fn offered(&self) -> Features {
        Features::of(&self.shared.geometry.borrow())
    }

    fn memory(&self) -> Rc<Memory> {
        Rc::clone(&self.shared.memory.borrow())
    }

    fn add(&self, region: Region, file: OwnedFd) -> Result<(), ServeEnd> {
        let memory = self.memory();
        if memory.regions() >= MOST_REGIONS {
            return Err(ServeEnd::Refused("more regions of memory than were offered"));
        }
        self.shared.memory.replace(Rc::new(memory.with(region, file)?));
        Ok(())
    }

    fn ring(&mut self, queue: u32) -> Result<&mut Vring, ServeEnd> {
        let at = usize::try_from(queue).ok().filter(|at| *at < MOST_QUEUES.into());
        let at = at.ok_or(ServeEnd::Refused("a queue that was not offered"))?;
        if self.rings.len() <= at {
            self.rings.resize_with(at + 1, Vring::default);
        }
        Ok(&mut self.rings[at])
    }

    /// A ring that is not served: what is said of it now counts from its start.
    fn stopped(&mut self, queue: u32) -> Result<&mut Vring, ServeEnd> {
        let ring = self.ring(queue)?;
        match ring.live {
            None => Ok(ring),
            Some(_) => Err(ServeEnd::Refused("a change of a ring that is being served")),
        }
    }

    /// Serves a ring if all is there, or goes on, or rests.
    fn start(&mut self, queue: u32) -> Result<(), ServeEnd> {
        let (event_index, always) = (self.features.event_index(), !self.features.protocol());
        let (memory, record) = (self.memory(), self.record.clone());
        let (shared, device, told) =
            (Rc::clone(&self.shared), Rc::clone(&self.device), Rc::clone(&self.told));
        let ring = self.ring(queue)?;
        let on = ring.enabled || always;
        if let Some((live, _)) = &ring.live {
            live.halt(!on);
            return Ok(());
        }
        let (Some((descriptors, available, used)), Some(kick), true) = (ring.place, &ring.kick, on)
        else {
            return Ok(());
        };
        let layout = Layout {
            size: ring.size,
            descriptors: memory.guest_address(descriptors)?,
            available: memory.guest_address(available)?,
            used: memory.guest_address(used)?,
        };
        layout.check(&memory)?;
        let number = queue as u16;
        let record = record.map(|record| (record, number));
        let from = Beginning { layout, event_index, next: ring.base, record };
        let live = Live::new(&shared);
        let kick = Kick::new(kick.try_clone()?)?;
        let tasks = Tasks::start(number, &live, &device, kick, &ring.signal, from, told);
        ring.live = Some((live, tasks));
        Ok(())
    }

    async fn stop(&mut self, queue: u32) -> Result<Vec<u8>, ServeEnd> {
        let (number, told) = (queue as u16, Rc::clone(&self.told));
        let ring = self.ring(queue)?;
        if let Some((live, _)) = &ring.live {
            live.halt(true);
            if tokio::time::timeout(PATIENCE, live.idle()).await.is_err() && live.asked_once() > 0 {
                settle(number, live, &*told).await;
            }
            ring.base = live.at().unwrap_or(ring.base);
        }
        ring.end();
        ring.kick = None;
        let state = [queue, ring.base.into()];
        Ok(state.iter().flat_map(|word| word.to_ne_bytes()).collect())
    }

    /// [CONN-5] Ends when it is closed and what was taken is answered.
    async fn finished(&self) {
        self.shared.closer.closed().await;
        for (live, _) in self.rings.iter().filter_map(|ring| ring.live.as_ref()) {
            live.idle().await;
        }
    }

    fn queues(&self) -> u16 {
        MOST_QUEUES
    }

    /// A length of nothing says that there is nothing.
    fn config(&self, offset: u32, size: u32, flags: u32) -> Vec<u8> {
        let space = space(&self.shared.geometry.borrow(), self.queues(), self.through);
        let mut answer: Vec<u8> =
            [offset, size, flags].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let at = |place: u32| space.get(place as usize).copied().unwrap_or(0);
        answer.extend((offset..offset.saturating_add(size)).map(at));
        answer
    }

    fn configure(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ServeEnd> {
        if offset as usize != WRITEBACK || bytes.len() != 1 {
            return Err(ServeEnd::Refused("a change of what cannot be changed"));
        }
        self.through = bytes[0] == 0;
        if let Some(record) = &self.record {
            record.set_writes_through(self.through);
        }
        self.judge_durability();
        Ok(())
    }

    fn keep(&mut self, record: Record) {
        match record.writes_through() {
            Some(through) => self.through = through,
            None => record.set_writes_through(self.through),
        }
        self.record = Some(Rc::new(record));
        self.judge_durability();
    }

    fn judge_durability(&self) {
        self.shared.durable.set(self.through || !self.features.flushes());
    }

    fn grow(&mut self) {
        let now = self.device.geometry();
        if self.shared.geometry.borrow().size == now.size {
            return;
        }
        self.shared.geometry.replace(now);
        if let Some(back) = &self.backchannel {
            let message = Header::ours(BackendReq::CONFIG_CHANGE_MSG.into());
            // Who does not read it looks at the configuration some day.
            let _ = send(back, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }
}

/// Ends when nothing is left of a ring whose requests nobody asks again: they are answered, or it is too late for that.
async fn settle(queue: u16, live: &Live, told: &dyn Fn(Told)) {
    told(Told::Stops { queue, requests: live.asked_once(), within: LONG_PATIENCE });
    if tokio::time::timeout(LONG_PATIENCE, live.heard()).await.is_err() {
        told(Told::GivenUp { queue, requests: live.give_up() });
    }
}
