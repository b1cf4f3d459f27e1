//! The recipes of `docs/recipes/`, and the README: what a page tells people to type works, from its first block to its last.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lull_e2e::{Running, World, lull};

/// How long a page may take.
const PAGE: Duration = Duration::from_secs(120);

/// Empty places for everything that a page writes to, in namespaces that end with the shell. Other tests' file systems are
/// no concern of it: a copy of their mounts would keep them in use.
const PRELUDE: &str = "set -eu
awk '$2 ~ \"/lull-[^/]*/\" { print $2 }' /proc/mounts | tac | xargs --no-run-if-empty umount --lazy
for place in /run /srv /var/lib /etc/postgresql /var/log/postgresql; do
    test ! -d $place || mount -t tmpfs -o mode=755 lull-recipe $place
done
mkdir /run/lull
";

fn page(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes");
    let text = std::fs::read_to_string(docs.join(name));
    text.unwrap_or_else(|error| panic!("docs/recipes/{name}: {error}"))
}

/// A line without the comment at its end.
fn uncommented(line: &str) -> &str {
    line.split(" # ").next().unwrap_or(line).trim_end()
}

/// The blocks of a page that are in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while lines.any(|line| line == format!("```{language}")) {
        let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(block.join("\n") + "\n");
    }
    blocks
}

/// A page's shell blocks as one script. A daemon, which somebody would give a terminal of its own, goes to the
/// background, and its sockets are waited for.
fn script(page: &str) -> String {
    let mut script = PRELUDE.to_owned();
    for line in blocks(page, "sh").concat().replace("\\\n", " ").lines().map(uncommented) {
        let is_daemon = ["lull target ", "lull attach "].iter().any(|verb| line.starts_with(verb));
        if !is_daemon {
            script += &format!("{line}\n");
            continue;
        }
        script += &format!("{line} &\n");
        let sockets = line.split(' ').filter_map(|word| word.strip_prefix("unix:"));
        for socket in sockets {
            let what = "{ echo the daemon has ended; exit 1; }";
            script +=
                &format!("until test -S {socket}; do kill -0 $! || {what}; sleep 0.02; done\n");
        }
    }
    script
}

/// Runs a page.
#[track_caller]
fn follow(name: &str) {
    let world = World::new();
    let script = script(&page(name));
    let path = std::env::var("PATH").unwrap_or_default();
    let binaries: PathBuf = lull().parent().expect("a folder").into();
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "bash",
        "-c",
        &script,
    ]);
    unshare.current_dir(world.path("")).env("HOME", world.path(""));
    unshare.env("PATH", format!("{}:{path}", binaries.display()));
    unshare
        .env_remove("NOTIFY_SOCKET")
        .env_remove("RUNTIME_DIRECTORY")
        .env_remove("STATE_DIRECTORY");
    let finished = Running::start(unshare).finish(PAGE).ok();
    eprintln!("{}", finished.stdout);
}

#[test]
fn a_disk_for_qemu_is_filled_compared_and_restarted() {
    follow("qemu.md");
}

#[test]
fn a_file_system_for_a_container_is_written_through_a_restart() {
    follow("container.md");
}

#[test]
fn a_database_goes_on_through_a_restart() {
    follow("postgresql.md");
}

#[test]
fn what_the_readme_shows_works_as_it_stands() {
    follow("../../README.md");
}

/// [CHAIN-2]
#[test]
fn three_nodes_in_a_line_restart_one_after_the_other() {
    follow("chain.md");
}

#[test]
fn metrics_come_out_of_the_admin_socket() {
    follow("monitoring.md");
}

#[test]
fn the_configurations_of_two_hosts_are_good() {
    let world = World::new();
    let configurations = blocks(&page("two-hosts.md"), "toml");
    assert_eq!(configurations.len(), 2);
    for text in configurations {
        let file = world.write("lull.toml", &text);
        world.lull(&["check", &file.display().to_string()]).ok().says("good");
    }
}

#[test]
fn every_recipe_is_on_the_list_and_none_is_without_a_test_or_a_word_about_it() {
    let here = include_str!("recipes.rs");
    let list = page("README.md");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipes");
    let pages = std::fs::read_dir(folder)
        .expect("docs/recipes")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8"));
    for name in pages.filter(|name| name != "README.md") {
        assert!(list.contains(&format!("]({name})")), "docs/recipes/README.md lacks {name}");
        let tested = here.contains(&format!("\"{name}\""));
        assert!(tested || page(&name).contains("was not tried"), "{name} has no test");
    }
}
