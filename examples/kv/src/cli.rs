//! The command line. What it says is the manual, so it says it whole.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Backend, MemberSpec, Mode};

/// A replicated key-value store: Multi-Paxos over the Electrode transport.
#[derive(Debug, Parser)]
#[command(
    name = "electrode-kv",
    version,
    propagate_version = true,
    after_long_help = "\
To see it work, with no set-up and no privileges:
    electrode-kv demo

A cluster by hand, on one machine: write cluster.toml
    cluster = 1
    [[members]]
    id = 1
    peer = \"127.0.0.1:7101\"    # replicas talk here, over UDP
    client = \"127.0.0.1:7201\"  # clients connect here, over TCP
    [[members]]
    id = 2
    peer = \"127.0.0.1:7102\"
    client = \"127.0.0.1:7202\"
    [[members]]
    id = 3
    peer = \"127.0.0.1:7103\"
    client = \"127.0.0.1:7203\"

start each replica in a terminal of its own
    electrode-kv serve --config cluster.toml --node 1 --data-dir data/1
    electrode-kv serve --config cluster.toml --node 2 --data-dir data/2
    electrode-kv serve --config cluster.toml --node 3 --data-dir data/3

and use them
    electrode-kv put    --config cluster.toml greeting hello
    electrode-kv get    --config cluster.toml greeting
    electrode-kv status --config cluster.toml

Every setting can be given as a flag, as an environment variable (ELECTRODE_KV_...), or in the TOML
file. A flag wins over the environment, and the environment over the file."
)]
pub(crate) struct Cli {
    /// What the log on standard error shows: error, warn, info, debug, trace, or a filter such as
    /// `info,electrode_kv=debug`.
    #[arg(
        long,
        global = true,
        env = "ELECTRODE_KV_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub(crate) log: String,
    /// How log lines look.
    #[arg(long, global = true, env = "ELECTRODE_KV_LOG_FORMAT", default_value = "pretty")]
    pub(crate) log_format: LogFormat,
    #[command(subcommand)]
    pub(crate) command: Subcommands,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Subcommands {
    /// Run one replica until Ctrl-C.
    #[command(after_long_help = "\
Examples:
    electrode-kv serve --config cluster.toml --node 1 --data-dir /var/lib/electrode-kv
    ELECTRODE_KV_NODE=1 electrode-kv serve --config cluster.toml
    electrode-kv serve --node 1 --data-dir d1 --member 1=127.0.0.1:7101/127.0.0.1:7201 \\
        --member 2=127.0.0.1:7102/127.0.0.1:7202 --member 3=127.0.0.1:7103/127.0.0.1:7203

Modes:
    persisted  A write is acknowledged once a majority has it on disk (fdatasync, one for each
               batch). Survives the loss of power on all replicas at once. The default.
    received   A write is acknowledged once a majority has it in memory. A replica that restarts
               learns everything again from the others before it takes part. Stopping a majority
               loses the store.

Backends, which may differ from replica to replica:
    auto    The kernel's programs if they work on the interface of the peer address, else UDP
            sockets. The log and `status` say which, and why.
    socket  UDP sockets. Any system, no privileges.
    ebpf    The kernel's programs (Linux 6.6; root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN), or an
            error that says what stands in the way. In persisted mode they broadcast and count, and
            an acknowledgement waits for the disk; in received mode they acknowledge as well.")]
    Serve(ServeArgs),
    /// Set a key.
    #[command(after_long_help = "\
Prints the key's version: how often it has been written since it was absent. Succeeds once a
majority of the replicas has stored the write; finds the leader and repeats itself as needed, and
is executed once however often it was sent.

Example:
    electrode-kv put --config cluster.toml language/fr French")]
    Put {
        #[command(flatten)]
        client: ClientArgs,
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Print a key's value.
    #[command(after_long_help = "\
Linearizable: it shows every write that was acknowledged before it was asked. Exits with 1 if there
is no such key.

Example:
    electrode-kv get --config cluster.toml language/fr")]
    Get {
        #[command(flatten)]
        client: ClientArgs,
        /// The key.
        key: String,
    },
    /// Set a key if it holds what you expect (compare and set).
    #[command(after_long_help = "\
Exits with 1 and changes nothing if the key holds something else.

Examples:
    electrode-kv cas --config cluster.toml counter --absent 1
    electrode-kv cas --config cluster.toml counter --expect 1 2")]
    Cas {
        #[command(flatten)]
        client: ClientArgs,
        /// The key.
        key: String,
        /// What the key must hold.
        #[arg(
            long,
            value_name = "OLD",
            conflicts_with = "absent",
            required_unless_present = "absent"
        )]
        expect: Option<String>,
        /// The key must not exist.
        #[arg(long)]
        absent: bool,
        /// The new value.
        value: String,
    },
    /// Remove a key.
    #[command(after_long_help = "Exits with 1 if there is no such key.")]
    Del {
        #[command(flatten)]
        client: ClientArgs,
        /// The key.
        key: String,
    },
    /// Print all keys that begin with a prefix, in order, with their values.
    #[command(after_long_help = "\
One line a key: key, tab, value; what `load` reads. Each page of up to --page keys is linearizable
by itself.

Examples:
    electrode-kv scan --config cluster.toml language/f
    electrode-kv scan --config cluster.toml \"\" > backup.tsv")]
    Scan {
        #[command(flatten)]
        client: ClientArgs,
        /// The prefix; empty for everything.
        prefix: String,
        /// Keys fetched at a time.
        #[arg(long, default_value_t = 1_000, value_name = "KEYS")]
        page: u32,
    },
    /// Set every key of a file.
    #[command(after_long_help = "\
The file has one record a line: key, tab, value. Many writes are under way at once, so their order
is not the file's; a key that occurs twice ends with either value.

Example:
    electrode-kv load --config cluster.toml --outstanding 256 records.tsv")]
    Load {
        #[command(flatten)]
        client: ClientArgs,
        /// The file; `-` for standard input.
        file: PathBuf,
        /// Writes under way at once.
        #[arg(long, default_value_t = 128, value_name = "WRITES", value_parser = clap::value_parser!(u16).range(1..=4096))]
        outstanding: u16,
    },
    /// Show how each replica sees itself.
    #[command(after_long_help = "\
Replicas with the same `applied` slot must show the same digest. Exits with 1 if none answers.")]
    Status {
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show everything on this machine: load, read back, kill the leader, lose nothing.
    #[command(after_long_help = "\
Starts three replicas as processes of their own on the loopback interface, with their data in a
temporary directory; loads a file through one replica and reads it back through another; loads it
again and kills the leader with SIGKILL in the middle; checks that no acknowledged write was lost
and none was applied twice; starts the killed replica again and waits until it has caught up.
Everything is removed at the end, also on Ctrl-C.

With `--backend ebpf` or `--backend auto`, as root on Linux, each replica is on a host of its own, a
network namespace with an interface on a virtual switch. All of it is shown twice, over sockets and
over the kernel's programs, and the table has both. Without root `auto` stays on the loopback
interface, over sockets.

Examples:
    electrode-kv demo
    electrode-kv demo --mode received
    sudo electrode-kv demo --backend ebpf --mode received
    electrode-kv demo my-records.tsv")]
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The file to load: lines of key, tab, value. Default: the IANA language subtag registry, built in.
    pub(crate) file: Option<PathBuf>,
    /// What an acknowledgement promises; see `serve --help`.
    #[arg(long, env = "ELECTRODE_KV_MODE", default_value = "persisted")]
    pub(crate) mode: Mode,
    /// How frames travel; see `serve --help`.
    #[arg(long, env = "ELECTRODE_KV_BACKEND", default_value = "socket")]
    pub(crate) backend: Backend,
    /// Writes under way at once.
    #[arg(long, default_value_t = 128, value_name = "WRITES", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) outstanding: u16,
    /// Keep the temporary directory: configuration, data and logs of the replicas.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Where to make the temporary directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The configuration file.
    #[arg(long, short, env = "ELECTRODE_KV_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Which member this replica is.
    #[arg(long, env = "ELECTRODE_KV_NODE", value_name = "ID")]
    pub(crate) node: Option<u64>,
    /// The cluster's number. Replicas of other clusters are not listened to.
    #[arg(long, env = "ELECTRODE_KV_CLUSTER", value_name = "NUMBER")]
    pub(crate) cluster: Option<u64>,
    /// The members: ID=PEER/CLIENT, peer address for replicas (UDP), client address for clients (TCP).
    #[arg(
        long = "member",
        env = "ELECTRODE_KV_MEMBERS",
        value_name = "ID=PEER/CLIENT",
        value_delimiter = ','
    )]
    pub(crate) members: Vec<MemberSpec>,
    /// Where this replica keeps its log.
    #[arg(long, env = "ELECTRODE_KV_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What an acknowledgement promises [default: persisted].
    #[arg(long, env = "ELECTRODE_KV_MODE")]
    pub(crate) mode: Option<Mode>,
    /// How frames travel [default: auto].
    #[arg(long, env = "ELECTRODE_KV_BACKEND")]
    pub(crate) backend: Option<Backend>,
    /// The largest datagram, the same on all replicas; it bounds keys and values
    /// [default: 1452, up to 8952 with jumbo frames].
    #[arg(long, env = "ELECTRODE_KV_DATAGRAM_LEN_MAX", value_name = "BYTES")]
    pub(crate) datagram_len_max: Option<usize>,
    /// Exit when standard input ends, so as not to outlive whoever holds its other end.
    #[arg(long, hide = true)]
    pub(crate) exit_with_parent: bool,
}

/// Whom a client asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientArgs {
    /// The configuration file, for the members' client addresses.
    #[arg(long, short, env = "ELECTRODE_KV_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The replicas' client addresses, instead of the file's; some are enough.
    #[arg(long, short, env = "ELECTRODE_KV_SERVERS", value_name = "ADDR", value_delimiter = ',')]
    pub(crate) servers: Vec<std::net::SocketAddr>,
    /// How long to go on trying.
    #[arg(long, env = "ELECTRODE_KV_TIMEOUT", default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// `500ms`, `10s` or `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let amount: u64 =
        digits.parse().map_err(|_| format!("{text:?} is not a duration such as 500ms or 10s"))?;
    let millis = match &text[digits.len()..] {
        "ms" => Some(amount),
        "s" | "" => amount.checked_mul(1_000),
        "m" => amount.checked_mul(60_000),
        unit => return Err(format!("{unit:?} is not a unit: use ms, s or m")),
    };
    match millis {
        Some(millis @ 1..=86_400_000) => Ok(Duration::from_millis(millis)),
        _ => Err(format!("{text:?} is not between 1ms and 1440m")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_need_a_number_and_a_known_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        for wrong in ["", "s", "10h", "-1s", "0s", "99999999999999999999s", "1.5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
