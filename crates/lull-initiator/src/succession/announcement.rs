//! What a successor is told before it checks itself, and whether it can take that over.

use std::path::{Path, PathBuf};

use lull_admin::Access;
use lull_frontend::ublk::Number;
use serde::{Deserialize, Serialize};

use crate::config::AttachmentConfig;

/// The form of what is handed over. A release that changes it refuses the other one before anybody waits.
const FORMAT: u32 = 1;
/// The variable that has it.
pub const VARIABLE: &str = "LULL_HANDOVER";

/// What is to be handed over, in short.
#[derive(Debug, Serialize, Deserialize)]
pub struct Announcement {
    format: u32,
    release: String,
    /// The name of each, and how it is accessed.
    attachments: Vec<(String, String)>,
    /// Devices of this host's kernel that somebody has to serve on, each behind the name of its attachment.
    #[serde(default)]
    devices: Vec<(String, PathBuf)>,
}

/// An attachment as it is configured, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its name.
    pub name: &'a str,
    /// How it is accessed.
    pub access: Access,
    /// Its device of the kernel's NBD.
    pub nbd_device: Option<&'a Path>,
    /// That of ublk.
    pub ublk: Option<Number>,
}

impl<'a> From<&'a AttachmentConfig> for Known<'a> {
    fn from(of: &'a AttachmentConfig) -> Self {
        let nbd_device = of.nbd_device.as_deref();
        Self { name: &of.name, access: of.access, nbd_device, ublk: of.ublk }
    }
}

impl Known<'_> {
    /// Whether it would serve this device.
    fn has(&self, device: &Path) -> bool {
        let number = device.to_str().and_then(|path| path.parse::<Number>().ok());
        let of_ublk = match self.ublk {
            // It takes the one that it had.
            Some(Number::Any) => number.is_some(),
            Some(Number::This(_)) => number == self.ublk,
            None => false,
        };
        of_ublk || self.nbd_device == Some(device)
    }
}

impl Announcement {
    /// Of a daemon with these attachments, each a name, how it is accessed, and its devices of this host's kernel.
    pub fn of<'a>(all: impl Iterator<Item = (&'a str, Access, Vec<PathBuf>)>) -> String {
        let (mut attachments, mut devices) = (Vec::new(), Vec::new());
        for (name, access, paths) in all {
            attachments.push((name.to_owned(), access.to_string()));
            devices.extend(paths.into_iter().map(|path| (name.to_owned(), path)));
        }
        let release = env!("CARGO_PKG_VERSION").to_owned();
        let all = Self { format: FORMAT, release, attachments, devices };
        // Numbers and names can always be written.
        serde_json::to_string(&all).unwrap_or_default()
    }

    /// Whether a daemon with these attachments can take over what `told` tells of. What was asked in one access is not
    /// to be asked again in another, which numbers its requests otherwise or may not write [SAFE-11]. A device of the
    /// kernel's stays connected whoever serves it: its users would wait for ever where nobody does.
    ///
    /// # Errors
    /// Why not, with the next step.
    pub fn check<'a>(told: &str, known: impl Iterator<Item = Known<'a>>) -> Result<(), String> {
        let Ok(Self { format, release, attachments, devices }) = serde_json::from_str(told) else {
            return Err("the old process does not say what it hands over".to_owned());
        };
        if format != FORMAT {
            return Err(format!(
                "lull {release} hands over in format {format}, lull {} takes format {FORMAT}: stop the daemon, and \
                 start the new release",
                env!("CARGO_PKG_VERSION")
            ));
        }
        let known: Vec<_> = known.collect();
        let of = |name: &str| known.iter().find(|one| one.name == name);
        attachments.iter().try_for_each(|(name, access)| match of(name) {
            None => Err(format!(
                "attachment `{name}` is not configured any more: `lull detach {name}` first, or put it back"
            )),
            Some(now) if now.access.to_string() != *access => Err(format!(
                "attachment `{name}` is {access} and is configured as {}: `lull detach {name}` first, or put it back",
                now.access
            )),
            Some(_) => Ok(()),
        })?;
        let nobodys =
            devices.iter().find(|(name, path)| !of(name).is_some_and(|one| one.has(path)));
        nobodys.map_or(Ok(()), |(name, path)| {
            Err(format!(
                "attachment `{name}` has {} and is not configured to: nobody would serve that device's users any more; \
                 `lull detach {name}` first, or put it back",
                path.display()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: Access = Access::Rw;

    fn known(name: &str) -> Known<'_> {
        Known { name, access: ACCESS, nbd_device: None, ublk: None }
    }

    /// [PAUSE-9] What a successor could not take over is found before anybody waits.
    #[test]
    fn an_announcement_is_refused_by_whoever_lacks_an_attachment_or_knows_another_form() {
        let check = |told: &str, names: &[&'static str]| {
            Announcement::check(told, names.iter().map(|name| known(name)))
        };
        let told = Announcement::of(["db1", "db2"].map(|name| (name, ACCESS, vec![])).into_iter());
        assert_eq!(check(&told, &["db2", "db1", "db3"]), Ok(()));
        let said = check(&told, &["db1"]).unwrap_err();
        assert!(said.contains("`db2`") && said.contains("lull detach"), "{said}");
        let later = told.replace("\"format\":1", "\"format\":2");
        let said = check(&later, &["db1", "db2"]).unwrap_err();
        assert!(said.contains("format 2"), "{said}");
        assert!(check("", &["db1"]).is_err());
        // [SAFE-11]
        let shared = [known("db1"), Known { access: Access::RwShared, ..known("db2") }];
        let said = Announcement::check(&told, shared.into_iter()).unwrap_err();
        assert!(said.contains("`db2` is rw and is configured as rw-shared"), "{said}");
        let before = told.replace(",\"devices\":[]", "");
        assert_ne!(before, told, "what a release without the list says");
        assert_eq!(check(&before, &["db1", "db2"]), Ok(()));
    }

    /// [PAUSE-9] [INIT-1] The users of a device that nobody serves any more would wait for ever.
    #[test]
    fn an_announcement_is_refused_by_whoever_would_not_serve_a_device_that_stays() {
        let told =
            |device: &str| Announcement::of([("db1", ACCESS, vec![device.into()])].into_iter());
        let (nbd, ublk) = (told("/dev/nbd3"), told("/dev/ublkb3"));
        let with = |nbd_device: Option<&'static str>, ublk: Option<&str>| Known {
            nbd_device: nbd_device.map(Path::new),
            ublk: ublk.map(|text| text.parse().unwrap()),
            ..known("db1")
        };
        let check = |told: &str, now| Announcement::check(told, std::iter::once(now));
        assert_eq!(check(&nbd, with(Some("/dev/nbd3"), None)), Ok(()));
        assert_eq!(check(&ublk, with(None, Some("/dev/ublkb3"))), Ok(()));
        assert_eq!(check(&ublk, with(Some("/dev/nbd3"), Some("auto"))), Ok(()));
        let wrong = [
            (&nbd, with(None, None)),
            (&nbd, with(Some("/dev/nbd4"), Some("auto"))),
            (&ublk, with(None, None)),
            (&ublk, with(Some("/dev/nbd3"), Some("/dev/ublkb4"))),
        ];
        for (told, now) in wrong {
            let said = check(told, now).unwrap_err();
            let device = if *told == nbd { "/dev/nbd3" } else { "/dev/ublkb3" };
            let begin = format!("attachment `db1` has {device} and");
            assert!(said.starts_with(&begin) && said.contains("lull detach db1"), "{said}");
        }
    }
}
