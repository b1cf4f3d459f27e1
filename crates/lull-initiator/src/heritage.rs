//! What a life of an attachment finds of the one before [SAFE-10], and what it leaves to the next.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use lull_admin::Access;
use lull_proto::initiator::Legacy;
use lull_wire::Incarnation;

use crate::config::{AttachmentConfig, Config};
use crate::error::RunError;
use crate::journal::{Damage, Found, Journal, JournalError};
use crate::state_file::Kept;
use crate::vault::{Vault, not_kept};
use crate::wording;

/// An attachment's log when its life begins.
pub struct Log {
    /// Where what is retained lies.
    pub journal: Journal,
    /// What its machine inherits.
    pub legacy: Legacy,
    /// What its machine may retain, in bytes.
    pub retain: u64,
    /// Who keeps it.
    pub vault: Vault,
    /// Why nobody keeps it.
    pub fault: Option<String>,
    /// What people are to be told: a word for programs, a sentence.
    pub told: Vec<(&'static str, String)>,
}

impl Log {
    /// In which all of it was executed, for the state; `None` where there is none to be found by the next life.
    pub fn settled(&self) -> Option<Incarnation> {
        match self.legacy {
            Legacy::Kept { settled, .. } | Legacy::Lost { settled } => Some(settled),
            Legacy::None => (self.retain > 0).then_some(Incarnation::NONE),
        }
    }
}

/// Finds the log that the life before left, or begins one; from here on the next life finds it.
///
/// # Errors
/// It is there and cannot be had, or there is no memory for one.
pub fn open(
    config: &Config,
    attachment: &AttachmentConfig,
    kept: &Kept,
    passed: &mut HashMap<String, OwnedFd>,
) -> Result<Log, RunError> {
    let mut vault =
        Vault::new(&config.keeping, &config.state_dir, &attachment.name, kept.attachment);
    let unusable = |why: String| RunError::Log { attachment: attachment.name.clone(), why };
    let file = vault.find(passed).map_err(|error| unusable(error.to_string()))?;
    let found = match file.map(|file| Journal::recover(file, kept.attachment)) {
        Some(Ok(found)) => Some(found),
        // An attachment of this name that was removed by hand.
        Some(Err(JournalError::Other)) => {
            vault.forget();
            None
        }
        Some(Err(error @ JournalError::Memory(_))) => return Err(unusable(error.to_string())),
        None => None,
    };
    let mut told = Vec::new();
    // [SAFE-8] It was kept for another disk: none of it may ever be sent to this one.
    let found = match found {
        Some(Found { legacy, .. }) if attachment.adopt => {
            vault.forget();
            told.extend(given_up_words(&legacy));
            None
        }
        found => found,
    };
    // Who only reads has nothing to keep.
    // [SAFE-11] Who shares is answered when it is durable.
    let retain = if attachment.access == Access::Rw { attachment.retain } else { 0 };
    let log = match found {
        Some(Found { journal, legacy, misses, damaged }) => {
            let settled = kept.log.unwrap_or(Incarnation::NONE);
            let legacy = if misses { Legacy::Lost { settled } } else { legacy };
            told.extend(found_words(&legacy));
            told.extend(damaged.map(|damage| ("log_damaged", damage_words(&damage))));
            let retain = retain.min(journal.retains());
            Log { journal, legacy, retain, vault, fault: None, told }
        }
        None => {
            let mut journal = Journal::create(kept.attachment, retain)?;
            let legacy = match kept.log {
                Some(settled) => {
                    journal.misses();
                    Legacy::Lost { settled }
                }
                None => Legacy::None,
            };
            Log { journal, legacy, retain, vault, fault: None, told }
        }
    };
    Ok(log)
}

impl Log {
    /// From here on the next life finds it. That it would not keeps nobody from serving.
    pub fn keep(&mut self) {
        if self.settled().is_none() {
            return;
        }
        if let Err(error) = self.vault.keep(std::os::fd::AsFd::as_fd(&self.journal)) {
            let why = not_kept(&error);
            self.told.push(("log_not_kept", why.clone()));
            self.fault = Some(why);
        }
    }
}

fn found_words(legacy: &Legacy) -> Option<(&'static str, String)> {
    let Legacy::Kept { changes, .. } = legacy else { return None };
    let bytes = changes.iter().map(|ask| u64::from(ask.length)).sum();
    let kept = wording::kept(changes.len() as u64, bytes);
    (!changes.is_empty())
        .then(|| ("log_found", format!("the process before this one left {kept}: they are kept")))
}

fn given_up_words(legacy: &Legacy) -> Option<(&'static str, String)> {
    let Legacy::Kept { changes, .. } = legacy else { return None };
    let bytes = changes.iter().map(|ask| u64::from(ask.length)).sum();
    let lost = wording::kept(changes.len() as u64, bytes);
    (!changes.is_empty()).then(|| ("log_lost", format!("another disk is adopted: {lost} are lost")))
}

fn damage_words(damage: &Damage) -> String {
    let Damage { changes, bytes, range: (from, to), more } = *damage;
    let known = format!("{} between bytes {from} and {to}", wording::kept(changes, bytes));
    let lost = match (changes, more) {
        (0, _) => "an unknown number of unflushed writes".to_owned(),
        (_, true) => format!("{known}, and an unknown number behind them"),
        (_, false) => known,
    };
    format!(
        "the log that the process before this one left is damaged: {lost} are lost if the target lost its memory"
    )
}
