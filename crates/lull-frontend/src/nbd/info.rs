//! What is told about an export.

use serde::{Deserialize, Serialize};

use super::Dialect;
use super::constants::{MAX_PAYLOAD, flag, info_kind};

/// Size and abilities of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// Bytes; a multiple of `block`.
    pub size: u64,
    /// The smallest unit of a request in bytes: offsets and lengths are multiples of it. A power of
    /// two from 1 to 65,536.
    pub block: u32,
    /// The unit in bytes below which requests cost more. A power of two, at least `block`.
    pub preferred: u32,
    /// The most bytes in one read or write; at most [`MAX_PAYLOAD`].
    pub max_length: u32,
    /// Changes are refused.
    pub read_only: bool,
    /// Discards do something.
    pub discard: bool,
    /// Zeroes can be written without sending them.
    pub write_zeroes: bool,
    /// A device that is asked for zeroes which must not take long refuses what would.
    pub fast_zeroes: bool,
    /// What was asked for beforehand is read sooner.
    pub cache: bool,
    /// The device tells which parts of it are data.
    pub extents: bool,
    /// A flush on one connection covers what was answered on another.
    pub multi_conn: bool,
    /// For people; at most 4096 bytes of it are told.
    pub description: String,
}

impl Geometry {
    /// The flags that the server's half advertises for it.
    pub(crate) fn flags(&self, dialect: Dialect) -> u16 {
        let mut flags = flag::HAS_FLAGS | flag::SEND_FLUSH | flag::SEND_FUA;
        let zeroes = self.write_zeroes && !self.read_only;
        for (set, bit) in [
            (self.read_only, flag::READ_ONLY),
            (self.discard && !self.read_only, flag::SEND_TRIM),
            (zeroes, flag::SEND_WRITE_ZEROES),
            (zeroes && self.fast_zeroes, flag::SEND_FAST_ZERO),
            (self.multi_conn, flag::CAN_MULTI_CONN),
            (self.cache, flag::SEND_CACHE),
            (dialect != Dialect::Simple, flag::SEND_DF),
        ] {
            if set {
                flags |= bit;
            }
        }
        flags
    }

    /// The same with every value within the protocol's bounds, so that nothing illegal is told.
    pub(crate) fn bounded(mut self) -> Geometry {
        self.block = self.block.clamp(1, 1 << 16).next_power_of_two();
        self.preferred = self.preferred.clamp(self.block.max(512), MAX_PAYLOAD).next_power_of_two();
        let most = self.max_length.min(MAX_PAYLOAD);
        self.max_length = (most - most % self.block).max(self.block);
        self.size -= self.size % u64::from(self.block);
        self
    }
}

/// One piece of information, as it stands in a reply to `NBD_OPT_GO` or `NBD_OPT_INFO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Info {
    /// Size in bytes and transmission flags.
    Export {
        /// Size of the export in bytes.
        size: u64,
        /// Transmission flags.
        flags: u16,
    },
    /// The export's own name.
    Name(String),
    /// A text for people.
    Description(String),
    /// Limits of requests in bytes.
    BlockSize {
        /// Smallest unit.
        minimum: u32,
        /// Unit below which requests cost more.
        preferred: u32,
        /// Most bytes in one read or write.
        maximum: u32,
    },
    /// A kind that is not known here; to be passed over.
    Unknown(u16),
}

impl Info {
    /// The bytes of this piece.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Info::Export { size, flags } => {
                out.extend_from_slice(&info_kind::EXPORT.to_be_bytes());
                out.extend_from_slice(&size.to_be_bytes());
                out.extend_from_slice(&flags.to_be_bytes());
            }
            Info::Name(text) => {
                out.extend_from_slice(&info_kind::NAME.to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Info::Description(text) => {
                out.extend_from_slice(&info_kind::DESCRIPTION.to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
            Info::BlockSize { minimum, preferred, maximum } => {
                out.extend_from_slice(&info_kind::BLOCK_SIZE.to_be_bytes());
                for value in [minimum, preferred, maximum] {
                    out.extend_from_slice(&value.to_be_bytes());
                }
            }
            Info::Unknown(kind) => out.extend_from_slice(&kind.to_be_bytes()),
        }
        out
    }

    /// Reads one piece; `None` where it is malformed.
    pub fn decode(bytes: &[u8]) -> Option<Info> {
        let (kind, rest) = bytes.split_first_chunk::<2>()?;
        let text = || str::from_utf8(rest).ok().map(str::to_owned);
        Some(match u16::from_be_bytes(*kind) {
            info_kind::EXPORT => {
                let (size, rest) = rest.split_first_chunk::<8>()?;
                let flags: [u8; 2] = rest.try_into().ok()?;
                Info::Export { size: u64::from_be_bytes(*size), flags: u16::from_be_bytes(flags) }
            }
            info_kind::NAME => Info::Name(text()?),
            info_kind::DESCRIPTION => Info::Description(text()?),
            info_kind::BLOCK_SIZE => {
                let all: [u8; 12] = rest.try_into().ok()?;
                let value =
                    |i: usize| u32::from_be_bytes([all[i], all[i + 1], all[i + 2], all[i + 3]]);
                Info::BlockSize { minimum: value(0), preferred: value(4), maximum: value(8) }
            }
            other => Info::Unknown(other),
        })
    }
}
