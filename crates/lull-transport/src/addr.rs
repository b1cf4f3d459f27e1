//! Where a listener listens and a dialler dials, as people write it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::vsock;

/// The TCP port that is meant where none is written.
pub const DEFAULT_PORT: u16 = 10820;

/// The kernel's limit for a socket's path (`sun_path` with its final zero).
const LONGEST_PATH: usize = 107;

/// An address of one end: `unix:/path`, `tcp:host[:port]` or `vsock:cid[:port]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Addr {
    /// A unix stream socket at this path.
    Unix(PathBuf),
    /// A TCP endpoint.
    Tcp {
        /// A name or an IP address, IPv6 without its brackets.
        host: String,
        /// The port; 0 lets the kernel choose one when listening.
        port: u16,
    },
    /// A port of a machine that the same hypervisor runs, or of the host itself: vsock(7).
    Vsock {
        /// The machine: 1 this one, 2 the host, from 3 on a guest; [`u32::MAX`], written `any`, listens at whichever
        /// this one is.
        cid: u32,
        /// The port.
        port: u32,
    },
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    /// The part before the first colon is none that is known.
    #[error("`{0}` is not an address: write unix:/path, tcp:host:port or vsock:cid:port")]
    Scheme(String),
    /// Something that is no number, nor `any`, where that of a machine belongs, or of a port.
    #[error(
        "`{0}` is not written vsock:cid:port: cid is 2 for the host, its own number for a guest, `any` to listen"
    )]
    Vsock(String),
    /// `unix:` without a path.
    #[error("`unix:` lacks its path: write unix:/path")]
    NoPath,
    /// A path that does not fit into a socket address.
    #[error("the socket path `{0}` is longer than {LONGEST_PATH} bytes: choose a shorter one")]
    LongPath(String),
    /// `tcp:` without a host.
    #[error("`{0}` lacks its host: write tcp:host:port")]
    NoHost(String),
    /// Something that is no number from 0 to 65535 where the port belongs.
    #[error("`{port}` in `{text}` is not a port: write a number from 0 to 65535")]
    Port {
        /// The whole address.
        text: String,
        /// The part that should be the port.
        port: String,
    },
    /// An IPv6 address without brackets or brackets without an IPv6 address.
    #[error("`{0}`: an IPv6 address stands in brackets, tcp:[::1]:10820")]
    Brackets(String),
}

/// A plain TCP address that is not on loopback, without leave to use it. [SEC-1]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not a loopback address and plain TCP is neither encrypted nor authenticated: \
     use a loopback address or unix:/path, or set insecure = true (on the command line --insecure)"
)]
pub struct PlainRefused(pub Addr);

impl Addr {
    /// Whether bytes sent there stay on this host: a unix socket, `localhost`, a loopback IP address.
    pub fn is_loopback(&self) -> bool {
        match self {
            Addr::Unix(_) => true,
            Addr::Vsock { cid, .. } => vsock::is_own(*cid),
            Addr::Tcp { host, .. } => match host.parse::<IpAddr>() {
                Ok(IpAddr::V6(ip)) => ip.to_canonical().is_loopback(),
                Ok(ip) => ip.is_loopback(),
                Err(_) => host.eq_ignore_ascii_case("localhost"),
            },
        }
    }

    /// Refuses a plain connection that would leave this machine, unless `insecure` allows it. What goes over vsock is
    /// seen by the hypervisor only, which sees the guest's memory anyway; who may come is [`Admitted`]'s. [SEC-1]
    pub fn check_plain(&self, insecure: bool) -> Result<(), PlainRefused> {
        let stays = matches!(self, Addr::Vsock { .. }) || self.is_loopback();
        if insecure || stays { Ok(()) } else { Err(PlainRefused(self.clone())) }
    }
}

impl FromStr for Addr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        match text.split_once(':') {
            Some(("unix", "")) => Err(AddrError::NoPath),
            Some(("unix", path)) if path.len() > LONGEST_PATH || path.contains('\0') => {
                Err(AddrError::LongPath(path.replace('\0', "\\0")))
            }
            Some(("unix", path)) => Ok(Addr::Unix(PathBuf::from(path))),
            Some(("tcp", rest)) => parse_tcp(text, rest),
            Some(("vsock", rest)) => parse_vsock(rest).ok_or_else(|| AddrError::Vsock(text.into())),
            _ => Err(AddrError::Scheme(text.into())),
        }
    }
}

fn parse_tcp(text: &str, rest: &str) -> Result<Addr, AddrError> {
    let brackets = || AddrError::Brackets(text.into());
    let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or_else(brackets)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| brackets())?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(brackets()),
        }
    } else {
        match rest.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(brackets()),
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        }
    };
    if host.is_empty() {
        return Err(AddrError::NoHost(text.into()));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => {
            port.parse().map_err(|_| AddrError::Port { text: text.into(), port: port.into() })?
        }
    };
    Ok(Addr::Tcp { host: host.into(), port })
}

fn parse_vsock(rest: &str) -> Option<Addr> {
    let (cid, port) = match rest.split_once(':') {
        Some((cid, port)) => (cid, port.parse().ok()?),
        None => (rest, DEFAULT_PORT.into()),
    };
    let cid = if cid == "any" { vsock::ANY } else { cid.parse().ok()? };
    Some(Addr::Vsock { cid, port })
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Unix(path) => write!(f, "unix:{}", path.display()),
            Addr::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Addr::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Addr::Vsock { cid: vsock::ANY, port } => write!(f, "vsock:any:{port}"),
            Addr::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
        }
    }
}

impl From<std::net::SocketAddr> for Addr {
    fn from(at: std::net::SocketAddr) -> Self {
        Addr::Tcp { host: at.ip().to_string(), port: at.port() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Addr {
        Addr::Tcp { host: host.into(), port }
    }

    #[test]
    fn every_written_form_is_read_and_printed() {
        for (text, addr, printed) in [
            ("unix:/run/a.sock", Addr::Unix("/run/a.sock".into()), "unix:/run/a.sock"),
            ("unix:a:b", Addr::Unix("a:b".into()), "unix:a:b"),
            ("tcp:db.example", tcp("db.example", DEFAULT_PORT), "tcp:db.example:10820"),
            ("tcp:10.0.0.1:0", tcp("10.0.0.1", 0), "tcp:10.0.0.1:0"),
            ("tcp:[::1]", tcp("::1", DEFAULT_PORT), "tcp:[::1]:10820"),
            ("tcp:[fe80::2]:99", tcp("fe80::2", 99), "tcp:[fe80::2]:99"),
            ("vsock:2", Addr::Vsock { cid: 2, port: 10820 }, "vsock:2:10820"),
            ("vsock:any:7", Addr::Vsock { cid: u32::MAX, port: 7 }, "vsock:any:7"),
        ] {
            assert_eq!(text.parse::<Addr>().as_ref(), Ok(&addr), "{text}");
            assert_eq!(addr.to_string(), printed);
            assert_eq!(printed.parse::<Addr>(), Ok(addr));
        }
    }

    #[test]
    fn every_wrong_form_names_the_right_one() {
        for (text, hint) in [
            ("", "unix:/path, tcp:host:port or vsock:cid:port"),
            ("/run/a.sock", "unix:/path"),
            ("http://x", "tcp:host:port"),
            ("unix:", "unix:/path"),
            ("tcp:", "tcp:host:port"),
            ("tcp::80", "lacks its host"),
            ("tcp:h:", "not a port"),
            ("tcp:h:65536", "not a port"),
            ("tcp:::1", "brackets"),
            ("tcp:[::1", "brackets"),
            ("tcp:[h]:1", "brackets"),
            ("tcp:[::1]1", "brackets"),
            ("vsock:", "vsock:cid:port"),
            ("vsock:host:1", "2 for the host"),
            ("vsock:2:x", "vsock:cid:port"),
            ("vsock:4294967296:1", "vsock:cid:port"),
        ] {
            let said = text.parse::<Addr>().expect_err(text).to_string();
            assert!(said.contains(hint), "{text}: {said}");
        }
        assert!(format!("unix:/{}", "x".repeat(107)).parse::<Addr>().is_err());
    }

    #[test]
    fn plain_tcp_beyond_loopback_needs_leave() {
        // [SEC-1]
        for near in [
            "unix:/x",
            "tcp:localhost",
            "tcp:127.8.0.1:1",
            "tcp:[::1]",
            "tcp:[::ffff:127.0.0.1]",
            "vsock:2",
        ] {
            assert_eq!(near.parse::<Addr>().unwrap().check_plain(false), Ok(()), "{near}");
        }
        for far in ["tcp:0.0.0.0", "tcp:[::]", "tcp:db.example", "tcp:192.0.2.1"] {
            let far = far.parse::<Addr>().unwrap();
            let said = far.check_plain(false).unwrap_err().to_string();
            assert!(said.contains("insecure = true"), "{said}");
            assert_eq!(far.check_plain(true), Ok(()));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_prints_to_itself(text in "((unix|tcp|vsock):)?[\\PC]{0,120}") {
            if let Ok(addr) = text.parse::<Addr>() {
                proptest::prop_assert_eq!(addr.to_string().parse::<Addr>(), Ok(addr));
            }
        }
    }
}
