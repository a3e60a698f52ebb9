//! Whose programs are on the interface already.

use std::fmt;
use std::io;

use aya::programs::tc::TcAttachType;
use aya::programs::{ProgramError, ProgramInfo, SchedClassifier, loaded_programs};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};
use netlink_packet_route::tc::{
    TcAttribute, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption,
};
use serde::Serialize;

use crate::net::{Interface, Requests, Shape, ask_link};

/// A loaded program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Program {
    /// Its number, as in `bpftool prog show id`.
    pub id: u32,
    /// Its name. Reading it takes `CAP_SYS_ADMIN`.
    pub name: Option<String>,
}

/// How an XDP program is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the stack.
    Generic,
    /// In the driver.
    Native,
    /// In the card.
    Hardware,
}

/// The program in the XDP slot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct XdpOccupant {
    /// Where it runs.
    pub mode: XdpMode,
    /// Which it is.
    pub program: Program,
}

/// A filter of the clsact (or ingress) queueing discipline.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Filter {
    /// Its kind, as in `tc filter`: `bpf`, `flower`, `u32` ...
    pub kind: String,
    /// The program of a `bpf` filter.
    pub program: Option<Program>,
}

/// What sits at TC in one direction. `None`: it could not be read.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct TcOccupants {
    /// Programs attached by tcx (Linux 6.6), in the order in which they run.
    pub tcx: Option<Vec<Program>>,
    /// Filters, which run after tcx.
    pub filters: Option<Vec<Filter>>,
}

/// All programs on the interface.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct Occupants {
    /// In the XDP slot: one in software at most, and one in hardware.
    pub xdp: Vec<XdpOccupant>,
    /// At TC ingress.
    pub ingress: TcOccupants,
    /// At TC egress.
    pub egress: TcOccupants,
}

impl Occupants {
    /// The calling thread must be in the interface's network namespace: tcx is asked for there.
    pub(super) fn read(requests: &mut Requests, interface: &Interface, link: &LinkMessage) -> Self {
        let mut tc = |direction, parent| TcOccupants {
            tcx: tcx(&interface.name, direction),
            filters: filters(requests, interface.index, parent).ok(),
        };
        Self {
            ingress: tc(TcAttachType::Ingress, TcHandle::MIN_INGRESS),
            egress: tc(TcAttachType::Egress, TcHandle::MIN_EGRESS),
            xdp: xdp(link),
        }
    }
}

/// Whose programs have the interface's XDP slot, in words; `None` if nobody's, or unreadable.
pub(crate) fn xdp_occupants(index: u32) -> Option<String> {
    let mut question = LinkMessage::default();
    question.header.index = index;
    let link = ask_link(&mut Requests::open().ok()?, question).ok()?;
    let occupants: Vec<_> =
        xdp(&link).iter().map(|it| format!("{} ({})", it.program, it.mode)).collect();
    (!occupants.is_empty()).then(|| occupants.join(", "))
}

impl Program {
    fn of(info: &ProgramInfo) -> Self {
        let name = info.name_as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        Self { id: info.id(), name }
    }

    fn by_id(id: u32) -> Self {
        let found = loaded_programs().map_while(Result::ok).find(|info| info.id() == id);
        found.map_or(Self { id, name: None }, |info| Self::of(&info))
    }
}

fn xdp(link: &LinkMessage) -> Vec<XdpOccupant> {
    let parts = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::Xdp(parts) => Some(parts),
        _ => None,
    });
    let mut occupants = Vec::new();
    for parts in parts {
        let mut add = |mode, id: u32| {
            if id != 0 {
                occupants.push(XdpOccupant { mode, program: Program::by_id(id) });
            }
        };
        // Programs are told per mode since Linux 4.20, and then once more without it.
        for part in parts {
            match part {
                LinkXdp::SkbProgId(id) => add(XdpMode::Generic, *id),
                LinkXdp::DrvProgId(id) => add(XdpMode::Native, *id),
                LinkXdp::HwProgId(id) => add(XdpMode::Hardware, *id),
                _ => {}
            }
        }
        let attached = !matches!(
            parts.iter().find(|part| matches!(part, LinkXdp::Attached(_))),
            None | Some(LinkXdp::Attached(XdpAttached::None))
        );
        if let (true, true, Some(id)) = (attached, occupants.is_empty(), any_id(parts)) {
            occupants.push(XdpOccupant { mode: XdpMode::Native, program: Program::by_id(id) });
        }
    }
    occupants
}

fn any_id(parts: &[LinkXdp]) -> Option<u32> {
    parts.iter().find_map(|part| match part {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })
}

fn tcx(interface: &str, direction: TcAttachType) -> Option<Vec<Program>> {
    match SchedClassifier::query_tcx(interface, direction) {
        Ok((_revision, programs)) => Some(programs.iter().map(Program::of).collect()),
        // Before Linux 6.6 there is no tcx, so nobody has a program there.
        Err(ProgramError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::EINVAL) =>
        {
            Some(Vec::new())
        }
        Err(_) => None,
    }
}

fn filters(requests: &mut Requests, interface: u32, parent: u16) -> io::Result<Vec<Filter>> {
    let index = i32::try_from(interface).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    let parent = TcHandle { major: u16::MAX, minor: parent };
    let header = TcHeader { index, parent, ..TcHeader::default() };
    let question = TcMessage::from_parts(header, Vec::new());
    let answers = requests.ask(Shape::Dump, &RouteNetlinkMessage::GetTrafficFilter(question))?;
    let filters = answers.iter().filter_map(|answer| match answer {
        // A chain of filters begins with an entry of its own, without a handle.
        RouteNetlinkMessage::NewTrafficFilter(entry) if entry.header.handle != TcHandle::UNSPEC => {
            Some(filter(entry))
        }
        _ => None,
    });
    Ok(filters.collect())
}

fn filter(entry: &TcMessage) -> Filter {
    let mut filter = Filter { kind: String::new(), program: None };
    for attribute in &entry.attributes {
        match attribute {
            TcAttribute::Kind(kind) => filter.kind.clone_from(kind),
            TcAttribute::Options(options) => {
                for option in options {
                    if let TcOption::Bpf(TcFilterBpfOption::ProgId(id)) = option {
                        filter.program = Some(Program::by_id(*id));
                    }
                }
            }
            _ => {}
        }
    }
    filter
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (id {})", self.id),
            None => write!(f, "program {}", self.id),
        }
    }
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generic => "generic",
            Self::Native => "native",
            Self::Hardware => "hardware",
        })
    }
}

impl fmt::Display for TcOccupants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Vec::new();
        match &self.tcx {
            Some(programs) => names.extend(programs.iter().map(|it| format!("tcx {it}"))),
            None => names.push("tcx unknown".to_owned()),
        }
        match &self.filters {
            Some(filters) => names.extend(filters.iter().map(|it| match &it.program {
                Some(program) => format!("{} filter {program}", it.kind),
                None => format!("{} filter", it.kind),
            })),
            None => names.push("filters unknown".to_owned()),
        }
        f.write_str(if names.is_empty() { "nothing" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}

impl fmt::Display for Occupants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let xdp: Vec<_> = self.xdp.iter().map(|it| format!("{} {}", it.mode, it.program)).collect();
        let xdp = if xdp.is_empty() { "nothing".to_owned() } else { xdp.join(", ") };
        writeln!(f, "attached: XDP {xdp}; TC ingress {}; TC egress {}", self.ingress, self.egress)
    }
}

impl TcOccupants {
    /// For a finding; `None` if it is known that nothing is there.
    pub(super) fn summary(&self) -> Option<String> {
        let known_empty = self.tcx.as_ref().is_some_and(Vec::is_empty)
            && self.filters.as_ref().is_some_and(Vec::is_empty);
        (!known_empty).then(|| self.to_string())
    }
}
