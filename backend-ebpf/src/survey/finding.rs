//! What the facts mean, and what can be done about them.

use std::fmt;

use electrode_transport::Obstacle;
use serde::Serialize;

use super::{Hook, Survey, XdpMode};
use crate::net::InterfaceKind;
use crate::preflight::DATAGRAM_LEN_MAX;

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// It works, but not as well as it could, or not always.
    Warning,
    /// It rules hooks out.
    Blocks,
}

/// Something that the survey found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about, in a word or two.
    pub subject: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was found, in a sentence.
    pub text: String,
    /// What would help.
    pub remedy: Option<String>,
    /// The hooks that it rules out; none unless it [`Blocks`](Severity::Blocks).
    pub rules_out: Vec<Hook>,
}

impl Finding {
    fn new(subject: &'static str, severity: Severity, text: impl Into<String>) -> Self {
        Self { subject, severity, text: text.into(), remedy: None, rules_out: Vec::new() }
    }

    fn note(subject: &'static str, text: impl Into<String>) -> Self {
        Self::new(subject, Severity::Note, text)
    }

    fn warning(subject: &'static str, text: impl Into<String>) -> Self {
        Self::new(subject, Severity::Warning, text)
    }

    fn blocks(subject: &'static str, hooks: &[Hook], text: impl Into<String>) -> Self {
        Self { rules_out: hooks.to_vec(), ..Self::new(subject, Severity::Blocks, text) }
    }

    /// What was found and what would help.
    pub(crate) fn sentence(&self) -> String {
        match &self.remedy {
            Some(remedy) => format!("{}; {remedy}", self.text),
            None => self.text.clone(),
        }
    }

    /// The same, for programs.
    pub(crate) fn obstacle(&self) -> Obstacle {
        match self.subject {
            "capabilities" => Obstacle::Privileges,
            "kernel" => Obstacle::Kernel,
            "interface" => Obstacle::Interface,
            "XDP slot" => Obstacle::Occupied,
            "MTU" => Obstacle::Mtu,
            "log" => Obstacle::Limit,
            _ => Obstacle::Refused,
        }
    }

    fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.severity {
            Severity::Note => write!(f, "note")?,
            Severity::Warning => write!(f, "warning")?,
            Severity::Blocks => {
                let hooks: Vec<_> = self.rules_out.iter().map(|hook| hook.name()).collect();
                write!(f, "rules out {}", hooks.join(", "))?;
            }
        }
        write!(f, " ({}): {}", self.subject, self.text)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

/// All findings, the gravest first.
pub(super) fn findings(survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    rights(survey, &mut findings);
    kernel(survey, &mut findings);
    device(survey, &mut findings);
    offloads(survey, &mut findings);
    occupants(survey, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn rights(survey: &Survey, findings: &mut Vec<Finding>) {
    let has = survey.kernel.capabilities;
    let grant = "run as root, or grant CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (setcap, \
                 AmbientCapabilities=, --cap-add)";
    for (has, text) in [
        (has.bpf, "without CAP_BPF the kernel loads no program"),
        (has.net_admin, "without CAP_NET_ADMIN no program can be attached"),
        (
            has.perfmon,
            "without CAP_PERFMON the verifier refuses the programs' pointer arithmetic, for fear of speculation",
        ),
    ] {
        if !has {
            findings.push(Finding::blocks("capabilities", &Hook::ALL, text).remedy(grant));
        }
    }
    if survey.kernel.user_namespace {
        let text = "this process is in a user namespace: its capabilities may not count for loading programs";
        let remedy = "run it in the machine's own user namespace";
        findings.push(Finding::warning("user namespace", text).remedy(remedy));
    }
}

fn kernel(survey: &Survey, findings: &mut Vec<Finding>) {
    if survey.kernel.version().is_some_and(|version| version < (6, 6)) {
        let text = format!(
            "Linux {} has no tcx: what is attached at TC would stay behind when a process dies",
            survey.kernel.release
        );
        let remedy = "Linux 6.6 or later is needed";
        findings.push(Finding::blocks("kernel", &Hook::ALL, text).remedy(remedy));
    }
    if survey.kernel.jit == Some(false) {
        let text = "programs are interpreted, several times slower than compiled";
        findings.push(Finding::warning("JIT", text).remedy("sysctl net.core.bpf_jit_enable=1"));
    }
    if !survey.kernel.bpffs {
        let text = "/sys/fs/bpf is no BPF file system: programs cannot outlive the process";
        let remedy = "for pinned mode, mount -t bpf bpf /sys/fs/bpf";
        findings.push(Finding::note("bpffs", text).remedy(remedy));
    }
}

fn device(survey: &Survey, findings: &mut Vec<Finding>) {
    let device = &survey.device;
    let name = &device.name;
    if device.mac.is_none() {
        let text = match device.kind {
            InterfaceKind::Loopback => format!("{name} is the loopback: no frame leaves by it"),
            _ => format!("{name} carries no Ethernet frames, and the programs read nothing else"),
        };
        let remedy = "bind an address of an Ethernet interface";
        findings.push(Finding::blocks("interface", &Hook::ALL, text).remedy(remedy));
    }
    if !device.up {
        let text = format!("{name} is switched off: no frame moves");
        findings.push(Finding::warning("interface", text).remedy(format!("ip link set {name} up")));
    } else if !device.running {
        let text = format!("{name} has no carrier: no frame moves");
        findings.push(Finding::warning("interface", text).remedy("look at its other end"));
    }
    if survey.address.is_none() {
        let text = format!("{name} has no address that an endpoint could bind");
        findings.push(Finding::warning("address", text).remedy("ip address add"));
    }
    let ipv6 = survey.address.is_some_and(|address| address.is_ipv6());
    let headers = if ipv6 { 40 + 8 } else { 20 + 8 };
    let fits = (device.mtu as usize).saturating_sub(headers);
    if survey.datagram_len_max > fits {
        let text = format!(
            "datagrams of up to {} bytes are allowed, {fits} fit the MTU of {}: longer ones would travel in fragments, which the programs do not read",
            survey.datagram_len_max, device.mtu
        );
        let remedy = format!("lower `datagram_len_max` to {fits}, or raise the MTU on every node");
        findings.push(Finding::blocks("MTU", &Hook::ALL, text).remedy(remedy));
    }
    if survey.datagram_len_max > DATAGRAM_LEN_MAX {
        let text = format!(
            "datagrams of up to {} bytes are allowed, and the kernel's log takes {DATAGRAM_LEN_MAX}",
            survey.datagram_len_max
        );
        let remedy = format!("lower `datagram_len_max` to {DATAGRAM_LEN_MAX} on every node");
        findings.push(Finding::blocks("log", &Hook::ALL, text).remedy(remedy));
    }
    if let Some(peer) = device.veth_peer_index {
        let place = match device.veth_peer_here {
            Some(true) => "this",
            _ => "another",
        };
        let text = format!(
            "native XDP on a veth answers only if its other end (index {peer}, in {place} network namespace) has an XDP program too"
        );
        let remedy = "for xdp-native, attach a program there that passes everything";
        findings.push(Finding::note("veth", text).remedy(remedy));
    }
}

fn offloads(survey: &Survey, findings: &mut Vec<Finding>) {
    let name = &survey.device.name;
    let Some(offloads) = survey.device.offloads else {
        findings.push(Finding::note("offloads", "the driver's offloads could not be read"));
        return;
    };
    for (on, subject, option) in
        [(offloads.lro, "LRO", "lro"), (offloads.gro_hw, "GRO-HW", "rx-gro-hw")]
    {
        if on {
            let text = format!("{subject} is on: many drivers refuse native XDP then");
            let remedy = format!("ethtool -K {name} {option} off");
            findings.push(Finding::warning(subject, text).remedy(remedy));
        }
    }
    if offloads.rx_vlan {
        let text = "the card takes VLAN tags off: XDP cannot tell frames of a VLAN from untagged ones, and answers them untagged if they are from a member's address (TC can)";
        let remedy =
            format!("ethtool -K {name} rxvlan off, if VLANs here use the members' addresses");
        findings.push(Finding::note("VLAN", text).remedy(remedy));
    }
    if offloads.gro_list {
        let text = "the stack chains datagrams before TC and generic XDP see them: chains of anything but a leader's frames are left to the socket";
        let remedy = format!("ethtool -K {name} rx-gro-list off");
        findings.push(Finding::warning("GRO-list", text).remedy(remedy));
    }
}

fn occupants(survey: &Survey, findings: &mut Vec<Finding>) {
    let name = &survey.device.name;
    for occupant in &survey.occupants.xdp {
        let text =
            format!("the XDP slot of {name} is taken ({}) by {}", occupant.mode, occupant.program);
        findings.push(match occupant.mode {
            // A program in the card leaves the slot in software free.
            XdpMode::Hardware => Finding::note("XDP slot", text),
            _ => Finding::blocks("XDP slot", &[Hook::XdpGeneric, Hook::XdpNative], text)
                .remedy("use tc, or stop whose program it is"),
        });
    }
    for (direction, occupants) in
        [("ingress", &survey.occupants.ingress), ("egress", &survey.occupants.egress)]
    {
        if let Some(summary) = occupants.summary() {
            let text = format!(
                "at TC {direction} of {name} there is already: {summary}; a frame that one of them takes first never reaches our program"
            );
            findings.push(Finding::note("TC", text));
        }
    }
}
