//! The kernel's FUSE messages: the part that one plain file needs, as `linux/fuse.h` lays it out (7.31 and later), in
//! the byte order of the machine.

/// Length of the header before each request, in bytes.
pub const HEADER: usize = 40;
/// Length of what stands between the header and the data of a write, in bytes.
pub const WRITE_IN: usize = 40;
/// Length of the header before each reply, in bytes.
pub const OUT: usize = 16;
/// The node that everything is about: the root of the mount, which is the file itself.
pub const ROOT: u64 = 1;

/// Error numbers of Linux that replies carry.
pub mod errno {
    pub const PERM: i32 = 1;
    pub const IO: i32 = 5;
    pub const NO_DEVICE_ADDRESS: i32 = 6;
    pub const INVALID: i32 = 22;
    pub const NO_SPACE: i32 = 28;
    pub const NO_SYSTEM_CALL: i32 = 38;
    pub const NOT_SUPPORTED: i32 = 95;
}

mod opcode {
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const INIT: u32 = 26;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const LSEEK: u32 = 46;
}

/// What the kernel asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// To be named in the reply.
    pub unique: u64,
    /// What.
    pub ask: Ask<'a>,
}

/// What the kernel asks, as far as a plain file understands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// The first request of a mount.
    Init { major: u32, minor: u32, readahead: u32, flags: u64 },
    /// The file's attributes.
    Attributes,
    /// To change some of them.
    Change(Change),
    /// Somebody opens the file.
    Open,
    /// Bytes.
    Read { offset: u64, length: u32 },
    /// To write `data`; `durable`: the file was opened with O_DSYNC or O_SYNC.
    Write { offset: u64, durable: bool, data: &'a [u8] },
    /// Everything answered before is to be on stable storage.
    Sync,
    /// Space: punched, zeroed or reserved.
    Allocate { offset: u64, length: u64, mode: u32 },
    /// Where the next data, or the next hole, begins.
    Seek { offset: u64, whence: u32 },
    /// The file system as a whole.
    FileSystem,
    /// Somebody who opened the file has closed it.
    Release,
    /// The mount ends.
    Farewell,
    /// Nothing that is answered.
    Unanswered,
    /// What this kind of file does not know.
    Unknown(u32),
    /// A request that is shorter than its kind.
    Short,
}

/// Attributes to change. What is none stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub size: Option<u64>,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(*self.0.get(at..)?.first_chunk()?))
    }
}

impl<'a> Request<'a> {
    /// Reads one request. `None` where not even its header is there, which no kernel does.
    pub fn decode(bytes: &'a [u8]) -> Option<Request<'a>> {
        let (header, body) = bytes.split_at_checked(HEADER)?;
        let header = Fields(header);
        let (code, unique) = (header.u32(4)?, header.u64(8)?);
        Some(Request { unique, ask: ask(code, body).unwrap_or(Ask::Short) })
    }
}

fn ask(code: u32, body: &[u8]) -> Option<Ask<'_>> {
    /// The two ways in which a file's user asks for durable writes.
    const O_DSYNC: u32 = 0o10_000;
    let fields = Fields(body);
    Some(match code {
        opcode::INIT => {
            let (major, minor) = (fields.u32(0)?, fields.u32(4)?);
            let (readahead, low) = (fields.u32(8)?, fields.u32(12)?);
            let high = if low & (INIT_EXT as u32) != 0 { fields.u32(16)? } else { 0 };
            let flags = u64::from(high) << 32 | u64::from(low);
            Ask::Init { major, minor, readahead, flags }
        }
        opcode::GETATTR => Ask::Attributes,
        opcode::SETATTR => {
            let valid = fields.u32(0)?;
            let has = |bit: u32| valid & bit != 0;
            Ask::Change(Change {
                mode: has(1 << 0).then_some(fields.u32(68)?),
                uid: has(1 << 1).then_some(fields.u32(76)?),
                gid: has(1 << 2).then_some(fields.u32(80)?),
                size: has(1 << 3).then_some(fields.u64(16)?),
            })
        }
        opcode::OPEN => Ask::Open,
        opcode::READ => Ask::Read { offset: fields.u64(8)?, length: fields.u32(16)? },
        opcode::WRITE => {
            let (offset, length) = (fields.u64(8)?, fields.u32(16)?);
            let data = body.get(WRITE_IN..)?.get(..length as usize)?;
            Ask::Write { offset, durable: fields.u32(32)? & O_DSYNC != 0, data }
        }
        opcode::FSYNC => Ask::Sync,
        opcode::FALLOCATE => {
            Ask::Allocate { offset: fields.u64(8)?, length: fields.u64(16)?, mode: fields.u32(24)? }
        }
        opcode::LSEEK => Ask::Seek { offset: fields.u64(8)?, whence: fields.u32(16)? },
        opcode::STATFS => Ask::FileSystem,
        opcode::RELEASE => Ask::Release,
        opcode::DESTROY => Ask::Farewell,
        opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => Ask::Unanswered,
        other => Ask::Unknown(other),
    })
}

const INIT_EXT: u64 = 1 << 30;

/// What is wanted of the kernel, where it has it.
const WANTED: u64 = (1 << 0)      // ASYNC_READ
    | (1 << 3)                    // ATOMIC_O_TRUNC: whoever truncates on opening is not refused
    | (1 << 5)                    // BIG_WRITES
    | (1 << 15)                   // ASYNC_DIO
    | (1 << 22)                   // MAX_PAGES
    | INIT_EXT
    | (1 << 36)                   // DIRECT_IO_ALLOW_MMAP
    | HAS_RESEND;

/// Whoever takes a mount over has what is unanswered asked again.
pub const HAS_RESEND: u64 = 1 << 39;

/// The oldest minor version whose kernels have what this needs: Linux 5.4.
pub const OLDEST_MINOR: u32 = 31;
/// The newest one that this was written for.
const NEWEST_MINOR: u32 = 41;

/// Requests that the kernel keeps under way by itself.
const BACKGROUND: u16 = 256;

/// The answer to INIT.
pub fn init_out(minor: u32, readahead: u32, flags: u64, most: u32) -> [u8; 64] {
    let flags = flags & WANTED;
    let mut out = Row::<64>::new();
    out.u32(7).u32(minor.min(NEWEST_MINOR)).u32(readahead).u32(flags as u32);
    out.u16(BACKGROUND).u16(BACKGROUND / 4 * 3).u32(most).u32(1);
    // A page has at least 4 KiB.
    out.u16(u16::try_from(most / 4096).unwrap_or(u16::MAX)).u16(0).u32((flags >> 32) as u32);
    out.done()
}

/// What the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// What suits the device, in bytes.
    pub preferred: u32,
}

impl Attributes {
    /// The answer to GETATTR and SETATTR. The kernel may believe it for a second: the device may grow.
    pub fn encode(&self) -> [u8; 104] {
        const REGULAR: u32 = 0o100_000;
        let mut out = Row::<104>::new();
        out.u64(1).u32(0).u32(0);
        out.u64(ROOT).u64(self.size).u64(self.size.div_ceil(512));
        out.u64(0).u64(0).u64(0).u32(0).u32(0).u32(0);
        out.u32(REGULAR | self.mode).u32(1).u32(self.uid).u32(self.gid);
        out.u32(0).u32(self.preferred).u32(0);
        out.done()
    }
}

/// The answer to OPEN: direct, so that no page of the device stays in this host's cache; writes beside each other,
/// which is what a disk's users expect; nothing to hear of a close.
pub fn open_out() -> [u8; 16] {
    const DIRECT_IO: u32 = 1 << 0;
    const NO_FLUSH: u32 = 1 << 5;
    const PARALLEL_DIRECT_WRITES: u32 = 1 << 6;
    let mut out = Row::<16>::new();
    out.u64(0).u32(DIRECT_IO | NO_FLUSH | PARALLEL_DIRECT_WRITES).u32(0);
    out.done()
}

/// The answer to STATFS: all of the device is used.
pub fn statfs_out(size: u64, block: u32) -> [u8; 80] {
    let mut out = Row::<80>::new();
    out.u64(size / u64::from(block)).u64(0).u64(0).u64(1).u64(0).u32(block).u32(255).u32(block);
    out.done()
}

/// The answer to WRITE.
pub fn write_out(length: u32) -> [u8; 8] {
    let mut out = Row::<8>::new();
    out.u32(length).u32(0);
    out.done()
}

/// The header of a reply with `length` bytes behind it.
pub fn out(unique: u64, length: usize, error: i32) -> [u8; OUT] {
    let mut out = Row::<OUT>::new();
    out.u32((OUT + length) as u32).u32((-error) as u32).u64(unique);
    out.done()
}

/// The notice after which everything that was asked and not answered is asked again.
pub fn resend() -> [u8; OUT] {
    const RESEND: u32 = 7;
    let mut out = Row::<OUT>::new();
    out.u32(OUT as u32).u32(RESEND).u64(0);
    out.done()
}

/// Fields, one after the other; what is not written is zero.
struct Row<const N: usize> {
    bytes: [u8; N],
    at: usize,
}

impl<const N: usize> Row<N> {
    fn new() -> Self {
        Row { bytes: [0; N], at: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes[self.at..][..bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_ne_bytes())
    }

    fn done(&self) -> [u8; N] {
        self.bytes
    }
}
