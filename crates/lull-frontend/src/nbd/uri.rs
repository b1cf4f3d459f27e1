//! NBD URIs, as other tools read and write them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use lull_transport::Addr;

use super::DEFAULT_PORT;

/// Where an export is: `nbd://host[:port]/export`, `nbd+unix:///export?socket=/path` or `nbd+vsock://cid[:port]/export`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    /// The server.
    pub addr: Addr,
    /// The export's name; "" is the server's default.
    pub export: String,
}

/// A text that is no NBD URI that can be used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Another scheme, or none.
    #[error(
        "`{0}` is not an NBD URI: write nbd://host:port/export or nbd+unix:///export?socket=/path"
    )]
    Scheme(String),
    /// `nbds:` and `nbds+unix:`.
    #[error("`{0}`: TLS is not supported yet by this build; use nbd:// or nbd+unix://")]
    Tls(String),
    /// The host or port cannot be read.
    #[error("`{0}` names no server that can be understood: write nbd://host:port/export")]
    Host(String),
    /// `nbd+vsock:` without the number of a machine, or with a bad port.
    #[error("`{0}` names no machine: write nbd+vsock://cid:port/export, cid is 2 for the host")]
    Machine(String),
    /// `nbd+unix:` without a socket, or with a host.
    #[error("`{0}` names no socket: write nbd+unix:///export?socket=/path")]
    Socket(String),
    /// A broken percent escape, or one that does not give text.
    #[error("`{0}` has a broken % escape: write %25 for a percent sign")]
    Escape(String),
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| UriError::Scheme(text.into()))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = before.split_once('/').unwrap_or((before, ""));
        let decode = |part| unescape(part).ok_or_else(|| UriError::Escape(text.into()));
        let export = decode(path)?;
        let addr = match scheme {
            "nbd" => tcp(host).ok_or_else(|| UriError::Host(text.into()))?,
            "nbd+unix" => {
                let no_socket = || UriError::Socket(text.into());
                let socket = query.split('&').find_map(|pair| pair.strip_prefix("socket="));
                let socket = decode(socket.ok_or_else(no_socket)?)?;
                if !host.is_empty() || socket.is_empty() {
                    return Err(no_socket());
                }
                Addr::Unix(PathBuf::from(socket))
            }
            "nbd+vsock" => vsock(host).ok_or_else(|| UriError::Machine(text.into()))?,
            "nbds" | "nbds+unix" => return Err(UriError::Tls(text.into())),
            _ => return Err(UriError::Scheme(text.into())),
        };
        Ok(Uri { addr, export })
    }
}

fn vsock(host: &str) -> Option<Addr> {
    let text = if host.contains(':') {
        format!("vsock:{host}")
    } else {
        format!("vsock:{host}:{DEFAULT_PORT}")
    };
    text.parse().ok()
}

fn tcp(host: &str) -> Option<Addr> {
    if host.is_empty() || host.contains('@') {
        return None;
    }
    // The same grammar as a plain address, but for the port that is meant where none is written.
    let has_port = match host.rsplit_once(']') {
        Some((_, after)) => after.starts_with(':'),
        None => host.contains(':'),
    };
    let text = if has_port { format!("tcp:{host}") } else { format!("tcp:{host}:{DEFAULT_PORT}") };
    text.parse().ok()
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let export = escape(&self.export, b"/");
        match &self.addr {
            Addr::Unix(path) => {
                let socket = escape(&path.to_string_lossy(), b"/");
                write!(f, "nbd+unix:///{export}?socket={socket}")
            }
            Addr::Vsock { cid, port } => {
                write!(f, "nbd+vsock://{cid}")?;
                if *port != u32::from(DEFAULT_PORT) {
                    write!(f, ":{port}")?;
                }
                write!(f, "/{export}")
            }
            Addr::Tcp { host, port } => {
                if host.contains(':') {
                    write!(f, "nbd://[{host}]")?;
                } else {
                    write!(f, "nbd://{host}")?;
                }
                if *port != DEFAULT_PORT {
                    write!(f, ":{port}")?;
                }
                write!(f, "/{export}")
            }
        }
    }
}

fn escape(text: &str, plain: &[u8]) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?].map(|d| char::from(d).to_digit(16));
            let [Some(high), Some(low)] = digits else {
                return None;
            };
            out.push((high * 16 + low) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_printed() {
        for (text, addr, export, printed) in [
            ("nbd://db/disk", "tcp:db:10809", "disk", "nbd://db/disk"),
            ("nbd://db", "tcp:db:10809", "", "nbd://db/"),
            ("nbd://[::1]:99/a%20b", "tcp:[::1]:99", "a b", "nbd://[::1]:99/a%20b"),
            ("nbd://[::1]/", "tcp:[::1]:10809", "", "nbd://[::1]/"),
            (
                "nbd+unix:///x?socket=/run/n.sock",
                "unix:/run/n.sock",
                "x",
                "nbd+unix:///x?socket=/run/n.sock",
            ),
            ("nbd+vsock://3/x", "vsock:3:10809", "x", "nbd+vsock://3/x"),
            ("nbd+vsock://3:99/x", "vsock:3:99", "x", "nbd+vsock://3:99/x"),
            ("nbd+unix://?a=b&socket=/s%3F", "unix:/s?", "", "nbd+unix:///?socket=/s%3F"),
            ("nbd://h/a/b", "tcp:h:10809", "a/b", "nbd://h/a/b"),
        ] {
            let uri: Uri = text.parse().unwrap();
            assert_eq!(uri.addr, addr.parse().unwrap(), "{text}");
            assert_eq!(uri.export, export, "{text}");
            assert_eq!(uri.to_string(), printed);
        }
    }

    #[test]
    fn every_wrong_form_names_the_right_one() {
        for (text, hint) in [
            ("/run/n.sock", "nbd://host:port/export"),
            ("http://x/", "nbd://host:port/export"),
            ("nbds://x/", "TLS"),
            ("nbd:///x", "names no server"),
            ("nbd://me@x/", "names no server"),
            ("nbd://x:y/", "names no server"),
            ("nbd+vsock://host/x", "names no machine"),
            ("nbd+unix:///x", "socket=/path"),
            ("nbd+unix://h/x?socket=/s", "socket=/path"),
            ("nbd://x/%4", "%25"),
            ("nbd://x/%ff", "%25"),
        ] {
            let said = text.parse::<Uri>().expect_err(text).to_string();
            assert!(said.contains(hint), "{text}: {said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_is_read_back(export in "\\PC{0,40}", path in "/[\\PC]{1,30}", tcp: bool, port: u16) {
            let addr = if tcp { Addr::Tcp { host: "::1".into(), port } } else { Addr::Unix(path.into()) };
            let uri = Uri { addr, export };
            proptest::prop_assert_eq!(uri.to_string().parse::<Uri>(), Ok(uri));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(nbd(s)?(\\+unix)?://)?\\PC{0,60}") {
            let _ = text.parse::<Uri>();
        }
    }
}
