//! A replicated key-value service: Multi-Paxos over the Electrode transport. `electrode-kv --help`
//! is the manual, `electrode-kv demo` the tour.

mod cli;
mod client;
mod codec;
mod command;
mod config;
mod demo;
mod error;
mod load;
mod logging;
mod machine;
mod measure;
mod once;
mod protocol;
mod records;
mod server;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Subcommands};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = logging::start(&cli.log, cli.log_format).and_then(|()| run(cli.command));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error::Error::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("electrode-kv: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Subcommands) -> error::Result<()> {
    match command {
        Subcommands::Serve(args) => server::run(&args),
        Subcommands::Put { client, key, value } => once::put(&client, &key, &value),
        Subcommands::Get { client, key } => once::get(&client, &key),
        Subcommands::Cas { client, key, expect, absent: _, value } => {
            once::cas(&client, &key, expect.as_deref(), &value)
        }
        Subcommands::Del { client, key } => once::delete(&client, &key),
        Subcommands::Scan { client, prefix, page } => once::scan(&client, &prefix, page),
        Subcommands::Load { client, file, outstanding } => load::run(&client, &file, outstanding),
        Subcommands::Status { client } => once::status(&client),
        Subcommands::Demo(args) => demo::run(&args),
    }
}
