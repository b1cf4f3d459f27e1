//! What an attachment keeps over the end of its daemon: one small file, and a lock on it.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lull_proto::initiator::Memory;
use lull_wire::{AttachmentId, Epoch, Incarnation, InstanceId, Tenure};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// The format that this release writes, and the newest that it reads. A later format says which one its readers must
/// know (`needs`), and who wrote it (`writer`).
const FORMAT: u32 = 1;
/// This release, for people.
const RELEASE: &str = concat!("lull ", env!("CARGO_PKG_VERSION"));
/// No state is longer; what is longer is something else and is not read.
const LONGEST: u64 = 64 * 1024;

/// The most lives that are noted, one after another, without one that knows that it was attached. Each costs the next
/// a dial at most.
const MOST_NOTED: usize = 16;

/// The state of an attachment that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory cannot be had.
    #[error(
        "cannot use the state directory {dir}: {source}; make it writable, or give another --state"
    )]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another daemon has the attachment.
    #[error(
        "another daemon{holder} uses {path}; stop it, or give this attachment another name (--attachment-name) or another --state"
    )]
    InUse {
        /// The lock.
        path: PathBuf,
        /// ` (pid 17)`, or nothing.
        holder: String,
    },
    /// A daemon has it that was not to be disturbed by a look.
    #[error(
        "an initiator runs on the state directory {dir}: ask it, by --admin where it is not at its default place"
    )]
    Runs {
        /// The directory.
        dir: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; mend that, or give another --state")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error(
        "cannot write {path}: {source}; make room or mend the permissions, or give another --state"
    )]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error(
        "{path} is damaged ({what}): restore it, or, if nothing unflushed of this attachment is missed at its target, \
         remove it, and end its place there with lull evict"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A file of a later release.
    #[error(
        "{path} has format {format}{writer}; {RELEASE} reads formats up to {FORMAT}: run the release that wrote it, or \
         a later one, or put back a copy of the file from before"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// `, written by lull 9.0.0`, or nothing.
        writer: String,
    },
    /// A file of another node.
    #[error(
        "{path} belongs to the node `{theirs}`, and this is `{ours}`; use --name {theirs}, or another --state"
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        theirs: String,
        /// Who asks.
        ours: String,
    },
}

impl StateError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which attachment: made once.
    pub attachment: AttachmentId,
    /// The last life that is known to have been attached; zero for none.
    pub instance: InstanceId,
    /// Lives that began since, the oldest first: each may have been attached and died before it knew.
    pub noted: Vec<InstanceId>,
    /// What the machine knows of the resource.
    pub memory: Memory,
    /// That life keeps a log, all of which was executed in this incarnation; `None`: it leaves nothing that a next one
    /// could miss [SAFE-10].
    pub log: Option<Incarnation>,
}

impl Kept {
    /// What a life that begins leaves behind if it dies at once.
    #[must_use]
    pub fn noting(&self, instance: InstanceId) -> Self {
        let mut kept = self.clone();
        // It has tried before.
        if kept.noted.last() == Some(&instance) {
            return kept;
        }
        // Beyond the limit the oldest is forgotten. Were it the one that the target has let in, which died before it learned so,
        // and none of as many after it has reached the target since, this attachment would have to be let in by hand.
        kept.noted.drain(..(kept.noted.len() + 1).saturating_sub(MOST_NOTED));
        kept.noted.push(instance);
        kept
    }

    /// Who may be the owner that the target has recorded, the oldest first.
    pub fn owners(&self) -> Vec<InstanceId> {
        let known = Some(self.instance).filter(|instance| !instance.is_none());
        known.into_iter().chain(self.noted.iter().copied()).collect()
    }
}

/// What any format says of itself.
#[derive(Deserialize)]
struct Head {
    version: u32,
    needs: Option<u32>,
    writer: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    node: String,
    attachment: String,
    instance: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    noted: Vec<String>,
    epoch: u64,
    identity: String,
    incarnation: String,
    tenure: u64,
    /// Not in files of releases whose logs ended with their daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

impl Written {
    fn kept(self, path: &Path, node: &str) -> Result<Kept, StateError> {
        let damaged = |what: String| StateError::Damaged { path: path.to_owned(), what };
        if self.node != node {
            let (theirs, ours) = (self.node, node.to_owned());
            return Err(StateError::OtherNode { path: path.to_owned(), theirs, ours });
        }
        fn id<T: FromStr<Err: ToString>>(text: &str) -> Result<T, String> {
            text.parse().map_err(|error: T::Err| error.to_string())
        }
        let kept = || -> Result<Kept, String> {
            Ok(Kept {
                attachment: id(&self.attachment)?,
                instance: id(&self.instance)?,
                noted: self.noted.iter().map(|noted| id(noted)).collect::<Result<_, _>>()?,
                memory: Memory {
                    epoch: Epoch(self.epoch),
                    identity: id(&self.identity)?,
                    incarnation: id(&self.incarnation)?,
                    tenure: Tenure(self.tenure),
                },
                log: self.log.as_deref().map(id).transpose()?,
            })
        };
        let kept = kept().map_err(damaged)?;
        if kept.attachment.is_none() {
            return Err(damaged("it names no attachment".into()));
        }
        Ok(kept)
    }
}

/// The file of one attachment, for as long as this process lives.
#[derive(Debug)]
pub struct StateFile {
    dir: PathBuf,
    path: PathBuf,
    node: String,
    /// Held until it is dropped; the file itself stays, so that nobody locks one that is gone.
    _lock: File,
}

/// What people may know of an attachment whose daemon does not run.
#[derive(Debug)]
pub struct Stored {
    /// The node.
    pub node: String,
    /// The last epoch.
    pub epoch: u64,
    /// The last incarnation.
    pub incarnation: String,
}

/// Where the state of attachment `name` is.
pub fn place(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.json"))
}

/// Reads the state of attachment `name` without taking it.
///
/// # Errors
/// A file that is not there, cannot be read, or is not what was written.
pub fn read_stored(dir: &Path, name: &str) -> Result<Stored, StateError> {
    let path = place(dir, name);
    match read_written(&path)? {
        Some(Written { node, epoch, incarnation, .. }) => Ok(Stored { node, epoch, incarnation }),
        None => Err(StateError::Unreadable { path, source: io::ErrorKind::NotFound.into() }),
    }
}

/// Whether a daemon has attachment `name` at this moment. To try its lock would be in the way of one that starts.
pub fn is_in_use(dir: &Path, name: &str) -> bool {
    let Ok(lock) = fs::metadata(dir.join(format!("{name}.lock"))) else { return false };
    let inode = format!(":{}", lock.ino());
    // 1: FLOCK  ADVISORY  WRITE 17 00:1b:4711 0 EOF
    let is_it = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some("FLOCK") && words.nth(3).is_some_and(|file| file.ends_with(&inode))
    };
    fs::read_to_string("/proc/locks").is_ok_and(|locks| locks.lines().any(is_it))
}

/// Whether the state of attachment `name` can be written. To be asked before others wait for who is to write it.
///
/// # Errors
/// [`StateError::Unwritable`].
pub fn try_writing(dir: &Path, name: &str) -> Result<(), StateError> {
    let path = dir.join(format!("{name}.json.try"));
    let tried = File::create(&path).and_then(|mut file| {
        file.write_all(&[b' '; 4096])?;
        file.sync_all()
    });
    // Another one overwrites what stays behind.
    let _ = fs::remove_file(&path);
    let path = place(dir, name);
    match tried {
        // Where there is no directory yet it is made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        tried => tried.map_err(|source| StateError::Unwritable { path, source }),
    }
}

/// What a file says, if there is one.
fn read_written(path: &Path) -> Result<Option<Written>, StateError> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text)) {
        Ok(_) => written(path, &text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Unreadable { path: path.to_owned(), source }),
    }
}

/// What the text of a file says.
fn written(path: &Path, text: &[u8]) -> Result<Written, StateError> {
    let at = || path.to_owned();
    let damaged = |what: String| StateError::Damaged { path: at(), what };
    let text = str::from_utf8(text).map_err(|_| damaged("it is no text".into()))?;
    let Head { version: format, needs, writer } =
        serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    if needs.unwrap_or(format) > FORMAT {
        let by = |writer: String| format!(", written by {}", writer.escape_debug());
        let writer = writer.map(by).unwrap_or_default();
        return Err(StateError::Format { path: at(), format, writer });
    }
    serde_json::from_str(text).map_err(|error| damaged(error.to_string()))
}

/// The state that a file of `node` holds, which has this text.
///
/// # Errors
/// It is another node's, or not what was written.
pub fn kept(path: &Path, node: &str, text: &[u8]) -> Result<Kept, StateError> {
    written(path, text)?.kept(path, node)
}

/// The text of the file of `node`.
pub fn text(node: &str, kept: &Kept) -> serde_json::Result<Vec<u8>> {
    let Kept { attachment, instance, noted, memory, log } = kept;
    let mut text = serde_json::to_vec_pretty(&Written {
        version: FORMAT,
        node: node.to_owned(),
        attachment: attachment.to_string(),
        instance: instance.to_string(),
        noted: noted.iter().map(InstanceId::to_string).collect(),
        epoch: memory.epoch.0,
        identity: memory.identity.to_string(),
        incarnation: memory.incarnation.to_string(),
        tenure: memory.tenure.0,
        log: log.map(|settled| settled.to_string()),
    })?;
    text.push(b'\n');
    Ok(text)
}

impl StateFile {
    /// Takes the state of attachment `name` of `node`, and what it holds, if it was ever written.
    ///
    /// # Errors
    /// Everything that keeps it from being used. A damaged file is never taken for a missing one.
    pub fn open(dir: &Path, name: &str, node: &str) -> Result<(Self, Option<Kept>), StateError> {
        fs::create_dir_all(dir)
            .map_err(|source| StateError::Directory { dir: dir.to_owned(), source })?;
        let lock = lock(dir.join(format!("{name}.lock")), dir)?;
        let path = place(dir, name);
        let file = Self { dir: dir.to_owned(), path, node: node.to_owned(), _lock: lock };
        let kept = file.read()?;
        Ok((file, kept))
    }

    fn read(&self) -> Result<Option<Kept>, StateError> {
        let written = read_written(&self.path)?;
        written.map(|written| written.kept(&self.path, &self.node)).transpose()
    }

    /// Writes it durably: whatever happens meanwhile, either the old file is there or the new one.
    ///
    /// # Errors
    /// [`StateError::Unwritable`].
    pub fn write(&self, kept: &Kept) -> Result<(), StateError> {
        let fresh = self.path.with_extension("json.new");
        let write = || -> io::Result<()> {
            let text = text(&self.node, kept)?;
            let mut file = File::create(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|source| StateError::Unwritable { path: self.path.clone(), source })
    }

    /// Removes it: the attachment does not exist any more.
    ///
    /// # Errors
    /// [`StateError::Unwritable`].
    pub fn remove(&self) -> Result<(), StateError> {
        match fs::remove_file(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StateError::Unwritable { path: self.path.clone(), source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn lock(path: PathBuf, dir: &Path) -> Result<File, StateError> {
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|source| StateError::Directory { dir: dir.to_owned(), source })?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let _ = file.take(32).read_to_string(&mut pid);
            let holder = match pid.trim().parse::<u32>() {
                Ok(pid) => format!(" (pid {pid})"),
                Err(_) => String::new(),
            };
            return Err(StateError::InUse { path, holder });
        }
        Err(error) => return Err(StateError::Unwritable { path, source: error.into() }),
    }
    // Who holds it is for people only: that it cannot be written harms nothing.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lull_wire::ResourceId;

    fn kept() -> Kept {
        Kept {
            attachment: AttachmentId([0xa7; 16]),
            instance: InstanceId([0x17; 16]),
            noted: vec![InstanceId([0x18; 16])],
            memory: Memory {
                epoch: Epoch(41),
                identity: ResourceId([0xd1; 16]),
                incarnation: Incarnation([0xc1; 16]),
                tenure: Tenure(3),
            },
            log: Some(Incarnation([0xc1; 16])),
        }
    }

    #[test]
    fn what_was_written_is_found_by_the_next_life() {
        let dir = tempfile::tempdir().unwrap();
        let (file, found) = StateFile::open(dir.path(), "db1", "web-1").unwrap();
        assert_eq!(found, None);
        file.write(&kept()).unwrap();
        drop(file);
        let (file, found) = StateFile::open(dir.path(), "db1", "web-1").unwrap();
        assert_eq!(found, Some(kept()));
        file.remove().unwrap();
        drop(file);
        assert_eq!(StateFile::open(dir.path(), "db1", "web-1").unwrap().1, None);
    }

    /// [SAFE-5] A life knows all that may be the owner; however often one fails, the last that is known stays.
    #[test]
    fn lives_that_end_unheard_are_noted_in_their_order_and_bounded() {
        let never = Kept { instance: InstanceId::NONE, noted: Vec::new(), ..kept() };
        assert_eq!(never.owners(), []);
        let life = |at: u8| InstanceId([at; 16]);
        assert_eq!(never.noting(life(1)).noting(life(2)).owners(), [life(1), life(2)]);
        // [SAFE-6] One that tries again and again pushes nobody out.
        let tried = (0..50).fold(never.noting(life(1)), |kept, _| kept.noting(life(2)));
        assert_eq!(tried.owners(), [life(1), life(2)]);
        let known = Kept { instance: life(100), noted: Vec::new(), ..kept() };
        let many = (1..=50).fold(known, |kept, at| kept.noting(life(at)));
        let last = (35..=50).map(life);
        assert_eq!(many.owners(), std::iter::once(life(100)).chain(last).collect::<Vec<_>>());
    }

    /// A file of a release that noted nobody.
    #[test]
    fn a_file_without_notes_names_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = StateFile::open(dir.path(), "db1", "web-1").unwrap();
        file.write(&Kept { noted: Vec::new(), ..kept() }).unwrap();
        assert!(!fs::read_to_string(&file.path).unwrap().contains("noted"));
        assert_eq!(file.read().unwrap().unwrap().owners(), [kept().instance]);
    }

    #[test]
    fn a_second_daemon_is_told_who_has_the_attachment() {
        let dir = tempfile::tempdir().unwrap();
        let _held = StateFile::open(dir.path(), "db1", "web-1").unwrap();
        let said = StateFile::open(dir.path(), "db1", "web-1").unwrap_err().to_string();
        assert!(said.contains(&format!("(pid {})", std::process::id())), "{said}");
        StateFile::open(dir.path(), "db2", "web-1").unwrap();
    }

    #[test]
    fn a_file_cut_off_anywhere_is_damaged_and_never_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = StateFile::open(dir.path(), "db1", "web-1").unwrap();
        file.write(&kept()).unwrap();
        let whole = fs::read(&file.path).unwrap();
        // The last byte is the line's end, which says nothing.
        for length in 0..whole.len() - 1 {
            fs::write(&file.path, &whole[..length]).unwrap();
            let error = file.read().unwrap_err();
            let said = error.to_string();
            assert!(matches!(error, StateError::Damaged { .. }), "{length}: {said}");
            assert!(said.contains("db1.json") && said.contains("remove it"), "{said}");
        }
    }

    #[test]
    fn files_of_other_nodes_and_releases_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = StateFile::open(dir.path(), "db1", "web-1").unwrap();
        file.write(&kept()).unwrap();
        drop(file);
        let said = StateFile::open(dir.path(), "db1", "web-2").unwrap_err().to_string();
        assert!(said.contains("belongs to the node `web-1`"), "{said}");
    }

    #[test]
    fn who_looks_knows_whether_a_daemon_has_it_and_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_in_use(dir.path(), "db1"));
        let (file, _) = StateFile::open(dir.path(), "db1", "web-1").unwrap();
        assert!(is_in_use(dir.path(), "db1") && !is_in_use(dir.path(), "db2"));
        drop(file);
        assert!(!is_in_use(dir.path(), "db1"));
    }

    /// [CONN-8] The words of a release that is put back too late.
    #[test]
    fn a_file_of_a_later_format_is_refused_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db1.json");
        let said = |text: &str| {
            fs::write(&path, text).unwrap();
            let error = StateFile::open(dir.path(), "db1", "web-1").unwrap_err();
            error
                .to_string()
                .replace(dir.path().to_str().unwrap(), "STATE")
                .replace(RELEASE, "lull X")
        };
        let reads = "lull X reads formats up to 1: run the release that wrote it, or a later one, or put back a copy \
                     of the file from before";
        for (text, what) in [
            (
                r#"{"version": 99, "writer": "lull 9.0.0", "more": 1}"#,
                "format 99, written by lull 9.0.0",
            ),
            (r#"{"version": 99}"#, "format 99"),
            (
                r#"{"version": 99, "needs": 2, "writer": "a\u001b"}"#,
                r"format 99, written by a\u{1b}",
            ),
        ] {
            assert_eq!(said(text), format!("STATE/db1.json has {what}; {reads}"));
        }
    }

    /// [CONN-8] A later format that a reader of this one may read is read; what is not known is passed over.
    #[test]
    fn a_file_of_a_later_format_that_says_so_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = StateFile::open(dir.path(), "db1", "web-1").unwrap();
        file.write(&kept()).unwrap();
        let text = fs::read_to_string(&file.path).unwrap();
        let later = r#""version": 2, "needs": 1, "writer": "lull 9.0.0", "mood": "good""#;
        fs::write(&file.path, text.replace(r#""version": 1"#, later)).unwrap();
        assert_eq!(file.read().unwrap(), Some(kept()));
    }

    #[test]
    fn a_directory_that_cannot_be_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let said = StateFile::open(&file.join("state"), "db1", "web-1").unwrap_err().to_string();
        assert!(said.contains("file/state") && said.contains("--state"), "{said}");
    }
}
