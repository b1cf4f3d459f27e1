//! Where a listener listens and a dialler dials, as people write it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The TCP port that is meant where none is written.
pub const DEFAULT_PORT: u16 = 10820;

/// The kernel's limit for a socket's path (`sun_path` with its final zero).
const LONGEST_PATH: usize = 107;

/// An address of one end: `unix:/path` or `tcp:host[:port]`.
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
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    /// The part before the first colon is none that is known.
    #[error("`{0}` is not an address: write unix:/path or tcp:host:port")]
    Scheme(String),
    /// `vsock:` is a known form without code behind it.
    #[error("`{0}`: vsock is not supported yet by this build; use unix:/path or tcp:host:port")]
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
            Addr::Tcp { host, .. } => match host.parse::<IpAddr>() {
                Ok(IpAddr::V6(ip)) => ip.to_canonical().is_loopback(),
                Ok(ip) => ip.is_loopback(),
                Err(_) => host.eq_ignore_ascii_case("localhost"),
            },
        }
    }

    /// Refuses a plain connection that would leave this host, unless `insecure` allows it. [SEC-1]
    pub fn check_plain(&self, insecure: bool) -> Result<(), PlainRefused> {
        if insecure || self.is_loopback() { Ok(()) } else { Err(PlainRefused(self.clone())) }
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
            Some(("vsock", _)) => Err(AddrError::Vsock(text.into())),
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

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Unix(path) => write!(f, "unix:{}", path.display()),
            Addr::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Addr::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
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
        ] {
            assert_eq!(text.parse::<Addr>().as_ref(), Ok(&addr), "{text}");
            assert_eq!(addr.to_string(), printed);
            assert_eq!(printed.parse::<Addr>(), Ok(addr));
        }
    }

    #[test]
    fn every_wrong_form_names_the_right_one() {
        for (text, hint) in [
            ("", "unix:/path or tcp:host:port"),
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
            ("vsock:2:10820", "not supported yet by this build"),
        ] {
            let said = text.parse::<Addr>().expect_err(text).to_string();
            assert!(said.contains(hint), "{text}: {said}");
        }
        assert!(format!("unix:/{}", "x".repeat(107)).parse::<Addr>().is_err());
    }

    #[test]
    fn plain_tcp_beyond_loopback_needs_leave() {
        // [SEC-1]
        for near in
            ["unix:/x", "tcp:localhost", "tcp:127.8.0.1:1", "tcp:[::1]", "tcp:[::ffff:127.0.0.1]"]
        {
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
