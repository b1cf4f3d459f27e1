//! A log that is older than what somebody else has written since: it is never sent, people are told what was in it, and it
//! is set aside.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use lull_proto::initiator::Legacy;

use crate::journal::{Extent, Found, Journal, JournalError, Saved};
use crate::state_file::Kept;
use crate::wording;

/// A log as it was found.
pub(crate) enum Left {
    /// The life that begins is its heir.
    Ours(Box<Found>),
    /// It must not be sent.
    Overtaken(Overtaken),
}

/// What may not be sent.
pub(crate) struct Overtaken {
    /// The memory in which it is.
    memory: OwnedFd,
    /// What was in it, in words.
    lost: String,
}

impl Left {
    /// [SAFE-10] A log is sent by the heir of the life that kept it. Where the state names another attachment, or a life that
    /// was let in later, that one did not find it, or is of a release that did not look: whatever it wrote is newer.
    ///
    /// # Errors
    /// The memory cannot be mapped.
    pub fn of(memory: OwnedFd, kept: &Kept) -> io::Result<Self> {
        let found = match Journal::recover(memory.try_clone()?) {
            Ok(found) => found,
            Err(JournalError::Memory(error)) => return Err(error),
            Err(JournalError::Other) => {
                let lost = wording::UNKNOWN_LOST.to_owned();
                return Ok(Self::Overtaken(Overtaken { memory, lost }));
            }
        };
        let heir = found.life.is_none_or(|life| life.is_last(kept.instance));
        if found.attachment == kept.attachment && heir {
            return Ok(Self::Ours(Box::new(found)));
        }
        let lost = contents(&found);
        Ok(Self::Overtaken(Overtaken { memory, lost }))
    }
}

/// What is in a log, for people; empty: nothing is.
fn contents(found: &Found) -> String {
    let Legacy::Kept { changes, .. } = &found.legacy else { return String::new() };
    let whole = Extent::of(changes).as_ref().map(wording::lost);
    let damaged = found.damaged.as_ref().map(wording::damaged);
    whole.into_iter().chain(damaged).collect::<Vec<_>>().join(", and ")
}

impl Overtaken {
    /// Sets a log aside that was found in `file`; what people are to be told, where anything was in it.
    ///
    /// # Errors
    /// It cannot be had out of the way.
    pub fn file(self, file: &Saved) -> io::Result<Option<String>> {
        if self.lost.is_empty() {
            return file.remove().map(|()| None);
        }
        let aside = file.set_aside()?;
        Ok(Some(self.words(&aside)))
    }

    /// The same for one that was found in memory, of which `file` would be the copy.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn memory(self, file: &Saved) -> io::Result<Option<String>> {
        if self.lost.is_empty() {
            return Ok(None);
        }
        let aside = file.write_aside(self.memory.as_fd())?;
        Ok(Some(self.words(&aside)))
    }

    fn words(&self, aside: &Path) -> String {
        format!(
            "a log of unflushed writes was found that is older than what was written since, by a process that did not find \
             it: {} are not sent, and lost if the target lost its memory meanwhile; the log is set aside in {}",
            self.lost,
            aside.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Life;
    use lull_proto::initiator::{Ask, Memory};
    use lull_wire::{AttachmentId, Digest, Incarnation, InstanceId, OpCode, RequestFlags};

    const ID: AttachmentId = AttachmentId([7; 16]);

    /// A state that names this life as the last that was let in.
    fn kept(attachment: AttachmentId, last: u8) -> Kept {
        let (instance, memory) = (InstanceId([last; 16]), Memory::default());
        Kept { attachment, instance, noted: Vec::new(), memory, log: None }
    }

    /// A log with one change, of life 2, before which life 1 was let in.
    fn log() -> OwnedFd {
        let mut journal = Journal::create(ID, 1 << 20).unwrap();
        let (op, flags) = (OpCode::Write, RequestFlags::none());
        let ask = Ask { op, flags, offset: 1024, length: 512 };
        journal.push(0, &ask, &[9; 512], Digest::of(&[9; 512]));
        journal.settle(Incarnation([1; 16]));
        journal.belongs_to(Life { instance: InstanceId([2; 16]), before: InstanceId([1; 16]) });
        journal.as_fd().try_clone_to_owned().unwrap()
    }

    fn overtaken(memory: OwnedFd, kept: &Kept) -> Option<Overtaken> {
        match Left::of(memory, kept).unwrap() {
            Left::Ours(found) => {
                assert!(!found.journal.is_empty());
                None
            }
            Left::Overtaken(overtaken) => Some(overtaken),
        }
    }

    /// [SAFE-10] It is the heir's until somebody else was let in. A life that kept it may have been let in itself or not.
    #[test]
    fn a_log_is_sent_by_nobody_when_another_life_was_let_in_since() {
        for (last, is_overtaken) in [(1, false), (2, false), (3, true)] {
            let found = overtaken(log(), &kept(ID, last));
            assert_eq!(found.is_some(), is_overtaken, "{last} was the last");
        }
        assert!(overtaken(log(), &kept(AttachmentId([8; 16]), 2)).is_some(), "it was detached");
        // Of a release that does not say whose it is.
        let mut unsigned = Journal::recover(log()).unwrap().journal;
        unsigned.settle(Incarnation([1; 16]));
        let unsigned = unsigned.as_fd().try_clone_to_owned().unwrap();
        assert!(overtaken(unsigned, &kept(ID, 3)).is_none());
    }

    /// [SAFE-10] What was in it is told by count and range, and none of it is thrown away.
    #[test]
    fn what_is_overtaken_is_told_and_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let saved = Saved::of(dir.path(), "db1");
        let name = |number: u32| dir.path().join(format!("db1.overtaken.{number}"));
        for number in 1..=2 {
            saved.write(log().as_fd()).unwrap();
            let memory = saved.read().unwrap().unwrap();
            let words = overtaken(memory, &kept(ID, 3)).unwrap().file(&saved).unwrap().unwrap();
            assert!(words.contains("1 change (512 B)"), "{words}");
            assert!(words.contains("between bytes 1024 and 1536"), "{words}");
            assert!(words.contains(name(number).to_str().unwrap()), "{words}");
            assert!(!saved.path().exists() && name(number).exists());
        }
        assert!(overtaken(log(), &kept(ID, 3)).unwrap().memory(&saved).unwrap().is_some());
        assert!(name(3).exists());
        std::fs::write(saved.path(), [7; 4096]).unwrap();
        let memory = saved.read().unwrap().unwrap();
        let words = overtaken(memory, &kept(ID, 2)).unwrap().file(&saved).unwrap().unwrap();
        assert!(words.contains("an unknown number") && name(4).exists(), "{words}");
        let empty = Journal::create(ID, 4096).unwrap().as_fd().try_clone_to_owned().unwrap();
        let empty = overtaken(empty, &kept(AttachmentId([8; 16]), 2)).unwrap();
        assert_eq!(empty.memory(&saved).unwrap(), None, "nothing is lost with it");
    }
}
