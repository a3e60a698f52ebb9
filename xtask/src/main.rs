//! `cargo xtask`: what cargo alone cannot do here. See CONTRIBUTING.md.

mod compare;
mod compile;
mod error;
mod flags;
mod tools;
mod tree;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::TaskError;
use crate::tools::Tools;

/// The repository's own tasks.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the kernel programs and write the object that is committed.
    BuildEbpf {
        /// Build this deliberately broken variant instead, under target/ebpf/mutants.
        #[arg(long, value_name = "NAME", conflicts_with = "mutants")]
        mutant: Option<String>,
        /// Build all of them.
        #[arg(long)]
        mutants: bool,
    },
    /// Build the kernel programs in another folder and compare with the committed object.
    CheckEbpf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<(), TaskError> {
    let root = tree::root()?;
    let tools = Tools::find(&root.join(tree::PROGRAMS))?;
    match task {
        Task::BuildEbpf { mutants: true, .. } => {
            build_mutants(&root, &tools, &tree::mutants(&root)?)
        }
        Task::BuildEbpf { mutant: Some(name), .. } => {
            build_mutants(&root, &tools, &BTreeSet::from([name.clone()]))
        }
        Task::BuildEbpf { .. } => {
            write(&root.join(tree::OBJECT), &compile::compile(&root, &tools, None)?)
        }
        Task::CheckEbpf => check(&root, &tools),
    }
}

fn build_mutants(root: &Path, tools: &Tools, names: &BTreeSet<String>) -> Result<(), TaskError> {
    let known = tree::mutants(root)?;
    if let Some(name) = names.difference(&known).next().cloned() {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(TaskError::UnknownMutant { name, known });
    }
    let real = compile::compile(root, tools, None)?;
    for name in names {
        let object = compile::compile(root, tools, Some(name))?;
        if object == real {
            return Err(TaskError::SameMutant { name: name.clone() });
        }
        write(&root.join(format!("target/ebpf/mutants/{name}.o")), &object)?;
    }
    Ok(())
}

fn write(path: &Path, object: &[u8]) -> Result<(), TaskError> {
    tree::write(path, object)?;
    println!("wrote {} ({} bytes)", path.display(), object.len());
    Ok(())
}

fn check(root: &Path, tools: &Tools) -> Result<(), TaskError> {
    let committed = tree::read(&root.join(tree::OBJECT))?;
    // Another folder, so that a path which found its way into the object shows.
    let elsewhere = tempfile::Builder::new()
        .prefix("electrode-ebpf-")
        .tempdir()
        .map_err(|source| TaskError::io("make a folder in", std::env::temp_dir(), source))?;
    tree::copy_sources(root, elsewhere.path())?;
    let built = compile::compile(elsewhere.path(), tools, None)?;
    compare::compare(&committed, &built)?;
    println!("{} is what the source says ({} bytes)", tree::OBJECT, built.len());
    Ok(())
}
