//! Copies of acknowledged changes that no flush covers: the payloads of the machine's log [SAFE-1].
//!
//! They are copied once, into one ring, rather than kept in the buffers in which they came: the ring holds exactly as
//! many bytes as it is given, whatever the requests' sizes, and the buffers go back to those who wait for one.

use std::collections::VecDeque;

use lull_wire::Digest;

/// The payloads of one attachment's log, in its order.
pub struct Retained {
    ring: Box<[u8]>,
    /// Where the next payload begins.
    end: usize,
    /// Bytes in use.
    used: usize,
    entries: VecDeque<Entry>,
    /// The place of the first entry.
    first: u64,
}

struct Entry {
    at: usize,
    length: usize,
    digest: Digest,
}

impl Retained {
    /// Room for `bytes` bytes of payload. Memory is taken as it is used.
    pub fn new(bytes: usize) -> Self {
        let ring = vec![0; bytes].into_boxed_slice();
        Self { ring, end: 0, used: 0, entries: VecDeque::new(), first: 0 }
    }

    /// Keeps a copy under the next place, which is `place`. The machine's bound leaves room for it.
    pub fn push(&mut self, place: u64, payload: &[u8], digest: Digest) {
        if self.entries.is_empty() {
            // From the beginning again: pages that were never needed stay untouched.
            (self.end, self.first) = (0, place);
        }
        debug_assert_eq!(place, self.first + self.entries.len() as u64);
        let (at, length) = (self.end, payload.len());
        assert!(self.used + length <= self.ring.len(), "the machine's log is bounded");
        let whole = length.min(self.ring.len() - at);
        self.ring[at..at + whole].copy_from_slice(&payload[..whole]);
        self.ring[..length - whole].copy_from_slice(&payload[whole..]);
        self.used += length;
        self.end = if whole < length { length - whole } else { at + length };
        self.entries.push_back(Entry { at, length, digest });
    }

    /// Lets go of everything before this place.
    pub fn release(&mut self, before: u64) {
        while self.first < before
            && let Some(entry) = self.entries.pop_front()
        {
            self.used -= entry.length;
            self.first += 1;
        }
    }

    /// What is kept under a place, once more copied: a connection may need it longer than the log.
    pub fn copy(&self, place: u64) -> Option<(Vec<u8>, Digest)> {
        let at = usize::try_from(place.checked_sub(self.first)?).ok()?;
        let entry = self.entries.get(at)?;
        let whole = entry.length.min(self.ring.len() - entry.at);
        let mut payload = Vec::with_capacity(entry.length);
        payload.extend_from_slice(&self.ring[entry.at..entry.at + whole]);
        payload.extend_from_slice(&self.ring[..entry.length - whole]);
        Some((payload, entry.digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [SAFE-1] What is kept is what was written, around the ring's end as well, as long as it is kept.
    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let mut retained = Retained::new(1000);
        let payload_of = |place: u64| vec![place as u8; 37 * (place as usize % 5)];
        let mut kept = 0..0u64;
        for place in 0..500 {
            let payload = payload_of(place);
            while retained.used + payload.len() > 1000 {
                kept.start += 3;
                retained.release(kept.start);
            }
            retained.push(place, &payload, Digest::of(&payload));
            kept.end = place + 1;
            for place in kept.clone() {
                let (found, digest) = retained.copy(place).unwrap();
                assert_eq!(found, payload_of(place));
                assert_eq!(digest, Digest::of(&found));
            }
            assert!(kept.start == 0 || retained.copy(kept.start - 1).is_none());
            assert!(retained.copy(kept.end).is_none());
        }
    }
}
