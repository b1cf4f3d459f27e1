//! How the command ends: its exit status is part of the contract with other people's scripts.

use std::fmt;
use std::process::ExitCode;

use lull_admin::{ClientError, ErrorCode};
use lull_transport::handover::Predecessor;

use crate::config::ConfigError;
use crate::daemon::AdminArgs;
use crate::load::StartError;
use crate::output::{width_of, wrapped};

/// Why the command did not do what it was told; each kind has its own exit status.
#[derive(Debug)]
pub enum Failure {
    /// 1: it was tried and did not work.
    Failed(anyhow::Error),
    /// 1: a configuration that is wrong, with the places.
    Config(Box<ConfigError>),
    /// 2: the command line does not say what to do.
    Usage(String),
    /// 3: somebody was not ready; the text names them.
    NotReady(String),
    /// 4: the daemon could not be reached.
    Unreachable(String),
}

impl Failure {
    /// A failure with its sentence and next step.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(anyhow::Error::msg(text.into()))
    }

    /// The same with each command in it as it has to be typed.
    #[must_use]
    pub fn in_full(self, admin: &AdminArgs) -> Self {
        match self {
            Self::Failed(error) => {
                let text = format!("{error:#}");
                let full = admin.in_full(&text);
                // What it is made of says more than its words, where these stay as they are.
                if full == text { Self::Failed(error) } else { Self::failed(full) }
            }
            Self::Config(error) => Self::Config(error),
            Self::Usage(text) => Self::Usage(admin.in_full(&text)),
            Self::NotReady(text) => Self::NotReady(admin.in_full(&text)),
            Self::Unreachable(text) => Self::Unreachable(admin.in_full(&text)),
        }
    }

    /// Of what keeps a daemon from being one: where this process is to take over from another one, that one, and with it
    /// whoever ordered it, hears why, in one line.
    #[must_use]
    pub fn declined(self) -> Self {
        let text = match &self {
            Self::Config(error) => error.line(),
            other => other.to_string().replace("\n  next: ", "; "),
        };
        Predecessor::decline(text.strip_prefix("lull: ").unwrap_or(&text));
        self
    }

    /// The exit status.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Config(_) => 1,
            Self::Usage(_) => 2,
            Self::NotReady(_) => 3,
            Self::Unreachable(_) => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "lull: {error:#}"),
            Self::Config(error) => write!(f, "{error}"),
            Self::Usage(text) | Self::NotReady(text) | Self::Unreachable(text) => {
                write!(f, "lull: {text}")
            }
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(Box::new(error))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            error if error.is_unreachable() => Self::Unreachable(error.to_string()),
            ClientError::Api(error) if error.code == ErrorCode::NotReady => {
                Self::NotReady(error.to_string())
            }
            error => Self::Failed(error.into()),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Connect { .. } => Self::Unreachable(format!(
                "{error}\n  next: see what is served there (`lull status`, `nbdinfo --list`); it has to be NBD"
            )),
            error => Self::failed(error.to_string()),
        }
    }
}

/// Says what went wrong, to people, and gives the exit status.
pub fn report(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has had enough of it, as `head` does.
        Err(Failure::Failed(error)) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(failure) => {
            let width = match failure {
                // It draws the lines that it is about.
                Failure::Config(_) => None,
                _ => width_of(std::io::stderr()),
            };
            eprintln!("{}", wrapped(&failure.to_string(), width));
            ExitCode::from(failure.code())
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json =
            cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(std::io::ErrorKind::BrokenPipe)
    })
}
