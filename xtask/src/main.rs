//! `cargo xtask`: what cargo alone cannot do here. See CONTRIBUTING.md.

mod compare;
mod compile;
mod error;
mod flags;
mod tools;
mod tree;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::compile::Mutant;
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
        #[arg(long, value_name = "NAME")]
        mutant: Option<Mutant>,
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
        Task::BuildEbpf { mutant } => build(&root, &tools, mutant.as_ref()),
        Task::CheckEbpf => check(&root, &tools),
    }
}

fn build(root: &Path, tools: &Tools, mutant: Option<&Mutant>) -> Result<(), TaskError> {
    let object = compile::compile(root, tools, mutant)?;
    let path = match mutant {
        Some(name) => root.join(format!("target/ebpf/mutants/{name}.o")),
        None => root.join(tree::OBJECT),
    };
    tree::write(&path, &object)?;
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
