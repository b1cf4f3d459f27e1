//! The server's half of the handshake.
//!
//! ```text
//! greeting ─▶ Flags ─▶ Options ⟲ ─▶ Transmission   after GO or EXPORT_NAME
//!                         ├─▶ Skipping ─▶ Options   an option that is too long
//!                         └─▶ Closed                ABORT, or a refused EXPORT_NAME
//! ```

use super::HandshakeError;
use super::contexts::{self, Chosen};
use super::options::{cut, name, question, refuse, reply};
use crate::nbd::constants::{
    IHAVEOPT, MAGIC, MAX_OPTION, MAX_SKIPPED, MAX_TEXT, handshake_flag, info_kind, opt, rep,
};
use crate::nbd::info::Info;
use crate::nbd::request::Terms;
use crate::nbd::{Dialect, Geometry, OpenRefused};

/// Options that one client may send; beyond it the connection ends. [SEC-4] Each may cost a look at
/// all exports.
const MOST_OPTIONS: u32 = 1024;

/// What the server says first.
pub fn greeting() -> [u8; 18] {
    let mut out = [0; 18];
    out[0..8].copy_from_slice(&MAGIC.to_be_bytes());
    out[8..16].copy_from_slice(&IHAVEOPT.to_be_bytes());
    let flags = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
    out[16..18].copy_from_slice(&flags.to_be_bytes());
    out
}

/// Where one client's handshake stands.
#[derive(Debug)]
pub struct Server {
    state: State,
    no_zeroes: bool,
    dialect: Dialect,
    /// The export for which the client has chosen to be told of extents.
    chosen: Chosen,
    options: u32,
}

#[derive(Debug)]
enum State {
    Flags,
    Options,
    Skipping { option: u32, left: u32 },
    Transmission,
    Closed,
}

/// What became of the received bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// They are not enough for anything; to be offered again together with more.
    More,
    /// Something was dealt with, and answered where that was due. Carry on.
    Went,
    /// To be answered with [`Server::listed`].
    List,
    /// To be answered with [`Server::answer`].
    Open(Question),
    /// To be answered with [`Server::answer_contexts`].
    Contexts(contexts::Question),
    /// The client takes its leave: send what there is to send and close.
    Leave,
}

/// A client that asks for an export.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    /// The export's name; "" is the default one.
    pub name: String,
    /// How it asks.
    pub how: How,
    pub(super) asked: Vec<u16>,
}

/// The ways to ask for an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Only to know about it.
    Info,
    /// To use it.
    Go,
    /// To use it, in the way of old clients, which can only be refused by closing.
    ExportName,
}

impl Default for Server {
    fn default() -> Self {
        Server::new()
    }
}

impl Server {
    /// A client that has just been greeted.
    pub fn new() -> Server {
        Server {
            state: State::Flags,
            no_zeroes: false,
            dialect: Dialect::Simple,
            chosen: Chosen::default(),
            options: 0,
        }
    }

    /// What was agreed on for a client that has gone over to transmission with `export`.
    pub fn terms(&self, export: &str) -> Terms {
        Terms { dialect: self.dialect, extents: self.chosen.is_for(export) }
    }

    /// Whether the next byte received belongs to transmission.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Transmission)
    }

    /// Looks at the front of `bytes`, appends any answer to `out`, and returns how many bytes were
    /// used up and what they meant.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Step), HandshakeError> {
        match self.state {
            State::Flags => self.flags(bytes),
            State::Options => self.option(bytes, out),
            State::Skipping { option, left } => {
                let n = bytes.len().min(left as usize);
                if n == 0 && left > 0 {
                    return Ok((0, Step::More));
                }
                let left = left - n as u32;
                self.state = State::Skipping { option, left };
                if left == 0 {
                    refuse(out, option, rep::ERR_TOO_BIG, "the option is too long");
                    self.state = State::Options;
                }
                Ok((n, Step::Went))
            }
            State::Transmission | State::Closed => Ok((0, Step::Leave)),
        }
    }

    fn flags(&mut self, bytes: &[u8]) -> Result<(usize, Step), HandshakeError> {
        let Some(flags) = bytes.first_chunk::<4>() else {
            return Ok((0, Step::More));
        };
        let flags = u32::from_be_bytes(*flags);
        let known = u32::from(handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
        if flags & !known != 0 {
            return Err(HandshakeError::Flags(flags));
        }
        self.no_zeroes = flags & u32::from(handshake_flag::NO_ZEROES) != 0;
        self.state = State::Options;
        Ok((4, Step::Went))
    }

    fn option(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, Step), HandshakeError> {
        if let Some(magic) = bytes.first_chunk::<8>().map(|m| u64::from_be_bytes(*m))
            && magic != IHAVEOPT
        {
            return Err(HandshakeError::Magic(magic, "an option"));
        }
        let Some(([_, _, _, _, _, _, _, _, o0, o1, o2, o3, l0, l1, l2, l3], rest)) =
            bytes.split_first_chunk::<16>()
        else {
            return Ok((0, Step::More));
        };
        let option = u32::from_be_bytes([*o0, *o1, *o2, *o3]);
        let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]);
        if length > MAX_SKIPPED {
            return Err(HandshakeError::TooLong { length, most: MAX_SKIPPED });
        }
        if length <= MAX_OPTION && rest.len() < length as usize {
            return Ok((0, Step::More));
        }
        self.options += 1;
        if self.options > MOST_OPTIONS {
            return Err(HandshakeError::TooMany(MOST_OPTIONS));
        }
        if length > MAX_OPTION {
            self.state = State::Skipping { option, left: length };
            return Ok((16, Step::Went));
        }
        let step = self.judge(option, &rest[..length as usize], out)?;
        Ok((16 + length as usize, step))
    }

    fn judge(
        &mut self,
        option: u32,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        let must_be_empty =
            matches!(option, opt::LIST | opt::STRUCTURED_REPLY | opt::EXTENDED_HEADERS);
        if must_be_empty && !data.is_empty() {
            refuse(out, option, rep::ERR_INVALID, "this option has no data");
            return Ok(Step::Went);
        }
        match option {
            opt::EXPORT_NAME if self.dialect == Dialect::Extended => {
                let what = "with extended headers it has to use NBD_OPT_GO";
                return Err(HandshakeError::NoExport(what.into()));
            }
            opt::EXPORT_NAME => {
                let name = name(data).map_err(|what| HandshakeError::NoExport(what.into()))?;
                let asked = Vec::new();
                return Ok(Step::Open(Question { name, how: How::ExportName, asked }));
            }
            opt::ABORT => {
                self.state = State::Closed;
                reply(out, option, rep::ACK, &[]);
                return Ok(Step::Leave);
            }
            opt::LIST => return Ok(Step::List),
            opt::INFO | opt::GO => match question(option, data) {
                Ok(question) => return Ok(Step::Open(question)),
                Err(what) => refuse(out, option, rep::ERR_INVALID, what),
            },
            opt::STRUCTURED_REPLY if self.dialect == Dialect::Extended => {
                let text = "extended headers are agreed on already";
                refuse(out, option, rep::ERR_EXT_HEADER_REQD, text);
            }
            opt::STRUCTURED_REPLY => {
                self.dialect = Dialect::Structured;
                reply(out, option, rep::ACK, &[]);
            }
            opt::EXTENDED_HEADERS => {
                self.dialect = Dialect::Extended;
                reply(out, option, rep::ACK, &[]);
            }
            opt::LIST_META_CONTEXT | opt::SET_META_CONTEXT => {
                let sets = option == opt::SET_META_CONTEXT;
                if sets {
                    // Whatever comes of it, what was chosen before is chosen no more.
                    self.chosen = Chosen::default();
                }
                if sets && self.dialect == Dialect::Simple {
                    let text = "agree on structured replies or extended headers first";
                    refuse(out, option, rep::ERR_INVALID, text);
                } else {
                    match contexts::Question::decode(sets, data) {
                        Ok(question) => return Ok(Step::Contexts(question)),
                        Err(what) => refuse(out, option, rep::ERR_INVALID, what),
                    }
                }
            }
            _ => refuse(out, option, rep::ERR_UNSUP, "this option is not supported"),
        }
        Ok(Step::Went)
    }

    /// Answers [`Step::List`].
    pub fn listed(&self, names: &[String], out: &mut Vec<u8>) {
        for name in names {
            let mut data = (name.len() as u32).to_be_bytes().to_vec();
            data.extend_from_slice(name.as_bytes());
            reply(out, opt::LIST, rep::SERVER, &data);
        }
        reply(out, opt::LIST, rep::ACK, &[]);
    }

    /// Answers [`Step::Open`]: tells `export` and, unless the client only wanted to know about it,
    /// goes over to transmission; or refuses it. An old client's export that is refused is an error,
    /// since there is no other way to tell it.
    pub fn answer(
        &mut self,
        question: &Question,
        export: Result<&Geometry, OpenRefused>,
        out: &mut Vec<u8>,
    ) -> Result<(), HandshakeError> {
        let option = match question.how {
            How::Info => opt::INFO,
            How::Go => opt::GO,
            How::ExportName => return self.answer_old(export, out),
        };
        let export = match export {
            Ok(export) => export,
            Err(refused) => {
                refuse(out, option, kind(&refused), &refused.to_string());
                return Ok(());
            }
        };
        let mut infos = vec![
            Info::Export { size: export.size, flags: export.flags(self.dialect) },
            Info::BlockSize {
                minimum: export.block,
                preferred: export.preferred,
                maximum: export.max_length,
            },
        ];
        if question.asked.contains(&info_kind::NAME) {
            infos.push(Info::Name(question.name.clone()));
        }
        if question.asked.contains(&info_kind::DESCRIPTION) && !export.description.is_empty() {
            infos.push(Info::Description(cut(&export.description, MAX_TEXT).into()));
        }
        for info in infos {
            reply(out, option, rep::INFO, &info.encode());
        }
        reply(out, option, rep::ACK, &[]);
        if question.how == How::Go {
            self.state = State::Transmission;
        }
        Ok(())
    }

    /// Answers [`Step::Contexts`] from what the export can do, or why it cannot be had.
    pub fn answer_contexts(
        &mut self,
        question: contexts::Question,
        export: Result<&Geometry, OpenRefused>,
        out: &mut Vec<u8>,
    ) {
        match export {
            Ok(export) => self.chosen.answer(question, export.extents, out),
            Err(refused) => {
                refuse(out, question.option(), kind(&refused), &refused.to_string());
            }
        }
    }

    fn answer_old(
        &mut self,
        export: Result<&Geometry, OpenRefused>,
        out: &mut Vec<u8>,
    ) -> Result<(), HandshakeError> {
        let export = match export {
            Ok(export) => export,
            Err(refused) => {
                self.state = State::Closed;
                return Err(HandshakeError::NoExport(refused.to_string()));
            }
        };
        out.extend_from_slice(&export.size.to_be_bytes());
        out.extend_from_slice(&export.flags(self.dialect).to_be_bytes());
        if !self.no_zeroes {
            out.extend_from_slice(&[0; 124]);
        }
        self.state = State::Transmission;
        Ok(())
    }
}

/// How a refusal is told.
fn kind(refused: &OpenRefused) -> u32 {
    match refused {
        OpenRefused::Unknown(_) => rep::ERR_UNKNOWN,
        OpenRefused::Policy(_) => rep::ERR_POLICY,
        OpenRefused::Shutdown(_) => rep::ERR_SHUTDOWN,
    }
}
