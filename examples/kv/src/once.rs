//! The subcommands that do one thing and end.

use std::io::{BufWriter, Write};
use std::time::Duration;

use crate::cli::ClientArgs;
use crate::client::{self, Client, Job, Options};
use crate::command::{Answer, Command, Query};
use crate::config;
use crate::error::{Error, Result};

fn connect(args: &ClientArgs) -> Result<Client> {
    let servers = config::servers(args)?;
    Ok(Client::new(Options { servers, timeout: args.timeout, outstanding: 1, stop: None }))
}

fn write(args: &ClientArgs, command: &Command) -> Result<Answer> {
    Ok(connect(args)?.one(Job::Write(command.encode()))?.answer)
}

/// An answer of another kind than the question's: the server is of another release.
fn unexpected(answer: &Answer) -> Error {
    Error::Refused { why: format!("it answered with {answer:?}") }
}

pub(crate) fn put(args: &ClientArgs, key: &str, value: &str) -> Result<()> {
    match write(args, &Command::Put { key: key.into(), value: value.into() })? {
        Answer::Written { version } => {
            println!("version {version}");
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn cas(args: &ClientArgs, key: &str, expect: Option<&str>, value: &str) -> Result<()> {
    let command = Command::Cas {
        key: key.into(),
        expected: expect.map(|expected| expected.as_bytes().to_vec()),
        value: value.into(),
    };
    match write(args, &command)? {
        Answer::Written { version } => {
            println!("version {version}");
            Ok(())
        }
        Answer::Mismatch { found } => Err(Error::Mismatch {
            found: match found {
                Some(found) => format!("holds {:?}", String::from_utf8_lossy(&found)),
                None => "is absent".into(),
            },
        }),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn delete(args: &ClientArgs, key: &str) -> Result<()> {
    match write(args, &Command::Delete { key: key.into() })? {
        Answer::Deleted { existed: true } => {
            println!("deleted");
            Ok(())
        }
        Answer::Deleted { existed: false } => Err(Error::NoSuchKey),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn get(args: &ClientArgs, key: &str) -> Result<()> {
    let query = Query::Get { key: key.into() };
    match connect(args)?.one(Job::Read(query.encode()))?.answer {
        Answer::Value(Some(stored)) => {
            let mut out = std::io::stdout().lock();
            written(out.write_all(&stored.value).and_then(|()| out.write_all(b"\n")))
        }
        Answer::Value(None) => Err(Error::NoSuchKey),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn scan(args: &ClientArgs, prefix: &str, page: u32) -> Result<()> {
    let mut client = connect(args)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut after = None;
    loop {
        let query = Query::Scan { prefix: prefix.into(), after, rows_max: page };
        match client.one(Job::Read(query.encode()))?.answer {
            Answer::Page { rows, more } => {
                for (key, stored) in &rows {
                    let line = [&key[..], b"\t", &stored.value, b"\n"].concat();
                    written(out.write_all(&line))?;
                }
                if !more {
                    return written(out.flush());
                }
                after = rows.into_iter().next_back().map(|(key, _)| key);
            }
            other => return Err(unexpected(&other)),
        }
    }
}

fn written(result: std::io::Result<()>) -> Result<()> {
    let path = "standard output".into();
    result.map_err(|source| Error::File { operation: "write to", path, source })
}

pub(crate) fn status(args: &ClientArgs) -> Result<()> {
    let mut answered = 0;
    println!(
        "{:<22} {:>5} {:<10} {:>8} {:>9} {:>9} {:>8} {:>8} {:<16}",
        "replica", "node", "role", "ballot", "chosen", "applied", "keys", "repeats", "digest"
    );
    for server in config::servers(args)? {
        match client::status(server, args.timeout.min(Duration::from_secs(2))) {
            Ok(status) => {
                answered += 1;
                println!(
                    "{:<22} {:>5} {:<10} {:>8} {:>9} {:>9} {:>8} {:>8} {:016x}",
                    server.to_string(),
                    status.node,
                    status.role,
                    status.ballot,
                    status.chosen,
                    status.applied,
                    status.keys,
                    status.repeats,
                    status.digest,
                );
                if answered == 1 {
                    tracing::info!(
                        cluster = status.cluster,
                        mode = status.mode,
                        backend = status.backend,
                        why = status.backend_why,
                        command_len_max = status.command_len_max,
                        "cluster"
                    );
                }
            }
            Err(error) => println!("{:<22} {error}", server.to_string()),
        }
    }
    if answered == 0 {
        return Err(Error::Refused { why: "no replica answered".into() });
    }
    Ok(())
}
