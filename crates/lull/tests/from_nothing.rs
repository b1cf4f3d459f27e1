//! What somebody needs who begins: a configuration, pages to read, words that complete themselves.

use assert_cmd::Command;

fn lull() -> Command {
    assert_cmd::cargo::cargo_bin_cmd!("lull")
}

/// Runs the verb with this standard input; gives exit status, standard output and standard error.
fn run(args: &[&str], input: &str) -> (i32, String, String) {
    let output = lull().args(args).write_stdin(input).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_init_prints_passes_check_through_a_pipe() {
    let (status, printed, err) = run(&["init"], "");
    assert_eq!((status, &*err), (0, ""));
    assert!(printed.starts_with("# "), "{printed}");
    let (status, out, err) = run(&["check", "-"], &printed);
    assert_eq!((status, &*out), (0, ""), "{err}");
    assert!(err.starts_with("standard input: good: target store-1"), "{err}");
    assert_eq!(run(&["init", "-"], "").1, printed);
}

#[test]
fn what_init_writes_passes_check_and_is_not_written_over_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lull.toml");
    let file = path.to_str().unwrap();
    let (status, out, err) = run(&["init", file], "");
    assert_eq!((status, &*out), (0, ""), "{err}");
    assert_eq!(run(&["check", file], "").0, 0);
    let example = std::fs::read_to_string(&path).unwrap();

    std::fs::write(&path, format!("{example}\n# mine\n")).unwrap();
    let (status, _, err) = run(&["init", file], "");
    assert_eq!(status, 1);
    assert!(err.contains(file) && err.contains("--force"), "{err}");
    assert!(std::fs::read_to_string(&path).unwrap().ends_with("# mine\n"));
    assert_eq!(run(&["init", "--force", file], "").0, 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), example);
}

#[test]
fn what_is_wrong_in_a_pipe_is_shown_in_its_line() {
    let (status, _, err) = run(&["check", "-"], "[target]\nlisen = []\n");
    assert_eq!(status, 1);
    assert!(err.contains("standard input:2:1"), "{err}");
    let endless = "#".repeat((16 << 20) + 1);
    let (status, _, err) = run(&["check", "-"], &endless);
    assert_eq!(status, 1);
    assert!(err.contains("standard input: cannot be read: more than 16 MiB"), "{err}");
}

/// The verbs, as `lull --help` lists them.
fn verbs() -> Vec<(String, String)> {
    let (_, help, _) = run(&["--help"], "");
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let mut verbs: Vec<(String, String)> = Vec::new();
    for line in listed.map_while(|line| line.strip_prefix("  ")) {
        match (line.split_once(' '), verbs.last_mut()) {
            // A long description goes on below.
            (Some(("", more)), Some((_, what))) => *what = format!("{what} {}", more.trim()),
            (Some((verb, what)), _) => verbs.push((verb.to_owned(), what.trim().to_owned())),
            (None, _) => panic!("no description in `{line}`"),
        }
    }
    verbs.retain(|(verb, _)| verb != "help");
    verbs
}

#[test]
fn each_verb_has_its_page_with_the_words_of_its_help() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("share/man1");
    let (status, out, err) = run(&["man", pages.to_str().unwrap()], "");
    assert_eq!((status, &*out), (0, ""), "{err}");
    let page = |name: &str| {
        let path = pages.join(format!("{name}.1"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("no {name}.1"));
        text.replace("\\-", "-").replace("\\*(Aq", "'")
    };
    let verbs = verbs();
    assert!(verbs.len() >= 18, "{verbs:?}");
    let main = page("lull");
    for (verb, what) in &verbs {
        let page = page(&format!("lull-{verb}"));
        assert!(page.contains(&format!("lull-{verb} - {what}")), "{page}");
        assert!(main.contains(&format!("lull-{verb}(1)\n{what}")), "{main}");
    }
    assert!(main.contains("3 not done because somebody was not ready"), "{main}");
    assert_eq!(std::fs::read_dir(&pages).unwrap().count(), verbs.len() + 1);
    // Pages of an older version are replaced.
    assert_eq!(run(&["man", pages.to_str().unwrap()], "").0, 0);
}

#[test]
fn a_page_reads_as_this() {
    let dir = tempfile::tempdir().unwrap();
    run(&["man", dir.path().to_str().unwrap()], "");
    let page = std::fs::read_to_string(dir.path().join("lull-init.1")).unwrap();
    insta::assert_snapshot!(page.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn every_verb_completes_in_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let (status, script, err) = run(&["completions", shell], "");
        assert_eq!((status, &*err), (0, ""), "{shell}");
        for (verb, _) in verbs() {
            assert!(script.contains(&verb), "{shell} does not complete {verb}");
        }
        assert!(script.contains("on-pause-timeout"), "{shell} does not complete flags");
    }
    assert_eq!(run(&["completions", "tcsh"], "").0, 2);
}

#[test]
fn the_version_is_one_line() {
    let (status, out, err) = run(&["--version"], "");
    assert_eq!((status, &*err), (0, ""));
    assert_eq!(out, concat!("lull ", env!("CARGO_PKG_VERSION"), "\n"));
}
