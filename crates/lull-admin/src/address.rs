//! Where a daemon listens for its operator.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The path of a unix socket, written `unix:/path` or as the plain path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AdminAddr(PathBuf);

/// An address at which no daemon can be administered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAdminAddr {
    /// Nothing was given.
    #[error("an empty address; write unix:/path or the path of a socket")]
    Empty,
    /// A scheme other than `unix:`.
    #[error("`{0}`: daemons are administered over unix sockets; write unix:/path")]
    NotUnix(String),
}

impl AdminAddr {
    /// The address of the socket at `path`.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for AdminAddr {
    type Err = BadAdminAddr;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.is_empty() {
            return Err(BadAdminAddr::Empty);
        }
        let scheme = path.split_once(':').map_or("", |(scheme, _)| scheme);
        if matches!(scheme, "tcp" | "vsock" | "http" | "https") {
            return Err(BadAdminAddr::NotUnix(text.to_owned()));
        }
        Ok(Self(path.into()))
    }
}

impl fmt::Display for AdminAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.0.display())
    }
}

/// What a daemon is to its operator; it names the default socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It owns resources.
    Target,
    /// It uses them.
    Initiator,
}

impl Role {
    /// The role as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Initiator => "initiator",
        }
    }

    /// Where a daemon of this role listens unless it is told otherwise: in `$RUNTIME_DIRECTORY`, where a service
    /// manager gives one; else in `/run/lull/` for root, `$XDG_RUNTIME_DIR/lull/` for others, `/tmp/lull-UID/` where
    /// that is not set.
    pub fn default_socket(self) -> AdminAddr {
        if let Some(given) = std::env::var_os("RUNTIME_DIRECTORY").filter(|dir| !dir.is_empty()) {
            return self.socket_below(Path::new(&given));
        }
        let uid = rustix::process::geteuid();
        if uid.is_root() { self.system_socket() } else { self.user_socket() }
    }

    /// Where a daemon of this role may be found: the system's first, then this user's.
    pub fn known_sockets(self) -> Vec<AdminAddr> {
        vec![self.system_socket(), self.user_socket()]
    }

    fn system_socket(self) -> AdminAddr {
        self.socket_below(Path::new("/run/lull"))
    }

    fn user_socket(self) -> AdminAddr {
        match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => self.socket_below(&Path::new(&dir).join("lull")),
            None => {
                let uid = rustix::process::geteuid().as_raw();
                self.socket_below(Path::new(&format!("/tmp/lull-{uid}")))
            }
        }
    }

    fn socket_below(self, dir: &Path) -> AdminAddr {
        AdminAddr(dir.join(format!("{}.sock", self.as_str())))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_with_or_without_its_scheme() {
        for text in ["unix:/run/x.sock", "/run/x.sock"] {
            let addr: AdminAddr = text.parse().unwrap();
            assert_eq!(addr.path(), Path::new("/run/x.sock"));
            assert_eq!(addr.to_string(), "unix:/run/x.sock");
        }
        assert_eq!("x:1.sock".parse(), Ok(AdminAddr::unix("x:1.sock")));
    }

    #[test]
    fn other_schemes_are_refused_by_name() {
        assert_eq!("".parse::<AdminAddr>(), Err(BadAdminAddr::Empty));
        let error = "tcp:localhost:1".parse::<AdminAddr>().unwrap_err();
        assert!(error.to_string().starts_with("`tcp:localhost:1`"), "{error}");
    }
}
