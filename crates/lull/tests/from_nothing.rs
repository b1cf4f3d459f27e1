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
