//! The name of a resource in the world: `lull://host[:port]/name`, `lull+unix:///name?socket=/path`,
//! `lull+vsock://cid[:port]/name`.
//!
//! The form follows the NBD URIs that the field already knows, percent-encoding included.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The port of a target where none is written.
pub const DEFAULT_PORT: u16 = 10820;

/// The longest name of a resource, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// A resource and where its target listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceUri {
    /// Where the target listens.
    pub place: Place,
    /// Name of the resource at the target.
    pub resource: String,
}

/// Where a target listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// TCP: a host name or address without brackets, and a port.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
    },
    /// A port of a machine of the same hypervisor.
    Vsock {
        /// The machine: 1 this one, 2 the host, from 3 on a guest.
        cid: u32,
        /// The port.
        port: u32,
    },
}

/// What is wrong with a URI; each says how it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUri {
    /// Another scheme, or none.
    #[error(
        "`{0}` is no resource: write lull://host/name, lull+unix:///name?socket=/path or lull+vsock://cid/name"
    )]
    Scheme(String),
    /// No host before the name.
    #[error("`{0}` names no host: write lull://host/name")]
    NoHost(String),
    /// The machine is not a number.
    #[error("`{0}` has no usable machine: write lull+vsock://cid:port/name, cid is 2 for the host")]
    Cid(String),
    /// The port is not a number from 1 to 65535.
    #[error("`{0}` has no usable port: a port is a number from 1 to 65535")]
    Port(String),
    /// The port is not a number as vsock has them.
    #[error("`{0}` has no usable port: over vsock a port is a number from 0 to 4294967295")]
    VsockPort(String),
    /// No resource.
    #[error("`{0}` names no resource: write its name after the last slash")]
    NoName(String),
    /// The name is not one that a resource can have.
    #[error("`{0}`: a resource's name has 1 to 64 bytes, without slashes or control characters")]
    Name(String),
    /// No path of a socket.
    #[error("`{0}` names no socket: write lull+unix:///name?socket=/path")]
    NoSocket(String),
    /// A host where none belongs.
    #[error(
        "`{0}` has a host, which a unix socket has not: write three slashes, lull+unix:///name"
    )]
    HostOfSocket(String),
    /// A parameter that does not exist.
    #[error("`{uri}` has an unknown parameter `{parameter}`")]
    Parameter {
        /// The URI.
        uri: String,
        /// The parameter.
        parameter: String,
    },
    /// A percent sign that is not followed by two digits, or bytes that are no UTF-8.
    #[error("`{0}` is badly percent-encoded: write %25 for a percent sign")]
    Percent(String),
}

/// Whether a resource may have this name.
pub fn is_resource_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.contains(|c: char| c == '/' || c.is_control())
}

impl FromStr for ResourceUri {
    type Err = BadUri;

    fn from_str(text: &str) -> Result<Self, BadUri> {
        if let Some(rest) = text.strip_prefix("lull://") {
            parse_tcp(text, rest)
        } else if let Some(rest) = text.strip_prefix("lull+unix://") {
            parse_unix(text, rest)
        } else if let Some(rest) = text.strip_prefix("lull+vsock://") {
            parse_vsock(text, rest)
        } else {
            Err(BadUri::Scheme(text.to_owned()))
        }
    }
}

/// What stands before the name, and the name; there are no parameters.
fn split_name<'a>(uri: &str, rest: &'a str) -> Result<(&'a str, &'a str), BadUri> {
    let (authority, path) = rest.split_once('/').ok_or_else(|| BadUri::NoName(uri.to_owned()))?;
    if let Some((_, query)) = path.split_once('?') {
        return Err(BadUri::Parameter { uri: uri.to_owned(), parameter: query.to_owned() });
    }
    Ok((authority, path))
}

fn parse_vsock(uri: &str, rest: &str) -> Result<ResourceUri, BadUri> {
    let (authority, path) = split_name(uri, rest)?;
    let (cid, port) = match authority.split_once(':') {
        Some((cid, port)) => (cid, port.parse().map_err(|_| BadUri::VsockPort(uri.to_owned()))?),
        None => (authority, DEFAULT_PORT.into()),
    };
    let cid = cid.parse().map_err(|_| BadUri::Cid(uri.to_owned()))?;
    let place = Place::Vsock { cid, port };
    Ok(ResourceUri { place, resource: parse_name(uri, path)? })
}

fn parse_tcp(uri: &str, rest: &str) -> Result<ResourceUri, BadUri> {
    let (authority, path) = split_name(uri, rest)?;
    let (host, port) = split_host(authority).ok_or_else(|| BadUri::Port(uri.to_owned()))?;
    if host.is_empty() {
        return Err(BadUri::NoHost(uri.to_owned()));
    }
    let place = Place::Tcp { host: host.to_owned(), port };
    Ok(ResourceUri { place, resource: parse_name(uri, path)? })
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; `None` for an unusable port.
fn split_host(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':')?)),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    match port {
        None => Some((host, DEFAULT_PORT)),
        Some(port) => port.parse().ok().filter(|port| *port != 0).map(|port| (host, port)),
    }
}

fn parse_unix(uri: &str, rest: &str) -> Result<ResourceUri, BadUri> {
    let Some(rest) = rest.strip_prefix('/') else {
        return Err(BadUri::HostOfSocket(uri.to_owned()));
    };
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut socket = None;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("socket", path)) if !path.is_empty() => socket = Some(decode(uri, path)?),
            _ => {
                let parameter = parameter.to_owned();
                return Err(BadUri::Parameter { uri: uri.to_owned(), parameter });
            }
        }
    }
    let path = socket.ok_or_else(|| BadUri::NoSocket(uri.to_owned()))?;
    let place = Place::Unix { path: path.into() };
    Ok(ResourceUri { place, resource: parse_name(uri, name)? })
}

fn parse_name(uri: &str, text: &str) -> Result<String, BadUri> {
    if text.is_empty() {
        return Err(BadUri::NoName(uri.to_owned()));
    }
    let name = decode(uri, text)?;
    if is_resource_name(&name) { Ok(name) } else { Err(BadUri::Name(uri.to_owned())) }
}

fn decode(uri: &str, text: &str) -> Result<String, BadUri> {
    let bad = || BadUri::Percent(uri.to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or_else(bad)?, digit().ok_or_else(bad)?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

struct Encoded<'a>(&'a [u8]);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => f.write_char(byte.into())?,
                b'-' | b'_' | b'.' | b'~' | b'/' | b':' | b'@' | b',' | b'+' => {
                    f.write_char(byte.into())?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

fn path_bytes(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes()
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Encoded(self.resource.as_bytes());
        match &self.place {
            Place::Tcp { host, port } => {
                let port = if *port == DEFAULT_PORT { String::new() } else { format!(":{port}") };
                if host.contains(':') {
                    write!(f, "lull://[{host}]{port}/{name}")
                } else {
                    write!(f, "lull://{host}{port}/{name}")
                }
            }
            Place::Unix { path } => {
                write!(f, "lull+unix:///{name}?socket={}", Encoded(path_bytes(path)))
            }
            Place::Vsock { cid, port } if *port == u32::from(DEFAULT_PORT) => {
                write!(f, "lull+vsock://{cid}/{name}")
            }
            Place::Vsock { cid, port } => write!(f, "lull+vsock://{cid}:{port}/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, resource: &str) -> ResourceUri {
        let place = Place::Tcp { host: host.into(), port };
        ResourceUri { place, resource: resource.into() }
    }

    #[test]
    fn a_uri_reads_back_as_it_is_written() {
        for text in [
            "lull://db.example/db1",
            "lull://127.0.0.1:9/db1",
            "lull://[::1]/db1",
            "lull://[fe80::1]:77/db%201",
            "lull+unix:///db1?socket=/run/lull.sock",
            "lull+unix:///d%3Fb?socket=/tmp/a%26b/x.sock",
            "lull+vsock://2/db1",
            "lull+vsock://3:70000/db%201",
        ] {
            assert_eq!(text.parse::<ResourceUri>().unwrap().to_string(), text);
        }
        assert_eq!("lull://h:10820/x".parse(), Ok(tcp("h", DEFAULT_PORT, "x")));
        assert_eq!("lull://h/a%2Db".parse(), Ok(tcp("h", DEFAULT_PORT, "a-b")));
    }

    #[test]
    fn each_mistake_in_a_uri_has_its_own_answer() {
        let uri = |text: &str| text.parse::<ResourceUri>().unwrap_err();
        let own = |text: &str| text.to_owned();
        assert_eq!(uri("nbd://h/x"), BadUri::Scheme(own("nbd://h/x")));
        assert_eq!(uri("lull://h"), BadUri::NoName(own("lull://h")));
        assert_eq!(uri("lull://h/"), BadUri::NoName(own("lull://h/")));
        assert_eq!(uri("lull:///x"), BadUri::NoHost(own("lull:///x")));
        assert_eq!(uri("lull://h:0/x"), BadUri::Port(own("lull://h:0/x")));
        assert_eq!(uri("lull://h:99999/x"), BadUri::Port(own("lull://h:99999/x")));
        assert_eq!(uri("lull://[::1]9/x"), BadUri::Port(own("lull://[::1]9/x")));
        assert_eq!(uri("lull://h/a/b"), BadUri::Name(own("lull://h/a/b")));
        assert_eq!(uri("lull://h/a%0a"), BadUri::Name(own("lull://h/a%0a")));
        assert_eq!(uri("lull://h/a%f"), BadUri::Percent(own("lull://h/a%f")));
        assert_eq!(uri("lull://h/a%ff"), BadUri::Percent(own("lull://h/a%ff")));
        assert_eq!(uri("lull+unix:///x"), BadUri::NoSocket(own("lull+unix:///x")));
        assert_eq!(uri("lull+unix://h/x"), BadUri::HostOfSocket(own("lull+unix://h/x")));
        assert_eq!(uri("lull+vsock://host/x"), BadUri::Cid(own("lull+vsock://host/x")));
        assert_eq!(uri("lull+vsock://2:x/x"), BadUri::VsockPort(own("lull+vsock://2:x/x")));
        assert_eq!(uri("lull+vsock://2"), BadUri::NoName(own("lull+vsock://2")));
        assert!(matches!(uri("lull+unix:///x?sock=/p"), BadUri::Parameter { .. }));
        assert!(matches!(uri("lull://h/x?socket=/p"), BadUri::Parameter { .. }));
    }
}
