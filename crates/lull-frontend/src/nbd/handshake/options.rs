//! The data of options, and answers to them, as bytes.

use super::server::{How, Question};
use crate::nbd::constants::{MAX_NAME, MAX_TEXT, OPTION_REPLY, opt};

pub(super) fn reply(out: &mut Vec<u8>, option: u32, kind: u32, data: &[u8]) {
    out.extend_from_slice(&OPTION_REPLY.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(data.len() as u32).to_be_bytes());
    out.extend_from_slice(data);
}

pub(super) fn refuse(out: &mut Vec<u8>, option: u32, kind: u32, text: &str) {
    reply(out, option, kind, cut(text, MAX_TEXT).as_bytes());
}

pub(super) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// The name of an export.
pub(super) fn name(bytes: &[u8]) -> Result<String, &'static str> {
    if bytes.len() > MAX_NAME {
        return Err("the name of the export is longer than 4096 bytes");
    }
    let text = str::from_utf8(bytes).map_err(|_| "the name of the export is not UTF-8")?;
    Ok(text.to_owned())
}

/// A length of 4 bytes and as many bytes as it says; then what follows them.
pub(super) fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// Reads the data of INFO and GO.
pub(super) fn question(option: u32, data: &[u8]) -> Result<Question, &'static str> {
    const MALFORMED: &str = "the request for an export cannot be read";
    let (wanted, rest) = counted(data).ok_or(MALFORMED)?;
    let (count, kinds) = rest.split_first_chunk::<2>().ok_or(MALFORMED)?;
    if kinds.len() != 2 * usize::from(u16::from_be_bytes(*count)) {
        return Err(MALFORMED);
    }
    Ok(Question {
        name: name(wanted)?,
        how: if option == opt::GO { How::Go } else { How::Info },
        asked: kinds.as_chunks::<2>().0.iter().map(|kind| u16::from_be_bytes(*kind)).collect(),
    })
}
