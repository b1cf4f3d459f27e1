//! What people and peers get wrong: commands say what and what next, peers are dropped, and everybody else goes on.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use lull_e2e::{
    Initiator, Load, PROMPT, Running, Shape, Target, Use, World, now, wait_for, wait_until,
};
use lull_wire::frame::Digest;
use lull_wire::messages::{Address, Hello, Name};
use lull_wire::{InstanceId, Message, VERSION};

/// The longest that a connection may say nothing, with room for a machine that is busy.
const SILENT: Duration = Duration::from_secs(60);

/// What a second target may take to find that a medium's owner stays.
const LOCK: Duration = Duration::from_secs(40);

/// How often a state is cut short, at lengths that are spread over it.
const CUTS: u64 = 24;

/// `lull target` with everything in this world but the resource.
fn target_with(world: &World, resource: &str) -> Running {
    let state = world.path("new.state").display().to_string();
    let listen = format!("unix:{}", world.path("new.sock").display());
    let admin = format!("unix:{}", world.path("new-admin.sock").display());
    let words = ["target", "--state", &state, "--listen", &listen, "--admin", &admin, resource];
    world.start(&words)
}

/// A target with a consumer at work behind an initiator.
struct Served {
    target: Target,
    web: Initiator,
    load: Load,
}

impl Served {
    fn start(world: &World) -> Self {
        let target = world.target("stor").file("db1", "16M").nbd().start();
        let web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
        let load = Load::start(&web.nbd(), Shape::default());
        Self { target, web, load }
    }

    /// Where anybody may connect: the target's two faces and the initiator's.
    fn faces(&self, world: &World) -> [std::path::PathBuf; 3] {
        ["stor.sock", "stor-nbd.sock", "web1-db1.nbd"].map(|name| world.path(name))
    }

    /// Nobody here was disturbed.
    fn goes_on(self) {
        self.load.wait_progress(100);
        self.target.wait_all_sharing();
        self.web.wait_sharing();
        self.load.finish().clean();
    }
}

/// The key, its file and its line are named, by the check and by the daemon.
#[test]
fn an_unknown_key_is_shown_at_its_line() {
    let world = World::new();
    let text = "[target]\nname = \"stor\"\nlistn = [\"unix:x\"]\n[[resource]]\nname = \"a\"\nbackend = \"null:1G\"\n";
    let file = world.write("wrong.toml", text).display().to_string();
    for words in [vec!["check", &file], vec!["target", "--config", &file]] {
        let said = world.lull(&words).code(1);
        said.says("unknown field `listn`").says("wrong.toml:3:1").says("help:");
    }
}

/// Each is named with the next step, and the command fails.
#[test]
fn a_resource_that_cannot_be_shared_is_refused_with_the_next_step() {
    let world = World::new();
    std::fs::write(world.path("odd.img"), vec![0; 1000]).expect("a file");
    let at = |name: &str| world.path(name).display().to_string();
    let table = [
        (format!("db1=file:{},size=1000", at("x")), 2, "not a multiple of 512", "use 512 or 1024"),
        (format!("db1=file:{}", at("odd.img")), 1, "no multiple of 512", "truncate"),
        (format!("db1=file:{}", at("none.img")), 1, "none.img does not exist", "size="),
        (format!("db1=file:{},size=1M", at("none/x")), 1, "directory does not exist", "mkdir"),
        (format!("db1=file:{}", world.path("").display()), 1, "is a directory", "name a file"),
        ("db1=file:/dev/null".to_owned(), 1, "character device", "name a regular file"),
        ("db1=tape:0".to_owned(), 2, "unknown kind of backend", "there are file:"),
        ("db1=mem:1M,colour=red".to_owned(), 2, "colour", "option"),
    ];
    for (resource, code, what, next) in table {
        target_with(&world, &resource).finish(PROMPT).code(code).says(what).says(next);
    }
}

/// A port or socket that somebody has is named, with who has it where the system says so.
#[test]
fn an_address_in_use_is_named() {
    let world = World::new();
    let served = Served::start(&world);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = format!("tcp:{}", taken.local_addr().expect("an address"));
    let state = world.path("two.state").display().to_string();
    let admin = format!("unix:{}", world.path("two-admin.sock").display());
    let listen = format!("unix:{}", world.path("two.sock").display());
    let target = |listen: &str, admin: &str| {
        let words =
            ["target", "--state", &state, "--listen", listen, "--admin", admin, "a=null:1M"];
        world.lull(&words).code(1).says("in use")
    };
    target(&port, &admin).says(&port).says("choose another address");
    target(served.target.listen(), &admin).says("stor.sock").says("pid");
    target(&listen, &served.target.admin().to_string()).says("another --admin");
    served.goes_on();
}

/// [SAFE-6] A second target on a medium, or on a state directory, is told whose it is, and the first goes on.
#[test]
fn a_second_owner_is_refused() {
    let world = World::new();
    let served = Served::start(&world);
    let resource = format!("db1=file:{}", world.path("db1.img").display());
    let holder = format!("process {}", served.target.pid());
    let second = target_with(&world, &resource).finish(LOCK).code(1);
    second.says("db1.img is locked by").says(&holder).says("stop that one");
    let state = served.target.state_dir().display().to_string();
    let listen = format!("unix:{}", world.path("two.sock").display());
    let admin = format!("unix:{}", world.path("two-admin.sock").display());
    let words = ["target", "--state", &state, "--listen", &listen, "--admin", &admin, "a=null:1M"];
    world.lull(&words).code(1).says(&state).says("in use by another target");
    served.goes_on();
}

/// Neither daemon starts where it could not keep what it promises.
#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").start();
    let file = world.write("a-file", "").display().to_string();
    let admin = format!("unix:{}", world.path("two-admin.sock").display());
    let socket = format!("unix:{}", world.path("two.sock").display());
    for state in [file.as_str(), "/proc/lull"] {
        let owning =
            ["target", "--state", state, "--listen", &socket, "--admin", &admin, "a=null:1M"];
        let using = target.uri("db1");
        let using = ["attach", &using, "--nbd", &socket, "--state", state, "--admin", &admin];
        for words in [owning.as_slice(), using.as_slice()] {
            let said = world.lull(words).code(1);
            said.says(state).says("state directory").says("give another --state");
        }
    }
}

/// A target whose state was cut short says so and touches nothing; with the whole state it goes on where it was.
#[test]
fn a_truncated_state_of_a_target_is_refused_and_nothing_is_lost() {
    let world = World::new();
    let mut served = Served::start(&world);
    served.target.kill();
    let file = served.target.state_dir().join("target.redb");
    let whole = std::fs::read(&file).expect("the state");
    let length = whole.len() as u64;
    let lengths = (0..CUTS).map(|n| n * length / CUTS).chain([1, 512, length - 1]);
    let mut refused = 0;
    for cut in lengths {
        std::fs::write(&file, &whole[..cut as usize]).expect("the state");
        let command = served.target.command();
        let mut running = Running::start(command);
        // Where only what is not in use was cut off, it may go on.
        let serves = wait_for("a daemon ends or serves", PROMPT, || match running.has_ended() {
            true => Some(false),
            false => served.target.try_status().map(|_| true),
        });
        if serves {
            assert!(served.target.session("web1").is_some(), "cut to {cut}: web1 is forgotten");
            continue;
        }
        refused += 1;
        let said = running.finish(PROMPT).code(1);
        said.says("target.redb is damaged").says("restore it from a backup");
    }
    assert!(refused > CUTS / 2, "{refused} of {CUTS} were refused");
    std::fs::write(&file, whole).expect("the state");
    served.target.start();
    served.goes_on();
}

/// The same for an initiator: without its own past it could not be told from another one.
#[test]
fn a_truncated_state_of_an_initiator_is_refused_and_nothing_is_lost() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").start();
    let mut web = world.initiator("web1").uses(Use::of(&target, "db1")).start();
    web.kill();
    let file = web.state_dir().join("db1.json");
    let whole = std::fs::read(&file).expect("the state");
    for cut in (0..8).map(|n| n * whole.len() / 8) {
        std::fs::write(&file, &whole[..cut]).expect("the state");
        let said = Running::start(web.command()).finish(PROMPT).code(1);
        said.says("db1.json is damaged").says("restore it");
    }
    std::fs::write(&file, whole).expect("the state");
    web.start();
}

/// What a peer says that does not speak the protocol of the face that it found.
fn nonsense() -> [Vec<u8>; 3] {
    let noise = (0u32..4096).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    [b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(), noise, vec![0; 4096]]
}

/// Says something and reads until the other side closes.
fn until_closed(path: &Path, words: &[u8], within: Duration) -> Duration {
    let mut stream = UnixStream::connect(path).expect("a face");
    stream.set_read_timeout(Some(within)).expect("a limit");
    let begun = now();
    // It may be closed before all of it is written.
    let _ = stream.write_all(words);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
            panic!("{} is not closed within {within:?}: {error}", path.display())
        }
        _ => now() - begun,
    }
}

/// An NBD client that opens `db1` as it should, then asks for more than there is, and goes on with noise.
fn nonsense_after_opening() -> Vec<u8> {
    let mut words = 3u32.to_be_bytes().to_vec();
    words.extend(b"IHAVEOPT");
    // NBD_OPT_EXPORT_NAME, answered without a word.
    words.extend([1u32.to_be_bytes(), 3u32.to_be_bytes()].concat());
    words.extend(b"db1");
    for command in [0u16, 4] {
        words.extend(0x2560_9513u32.to_be_bytes());
        words.extend([0u16.to_be_bytes(), command.to_be_bytes()].concat());
        words.extend([u64::from(command).to_be_bytes(), u64::MAX.to_be_bytes()].concat());
        words.extend(u32::MAX.to_be_bytes());
    }
    let [_, noise, _] = nonsense();
    words.extend(noise);
    words
}

/// [SEC-4] HTTP, noise and zeroes: closed at once, said in the events, and nobody else notices.
#[test]
fn a_peer_that_speaks_something_else_is_dropped() {
    let world = World::new();
    let served = Served::start(&world);
    for face in served.faces(&world) {
        for words in nonsense() {
            until_closed(&face, &words, PROMPT);
        }
    }
    for face in ["stor-nbd.sock", "web1-db1.nbd"] {
        until_closed(&world.path(face), &nonsense_after_opening(), PROMPT);
    }
    let said = served.target.lull(&["events"]).ok().stdout;
    assert!(said.contains("does not speak this protocol (it began with \"GET \")"), "{said}");
    // Many of them are a line each second, which says for how many it is.
    wait_until("a line for many", PROMPT, || {
        for _ in 0..20 {
            until_closed(&world.path("stor.sock"), b"GET / HTTP/1.1\r\n\r\n", PROMPT);
        }
        served.target.lull(&["events"]).ok().stdout.contains("more before it")
    });
    served.goes_on();
}

/// [SEC-4] [CONN-6] Connections that say nothing, or stop in the middle, end by themselves. Restarts pass meanwhile.
#[test]
fn a_connection_that_says_nothing_is_dropped_in_bounded_time() {
    let world = World::new();
    let served = Served::start(&world);
    let mut hello = Vec::new();
    let greeting = Hello {
        min_version: VERSION,
        max_version: VERSION,
        instance: InstanceId([7; 16]),
        node: Name::clipped("stranger"),
        software: Name::clipped("a test"),
        callback: Address::clipped(""),
    };
    Message::from(greeting).encode(Digest::NONE, &mut hello);
    let mut probes = Vec::new();
    for face in served.faces(&world) {
        for words in [Vec::new(), b"LU".to_vec()] {
            probes.push((face.clone(), words));
        }
    }
    let face = world.path("stor.sock");
    probes.push((face.clone(), hello[..40].to_vec()));
    probes.push((face, hello));
    let threads: Vec<_> = probes
        .into_iter()
        .map(|(face, words)| std::thread::spawn(move || until_closed(&face, &words, SILENT)))
        .collect();
    served.target.restart(&["--daemon"]);
    for thread in threads {
        let waited = thread.join().expect("a connection that was closed");
        assert!(waited < SILENT, "{waited:?}");
    }
    served.goes_on();
}

/// What silent callers of the admin interface keep open is no part of a restart: it completes, and consumers do not
/// wait for them. That they do not is measured by the bench; here the restart ends.
#[test]
fn silent_callers_of_the_admin_interface_do_not_keep_a_restart() {
    let world = World::new();
    let served = Served::start(&world);
    let path = served.target.admin().path().to_owned();
    let callers = [
        "",
        "GE",
        "POST /v1/pause HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
        "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    .map(|words| {
        let mut stream = UnixStream::connect(&path).expect("the admin socket");
        stream.write_all(words.as_bytes()).expect("a call");
        stream
    });
    let record = served.target.restart(&["--daemon"]);
    assert!(record.rows.iter().all(|row| row.resumed_ms.is_some()), "{record:#?}");
    drop(callers);
    served.goes_on();
}

/// An initiator that finds something else where its target should be says so and ends.
#[test]
fn an_attachment_to_something_else_says_what_it_found() {
    for greeting in ["HTTP/1.1 400 Bad Request\r\n\r\n", "NBDMAGICIHAVEOPT\0\u{3}"] {
        let world = World::new();
        let path = world.path("other.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.write_all(greeting.as_bytes()).expect("a greeting");
            // It stays until the caller has gone.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let addr = format!("unix:{}", path.display());
        let web = world.initiator("web1").uses(Use::at(&addr, "db1")).prepare();
        let said = Running::start(web.command()).finish(PROMPT).code(1);
        said.says("other.sock").says("does not speak this protocol").says("see that the address");
        wait_until("the other side ends", PROMPT, || other.is_finished());
    }
}

/// A name that the target does not have is said, with where to look.
#[test]
fn an_attachment_to_an_unknown_resource_ends_with_the_name() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").start();
    let web = world.initiator("web1").uses(Use::of(&target, "db9")).prepare();
    let said = Running::start(web.command()).finish(PROMPT).code(1);
    said.says("there is no resource \"db9\"").says("lull status");
    assert!(!web.admin().path().exists(), "nobody listens there");
}

/// Whoever looks for a daemon finds none, and not the socket of one that never was.
#[test]
fn a_start_that_fails_leaves_no_socket_behind() {
    let world = World::new();
    let target = world.target("stor").file("db1", "16M").start();
    let at = |name: &str| format!("unix:{}", world.path(name).display());
    let state = world.path("new.state").display().to_string();
    let (admin, first, second) = (at("new-admin.sock"), at("first.sock"), target.listen());
    let words = ["target", "--state", &state, "--admin", &admin, "--listen", &first];
    let said = world.lull(&[&words[..], &["--listen", second, "a=null:1M"]].concat()).code(1);
    said.says("stor.sock");
    for name in ["new-admin.sock", "first.sock"] {
        assert!(!world.path(name).exists(), "{name}");
    }
    let web = world.initiator("web1").uses(Use::of(&target, "db1")).prepare();
    // Where its state would be written is something else.
    std::fs::create_dir_all(web.state_dir().join("db1.json.new")).expect("a directory");
    Running::start(web.command()).finish(PROMPT).code(1).says("db1.json");
    assert!(!web.admin().path().exists());
    assert!(target.status().initiators.is_empty());
}
