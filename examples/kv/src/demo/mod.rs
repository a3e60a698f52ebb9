//! `demo`: everything, on this machine, in half a minute.

mod check;
mod cluster;
mod place;
mod steps;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::DemoArgs;
use crate::config::Backend;
use crate::error::{Error, Result};
use crate::measure::{Figures, heading, row};
use crate::records::{self, Record};
use cluster::file_fault;
use place::Place;
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
    // Both are declared after the directory and so dropped before it: the replicas end, then their
    // hosts go, then their data.
    let done = Place::find(args.backend)
        .and_then(|place| place.at_client(|| show(&place, args, directory.path(), &records)));
    if interrupted() {
        println!("\ninterrupted: the replicas are stopped and their data is removed");
        return Err(Error::Interrupted);
    }
    done?;
    println!("\nAll checks passed. The replicas are stopped and their data is removed.");
    if args.keep {
        println!("\nconfiguration, data and logs are kept in {}", directory.path().display());
    }
    Ok(())
}

/// Shows everything with each backend that is to be compared, and then the figures of all.
fn show(place: &Place, args: &DemoArgs, directory: &Path, records: &[Record]) -> Result<()> {
    let backends = match args.backend {
        Backend::Socket => vec![Backend::Socket],
        Backend::Auto if !place.has_interfaces() => vec![Backend::Auto],
        other => vec![Backend::Socket, other],
    };
    let mut table: Vec<(&'static str, String, Figures)> = Vec::new();
    for backend in &backends {
        let mut directory = directory.to_path_buf();
        if backends.len() > 1 {
            println!("\n=== Over the backend `{backend}`");
            directory.push(backend.to_string());
            let fault = file_fault("make the directory", &directory);
            std::fs::create_dir(&directory).map_err(fault)?;
        }
        let mut demo = Demo::start(place, args, *backend, &directory, records.to_vec())?;
        let figures = demo.run()?;
        let name = demo.backend().to_owned();
        table.extend(figures.into_iter().map(|(what, figures)| (what, name.clone(), figures)));
    }
    println!("\n{}", heading());
    // Lines of the same kind beside each other, in the order in which they were first made.
    let steps = table.len() / backends.len();
    for step in 0..steps {
        for (what, backend, figures) in table.iter().skip(step).step_by(steps) {
            println!("{}", row(&format!("{what} ({backend})"), figures));
        }
    }
    Ok(())
}
