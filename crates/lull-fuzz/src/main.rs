//! `lull-fuzz seeds TARGET FOLDER`: writes a target's seeds and what was found by it, for libFuzzer to begin with.
//! `lull-fuzz run TARGET FILE…`: one input each, as the fuzzer left it. `lull-fuzz names`: the targets.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

use lull_fuzz::{TARGETS, seeds, target};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["names"] => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            Ok(())
        }
        ["seeds", name, folder] => write_seeds(name, Path::new(folder)),
        ["run", name, ref files @ ..] => run(name, files),
        _ => Err(io::Error::other(
            "write `lull-fuzz names`, `lull-fuzz seeds TARGET FOLDER` or `lull-fuzz run TARGET FILE…`",
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn known(name: &str) -> io::Result<&'static lull_fuzz::Target> {
    target(name).ok_or_else(|| {
        io::Error::other(format!("no target is called `{name}`: `lull-fuzz names` lists them"))
    })
}

fn write_seeds(name: &str, folder: &Path) -> io::Result<()> {
    let target = known(name)?;
    fs::create_dir_all(folder)?;
    for (at, seed) in (target.seeds)().iter().enumerate() {
        fs::write(folder.join(format!("seed-{at}")), seed)?;
    }
    for (file, bytes) in seeds::found(name) {
        fs::write(folder.join(format!("found-{file}")), bytes)?;
    }
    Ok(())
}

fn run(name: &str, files: &[&str]) -> io::Result<()> {
    let target = known(name)?;
    for file in files {
        (target.run)(&fs::read(file)?);
        println!("{file} passes");
    }
    Ok(())
}
