//! Whether a URI can be a medium, as far as its text tells.

use lull_admin::{BadUri, ResourceUri};
use lull_block::{BackendSpec, RemoteSpec};
use lull_frontend::nbd::{Uri, UriError};
use lull_initiator::addr_of;
use lull_transport::{Addr, AddrError, PlainRefused};

/// A URI that cannot be a medium; says how one is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// It is none of a scheme that is known here.
    #[error(
        "`{0}` is no medium: write lull://host/resource, lull+unix:///resource?socket=/path, \
         nbd://host:port/export or nbd+unix:///export?socket=/path"
    )]
    Scheme(String),
    /// It is of another target, and broken.
    #[error(transparent)]
    Target(#[from] BadUri),
    /// It is of an NBD server, and broken.
    #[error(transparent)]
    Nbd(#[from] UriError),
    /// Its socket's path is none.
    #[error(transparent)]
    Socket(#[from] AddrError),
    /// It leads off this host, unprotected. [SEC-1]
    #[error(transparent)]
    Plain(#[from] PlainRefused),
}

/// What a URI leads to.
pub(crate) enum Kind {
    /// An NBD server's export.
    Nbd(Uri),
    /// Another target's resource.
    Target(ResourceUri),
}

impl Kind {
    fn addr(&self) -> Addr {
        match self {
            Self::Nbd(uri) => uri.addr.clone(),
            Self::Target(uri) => addr_of(uri),
        }
    }
}

/// Checks whatever part of `spec` lies behind a network; nothing is dialled. `insecure` allows plain TCP off this host.
///
/// # Errors
/// What is wrong with the URI, and how it is written.
pub fn check(spec: &BackendSpec, insecure: bool) -> Result<(), FormError> {
    match spec {
        BackendSpec::Remote(remote) => {
            let addr = kind(remote)?.addr();
            if let Addr::Unix(path) = &addr {
                // A path that the kernel takes.
                format!("unix:{}", path.display()).parse::<Addr>()?;
            }
            Ok(addr.check_plain(insecure)?)
        }
        BackendSpec::Faulty(_, inner) => check(inner, insecure),
        BackendSpec::File(_) | BackendSpec::Memory { .. } | BackendSpec::Null { .. } => Ok(()),
    }
}

/// Whether `spec` rests on another target's resource: this node is an initiator for it.
pub fn is_chained(spec: &BackendSpec) -> bool {
    match spec {
        BackendSpec::Remote(remote) => matches!(kind(remote), Ok(Kind::Target(_))),
        BackendSpec::Faulty(_, inner) => is_chained(inner),
        BackendSpec::File(_) | BackendSpec::Memory { .. } | BackendSpec::Null { .. } => false,
    }
}

pub(crate) fn kind(spec: &RemoteSpec) -> Result<Kind, FormError> {
    let scheme = spec.uri.split(':').next().unwrap_or_default();
    match scheme.split('+').next() {
        Some("lull") => Ok(Kind::Target(spec.uri.parse()?)),
        Some("nbd" | "nbds") => Ok(Kind::Nbd(spec.uri.parse()?)),
        _ => Err(FormError::Scheme(spec.uri.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, insecure: bool) -> Result<(), String> {
        check(&text.parse().unwrap(), insecure).map_err(|error| error.to_string())
    }

    #[test]
    fn a_uri_that_cannot_be_a_medium_is_told_how_one_is_written() {
        for (text, hint) in [
            ("lull://host", "write its name after the last slash"),
            ("lull+unix:///x", "?socket=/path"),
            ("http://host/x", "write lull://host/resource"),
            ("nbds://localhost/x", "TLS is not supported"),
            ("nbd:///x", "names no server"),
            ("faulty::nbd+unix:///x", "?socket=/path"),
        ] {
            let said = checked(text, true).unwrap_err();
            assert!(said.contains(hint), "{text}: {said}");
        }
        for text in [
            "mem:1M",
            "faulty::mem:1M",
            "nbd://localhost/x,read-only",
            "lull://localhost/x,read-only",
            "lull+unix:///x?socket=/lull.sock",
            "nbd+unix:///?socket=/n.sock",
        ] {
            assert_eq!(checked(text, false), Ok(()), "{text}");
        }
    }

    #[test]
    fn plain_tcp_off_this_host_is_refused_unless_it_is_asked_for() {
        // [SEC-1]
        assert!(checked("nbd://store.example/x", false).unwrap_err().contains("insecure"));
        assert_eq!(checked("nbd://store.example/x", true), Ok(()));
        assert!(checked("lull://store.example/x", false).unwrap_err().contains("insecure"));
        assert_eq!(checked("lull://store.example/x", true), Ok(()));
    }
}
