//! The states of all attachments of a daemon, which it takes before it touches anything of the outside.

use std::path::Path;

use lull_proto::initiator::Memory;
use lull_wire::{AttachmentId, InstanceId};

use crate::config::{AttachmentConfig, Config};
use crate::daemon::random;
use crate::error::RunError;
use crate::state_file::{Kept, StateFile};

/// The state of an attachment, with its lock: where it is, what it holds, and whether there was none.
pub(crate) type Opened = (StateFile, Kept, bool);

/// All of them.
pub(crate) struct States {
    /// The life that begins.
    pub instance: InstanceId,
    /// One for each attachment, in the order of the configuration.
    pub opened: Vec<Opened>,
    /// The new life stands in each of them.
    pub noted: bool,
}

impl States {
    /// Takes them for a new life. `goes_on`: consumers of an earlier one wait for it, and it is noted in each at once: what
    /// could keep it from beginning is found while what that life has left is still whole.
    ///
    /// # Errors
    /// The first that cannot be had, or written.
    pub fn take(config: &Config, goes_on: bool) -> Result<Self, RunError> {
        Self::take_for(InstanceId(random()?), config, goes_on)
    }

    /// The same for a life that has tried before. [SAFE-6] Another one at each try would come to be all that the states
    /// remember, and the one that the targets know would be forgotten.
    ///
    /// # Errors
    /// As there.
    pub fn take_for(
        instance: InstanceId,
        config: &Config,
        goes_on: bool,
    ) -> Result<Self, RunError> {
        config.check()?;
        let opened = config.attachments.iter();
        let opened = opened.map(|one| open(&config.node, &config.state_dir, one));
        let states = Self { instance, opened: opened.collect::<Result<_, _>>()?, noted: goes_on };
        if goes_on {
            states
                .opened
                .iter()
                .try_for_each(|(file, kept, _)| file.write(&kept.noting(instance)))?;
        }
        Ok(states)
    }
}

/// The state of an attachment: what the last life left, or a fresh identity.
pub(crate) fn open(
    node: &str,
    state_dir: &Path,
    attachment: &AttachmentConfig,
) -> Result<Opened, RunError> {
    let (file, found) = StateFile::open(state_dir, &attachment.name, node)?;
    if let Some(mut kept) = found {
        if attachment.adopt {
            // [SAFE-8] Nothing is known of it any more but the epochs: it comes like one that was never there.
            kept.memory = Memory { epoch: kept.memory.epoch, ..Memory::default() };
            kept.log = None;
        }
        return Ok((file, kept, false));
    }
    let kept = Kept {
        attachment: AttachmentId(random()?),
        instance: InstanceId::NONE,
        noted: Vec::new(),
        memory: Memory::default(),
        log: None,
    };
    Ok((file, kept, true))
}
