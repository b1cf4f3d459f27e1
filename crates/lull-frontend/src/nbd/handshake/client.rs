//! The client's half of the handshake.
//!
//! ```text
//! Greeting ─▶ Structured ─▶ Going ─▶ Done
//!                 │           └─▶ OldExport ─▶ Done   a server without GO
//!                 └─▶ Listing ─▶ Listed
//! ```

use super::HandshakeError;
use crate::nbd::constants::{
    IHAVEOPT, MAGIC, MAX_NAME, MAX_OPTION_REPLY, MAX_PAYLOAD, OPTION_REPLY, flag, handshake_flag,
    info_kind, opt, rep,
};
use crate::nbd::info::Info;

/// The server's old style, which has no options.
const OLD_MAGIC: u64 = 0x0000_4202_8186_1253;

/// Names that a listing may have; more are a violation.
const MOST_NAMES: usize = 10_000;

/// What the handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Size in bytes.
    pub size: u64,
    /// Transmission flags as the server sent them.
    pub flags: u16,
    /// Smallest unit of a request in bytes.
    pub block: u32,
    /// Unit in bytes below which requests cost more.
    pub preferred: u32,
    /// The most bytes in one read or write.
    pub max_length: u32,
    /// The server's own name for it, where it told one.
    pub name: Option<String>,
    /// The server's description, where it told one.
    pub description: Option<String>,
    /// Whether replies may be structured.
    pub structured: bool,
}

impl Export {
    fn unknown() -> Export {
        Export {
            size: 0,
            flags: 0,
            block: 1,
            preferred: 4096,
            max_length: MAX_PAYLOAD,
            name: None,
            description: None,
            structured: false,
        }
    }

    fn learn(&mut self, info: Info) -> Result<(), &'static str> {
        match info {
            Info::Export { size, flags } => {
                self.size = size;
                self.flags = flags;
            }
            Info::Name(name) => self.name = Some(name),
            Info::Description(text) => self.description = Some(text),
            Info::BlockSize { minimum, preferred, maximum } => {
                if !minimum.is_power_of_two()
                    || minimum > 1 << 16
                    || preferred < minimum
                    || maximum < minimum
                {
                    return Err("block sizes that contradict each other");
                }
                self.block = minimum;
                self.preferred = preferred;
                self.max_length = maximum.min(MAX_PAYLOAD);
            }
            Info::Unknown(_) => {}
        }
        Ok(())
    }

    fn has(&self, bit: u16) -> bool {
        self.flags & flag::HAS_FLAGS != 0 && self.flags & bit != 0
    }

    /// Changes are refused.
    pub fn read_only(&self) -> bool {
        self.has(flag::READ_ONLY)
    }

    /// Flushes are understood.
    pub fn can_flush(&self) -> bool {
        self.has(flag::SEND_FLUSH)
    }

    /// A single write can be durable.
    pub fn can_fua(&self) -> bool {
        self.has(flag::SEND_FUA)
    }

    /// Discards are understood.
    pub fn can_trim(&self) -> bool {
        self.has(flag::SEND_TRIM)
    }

    /// Zeroes can be written without sending them.
    pub fn can_write_zeroes(&self) -> bool {
        self.has(flag::SEND_WRITE_ZEROES)
    }

    /// Several connections see one device.
    pub fn can_multi_conn(&self) -> bool {
        self.has(flag::CAN_MULTI_CONN)
    }
}

/// Where the handshake stands.
#[derive(Debug)]
pub struct Client {
    state: State,
    wish: Wish,
    export: Export,
    told: bool,
    no_zeroes: bool,
    names: Vec<String>,
}

#[derive(Debug)]
enum Wish {
    Use(String),
    List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Structured,
    Going,
    OldExport,
    Listing,
    Over,
}

/// What became of the received bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// They are not enough for anything; to be offered again together with more.
    More,
    /// Something was dealt with.
    Went,
    /// The next byte received belongs to transmission.
    Done(Export),
    /// Every name that the server lists; the connection is to be closed.
    Listed(Vec<String>),
}

impl Client {
    /// A client that wants to use `export`; "" is the server's default.
    pub fn new(export: &str) -> Client {
        Client::with(Wish::Use(export.to_owned()))
    }

    /// A client that wants to know which exports there are.
    pub fn list() -> Client {
        Client::with(Wish::List)
    }

    fn with(wish: Wish) -> Client {
        Client {
            state: State::Greeting,
            wish,
            export: Export::unknown(),
            told: false,
            no_zeroes: false,
            names: Vec::new(),
        }
    }

    /// Looks at the front of `bytes`, appends what is to be sent to `out`, and returns how many
    /// bytes were used up and what they meant.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Step), HandshakeError> {
        match self.state {
            State::Greeting => self.greeting(bytes, out),
            State::OldExport => Ok(self.old_export(bytes)),
            State::Structured | State::Going | State::Listing => self.reply(bytes, out),
            State::Over => Ok((0, Step::More)),
        }
    }

    fn greeting(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Step), HandshakeError> {
        if let Some((magic, rest)) = bytes.split_first_chunk::<8>() {
            if u64::from_be_bytes(*magic) != MAGIC {
                return Err(HandshakeError::Magic(u64::from_be_bytes(*magic), "a greeting"));
            }
            match rest.first_chunk::<8>().map(|m| u64::from_be_bytes(*m)) {
                None | Some(IHAVEOPT) => {}
                Some(OLD_MAGIC) => return Err(HandshakeError::OldStyle),
                Some(other) => return Err(HandshakeError::Magic(other, "a greeting")),
            }
        }
        let Some(&[a, b]) = bytes.get(16..18) else {
            return Ok((0, Step::More));
        };
        let flags = u16::from_be_bytes([a, b])
            & (handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
        self.no_zeroes = flags & handshake_flag::NO_ZEROES != 0;
        out.extend_from_slice(&u32::from(flags).to_be_bytes());
        if flags & handshake_flag::FIXED_NEWSTYLE == 0 {
            self.ask_old(out);
        } else {
            match self.wish {
                Wish::Use(_) => {
                    self.state = State::Structured;
                    option(out, opt::STRUCTURED_REPLY, &[]);
                }
                Wish::List => {
                    self.state = State::Listing;
                    option(out, opt::LIST, &[]);
                }
            }
        }
        Ok((18, Step::Went))
    }

    fn reply(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(usize, Step), HandshakeError> {
        if let Some(magic) = bytes.first_chunk::<8>().map(|m| u64::from_be_bytes(*m))
            && magic != OPTION_REPLY
        {
            return Err(HandshakeError::Magic(magic, "an answer to an option"));
        }
        let Some((header, rest)) = bytes.split_first_chunk::<20>() else {
            return Ok((0, Step::More));
        };
        let number =
            |i: usize| u32::from_be_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
        let (option, kind, length) = (number(8), number(12), number(16));
        if length > MAX_OPTION_REPLY {
            return Err(HandshakeError::TooLong { length, most: MAX_OPTION_REPLY });
        }
        let Some(data) = rest.get(..length as usize) else {
            return Ok((0, Step::More));
        };
        let step = match self.state {
            State::Structured if option == opt::STRUCTURED_REPLY => self.structured(kind, out),
            State::Going if option == opt::GO => self.going(kind, data, out)?,
            State::Listing if option == opt::LIST => self.listing(kind, data, out)?,
            _ => return Err(HandshakeError::Nonsense { option, what: "it was not asked now" }),
        };
        Ok((20 + length as usize, step))
    }

    fn structured(&mut self, kind: u32, out: &mut Vec<u8>) -> Step {
        self.export.structured = kind == rep::ACK;
        self.state = State::Going;
        let asked = [info_kind::NAME, info_kind::DESCRIPTION, info_kind::BLOCK_SIZE];
        let mut data = (self.name().len() as u32).to_be_bytes().to_vec();
        data.extend_from_slice(self.name().as_bytes());
        data.extend_from_slice(&(asked.len() as u16).to_be_bytes());
        for kind in asked {
            data.extend_from_slice(&kind.to_be_bytes());
        }
        option(out, opt::GO, &data);
        Step::Went
    }

    fn going(&mut self, kind: u32, data: &[u8], out: &mut Vec<u8>) -> Result<Step, HandshakeError> {
        let nonsense = |what| HandshakeError::Nonsense { option: opt::GO, what };
        match kind {
            rep::INFO => {
                let info = Info::decode(data).ok_or(nonsense("information that cannot be read"))?;
                self.told |= matches!(info, Info::Export { .. });
                self.export.learn(info).map_err(nonsense)?;
                Ok(Step::Went)
            }
            rep::ACK if self.told => {
                self.state = State::Over;
                Ok(Step::Done(self.export.clone()))
            }
            rep::ACK => Err(nonsense("it does not tell the size")),
            rep::ERR_UNSUP => {
                self.ask_old(out);
                Ok(Step::Went)
            }
            kind if kind & rep::ERROR != 0 => Err(refused(kind, data)),
            _ => Err(nonsense("an unknown kind of answer")),
        }
    }

    fn listing(
        &mut self,
        kind: u32,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        let nonsense = |what| HandshakeError::Nonsense { option: opt::LIST, what };
        match kind {
            rep::SERVER => {
                let (length, rest) =
                    data.split_first_chunk::<4>().ok_or(nonsense("a name is missing"))?;
                let name = rest
                    .get(..u32::from_be_bytes(*length) as usize)
                    .ok_or(nonsense("a name is cut off"))?;
                if self.names.len() == MOST_NAMES || name.len() > MAX_NAME {
                    return Err(nonsense("too many names, or too long a name"));
                }
                self.names.push(String::from_utf8_lossy(name).into_owned());
                Ok(Step::Went)
            }
            rep::ACK => {
                self.state = State::Over;
                option(out, opt::ABORT, &[]);
                Ok(Step::Listed(std::mem::take(&mut self.names)))
            }
            kind if kind & rep::ERROR != 0 => Err(refused(kind, data)),
            _ => Err(nonsense("an unknown kind of answer")),
        }
    }

    fn ask_old(&mut self, out: &mut Vec<u8>) {
        option(out, opt::EXPORT_NAME, self.name().as_bytes());
        self.state = State::OldExport;
    }

    fn old_export(&mut self, bytes: &[u8]) -> (usize, Step) {
        let length = if self.no_zeroes { 10 } else { 134 };
        let (Some((size, rest)), true) = (bytes.split_first_chunk::<8>(), bytes.len() >= length)
        else {
            return (0, Step::More);
        };
        self.export.size = u64::from_be_bytes(*size);
        self.export.flags = u16::from_be_bytes([rest[0], rest[1]]);
        self.state = State::Over;
        (length, Step::Done(self.export.clone()))
    }

    fn name(&self) -> &str {
        match &self.wish {
            Wish::Use(name) => name,
            Wish::List => "",
        }
    }
}

fn option(out: &mut Vec<u8>, option: u32, data: &[u8]) {
    out.extend_from_slice(&IHAVEOPT.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&(data.len() as u32).to_be_bytes());
    out.extend_from_slice(data);
}

fn refused(kind: u32, text: &[u8]) -> HandshakeError {
    let said = String::from_utf8_lossy(text);
    let text = match kind {
        _ if !said.trim().is_empty() => said.into_owned(),
        rep::ERR_POLICY => "not allowed by its policy".into(),
        rep::ERR_UNKNOWN => "there is no export of that name".into(),
        rep::ERR_SHUTDOWN => "it is shutting down".into(),
        kind => format!("error {}", kind & !rep::ERROR),
    };
    HandshakeError::Refused { kind, text }
}
