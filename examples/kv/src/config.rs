//! The settings of a replica: from flags, the environment and a TOML file, in this order.
//!
//! Flags and environment are clap's affair and arrive together; this module reads the file, fills in
//! what they left open, and checks the whole. What is wrong in the file is told with its line.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use electrode_transport::{AckMode, ClusterId, NodeId};
use serde::Deserialize;
use toml::Spanned;

use crate::cli::{ClientArgs, ServeArgs};
use crate::error::{Error, Result};

/// What an acknowledgement promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// A majority has it on disk.
    Persisted,
    /// A majority has it in memory.
    Received,
}

impl From<Mode> for AckMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Persisted => Self::Persisted,
            Mode::Received => Self::Received,
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Persisted => "persisted",
            Self::Received => "received",
        })
    }
}

/// How frames travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    /// The kernel's programs if they work here, else UDP sockets, with a warning in the log.
    Auto,
    /// UDP sockets: any system, no privileges.
    Socket,
    /// The kernel's programs (Linux, root), or an error that says what stands in the way.
    Ebpf,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Socket => "socket",
            Self::Ebpf => "ebpf",
        })
    }
}

/// One member of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MemberSpec {
    pub(crate) id: NodeId,
    /// Where replicas reach it, over UDP.
    pub(crate) peer: SocketAddr,
    /// Where clients reach it, over TCP.
    pub(crate) client: SocketAddr,
}

impl FromStr for MemberSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not ID=PEER/CLIENT, as in 1=10.0.0.1:7101/10.0.0.1:7201");
        let (id, addresses) = text.split_once('=').ok_or_else(wrong)?;
        let (peer, client) = addresses.split_once('/').ok_or_else(wrong)?;
        Ok(Self {
            id: NodeId(id.trim().parse().map_err(|_| wrong())?),
            peer: peer.trim().parse().map_err(|_| wrong())?,
            client: client.trim().parse().map_err(|_| wrong())?,
        })
    }
}

/// The file as it is written. All optional: flags may give it instead.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cluster: Option<u64>,
    node: Option<u64>,
    data_dir: Option<PathBuf>,
    mode: Option<Mode>,
    backend: Option<Backend>,
    datagram_len_max: Option<Spanned<usize>>,
    #[serde(default)]
    members: Vec<FileMember>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileMember {
    id: Spanned<u64>,
    peer: Spanned<SocketAddr>,
    client: Spanned<SocketAddr>,
}

/// A file that was read, and where its bytes stand.
struct Source {
    name: String,
    text: String,
}

impl Source {
    fn wrong(&self, span: Range<usize>, why: impl Into<String>) -> Error {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        Error::ConfigFile { file: self.name.clone(), line, why: why.into() }
    }
}

/// The smallest datagram that leaves room for a useful value, and the largest that UDP over
/// loopback and jumbo frames carry.
const DATAGRAM_LEN: std::ops::RangeInclusive<usize> = 512..=8_952;

fn read(path: &Path) -> Result<File> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::File {
        operation: "read the configuration",
        path: path.to_path_buf(),
        source,
    })?;
    parse(Source { name: path.display().to_string(), text })
}

fn parse(source: Source) -> Result<File> {
    let file: File = toml::from_str(&source.text)
        .map_err(|error| source.wrong(error.span().unwrap_or(0..0), error.message()))?;
    if let Some(len) = &file.datagram_len_max
        && !DATAGRAM_LEN.contains(len.get_ref())
    {
        return Err(source.wrong(len.span(), datagram_wrong(*len.get_ref())));
    }
    for (index, member) in file.members.iter().enumerate() {
        for earlier in &file.members[..index] {
            if earlier.id.get_ref() == member.id.get_ref() {
                let why =
                    format!("member {} is listed twice: give each its own id", member.id.get_ref());
                return Err(source.wrong(member.id.span(), why));
            }
            for (ours, theirs) in [(&member.peer, &earlier.peer), (&member.client, &earlier.client)]
            {
                if ours.get_ref() == theirs.get_ref() {
                    let why = format!(
                        "members {} and {} share the address {}: each needs its own",
                        earlier.id.get_ref(),
                        member.id.get_ref(),
                        ours.get_ref()
                    );
                    return Err(source.wrong(ours.span(), why));
                }
            }
        }
    }
    Ok(file)
}

fn datagram_wrong(len: usize) -> String {
    let (min, max) = DATAGRAM_LEN.into_inner();
    format!("datagram_len_max is {len}; it must be at least {min} and at most {max}")
}

fn members_of(file: &File) -> Vec<MemberSpec> {
    let spec = |member: &FileMember| MemberSpec {
        id: NodeId(*member.id.get_ref()),
        peer: *member.peer.get_ref(),
        client: *member.client.get_ref(),
    };
    file.members.iter().map(spec).collect()
}

/// What a replica needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServeConfig {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) members: Vec<MemberSpec>,
    pub(crate) data_dir: PathBuf,
    pub(crate) mode: Mode,
    pub(crate) backend: Backend,
    pub(crate) datagram_len_max: usize,
}

impl ServeConfig {
    /// Flags and environment over the file over defaults.
    pub(crate) fn resolve(args: &ServeArgs) -> Result<Self> {
        let file = args.config.as_deref().map_or_else(|| Ok(File::default()), read)?;
        let members =
            if args.members.is_empty() { members_of(&file) } else { args.members.clone() };
        let missing =
            |setting, how: &str| Error::Setting { setting, why: format!("missing: {how}") };
        if members.is_empty() {
            return Err(missing("members", "list them in the file, or give --member for each"));
        }
        let node = args.node.or(file.node).map(NodeId);
        let node = node.ok_or_else(|| missing("node", "say which member this is with --node"))?;
        let data_dir = args.data_dir.clone().or(file.data_dir);
        let data_dir = data_dir
            .ok_or_else(|| missing("data_dir", "say where the log goes with --data-dir"))?;
        let datagram_len_max = args
            .datagram_len_max
            .or(file.datagram_len_max.map(Spanned::into_inner))
            .unwrap_or(1_452);
        if !DATAGRAM_LEN.contains(&datagram_len_max) {
            let why = datagram_wrong(datagram_len_max);
            return Err(Error::Setting { setting: "datagram_len_max", why });
        }
        let config = Self {
            cluster: ClusterId(args.cluster.or(file.cluster).unwrap_or(1)),
            node,
            members,
            data_dir,
            mode: args.mode.or(file.mode).unwrap_or(Mode::Persisted),
            backend: args.backend.or(file.backend).unwrap_or(Backend::Auto),
            datagram_len_max,
        };
        config.own()?;
        Ok(config)
    }

    /// This replica among the members.
    pub(crate) fn own(&self) -> Result<MemberSpec> {
        self.members.iter().find(|member| member.id == self.node).copied().ok_or_else(|| {
            let ids: Vec<_> = self.members.iter().map(|member| member.id.to_string()).collect();
            let why = format!("{} is not among the members {}", self.node, ids.join(", "));
            Error::Setting { setting: "node", why }
        })
    }
}

/// The addresses that a client tries.
pub(crate) fn servers(args: &ClientArgs) -> Result<Vec<SocketAddr>> {
    if !args.servers.is_empty() {
        return Ok(args.servers.clone());
    }
    let file = args.config.as_deref().map_or_else(|| Ok(File::default()), read)?;
    let servers: Vec<_> = members_of(&file).into_iter().map(|member| member.client).collect();
    if servers.is_empty() {
        let why = "missing: give --servers, or --config with the cluster's members".into();
        return Err(Error::Setting { setting: "servers", why });
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let source = Source { name: "c.toml".into(), text: text.into() };
        parse(source).unwrap_err().to_string()
    }

    const MEMBER: &str = "[[members]]\nid = 1\npeer = \"127.0.0.1:1\"\nclient = \"127.0.0.1:2\"\n";

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, says) in [
            ("cluster = 1\nnodde = 2\n", 2, "unknown field `nodde`"),
            ("cluster = 1\n\nnode = \"one\"\n", 3, "invalid type"),
            ("cluster = 1\nnode = \n", 2, ""),
            ("mode = \"paxos\"\n", 1, "unknown variant `paxos`"),
            (
                "[[members]]\nid = 1\npeer = \"nowhere\"\nclient = \"127.0.0.1:2\"\n",
                3,
                "socket address",
            ),
            (
                &format!(
                    "{MEMBER}[[members]]\nid = 1\npeer = \"127.0.0.1:3\"\nclient = \"127.0.0.1:4\"\n"
                ),
                6,
                "listed twice",
            ),
            (
                &format!(
                    "{MEMBER}[[members]]\nid = 2\npeer = \"127.0.0.1:3\"\nclient = \"127.0.0.1:2\"\n"
                ),
                8,
                "share the address",
            ),
            ("cluster = 1\ndatagram_len_max = 90000\n", 2, "at most 8952"),
        ] {
            let said = wrong(text);
            assert!(said.starts_with(&format!("c.toml:{line}: ")), "{said}");
            assert!(said.contains(says), "{said}");
        }
    }

    fn args() -> ServeArgs {
        ServeArgs {
            config: None,
            node: None,
            cluster: None,
            members: Vec::new(),
            data_dir: None,
            mode: None,
            backend: None,
            datagram_len_max: None,
            exit_with_parent: false,
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("c.toml");
        let head = "cluster = 9\nnode = 1\ndata_dir = \"from-file\"\nmode = \"received\"\n";
        std::fs::write(&path, format!("{head}{MEMBER}")).unwrap();
        let from_file = ServeConfig::resolve(&ServeArgs { config: Some(path.clone()), ..args() });
        let from_file = from_file.unwrap();
        assert_eq!((from_file.cluster, from_file.mode), (ClusterId(9), Mode::Received));
        assert_eq!((from_file.backend, from_file.datagram_len_max), (Backend::Auto, 1_452));
        let flags = ServeArgs {
            config: Some(path),
            cluster: Some(8),
            data_dir: Some("from-flag".into()),
            mode: Some(Mode::Persisted),
            ..args()
        };
        let resolved = ServeConfig::resolve(&flags).unwrap();
        let expected = ServeConfig {
            cluster: ClusterId(8),
            data_dir: "from-flag".into(),
            mode: Mode::Persisted,
            ..from_file
        };
        assert_eq!(resolved, expected);
    }

    #[test]
    fn what_is_missing_is_named() {
        let member: MemberSpec = "1=127.0.0.1:1/127.0.0.1:2".parse().unwrap();
        let whole = ServeArgs {
            node: Some(1),
            members: vec![member],
            data_dir: Some("d".into()),
            ..args()
        };
        assert!(ServeConfig::resolve(&whole).is_ok());
        for (name, without) in [
            ("members", ServeArgs { members: Vec::new(), ..clone(&whole) }),
            ("node", ServeArgs { node: None, ..clone(&whole) }),
            ("data_dir", ServeArgs { data_dir: None, ..clone(&whole) }),
            ("node", ServeArgs { node: Some(5), ..clone(&whole) }),
        ] {
            let said = ServeConfig::resolve(&without).unwrap_err().to_string();
            assert!(said.starts_with(name), "{said}");
        }
    }

    fn clone(whole: &ServeArgs) -> ServeArgs {
        ServeArgs {
            node: whole.node,
            members: whole.members.clone(),
            data_dir: whole.data_dir.clone(),
            ..args()
        }
    }

    #[test]
    fn members_on_the_command_line_are_checked() {
        assert!("1=127.0.0.1:1/127.0.0.1:2".parse::<MemberSpec>().is_ok());
        for wrong in ["", "1", "1=127.0.0.1:1", "x=127.0.0.1:1/127.0.0.1:2", "1=host:1/127.0.0.1:2"]
        {
            assert!(wrong.parse::<MemberSpec>().is_err(), "{wrong}");
        }
    }
}
