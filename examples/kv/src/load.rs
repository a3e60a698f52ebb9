//! `load`: many writes under way at once.

use std::net::SocketAddr;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::ClientArgs;
use crate::client::{Client, Done, Job, Options};
use crate::command::{Answer, Command};
use crate::config;
use crate::error::{Error, Result};
use crate::measure::{Figures, Measure, heading, row};
use crate::records::{self, Record};

pub(crate) fn run(args: &ClientArgs, file: &Path, outstanding: u16) -> Result<()> {
    let records = records::read(file)?;
    let servers = config::servers(args)?;
    let (timeout, outstanding) = (args.timeout, outstanding.into());
    let options = Options { servers, timeout, outstanding, stop: None };
    let mut client = Client::new(options);
    let bar = bar(records.len() as u64);
    let loaded = put_all(&mut client, &records, &mut |_| {
        bar.inc(1);
        Ok(())
    });
    bar.finish_and_clear();
    let figures = loaded?;
    println!("{}", heading());
    println!("{}", row("puts", &figures));
    if client.resent() > 0 {
        println!("{} requests were sent again; each was executed once", client.resent());
    }
    Ok(())
}

/// A progress bar, drawn on standard error if that is a terminal.
pub(crate) fn bar(len: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("  {bar:40} {human_pos}/{human_len} {per_sec}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style)
}

/// Puts every record; `acknowledged` is told of each, by its index, with its version.
pub(crate) fn put_all(
    client: &mut Client,
    records: &[Record],
    acknowledged: &mut dyn FnMut(Acknowledged) -> Result<()>,
) -> Result<Figures> {
    let mut measure = Measure::start();
    let mut rest = records.iter();
    let mut next = || {
        Ok(rest.next().map(|Record { key, value }| {
            Job::Write(Command::Put { key: key.clone(), value: value.clone() }.encode())
        }))
    };
    let mut done = |done: Done| {
        measure.note(done.latency);
        let Answer::Written { version } = done.answer else {
            return Err(Error::Refused {
                why: format!("it answered a put with {:?}", done.answer),
            });
        };
        acknowledged(Acknowledged { record: done.job, version, from: done.from })
    };
    client.run(&mut next, &mut done)?;
    Ok(measure.finish())
}

/// A put that was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Acknowledged {
    /// The record's index.
    pub(crate) record: usize,
    /// The key's version by it.
    pub(crate) version: u64,
    /// The replica that acknowledged it.
    pub(crate) from: SocketAddr,
}
