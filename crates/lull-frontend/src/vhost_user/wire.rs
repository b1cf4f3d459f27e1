//! What a virtual machine's monitor says on its socket: bytes in, meaning out. Nothing here touches a descriptor.

use vhost::vhost_user::message::{
    FrontendReq, VhostUserConfig, VhostUserInflight, VhostUserMemory, VhostUserMemoryRegion,
    VhostUserMsgValidator, VhostUserSingleMemoryRegion, VhostUserVringAddr, VhostUserVringState,
};
use vm_memory::ByteValued;

/// Length of a message's header in bytes.
pub const HEADER: usize = 12;
/// The longest payload in bytes; a message with more ends the connection.
pub const MOST_PAYLOAD: usize = 4096;
/// The most descriptors that one message may bring, and regions that a guest's memory may have.
pub const MOST_REGIONS: usize = 32;

const VERSION: u32 = 1;
const REPLY: u32 = 4;
const NEED_REPLY: u32 = 8;
/// In the messages that bring a descriptor: there is none.
const NO_DESCRIPTOR: u64 = 1 << 8;

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not a header of this protocol's only version, or a reply to nothing.
    #[error("a header with flags {0:#x}")]
    Flags(u32),
    /// A payload that nobody could need.
    #[error("a payload of {0} bytes")]
    TooLong(u32),
    /// Its payload does not fit its kind.
    #[error("message {0} with a payload that is none of its kind")]
    Payload(u32),
}

/// The head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its kind.
    pub request: u32,
    /// Whether it is to be answered even where its kind has no answer.
    pub need_reply: bool,
    /// Length of the payload in bytes, at most [`MOST_PAYLOAD`].
    pub size: usize,
}

impl Header {
    /// Reads one.
    ///
    /// # Errors
    /// It is none that a monitor may send.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Header, WireError> {
        let word = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let (request, flags, size) = (word(0), word(4), word(8));
        if flags & !NEED_REPLY != VERSION {
            return Err(WireError::Flags(flags));
        }
        if size as usize > MOST_PAYLOAD {
            return Err(WireError::TooLong(size));
        }
        Ok(Header { request, need_reply: flags & NEED_REPLY != 0, size: size as usize })
    }

    /// An answer of this kind.
    pub fn reply(request: u32, payload: &[u8]) -> Vec<u8> {
        Self::encode(request, VERSION | REPLY, payload)
    }

    /// A message of our own accord.
    pub fn ours(request: u32) -> Vec<u8> {
        Self::encode(request, VERSION, &[])
    }

    fn encode(request: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
        let words = [request, flags, payload.len() as u32];
        words.iter().flat_map(|word| word.to_ne_bytes()).chain(payload.iter().copied()).collect()
    }
}

/// A piece of the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Where the guest has it.
    pub guest: u64,
    /// How long it is in bytes; the sums with the other three do not overflow.
    pub size: u64,
    /// Where the monitor has it, in whose terms rings are placed.
    pub user: u64,
    /// Where it begins in the file that comes along.
    pub offset: u64,
}

/// What is asked. Numbers are as they came: nobody has looked yet whether there is such a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named in the lines of their variants")]
pub enum Ask {
    /// Which features of virtio there are.
    Features,
    /// Those that the guest has taken.
    TakeFeatures(u64),
    /// Which features the protocol has here.
    ProtocolFeatures,
    /// Those that the monitor has taken.
    TakeProtocolFeatures(u64),
    /// How many queues there may be.
    Queues,
    /// How many regions of memory there may be.
    Slots,
    /// Nothing that matters here.
    Nothing,
    /// All of the guest's memory, with a descriptor for each region.
    Memory(Vec<Region>),
    /// One more region, with its descriptor.
    AddRegion(Region),
    /// One less.
    RemoveRegion(Region),
    /// A queue has so many descriptors.
    Size { queue: u32, size: u32 },
    /// Where a queue's parts are, in the monitor's addresses.
    Place { queue: u32, descriptors: u64, available: u64, used: u64 },
    /// From where on a queue is to be served.
    Base { queue: u32, next: u32 },
    /// A queue is to be stopped, and how far it got is to be told.
    Stop { queue: u32 },
    /// The descriptor that says that a queue has something; none: it is to be looked at again and again.
    Kick { queue: u32, none: bool },
    /// The descriptor by which the guest is told; none: it looks itself.
    Call { queue: u32, none: bool },
    /// The descriptor by which the monitor hears of a failed queue.
    Err,
    /// Whether a queue is to be served.
    Enable { queue: u32, on: bool },
    /// The socket for what is said of our own accord.
    Backchannel,
    /// Some bytes of the configuration.
    Config { offset: u32, size: u32, flags: u32 },
    /// Some bytes of the configuration are to be these.
    SetConfig { offset: u32, bytes: Vec<u8> },
    /// Memory for the record of requests in flight is to be made.
    NewRecord { queues: u16, size: u16 },
    /// That memory comes back, in a file of which it is a part.
    Record { length: u64, offset: u64, queues: u16, size: u16 },
    /// A message that is not on offer.
    Unknown,
}

impl Ask {
    /// What a message says.
    ///
    /// # Errors
    /// Its payload is none of its kind.
    pub fn decode(request: u32, payload: &[u8]) -> Result<Ask, WireError> {
        Self::read(request, payload).ok_or(WireError::Payload(request))
    }

    fn read(request: u32, payload: &[u8]) -> Option<Ask> {
        let Ok(kind) = FrontendReq::try_from(request) else { return Some(Ask::Unknown) };
        Some(match kind {
            FrontendReq::GET_FEATURES => Ask::Features,
            FrontendReq::SET_FEATURES => Ask::TakeFeatures(number(payload)?),
            FrontendReq::SET_OWNER | FrontendReq::RESET_OWNER => Ask::Nothing,
            FrontendReq::GET_PROTOCOL_FEATURES => Ask::ProtocolFeatures,
            FrontendReq::SET_PROTOCOL_FEATURES => Ask::TakeProtocolFeatures(number(payload)?),
            FrontendReq::GET_QUEUE_NUM => Ask::Queues,
            FrontendReq::GET_MAX_MEM_SLOTS => Ask::Slots,
            FrontendReq::SET_MEM_TABLE => Ask::Memory(regions(payload)?),
            FrontendReq::ADD_MEM_REG => Ask::AddRegion(single(payload)?),
            FrontendReq::REM_MEM_REG => Ask::RemoveRegion(single(payload)?),
            FrontendReq::SET_VRING_NUM => {
                let VhostUserVringState { index, num } = fixed(payload)?;
                Ask::Size { queue: index, size: num }
            }
            FrontendReq::SET_VRING_ADDR => {
                let place: VhostUserVringAddr = fixed(payload)?;
                let VhostUserVringAddr { index, descriptor, used, available, .. } = place;
                let whole = place.is_valid();
                let queue = index;
                whole.then_some(Ask::Place { queue, descriptors: descriptor, available, used })?
            }
            FrontendReq::SET_VRING_BASE => {
                let VhostUserVringState { index, num } = fixed(payload)?;
                Ask::Base { queue: index, next: num }
            }
            FrontendReq::GET_VRING_BASE => {
                let VhostUserVringState { index, .. } = fixed(payload)?;
                Ask::Stop { queue: index }
            }
            FrontendReq::SET_VRING_KICK => {
                let (queue, none) = with_descriptor(payload)?;
                Ask::Kick { queue, none }
            }
            FrontendReq::SET_VRING_CALL => {
                let (queue, none) = with_descriptor(payload)?;
                Ask::Call { queue, none }
            }
            FrontendReq::SET_VRING_ERR => Ask::Err,
            FrontendReq::SET_VRING_ENABLE => {
                let VhostUserVringState { index, num } = fixed(payload)?;
                Ask::Enable { queue: index, on: num != 0 }
            }
            FrontendReq::SET_BACKEND_REQ_FD => Ask::Backchannel,
            FrontendReq::GET_CONFIG => {
                let (VhostUserConfig { offset, size, flags }, _) = config(payload)?;
                Ask::Config { offset, size, flags }
            }
            FrontendReq::SET_CONFIG => {
                let (VhostUserConfig { offset, .. }, bytes) = config(payload)?;
                Ask::SetConfig { offset, bytes: bytes.to_vec() }
            }
            FrontendReq::GET_INFLIGHT_FD => {
                let VhostUserInflight { num_queues, queue_size, .. } = record(payload)?;
                Ask::NewRecord { queues: num_queues, size: queue_size }
            }
            FrontendReq::SET_INFLIGHT_FD => {
                let VhostUserInflight { mmap_size, mmap_offset, num_queues, queue_size } =
                    record(payload)?;
                let (length, offset) = (mmap_size, mmap_offset);
                Ask::Record { length, offset, queues: num_queues, size: queue_size }
            }
            _ => Ask::Unknown,
        })
    }
}

/// A payload of fixed length.
fn fixed<T: ByteValued + Default>(payload: &[u8]) -> Option<T> {
    let mut value = T::default();
    if payload.len() != size_of::<T>() {
        return None;
    }
    value.as_mut_slice().copy_from_slice(payload);
    Some(value)
}

fn number(payload: &[u8]) -> Option<u64> {
    Some(u64::from_ne_bytes(payload.try_into().ok()?))
}

fn with_descriptor(payload: &[u8]) -> Option<(u32, bool)> {
    let number = number(payload)?;
    Some((number as u32 & 0xff, number & NO_DESCRIPTOR != 0))
}

fn region(found: VhostUserMemoryRegion) -> Option<Region> {
    let VhostUserMemoryRegion { guest_phys_addr, memory_size, user_addr, mmap_offset } = found;
    VhostUserMsgValidator::is_valid(&found).then_some(Region {
        guest: guest_phys_addr,
        size: memory_size,
        user: user_addr,
        offset: mmap_offset,
    })
}

fn regions(payload: &[u8]) -> Option<Vec<Region>> {
    let (head, rest) = payload.split_at_checked(size_of::<VhostUserMemory>())?;
    let VhostUserMemory { num_regions, .. } = fixed(head)?;
    let length = size_of::<VhostUserMemoryRegion>();
    let count = num_regions as usize;
    // Some monitors send a table of fixed length of which only the first entries count.
    if count > MOST_REGIONS || rest.len() < count * length {
        return None;
    }
    rest.chunks_exact(length).take(count).map(|one| region(fixed(one)?)).collect()
}

fn single(payload: &[u8]) -> Option<Region> {
    let found: VhostUserSingleMemoryRegion = fixed(payload)?;
    region(*found)
}

fn config(payload: &[u8]) -> Option<(VhostUserConfig, &[u8])> {
    let (head, rest) = payload.split_at_checked(size_of::<VhostUserConfig>())?;
    let head: VhostUserConfig = fixed(head)?;
    let (offset, size) = (head.offset, head.size as usize);
    let inside = offset.checked_add(head.size).is_some_and(|end| end as usize <= MOST_PAYLOAD);
    (size > 0 && inside && rest.len() >= size).then(|| (head, &rest[..size]))
}

/// Monitors send it with the padding that their compiler puts behind it, or without.
fn record(payload: &[u8]) -> Option<VhostUserInflight> {
    let mut value = VhostUserInflight::default();
    let whole = size_of::<VhostUserInflight>();
    if !(20..=whole).contains(&payload.len()) {
        return None;
    }
    value.as_mut_slice()[..payload.len()].copy_from_slice(payload);
    Some(value)
}

/// The payload that answers [`Ask::NewRecord`], as long as the one that asked.
pub fn new_record(length: u64, queues: u16, size: u16, as_long_as: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(as_long_as);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(0u64.to_ne_bytes());
    bytes.extend(queues.to_ne_bytes());
    bytes.extend(size.to_ne_bytes());
    bytes.resize(as_long_as, 0);
    bytes
}
