//! Metadata contexts: which there are, and what a client has chosen.
//!
//! There is one, `base:allocation`, of exports whose devices tell their extents.

use super::options::{counted, name, reply};
use crate::nbd::constants::{ALLOCATION, ALLOCATION_ID, opt, rep};

/// The query for every context of the namespace that the protocol itself defines.
const WILDCARD: &[u8] = b"base:";

/// A client that asks which contexts there are, or chooses some.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    /// The name of the export that it is about; "" is the default one.
    pub name: String,
    sets: bool,
    /// Some query is for the one context that there is.
    matches: bool,
}

impl Question {
    /// Reads the data of an option: that of `NBD_OPT_SET_META_CONTEXT` where it `sets`, else that
    /// of `NBD_OPT_LIST_META_CONTEXT`. Queries for what is not known match nothing.
    pub(super) fn decode(sets: bool, data: &[u8]) -> Result<Question, &'static str> {
        const MALFORMED: &str = "the queries cannot be read";
        let (wanted, rest) = counted(data).ok_or(MALFORMED)?;
        let (count, mut rest) = rest.split_first_chunk::<4>().ok_or(MALFORMED)?;
        let count = u32::from_be_bytes(*count);
        // Who asks for nothing in particular is told all, but has chosen nothing.
        let mut matches = count == 0 && !sets;
        for _ in 0..count {
            let (query, after) = counted(rest).ok_or(MALFORMED)?;
            matches |= query == ALLOCATION.as_bytes() || (query == WILDCARD && !sets);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(MALFORMED);
        }
        Ok(Question { name: name(wanted)?, sets, matches })
    }

    pub(super) fn option(&self) -> u32 {
        if self.sets { opt::SET_META_CONTEXT } else { opt::LIST_META_CONTEXT }
    }
}

/// The export for which a client has chosen to be told of extents.
#[derive(Debug, Default)]
pub(super) struct Chosen(Option<String>);

impl Chosen {
    /// A choice is for the export by the name that it was made for, and for no other.
    pub(super) fn is_for(&self, export: &str) -> bool {
        self.0.as_deref() == Some(export)
    }

    /// Tells what the question matches, of an export that `tells` its extents or does not; enters
    /// a choice.
    pub(super) fn answer(&mut self, question: Question, tells: bool, out: &mut Vec<u8>) {
        let option = question.option();
        if tells && question.matches {
            let id = if question.sets { ALLOCATION_ID } else { 0 };
            let context = [&id.to_be_bytes(), ALLOCATION.as_bytes()].concat();
            reply(out, option, rep::META_CONTEXT, &context);
            if question.sets {
                self.0 = Some(question.name);
            }
        }
        reply(out, option, rep::ACK, &[]);
    }
}
