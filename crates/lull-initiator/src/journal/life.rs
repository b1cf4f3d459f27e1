//! Whose a log is. While a life has it nobody else may have written under the same attachment; where somebody has, whether
//! he did not find the log or is of a release that does not look for it, what lies in it is older than what he wrote.
//!
//! ```text
//!  256      272               288              296           304
//!  │ life   │ let in before   │ settled's mark │ checksum    │
//! ```
//! The mark is that of the incarnation: a release that goes on with a log and knows nothing of this settles it, and the
//! two marks differ from there on. Then it is his, whatever is written here. Who is handed a log while its target lives need
//! not settle it: whoever hands it over says before that it is nobody's.

use lull_wire::{Digest, InstanceId};

use super::{AT_LIFE, Journal};

/// What the checksum covers, in bytes.
const COVERED: usize = 40;
/// Set where a checksum is, so that zeroes never are one.
const SIGNED: u64 = 1 << 32;

/// The life of a daemon that has a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its own name.
    pub instance: InstanceId,
    /// The last life before it that had been let in; zero for none.
    pub before: InstanceId,
}

impl Life {
    /// Whether nobody else was let in since, where `last` is whom the state names as the last who was.
    pub fn is_last(self, last: InstanceId) -> bool {
        last == self.instance || last == self.before
    }
}

impl Journal {
    /// It is this life's from here on. To be called when the state has noted it, and before it is let in: of whoever is
    /// killed in between, the log is the one before's still, which the state names as well.
    pub fn belongs_to(&mut self, life: Life) {
        self.life = Some(life);
        self.sign();
    }

    /// It is given away. Without a checksum it is nobody's, which is no reason not to send it.
    pub fn belongs_to_nobody(&mut self) {
        self.life = None;
        self.memory.store(AT_LIFE + COVERED, 0);
    }

    pub(super) fn sign(&mut self) {
        let Some(Life { instance, before }) = self.life else { return };
        // As above, should this life be killed meanwhile.
        self.memory.store(AT_LIFE + COVERED, 0);
        let bytes = self.memory.bytes_mut(AT_LIFE, COVERED);
        bytes[..16].copy_from_slice(&instance.0);
        bytes[16..32].copy_from_slice(&before.0);
        bytes[32..].copy_from_slice(&self.settled.to_le_bytes());
        let crc = Digest::of(bytes).crc;
        self.memory.store(AT_LIFE + COVERED, u64::from(crc) | SIGNED);
    }

    pub(super) fn read_life(&self) -> Option<Life> {
        let bytes = self.memory.bytes(AT_LIFE, COVERED);
        let crc = u64::from(Digest::of(bytes).crc) | SIGNED;
        let (instance, rest) = bytes.split_first_chunk()?;
        let (before, mark) = rest.split_first_chunk()?;
        let own = self.memory.load(AT_LIFE + COVERED) == crc && *mark == self.settled.to_le_bytes();
        own.then_some(Life { instance: InstanceId(*instance), before: InstanceId(*before) })
    }
}
