//! Finding the daemon that a verb talks to.

use clap::ValueEnum;
use lull_admin::{AdminAddr, Client, ClientError, Role};

use crate::exit::Failure;

/// The verbs that have it.
const VERBS: &[&str] =
    &["abort", "detach", "events", "evict", "history", "pause", "restart", "resume", "status"];

/// `--admin`, for every verb that is a client.
#[derive(Clone, Debug, clap::Args)]
pub struct AdminArgs {
    /// The daemon's admin socket, as unix:/path; without it the one at its default place
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<AdminAddr>,
}

impl AdminArgs {
    /// The text with each command in it as it has to be typed here: a command between backquotes is for the daemon that
    /// the text is about, which was named by `--admin` where it is not at its default place.
    pub fn in_full(&self, text: &str) -> String {
        let Some(admin) = &self.admin else { return text.to_owned() };
        let mut full = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("`lull ") {
            let verb = after.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
            full += before;
            full += "`lull ";
            rest = after;
            if let Some((command, beyond)) = after.split_once('`')
                && VERBS.contains(&verb)
                && !command.contains("--admin")
            {
                full += &format!("{command} --admin {admin}`");
                rest = beyond;
            }
        }
        full + rest
    }
}

/// Which daemon of this host, where both kinds may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// The daemon that owns resources
    Target,
    /// The daemon that uses them
    Initiator,
}

impl From<Which> for Role {
    fn from(which: Which) -> Self {
        match which {
            Which::Target => Self::Target,
            Which::Initiator => Self::Initiator,
        }
    }
}

/// The daemon of this role: at `--admin`, or the one that answers at a default place.
///
/// # Errors
/// `Unreachable` where none answers, `Usage` where several do.
pub async fn find(role: Role, args: &AdminArgs) -> Result<Client, Failure> {
    let mut found = find_all(&[role], args).await?;
    match found.len() {
        1 => Ok(found.remove(0)),
        _ => Err(several(&found)),
    }
}

/// The one daemon that runs here, of either role unless `which` says it.
///
/// # Errors
/// `Unreachable` where none answers, `Usage` where several do.
pub async fn find_one(which: Option<Which>, args: &AdminArgs) -> Result<Client, Failure> {
    let mut found = find_all(&roles(which), args).await?;
    match (found.len(), which) {
        (1, _) => Ok(found.remove(0)),
        (_, Some(_)) => Err(several(&found)),
        (_, None) => {
            let text = "several daemons run here\n  next: say which, `target` or `initiator`, or give its --admin";
            Err(Failure::Usage(text.to_owned()))
        }
    }
}

/// The roles that `which` leaves.
pub fn roles(which: Option<Which>) -> Vec<Role> {
    match which {
        Some(which) => vec![which.into()],
        None => vec![Role::Target, Role::Initiator],
    }
}

/// Every daemon that answers, at least one.
///
/// # Errors
/// `Unreachable` with the places that were tried.
pub async fn find_all(roles: &[Role], args: &AdminArgs) -> Result<Vec<Client>, Failure> {
    if let Some(addr) = &args.admin {
        return Ok(vec![Client::connect(addr.clone()).await?]);
    }
    let mut found: Vec<Client> = Vec::new();
    let mut tried = Vec::new();
    let mut forbidden = None;
    for addr in roles.iter().flat_map(|role| role.known_sockets()) {
        match Client::connect(addr.clone()).await {
            Ok(client) => found.push(client),
            Err(error @ ClientError::NotAllowed { .. }) => forbidden = Some(error),
            Err(_) => tried.push(addr.to_string()),
        }
    }
    match (found.is_empty(), forbidden) {
        (false, _) => Ok(found),
        (true, Some(error)) => Err(error.into()),
        (true, None) => Err(Failure::Unreachable(nobody(roles, &tried))),
    }
}

fn nobody(roles: &[Role], tried: &[String]) -> String {
    let (kind, start) = match roles {
        [Role::Target] => ("target", "`lull target …`"),
        [Role::Initiator] => ("initiator", "`lull attach …`"),
        _ => ("daemon", "`lull target …` or `lull attach …`"),
    };
    format!(
        "no {kind} is running here (tried {})\n  next: start one ({start}), or say where it is \
         with --admin unix:/path",
        tried.join(", ")
    )
}

fn several(found: &[Client]) -> Failure {
    let addrs: Vec<_> = found.iter().map(|client| client.addr().to_string()).collect();
    let all = addrs.join(", ");
    Failure::Usage(format!("several daemons run here\n  next: choose one with --admin: {all}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn a_next_step_says_where_its_daemon_is() {
        let at = |admin: Option<&str>| AdminArgs { admin: admin.map(|it| it.parse().unwrap()) };
        let text = "see `lull history 7`, or `lull attach` it; `db1`: `lull status`";
        let full = "see `lull history 7 --admin unix:/x`, or `lull attach` it; `db1`: `lull status --admin unix:/x`";
        assert_eq!(at(Some("unix:/x")).in_full(text), full);
        assert_eq!(at(Some("unix:/y")).in_full(full), full, "it was said already");
        assert_eq!(at(None).in_full(text), text);
        assert_eq!(at(Some("unix:/x")).in_full("`lull status"), "`lull status", "no command's end");
    }

    #[test]
    fn every_verb_that_talks_to_a_daemon_is_known_to_do_so() {
        // Those that are daemons have an --admin of their own.
        let daemons = ["target", "attach"];
        let cli = crate::args::Cli::command();
        let verbs = cli.get_subcommands().filter(|verb| {
            verb.get_arguments().any(|one| one.get_id() == "admin")
                && !daemons.contains(&verb.get_name())
        });
        let mut verbs: Vec<_> = verbs.map(clap::Command::get_name).collect();
        verbs.sort_unstable();
        assert_eq!(verbs, VERBS);
    }
}
