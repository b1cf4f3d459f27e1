//! What the state does when its medium, or somebody else, is not as it should be.

use super::rows::{META, NOTES, ROSTER};
use super::thread::probe;
use super::{
    Commit, FILE, Fault, Format, ResourceRow, Store, StoreError, not_opened, open, open_waiting,
};
use crate::clock::Clock;
use lull_admin::RestartRecord;
use lull_proto::target::Ticket;
use redb::{Database, ReadableDatabase, StorageBackend, TableHandle};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;

/// A file on a disk that may be full.
#[derive(Debug)]
struct Disk {
    file: File,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.full.load(SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write_all_at(data, offset)
    }
}

fn on_disk(file: &Path, full: &Arc<AtomicBool>) -> Result<Database, redb::DatabaseError> {
    let file = File::options().read(true).write(true).open(file).unwrap();
    Database::builder().create_with_backend(Disk { file, full: Arc::clone(full) })
}

fn made() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap();
    dir
}

fn record(id: u64) -> Vec<Commit> {
    vec![Commit::Restart(Box::new(RestartRecord { id, ..RestartRecord::default() }))]
}

/// [PAUSE-5] A disk that was full makes commits fail for as long as it is, and not until the next start.
#[test]
fn commits_succeed_again_once_the_disk_has_room() {
    let dir = made();
    let file = dir.path().join(FILE);
    let full = Arc::new(AtomicBool::new(false));
    let (told, outcomes) = mpsc::channel();
    let (again, medium) = (file.clone(), Arc::clone(&full));
    let reopen = move || on_disk(&again, &medium).map_err(Fault::from);
    let database = on_disk(&file, &full).unwrap();
    let store = Store::start_with(database, reopen, Clock::start(), move |done| {
        told.send(done).unwrap();
    })
    .unwrap();
    let commit = |id| {
        store.commit(Some(Ticket(id)), record(id));
        outcomes.recv().unwrap()
    };
    assert_eq!(commit(1), (Ticket(1), true));
    full.store(true, SeqCst);
    for id in 2..5 {
        assert_eq!(commit(id), (Ticket(id), false));
    }
    let fault = store.fault().expect("it is said");
    assert!(!fault.why.is_empty() && fault.since > 0, "{fault:?}");
    full.store(false, SeqCst);
    for id in 5..8 {
        assert_eq!(commit(id), (Ticket(id), true), "it has room again");
    }
    assert_eq!(store.fault(), None);
    drop(store);
    let stored: Vec<_> = super::histories(dir.path()).unwrap().iter().map(|one| one.id).collect();
    assert!(stored.starts_with(&[1]) && stored.ends_with(&[5, 6, 7]), "{stored:?}");
}

/// [PAUSE-10] What is tried on a medium that has failed tells whether it takes a commit, and nothing stays of it.
#[test]
fn a_disk_with_room_for_nothing_new_is_full_to_a_probe_too() {
    let dir = made();
    let file = dir.path().join(FILE);
    let before = format_of(dir.path());
    let full = Arc::new(AtomicBool::new(false));
    let database = on_disk(&file, &full).unwrap();
    probe(&database, 1 << 20).unwrap();
    let read = database.begin_read().unwrap();
    assert!(read.list_tables().unwrap().all(|table| table.name() != "probe"));
    drop(read);
    full.store(true, SeqCst);
    assert!(matches!(probe(&database, 4096), Err(Fault::Io(_))));
    full.store(false, SeqCst);
    drop(database);
    assert_eq!(format_of(dir.path()), before);
}

/// A full disk is no reason to move the state away.
#[test]
fn a_full_disk_at_a_start_is_not_called_damage() {
    let dir = made();
    let file = dir.path().join(FILE);
    let full = Arc::new(AtomicBool::new(false));
    // One that was killed leaves something to repair.
    let killed = on_disk(&file, &full).unwrap();
    full.store(true, SeqCst);
    drop(killed);
    let error = not_opened(dir.path(), &file, on_disk(&file, &full).unwrap_err());
    assert!(matches!(error, StoreError::Unwritable { .. }), "{error:?}");
    assert!(error.to_string().contains("free space"), "{error}");
    full.store(false, SeqCst);
    open(dir.path()).unwrap();
}

/// Whoever has a state is not told to go on with an empty one.
#[test]
fn another_directory_is_offered_only_where_nothing_is_known() {
    let dir = made();
    let words = |dir: &Path, kind: io::ErrorKind| {
        StoreError::Directory { dir: dir.to_owned(), source: kind.into() }.to_string()
    };
    let (denied, none) = (io::ErrorKind::PermissionDenied, io::ErrorKind::NotFound);
    let new = dir.path().join("new");
    assert!(!words(dir.path(), denied).contains("another --state"));
    assert!(words(&new, denied).ends_with("free space there, or give another --state"));
    assert!(words(&new, none).ends_with("; give another --state"), "none can be made there");
    assert!(!words(dir.path(), none).contains("another --state"));
}

/// One that dies holds the lock a moment longer.
#[test]
fn a_lock_that_is_let_go_is_waited_for() {
    let dir = made();
    let file = dir.path().join(FILE);
    let mut dying = Some(Database::open(&file).unwrap());
    let mut rests = 0;
    open_waiting(dir.path(), &file, || {
        rests += 1;
        if rests == 3 {
            dying = None;
        }
    })
    .unwrap();
    assert_eq!(rests, 3);
}

/// One that lives is not waited for without end.
#[test]
fn a_second_target_is_refused_the_state() {
    let dir = made();
    let file = dir.path().join(FILE);
    let _first = Database::open(&file).unwrap();
    let refused = open_waiting(dir.path(), &file, || {});
    assert!(matches!(refused, Err(StoreError::InUse { .. })), "{refused:?}");
}

fn put(dir: &Path, key: &str, row: &str) {
    let database = Database::open(dir.join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(ROSTER).unwrap().insert(key, row).unwrap();
    transaction.commit().unwrap();
}

/// [SAFE-7] [SAFE-8] A place or an identity that cannot be read is not passed over: somebody else would be let in.
#[test]
fn what_makes_no_sense_is_damage() {
    let id = "0a".repeat(16);
    let seat = |id: &str, node: &str, access: u8| {
        format!(
            r#"{{"attachment":"{id}","node":"{node}","resource":"db1","access":{access},"instance":"{id}","epoch":1,"hold_ms":null}}"#
        )
    };
    let fine = made();
    put(fine.path(), &id, &seat(&id, "web-1", 1));
    assert_eq!(open(fine.path()).unwrap().1.seats.len(), 1);
    let long = "w".repeat(65);
    for (key, row) in [
        (&*id, seat(&id, &long, 1)),
        (&*id, seat(&id, "web-1", 99)),
        ("zz", seat("zz", "web-1", 1)),
        ("other", seat(&id, "web-1", 1)),
        (&*id, "{}".to_owned()),
    ] {
        let dir = made();
        put(dir.path(), key, &row);
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{row}: {error:?}");
    }
    let row = |identity: &str| ResourceRow {
        identity: identity.to_owned(),
        marked: false,
        device: None,
        incarnation: id.clone(),
        tenure: 1,
        backend: String::new(),
        size: 0,
    };
    assert!(row(&id).makes_sense() && !row("0a0").makes_sense());
}

/// Whoever waits for the outcome of a commit learns that there will be none.
#[test]
fn the_end_of_the_thread_ends_the_outcomes() {
    struct Fatal(mpsc::Sender<()>);
    let dir = made();
    let (told, outcomes) = mpsc::channel();
    let fatal = Fatal(told);
    let database = Database::open(dir.path().join(FILE)).unwrap();
    let done = move |_| {
        let Fatal(_told) = &fatal;
        panic!("as a defect would");
    };
    let store = Store::start(database, dir.path(), Clock::start(), done).unwrap();
    store.commit(Some(Ticket(1)), record(1));
    assert!(outcomes.recv().is_err());
    store.commit(Some(Ticket(2)), record(2));
}

/// A state of the first format, as its release left it.
fn of_the_first_format() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lull-e2e/frozen/v1/state/target");
    std::fs::copy(frozen.join(FILE), dir.path().join(FILE)).unwrap();
    dir
}

/// Gives a state another format, as a later release would.
fn of_format(dir: &Path, number: u64, needs: Option<u64>, writer: Option<&str>) {
    let database = Database::open(dir.join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("format", number).unwrap();
        meta.remove("needs").unwrap();
        needs.map(|needs| meta.insert("needs", needs).unwrap().is_none());
        let mut notes = transaction.open_table(NOTES).unwrap();
        notes.remove("writer").unwrap();
        writer.map(|writer| notes.insert("writer", writer).unwrap().is_none());
    }
    transaction.commit().unwrap();
}

fn format_of(dir: &Path) -> Format {
    super::format::known(&Database::open(dir.join(FILE)).unwrap().begin_read().unwrap()).unwrap()
}

/// [CONN-8] Whatever this release writes before it serves, the one before it can read; then the state is its own.
#[test]
fn a_state_of_the_first_format_is_brought_up_only_when_asked_for() {
    let dir = of_the_first_format();
    let first = Format { number: 1, needs: 1, writer: String::new() };
    let (database, remembered) = open(dir.path()).unwrap();
    assert!(remembered.is_behind);
    assert_eq!(remembered.resources["db1"].tenure, 1);
    assert_eq!((remembered.seats.len(), &*remembered.seats[0].node), (1, "web1"));
    assert_eq!(remembered.next_restart, 3, "one was asked for, one was the end of the process");
    let (told, outcomes) = mpsc::channel();
    let clock = Clock::start();
    let done = move |done| told.send(done).unwrap();
    let store = Store::start(database, dir.path(), clock, done).unwrap();
    let rows = remembered.resources.into_iter().collect();
    store.commit(Some(Ticket(1)), vec![Commit::Resources(rows)]);
    assert_eq!(outcomes.recv().unwrap(), (Ticket(1), true));
    drop(store);
    assert_eq!(format_of(dir.path()), first, "a start that came no further changed nothing of it");
    let (told, outcomes) = mpsc::channel();
    let (database, _) = open(dir.path()).unwrap();
    let done = move |done| told.send(done).unwrap();
    let store = Store::start(database, dir.path(), clock, done).unwrap();
    store.commit(Some(Ticket(1)), vec![Commit::Upgrade]);
    assert_eq!(outcomes.recv().unwrap(), (Ticket(1), true));
    drop(store);
    assert_eq!(format_of(dir.path()), Format::ours());
    assert!(!open(dir.path()).unwrap().1.is_behind);
    assert_eq!(super::histories(dir.path()).unwrap().len(), 2);
}

/// [CONN-8] The words of a release that is put back too late, to the daemon and to people who read its state.
#[test]
fn a_state_of_a_later_format_is_refused_with_the_next_step() {
    let dir = of_the_first_format();
    of_format(dir.path(), 99, None, Some("lull 9.0.0"));
    let words = |error: StoreError| {
        let text = error.to_string().replace(dir.path().to_str().unwrap(), "STATE");
        text.replace(super::RELEASE, "lull X")
    };
    let daemon = words(open(dir.path()).unwrap_err());
    let reads = "lull X reads formats up to 1: run the release that wrote it, or a later one, or put back a copy of the \
                 state from before";
    let expected =
        format!("the state in STATE/target.redb has format 99, written by lull 9.0.0; {reads}");
    assert_eq!(daemon, expected);
    assert_eq!(words(super::status(dir.path()).unwrap_err()), daemon);
    assert_eq!(words(super::histories(dir.path()).unwrap_err()), daemon);
    of_format(dir.path(), 99, Some(2), None);
    let expected = format!("the state in STATE/target.redb has format 99; {reads}");
    assert_eq!(words(open(dir.path()).unwrap_err()), expected);
}

/// [CONN-8] What was added to the state is no reason to refuse it where its writer says so; it stays what it is.
#[test]
fn a_later_format_that_this_release_may_read_is_read_and_kept() {
    let dir = of_the_first_format();
    of_format(dir.path(), 7, Some(1), Some("lull 3.0.0"));
    assert!(!open(dir.path()).unwrap().1.is_behind);
    assert_eq!(super::status(dir.path()).unwrap().target.unwrap().initiators.len(), 1);
}

/// [PAUSE-9] What a successor is told is what it is asked about.
#[test]
fn a_successor_judges_the_format_that_it_is_told() {
    let dir = made();
    let later = Format { number: 99, needs: 99, writer: "lull 9.0.0 (a build)".to_owned() };
    for format in [Format::ours(), later] {
        let told = Format::of_words(&format.to_words());
        assert_eq!(told.as_ref(), Some(&format));
        assert_eq!(super::check(dir.path(), told).is_ok(), format.number == 1);
    }
    assert_eq!(Format::of_words("2 two"), None);
    super::check(dir.path(), None).unwrap();
}
