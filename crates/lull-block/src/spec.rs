//! What a person writes to say what lies under a resource: `file:/srv/db1.img,direct=on`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::size::{Shown, parse_size};

/// A backend as written, checked for form only: nothing has been looked at on this machine.
///
/// | form | what it is |
/// | --- | --- |
/// | `file:/path` | a regular file or a block device |
/// | `mem:64M` | memory of the serving process, lost with it |
/// | `null:1G` | reads as zeroes, swallows writes |
/// | `scheme://…` | what another server shares, such as `lull://host/resource` or `nbd://host:port/export` |
/// | `faulty:OPTIONS:BACKEND` | another backend that fails and dawdles, for tests |
///
/// Options follow after commas; a comma that belongs to a path or URI is written `\,`. Sizes take K, M,
/// G, T and Ki, Mi, Gi, Ti, all powers of 1024.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackendSpec {
    /// `file:`
    File(FileSpec),
    /// `mem:`
    Memory {
        /// In bytes; a multiple of 512.
        size: u64,
    },
    /// `null:`
    Null {
        /// In bytes; a multiple of 512.
        size: u64,
    },
    /// `scheme://`
    Remote(RemoteSpec),
    /// `faulty:`
    Faulty(FaultySpec, Box<BackendSpec>),
}

/// `file:/path[,direct=on|off][,engine=auto|uring|threads][,size=SIZE][,read-only][,network=on|off]`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileSpec {
    /// Where the file or block device is.
    pub path: PathBuf,
    /// `direct=on`: bypass the page cache. Default: off.
    pub direct: bool,
    /// `engine=`: who does what would block an event loop. Default: auto.
    pub engine: EngineChoice,
    /// `size=`: create the file, sparse, with this many bytes if it does not exist; an existing one
    /// must have just this size. A multiple of 512.
    pub size: Option<u64>,
    /// `read-only`: refuse changes, and share the file with other readers.
    pub read_only: bool,
    /// `network=on`: accept a network file system, whose locks and whose idea of "on stable
    /// storage" this machine cannot vouch for. Default: off.
    pub network: bool,
}

/// Who does what would block an event loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EngineChoice {
    /// `auto`: io_uring where the kernel permits it, otherwise threads.
    #[default]
    Auto,
    /// `uring`: io_uring, or the file is not opened.
    Uring,
    /// `threads`: a few threads that wait.
    Threads,
}

/// `scheme://…[,read-only][,write-through]`
///
/// Which schemes there are, and what a URI of each must look like, is known to
/// [`Remotes`](crate::Remotes) alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemoteSpec {
    /// The URI as it was written, without options.
    pub uri: String,
    /// `read-only`: refuse changes.
    pub read_only: bool,
    /// `write-through`: answer a change only when the server has it on stable storage.
    pub write_through: bool,
}

/// `faulty:[delay=SPAN][,volatile][,fail-flush=N][,fail-flush-after=N][,hang-flush=N+SPAN][,fail-reads-at=OFFSET[+LENGTH]][,fail-writes-at=OFFSET[+LENGTH]]:BACKEND`
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FaultySpec {
    /// `delay=10ms`: every request starts at least this much later, and less than twice as much.
    pub delay: Duration,
    /// `fail-flush=N`: the N-th flush (the first is 1) fails as a write-back that failed.
    pub fail_flush: Option<u64>,
    /// `fail-flush-after=N`: every flush after the N-th fails so.
    pub fail_flush_after: Option<u64>,
    /// `hang-flush=N+20s`: the N-th flush (the first is 1) is begun this much later.
    pub hang_flush: Option<(u64, Duration)>,
    /// `fail-reads-at=OFFSET+LENGTH` (default length 512): reads that touch these bytes fail.
    pub fail_reads: Option<Span>,
    /// `fail-writes-at=OFFSET+LENGTH`: changes that touch these bytes fail and alter nothing.
    pub fail_writes: Option<Span>,
    /// `volatile`: acknowledged changes stay in this process's memory until a flush; killed, it loses them as a disk
    /// that loses its power does. For `file:` only.
    pub volatile: bool,
}

/// A range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// Why a text is not a [`BackendSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SpecError {
    #[error(
        "\"{text}\" does not say what kind of backend it is: write file:{text} for a file or a \
         block device, or mem:64M, or null:1G"
    )]
    NoKind { text: String },
    #[error(
        "unknown kind of backend \"{kind}:\" in \"{text}\": there are file:, mem:, null:, \
         lull:// and nbd://"
    )]
    UnknownKind { kind: String, text: String },
    #[error(
        "unknown option \"{key}\" of {kind}: it takes {known} (a comma in a path is written \"\\,\")"
    )]
    UnknownOption { key: String, kind: &'static str, known: &'static str },
    #[error("option {key} is given twice: remove one")]
    Twice { key: String },
    #[error("{key}: \"{value}\" is not {expected}")]
    BadValue { key: String, value: String, expected: &'static str },
    #[error("{key}: {size} bytes are not a multiple of 512: use {below} or {above}")]
    Unaligned { key: String, size: u64, below: u64, above: u64 },
    #[error("file: needs the path of a file or a block device, as in file:/srv/disk.img")]
    NoPath,
    #[error("read-only and size= exclude each other: a file that is created is empty; remove one")]
    CreateReadOnly,
    #[error("faulty: needs a backend after its options, as in faulty:delay=10ms:mem:64M")]
    NoInner,
    #[error("faulty:volatile needs a file: behind it, as in faulty:volatile:file:/srv/disk.img")]
    VolatileInner,
}

const A_SIZE: &str = "a size such as 1073741824, 64M or 1Gi";

impl FromStr for BackendSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let Some((kind, rest)) = text.split_once(':') else {
            return Err(SpecError::NoKind { text: text.into() });
        };
        if kind.contains('/') {
            return Err(SpecError::NoKind { text: text.into() });
        }
        match kind {
            "file" => file(rest).map(Self::File),
            "mem" => Ok(Self::Memory { size: only_size("mem", rest)? }),
            "null" => Ok(Self::Null { size: only_size("null", rest)? }),
            "faulty" => {
                let (options, inner) = rest.split_once(':').ok_or(SpecError::NoInner)?;
                let (faults, inner) = (faulty(options)?, inner.parse()?);
                if faults.volatile && !matches!(inner, Self::File(_)) {
                    return Err(SpecError::VolatileInner);
                }
                Ok(Self::Faulty(faults, Box::new(inner)))
            }
            _ if rest.starts_with("//") => remote(text).map(Self::Remote),
            _ => Err(SpecError::UnknownKind { kind: kind.into(), text: text.into() }),
        }
    }
}

fn file(rest: &str) -> Result<FileSpec, SpecError> {
    let mut parts = split_unescaped(rest).into_iter();
    let path = parts.next().unwrap_or_default();
    if path.is_empty() {
        return Err(SpecError::NoPath);
    }
    let mut spec = FileSpec {
        path: PathBuf::from(path),
        direct: false,
        engine: EngineChoice::Auto,
        size: None,
        read_only: false,
        network: false,
    };
    let mut seen = Vec::new();
    for part in parts {
        let (key, value) = option(&part, &mut seen)?;
        match (key, value) {
            ("direct", value) => spec.direct = switch(key, value)?,
            ("engine", value) => spec.engine = engine(key, value)?,
            ("network", value) => spec.network = switch(key, value)?,
            ("size", value) => spec.size = Some(sectors(key, value.unwrap_or(""))?),
            ("read-only", value) => spec.read_only = value.is_none() || switch(key, value)?,
            _ => {
                return Err(SpecError::UnknownOption {
                    key: key.into(),
                    kind: "file",
                    known: "direct=on|off, engine=auto|uring|threads, size=SIZE, read-only and \
                            network=on|off",
                });
            }
        }
    }
    if spec.read_only && spec.size.is_some() {
        return Err(SpecError::CreateReadOnly);
    }
    Ok(spec)
}

fn remote(text: &str) -> Result<RemoteSpec, SpecError> {
    let mut parts = split_unescaped(text).into_iter();
    let uri = parts.next().unwrap_or_default();
    let mut spec = RemoteSpec { uri, read_only: false, write_through: false };
    let mut seen = Vec::new();
    for part in parts {
        let (key, value) = option(&part, &mut seen)?;
        let on = || Ok(value.is_none() || switch(key, value)?);
        match key {
            "read-only" => spec.read_only = on()?,
            "write-through" => spec.write_through = on()?,
            _ => {
                return Err(SpecError::UnknownOption {
                    key: key.into(),
                    kind: "a backend behind a URI",
                    known: "read-only and write-through",
                });
            }
        }
    }
    Ok(spec)
}

fn only_size(kind: &'static str, rest: &str) -> Result<u64, SpecError> {
    let (size, options) = rest.split_once(',').unwrap_or((rest, ""));
    if !options.is_empty() {
        let key = options.split(['=', ',']).next().unwrap_or(options);
        return Err(SpecError::UnknownOption {
            key: key.into(),
            kind,
            known: "a size and nothing else",
        });
    }
    sectors(kind, size)
}

fn faulty(options: &str) -> Result<FaultySpec, SpecError> {
    let mut spec = FaultySpec::default();
    let mut seen = Vec::new();
    for part in options.split(',').filter(|part| !part.is_empty()) {
        let (key, value) = option(part, &mut seen)?;
        let value = value.unwrap_or("");
        match key {
            "delay" => spec.delay = delay(key, value)?,
            "fail-flush" => spec.fail_flush = Some(count(key, value)?),
            "fail-flush-after" => spec.fail_flush_after = Some(count(key, value)?),
            "hang-flush" => spec.hang_flush = Some(hang(key, value)?),
            "fail-reads-at" => spec.fail_reads = Some(span(key, value)?),
            "fail-writes-at" => spec.fail_writes = Some(span(key, value)?),
            "volatile" if value.is_empty() => spec.volatile = true,
            _ => {
                return Err(SpecError::UnknownOption {
                    key: key.into(),
                    kind: "faulty",
                    known: "delay=, volatile, fail-flush=, fail-flush-after=, hang-flush=, \
                            fail-reads-at= and fail-writes-at=",
                });
            }
        }
    }
    Ok(spec)
}

/// Splits `key=value` and refuses a key that came before.
fn option<'a>(
    part: &'a str,
    seen: &mut Vec<String>,
) -> Result<(&'a str, Option<&'a str>), SpecError> {
    let (key, value) = match part.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (part, None),
    };
    if seen.iter().any(|other| other == key) {
        return Err(SpecError::Twice { key: key.into() });
    }
    seen.push(key.into());
    Ok((key, value))
}

fn bad(key: &str, value: &str, expected: &'static str) -> SpecError {
    SpecError::BadValue { key: key.into(), value: value.into(), expected }
}

fn switch(key: &str, value: Option<&str>) -> Result<bool, SpecError> {
    match value.unwrap_or("") {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(bad(key, other, "on or off")),
    }
}

fn engine(key: &str, value: Option<&str>) -> Result<EngineChoice, SpecError> {
    match value.unwrap_or("") {
        "auto" => Ok(EngineChoice::Auto),
        "uring" => Ok(EngineChoice::Uring),
        "threads" => Ok(EngineChoice::Threads),
        other => Err(bad(key, other, "auto, uring or threads")),
    }
}

fn sectors(key: &str, value: &str) -> Result<u64, SpecError> {
    /// Offsets travel as signed numbers through the kernel.
    const LARGEST: u64 = i64::MAX as u64;
    let size = parse_size(value).ok_or_else(|| bad(key, value, A_SIZE))?;
    if size == 0 || size > LARGEST {
        return Err(bad(key, value, "a size of at least 512 bytes and below 8Ei"));
    }
    if !size.is_multiple_of(512) {
        let below = size / 512 * 512;
        return Err(SpecError::Unaligned {
            key: key.into(),
            size,
            below: below.max(512),
            above: below.max(512) + 512,
        });
    }
    Ok(size)
}

fn count(key: &str, value: &str) -> Result<u64, SpecError> {
    value.parse().map_err(|_| bad(key, value, "a whole number"))
}

fn hang(key: &str, value: &str) -> Result<(u64, Duration), SpecError> {
    let (number, span) =
        value.split_once('+').ok_or_else(|| bad(key, value, "a number and a span, as in 2+20s"))?;
    Ok((count(key, number)?, delay(key, span)?))
}

fn delay(key: &str, value: &str) -> Result<Duration, SpecError> {
    const EXPECTED: &str = "a span such as 500us, 10ms or 2s, and at most 1 hour";
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad(key, value, EXPECTED))?;
    let span = match unit {
        "us" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => return Err(bad(key, value, EXPECTED)),
    };
    if span > Duration::from_secs(3600) {
        return Err(bad(key, value, EXPECTED));
    }
    Ok(span)
}

fn span(key: &str, value: &str) -> Result<Span, SpecError> {
    let (offset, length) = value.split_once('+').unwrap_or((value, "512"));
    let wrong = || bad(key, value, "OFFSET or OFFSET+LENGTH, as in 1M+4K");
    Ok(Span {
        offset: parse_size(offset).ok_or_else(wrong)?,
        length: parse_size(length).ok_or_else(wrong)?,
    })
}

/// Splits at commas, of which `\,` is none.
fn split_unescaped(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let last = parts.len() - 1;
        match c {
            '\\' if rest.peek() == Some(&',') => {
                rest.next();
                parts[last].push(',');
            }
            ',' => parts.push(String::new()),
            _ => parts[last].push(c),
        }
    }
    parts
}

/// A path as it has to be written in a spec.
pub(crate) fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', "\\,")
}

impl fmt::Display for BackendSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Memory { size } => write!(f, "mem:{}", Shown(*size)),
            Self::Null { size } => write!(f, "null:{}", Shown(*size)),
            Self::Remote(remote) => remote.fmt(f),
            Self::Faulty(faulty, inner) => write!(f, "faulty:{faulty}:{inner}"),
        }
    }
}

impl fmt::Display for FileSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file:{}", escaped(&self.path))?;
        if self.direct {
            f.write_str(",direct=on")?;
        }
        match self.engine {
            EngineChoice::Auto => {}
            EngineChoice::Uring => f.write_str(",engine=uring")?,
            EngineChoice::Threads => f.write_str(",engine=threads")?,
        }
        if let Some(size) = self.size {
            write!(f, ",size={}", Shown(size))?;
        }
        if self.read_only {
            f.write_str(",read-only")?;
        }
        if self.network {
            f.write_str(",network=on")?;
        }
        Ok(())
    }
}

impl fmt::Display for RemoteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri.replace(',', "\\,"))?;
        for (set, word) in [(self.read_only, "read-only"), (self.write_through, "write-through")] {
            if set {
                write!(f, ",{word}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for FaultySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.delay.is_zero() {
            parts.push(format!("delay={}us", self.delay.as_micros()));
        }
        if self.volatile {
            parts.push("volatile".into());
        }
        if let Some(n) = self.fail_flush {
            parts.push(format!("fail-flush={n}"));
        }
        if let Some(n) = self.fail_flush_after {
            parts.push(format!("fail-flush-after={n}"));
        }
        if let Some((n, span)) = self.hang_flush {
            parts.push(format!("hang-flush={n}+{}us", span.as_micros()));
        }
        for (key, span) in [("reads", self.fail_reads), ("writes", self.fail_writes)] {
            if let Some(Span { offset, length }) = span {
                parts.push(format!("fail-{key}-at={offset}+{length}"));
            }
        }
        f.write_str(&parts.join(","))
    }
}
