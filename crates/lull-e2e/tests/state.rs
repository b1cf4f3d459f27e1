//! What daemons left on a disk, and which release may go on with it.

use std::path::{Path, PathBuf};

use lull_admin::{AttachmentPhase, SessionPhase};
use lull_e2e::{Load, PROMPT, Running, Shape, Target, Use, World, check_disk, wait_until};
use redb::{Database, ReadableDatabase, TableDefinition};

const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const NOTES: TableDefinition<'static, &str, &str> = TableDefinition::new("notes");

/// A daemon's state as the release of the first format left it, copied to where a daemon of this world looks for it: a
/// target of `null:16M` with one initiator on its roster, or that initiator's.
fn frozen(role: &str, to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("frozen/v1/state").join(role);
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a state of the first format") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().expect("a name");
        std::fs::copy(&path, to.join(name)).expect("a copy");
    }
}

fn target(world: &World) -> Target {
    let target = world.target("stor").backend("db1", "null:16M").prepare();
    frozen("target", target.state_dir());
    target
}

fn database(target: &Target) -> PathBuf {
    target.state_dir().join("target.redb")
}

/// The format of a state and the release that gave it that; no daemon may run.
fn format(target: &Target) -> (u64, Option<String>) {
    let mut opened = None;
    // Who was killed has the lock until the kernel has closed its files.
    wait_until("a database that nobody uses", PROMPT, || {
        opened = Database::open(database(target)).ok();
        opened.is_some()
    });
    let database = opened.expect("it was waited for");
    let transaction = database.begin_read().expect("a transaction");
    let meta = transaction.open_table(META).expect("meta");
    let format = meta.get("format").expect("a row").expect("a format").value();
    let writer = transaction
        .open_table(NOTES)
        .ok()
        .and_then(|notes| Some(notes.get("writer").expect("a row")?.value().to_owned()));
    (format, writer)
}

/// [CONN-8] Both daemons go on where the release before them stopped, as if it had been they.
#[test]
fn daemons_go_on_with_the_state_of_the_first_format() {
    let world = World::new();
    let mut target = target(&world);
    target.start();
    assert_eq!(target.wait_session("web1", SessionPhase::Lost).epoch, 2);
    assert_eq!(target.history().len(), 2);
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).prepare();
    frozen("initiator", web.state_dir());
    web.start();
    assert_eq!(target.wait_session("web1", SessionPhase::Sharing).epoch, 3);
    target.restart(&["--daemon"]);
    web.wait_sharing();
    web.lull(&["detach", "db1"]).ok();
    target.kill();
    let (format, writer) = format(&target);
    assert_eq!(format, 1);
    assert!(writer.is_some_and(|writer| writer.starts_with("lull ")));
}

/// [CONN-8] A release that does not come to serve leaves the state to the one before it.
#[test]
fn a_start_that_fails_leaves_the_format_as_it_was() {
    let world = World::new();
    let target = target(&world);
    std::fs::write(world.path("stor-admin.sock"), "in the way of a socket").expect("a file");
    Running::start(target.command()).finish(PROMPT).code(1).says("stor-admin.sock");
    assert_eq!(format(&target), (1, None));
}

/// [CONN-8] Who is put back too late says who wrote the state and what to do, and changes nothing.
#[test]
fn a_state_of_a_later_release_is_refused_by_daemons_and_readers() {
    let world = World::new();
    let target = target(&world);
    {
        let database = Database::open(database(&target)).expect("a database");
        let transaction = database.begin_write().expect("a transaction");
        transaction.open_table(META).expect("meta").insert("format", 99).expect("a row");
        let mut notes = transaction.open_table(NOTES).expect("notes");
        notes.insert("writer", "lull 9.0.0").expect("a row");
        drop(notes);
        transaction.commit().expect("a commit");
    }
    let state = target.state_dir().display().to_string();
    for command in [
        target.command(),
        world.command(&["status", "--state", &state]),
        world.command(&["history", "--state", &state]),
    ] {
        let said = Running::start(command).finish(PROMPT).code(1);
        said.says("target.redb has format 99, written by lull 9.0.0")
            .says("reads formats up to 1: run the release that wrote it");
    }
    assert_eq!(format(&target), (99, Some("lull 9.0.0".to_owned())));
}

/// [CONN-8] The same of an initiator.
#[test]
fn a_file_of_a_later_release_is_refused_by_an_initiator() {
    let world = World::new();
    let target = world.target("stor").backend("db1", "null:16M").start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).prepare();
    frozen("initiator", web.state_dir());
    let file = web.state_dir().join("db1.json");
    let text = std::fs::read_to_string(&file).expect("its text");
    let later = text.replace("\"version\": 1", "\"version\": 99, \"writer\": \"lull 9.0.0\"");
    std::fs::write(&file, &later).expect("a file");
    let said = Running::start(web.command()).finish(PROMPT).code(1);
    said.says("db1.json has format 99, written by lull 9.0.0")
        .says("run the release that wrote it");
    assert_eq!(std::fs::read_to_string(&file).expect("its text"), later);
    wait_until("the target knows nobody", PROMPT, || target.status().initiators.is_empty());
}

/// [SAFE-8] Another file under the same path, new or of another target, is not taken for the disk.
#[test]
fn a_target_does_not_start_on_a_file_that_is_not_the_disk_it_knows() {
    let world = World::new();
    let mut target = world.target("stor").file("db1", "16M").start();
    target.kill();
    let (disk, kept) = (world.path("db1.img"), world.path("kept.img"));
    std::fs::rename(&disk, &kept).expect("the disk can be moved");
    target.spawn();
    assert_eq!(target.process().wait(PROMPT).code(), Some(1), "on a new file: {}", target.log());
    assert!(target.log().contains("is not the disk that this state directory knows"));
    let mut other = world.target("other").file("db1", "16M").start();
    other.kill();
    target.spawn();
    assert_eq!(target.process().wait(PROMPT).code(), Some(1), "on another's: {}", target.log());
    std::fs::rename(&kept, &disk).expect("the disk can be put back");
    target.start();
}

/// [SAFE-8] [SAFE-7] An operator's word makes another file the disk. Whoever used the old one is told so and not let in,
/// until its own operator says that it is meant.
#[test]
fn a_disk_that_was_replaced_is_used_once_it_is_adopted_on_both_sides() {
    let world = World::new();
    let mut target = world.target("stor").file("db1", "16M").file("db2", "16M").start();
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let other = world.initiator("web2").uses(Use::of(&target, "db2")).start();
    Load::start(&web.nbd(), Shape::default()).finish().clean();
    let before = target.session("web1").expect("its place").epoch;
    let tenure = |target: &Target| target.status().resources[0].tenure;
    let old = tenure(&target);
    target.kill();
    std::fs::remove_file(world.path("db1.img")).expect("the disk is gone");
    target.spawn();
    assert_eq!(target.process().wait(PROMPT).code(), Some(1), "{}", target.log());
    let words = target.log();
    assert!(words.contains("lull adopt db1"), "{words}");
    target.spawn_with(&["--adopt", "db9"]);
    assert_eq!(target.process().wait(PROMPT).code(), Some(1));
    assert!(target.log().contains("there are db1, db2"), "{}", target.log());

    target.spawn_with(&["--adopt", "db1"]);
    wait_until("it serves", PROMPT, || target.try_status().is_some());
    assert!(target.log().contains("off its roster: web1"), "{}", target.log());
    assert!(tenure(&target) > old, "[SAFE-7] older logs are refused for good");
    // Its consumers believe in another disk: they wait for that one.
    wait_until("web1 is told the way out", PROMPT, || web.log().contains("lull attach --adopt"));
    assert!(target.session("web1").is_none());
    other.wait_phase(AttachmentPhase::Sharing);
    web.kill();

    let adopting = world.initiator("web1").uses(Use::of(&target, "db1")).flag("--adopt").start();
    check_disk(&adopting.nbd(), Shape::default());
    assert!(target.session("web1").expect("a place").epoch > before);
    // The word was for one start: a new process takes over what is there.
    let adopted = tenure(&target);
    target.restart(&["--daemon"]);
    target.wait_all_sharing();
    assert_eq!(tenure(&target), adopted);
}

/// [CONN-7] [PAUSE-9] Whoever uses a disk does not go on with a smaller one: nobody is paused for a target that would serve
/// it, which does not start with it either. When nobody uses it any more it may be of any size.
#[test]
fn a_disk_that_shrank_under_its_users_is_served_to_nobody() {
    let world = World::new();
    let disk = world.path("disk.img");
    let file = std::fs::File::create(&disk).expect("a disk");
    let resize = |size: u64| file.set_len(size).expect("a disk of another size");
    resize(16 << 20);
    let backend = format!("file:{}", disk.display());
    let mut target = world.target("stor").backend("db1", &backend).start();
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    let shrank = "has 8388608 bytes and had 16777216: whoever uses it (web1)";
    resize(8 << 20);
    target.lull(&["restart", "--daemon"]).code(1).says(shrank);
    target.wait_all_sharing();
    target.kill();
    let config = format!(
        "[target]\nname = \"stor\"\nstate = {:?}\n[[resource]]\nname = \"db1\"\nbackend = {backend:?}\n",
        target.state_dir(),
    );
    world.write("stor.toml", &config);
    let path = world.path("stor.toml").display().to_string();
    world.lull(&["check", &path]).ok().says(shrank);
    target.spawn();
    assert_eq!(target.process().wait(PROMPT).code(), Some(1), "{}", target.log());
    assert!(target.log().contains(shrank), "{}", target.log());
    assert!(target.log().contains("`lull adopt db1`"), "the way out: {}", target.log());
    resize(16 << 20);
    target.start();
    web.wait_sharing();
    web.lull(&["detach", "db1"]).ok();
    resize(8 << 20);
    target.restart(&["--daemon"]);
    assert_eq!(target.status().resources[0].size, 8 << 20);
}

/// [SAFE-8] The same before the target is started, for one that a service manager starts.
#[test]
fn a_disk_is_adopted_for_a_target_that_does_not_run() {
    let world = World::new();
    let mut target = world.target("stor").file("db1", "16M").start();
    let disk = world.path("db1.img");
    let config = world.path("stor.toml");
    let text = format!(
        "[target]\nname = \"stor\"\nstate = {:?}\n[[resource]]\nname = \"db1\"\nbackend = {:?}\n",
        target.state_dir(),
        format!("file:{}", disk.display()),
    );
    std::fs::write(&config, text).expect("a configuration");
    let adopt = ["adopt", "--config", config.to_str().expect("text"), "db1"];
    let running = world.start(&adopt).finish(PROMPT).code(1);
    running.says("in use by another");
    target.kill();
    std::fs::rename(&disk, world.path("kept.img")).expect("the disk can be moved");
    std::fs::copy(world.path("kept.img"), &disk).expect("a copy, without the mark");
    target.spawn();
    assert_eq!(target.process().wait(PROMPT).code(), Some(1), "{}", target.log());
    world.start(&adopt).finish(PROMPT).ok().says("is file:");
    target.start();
    // The old one is another disk now.
    target.kill();
    std::fs::rename(world.path("kept.img"), &disk).expect("the old disk");
    target.spawn();
    assert_eq!(target.process().wait(PROMPT).code(), Some(1), "{}", target.log());
}

/// [SAFE-8] Memory that lost its content is another resource; where it is used somebody has to say that it is meant.
#[test]
fn memory_that_lost_its_content_is_adopted_where_it_is_used() {
    let world = World::new();
    let mut target = world.target("stor").backend("db1", "mem:16M").start();
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    target.kill();
    target.start();
    wait_until("web1 is told the way out", PROMPT, || web.log().contains("lull attach --adopt"));
    web.kill();
    let adopting = world.initiator("web1").uses(Use::of(&target, "db1")).flag("--adopt").start();
    check_disk(&adopting.nbd(), Shape::default());
}
