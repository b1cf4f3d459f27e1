//! Whether a URI can be a medium, as far as its text tells.

use lull_block::{BackendSpec, RemoteSpec};
use lull_frontend::nbd::{Uri, UriError};
use lull_transport::PlainRefused;

/// A URI that cannot be a medium; says how one is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// It is none of a scheme that is known here, or broken.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// It leads off this host, unprotected. [SEC-1]
    #[error(transparent)]
    Plain(#[from] PlainRefused),
}

/// Checks whatever part of `spec` lies behind a network; nothing is dialled. `insecure` allows plain TCP off this host.
///
/// # Errors
/// What is wrong with the URI, and how it is written.
pub fn check(spec: &BackendSpec, insecure: bool) -> Result<(), FormError> {
    match spec {
        BackendSpec::Remote(remote) => Ok(uri(remote)?.addr.check_plain(insecure)?),
        BackendSpec::Faulty(_, inner) => check(inner, insecure),
        BackendSpec::File(_) | BackendSpec::Memory { .. } | BackendSpec::Null { .. } => Ok(()),
    }
}

pub(crate) fn uri(spec: &RemoteSpec) -> Result<Uri, UriError> {
    spec.uri.parse()
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
            ("lull://host/x", "write nbd://host:port/export"),
            ("http://host/x", "write nbd://host:port/export"),
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
    }
}
