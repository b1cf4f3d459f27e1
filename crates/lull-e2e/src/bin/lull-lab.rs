//! `cargo xtask lab` calls this: it lays in what guests are made of, and runs a lab for people.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use lull_e2e::lab::{self, compare};

#[derive(Parser)]
#[command(name = "lull-lab", about = "Operating systems to try Lull in")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Lay in kernels, programs and our own binaries below target/lab
    Prepare {
        /// The root of the repository
        tree: PathBuf,
    },
    /// Run a target and initiators until told to end
    Keep {
        /// How many initiators
        #[arg(long, default_value = "2")]
        initiators: u8,
    },
    /// Reboot the target of each system under load, cut its power, and print what its users had of it
    Compare {
        /// The root of the repository
        tree: PathBuf,
        #[command(flatten)]
        wish: compare::Wish,
    },
    /// Print that of a folder of logs
    Table {
        /// The folder
        logs: PathBuf,
    },
    /// Type at the console of a guest
    Type {
        /// Its name
        guest: String,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().task {
        Task::Prepare { tree } => lab::prepare(&tree, &tree.join("target/lab")),
        Task::Compare { tree, wish } => {
            lab::prepare_others(&tree, &tree.join("target/lab"))?;
            compare::run(&wish)?;
            print!("{}", compare::table(wish.logs())?);
            Ok(())
        }
        Task::Table { logs } => {
            print!("{}", compare::table(&logs)?);
            Ok(())
        }
        Task::Keep { initiators } => lab::keep(initiators),
        Task::Type { guest } => lab::type_at(&guest),
    }
}
