//! `demo`: everything, on this machine, in half a minute.

mod check;
mod cluster;
mod steps;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::DemoArgs;
use crate::error::{Error, Result};
use crate::records;
use steps::Demo;

/// Ctrl-C was pressed, or the process was asked to end. Checked wherever the demonstration waits, so
/// that it ends by the ordinary way, which stops the replicas and removes the directory.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

fn fail(why: impl Into<String>) -> Error {
    Error::Demo { why: why.into() }
}

pub(crate) fn run(args: &DemoArgs) -> Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))
        .map_err(|error| fail(format!("no handler for Ctrl-C: {error}")))?;
    let (name, records) = match &args.file {
        Some(file) => (file.display().to_string(), records::read(file)?),
        None => ("the IANA language subtag registry (built in)".into(), records::built_in()?),
    };
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let mut directory =
        tempfile::Builder::new().prefix("electrode-kv-demo-").tempdir_in(&parent).map_err(
            |source| Error::File { operation: "make a directory in", path: parent, source },
        )?;
    directory.disable_cleanup(args.keep);
    println!("A replicated key-value store: Multi-Paxos over the Electrode transport");
    println!("  file  {name}: {} records", records.len());
    println!("  mode  {}", steps::promise_of(args.mode));
    println!("  data  {}", directory.path().display());
    // Declared after the directory and so dropped before it: the replicas end, then it goes.
    let done = Demo::start(args, directory.path(), records).and_then(|mut demo| demo.run());
    if interrupted() {
        println!("\ninterrupted: the replicas are stopped and their data is removed");
        return Err(Error::Interrupted);
    }
    done?;
    if args.keep {
        println!("\nconfiguration, data and logs are kept in {}", directory.path().display());
    }
    Ok(())
}
