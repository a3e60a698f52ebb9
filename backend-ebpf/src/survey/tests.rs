use aya::programs::TcAttachType;
use electrode_ebpf_abi::Endpoint;
use electrode_transport::Obstacle;

use super::*;
use crate::hook::UnknownHook;
use crate::kernel::{IN_XDP, Kernel, OUT_TC, Settings};
use crate::net::InterfaceKind;
use crate::net::testing::Space;
use crate::privileged::is_privileged;

/// A veth on which nothing is wrong.
fn survey() -> Survey {
    Survey {
        address: Some([10, 0, 0, 1].into()),
        datagram_len_max: 1_472,
        kernel: KernelFacts {
            release: "6.18.5-generic".to_owned(),
            capabilities: Capabilities {
                bpf: true,
                net_admin: true,
                perfmon: true,
                sys_admin: true,
            },
            user_namespace: false,
            bpffs: true,
            jit: Some(true),
            unprivileged_bpf_disabled: Some(2),
        },
        device: DeviceFacts {
            name: "eth0".to_owned(),
            index: 2,
            kind: InterfaceKind::Physical,
            driver: Some("virtio_net".to_owned()),
            mac: Some("02:00:00:00:00:01".to_owned()),
            mtu: 1_500,
            up: true,
            running: true,
            veth_peer_index: None,
            veth_peer_here: None,
            receive_queues: Some(2),
            offloads: Some(Offloads::default()),
        },
        occupants: Occupants {
            xdp: Vec::new(),
            ingress: TcOccupants { tcx: Some(Vec::new()), filters: Some(Vec::new()) },
            egress: TcOccupants { tcx: Some(Vec::new()), filters: Some(Vec::new()) },
        },
        findings: Vec::new(),
    }
}

fn occupant(mode: XdpMode) -> XdpOccupant {
    XdpOccupant { mode, program: Program { id: 7, name: Some("katran".to_owned()) } }
}

/// One row: what is wrong, what the first finding is about, and which hooks are left.
type Row = (fn(&mut Survey), &'static str, Severity, &'static [Hook]);

#[test]
fn what_is_wrong_is_found_and_rules_out_no_more_than_it_must() {
    let rows: &[Row] = &[
        (|it| it.kernel.capabilities.bpf = false, "capabilities", Severity::Blocks, &[]),
        (|it| it.kernel.capabilities.net_admin = false, "capabilities", Severity::Blocks, &[]),
        (|it| it.kernel.capabilities.perfmon = false, "capabilities", Severity::Blocks, &[]),
        (|it| it.kernel.user_namespace = true, "user namespace", Severity::Warning, &Hook::ALL),
        (|it| it.kernel.release = "6.1.0-31-cloud".to_owned(), "kernel", Severity::Blocks, &[]),
        (|it| it.kernel.jit = Some(false), "JIT", Severity::Warning, &Hook::ALL),
        (|it| it.kernel.bpffs = false, "bpffs", Severity::Note, &Hook::ALL),
        (|it| it.device.mac = None, "interface", Severity::Blocks, &[]),
        (|it| it.device.running = false, "interface", Severity::Warning, &Hook::ALL),
        (|it| it.datagram_len_max = 1_473, "MTU", Severity::Blocks, &[]),
        (|it| it.address = "fd00::1".parse().ok(), "MTU", Severity::Blocks, &[]),
        (|it| it.address = None, "address", Severity::Warning, &Hook::ALL),
        (|it| it.device.veth_peer_index = Some(9), "veth", Severity::Note, &Hook::ALL),
        (|it| it.device.offloads = None, "offloads", Severity::Note, &Hook::ALL),
        (
            |it| it.device.offloads = Some(Offloads { lro: true, ..Offloads::default() }),
            "LRO",
            Severity::Warning,
            &Hook::ALL,
        ),
        (
            |it| it.occupants.xdp.push(occupant(XdpMode::Generic)),
            "XDP slot",
            Severity::Blocks,
            &[Hook::Tc],
        ),
        (
            |it| it.occupants.xdp.push(occupant(XdpMode::Hardware)),
            "XDP slot",
            Severity::Note,
            &Hook::ALL,
        ),
        (|it| it.occupants.egress.tcx = None, "TC", Severity::Note, &Hook::ALL),
    ];
    assert_eq!(finding::findings(&survey()), [], "nothing is wrong");
    for (spoil, subject, severity, left) in rows {
        let mut survey = survey();
        spoil(&mut survey);
        survey.findings = finding::findings(&survey);
        let [finding] = survey.findings.as_slice() else {
            panic!("{subject}: one finding, not {:?}", survey.findings)
        };
        assert_eq!((finding.subject, finding.severity), (*subject, *severity), "{finding}");
        let open: Vec<_> =
            Hook::ALL.into_iter().filter(|hook| survey.excluded(*hook).is_none()).collect();
        assert_eq!(open, *left, "{finding}");
    }
}

#[test]
fn a_report_tries_what_is_left_and_picks_the_first_that_works() {
    let mut taken = survey();
    taken.device.kind = InterfaceKind::Veth;
    taken.occupants.xdp.push(occupant(XdpMode::Native));
    taken.findings = finding::findings(&taken);
    let mut tried = Vec::new();
    let report = Report::new(taken, |hook| {
        tried.push(hook);
        Ok(Proof::Echoed)
    });
    assert_eq!((tried, report.picked), (vec![Hook::Tc], Some(Hook::Tc)));
    let native = &report.hooks[2];
    assert!(native.why.as_deref().unwrap().contains("katran (id 7)"), "{native:?}");
    assert_eq!(native.obstacle, Some(Obstacle::Occupied));

    let no_answer = |hook, what: &str| EbpfError::NoAnswer {
        hook,
        interface: "eth0".to_owned(),
        what: what.to_owned(),
    };
    let unproven = Proof::Unproven { why: "no frame came".to_owned() };
    let report = Report::new(survey(), |hook| match hook {
        Hook::XdpNative => Ok(unproven.clone()),
        Hook::XdpGeneric => Err(no_answer(hook, "nothing left")),
        Hook::Tc => Ok(Proof::Echoed),
    });
    assert_eq!(report.hooks[0].hook, Hook::XdpNative, "preferred on a card");
    assert_eq!(report.picked, Some(Hook::Tc), "what is not proven is not relied on");
    let said = report.to_string();
    assert!(said.contains("xdp-native  attached, not echoed: no frame came\n"), "{said}");
    assert!(
        said.contains("xdp-generic does not work: ") && said.contains("nothing left"),
        "{said}"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["picked"], &json["hooks"][1]["proof"]), (&"tc".into(), &"echoed".into()));
    assert_eq!(json["hooks"][0]["obstacle"], "no_answer");
    assert_eq!(json["hooks"][0]["proof"]["unproven"]["why"], "no frame came");
    assert_eq!(json["survey"]["device"]["kind"], "physical");

    let seen = Report::new(survey(), |_| Ok(Proof::Seen { frames: 3 }));
    assert_eq!(seen.picked, Some(Hook::XdpNative));
}

#[test]
fn one_hook_that_works_is_enough_and_none_is_an_error_that_says_why() {
    let mut tried = Vec::new();
    let report = Report::until_one_works(survey(), |hook| {
        tried.push(hook);
        let works = hook == Hook::Tc;
        Ok(if works { Proof::Echoed } else { Proof::Unproven { why: "quiet".to_owned() } })
    });
    assert_eq!(tried, [Hook::XdpNative, Hook::Tc]);
    assert_eq!(report.into_hook().unwrap(), Hook::Tc);

    let none = Report::new(survey(), |hook| {
        Err(EbpfError::NoAnswer { hook, interface: "eth0".to_owned(), what: format!("{hook}?") })
    });
    assert_eq!(none.picked, None);
    let error = none.into_hook().unwrap_err();
    assert_eq!(error.obstacle(), Obstacle::NoAnswer);
    for part in ["eth0", "tc?", "xdp-native?", "xdp-generic?"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn words_name_hooks() {
    for hook in Hook::ALL {
        assert_eq!(hook.to_string().parse(), Ok(hook));
    }
    assert_eq!("xdp".parse::<Hook>(), Err(UnknownHook { word: "xdp".to_owned() }));
}

#[test]
fn capabilities_are_read_from_the_status() {
    let parse = |set: &str| Capabilities::parse(&format!("Name:\tx\nCapEff:\t{set}\nCapBnd:\t0\n"));
    assert_eq!(parse("0000000000000000"), Capabilities::default());
    let both = Capabilities { bpf: true, net_admin: true, ..Capabilities::default() };
    assert_eq!(parse("0000008000001000"), both);
    assert_eq!(Capabilities::parse(""), Capabilities::default());
    let admin = parse("0000000000200000");
    assert!(admin.bpf && admin.perfmon && !admin.net_admin);
}

#[test]
fn anybody_can_look_at_the_loopback() {
    let survey = Survey::of([127, 0, 0, 1].into(), 1_472).unwrap();
    assert_eq!(survey.device.kind, InterfaceKind::Loopback);
    assert!(Hook::ALL.into_iter().all(|hook| survey.excluded(hook).is_some()), "{survey}");
    assert!(!survey.kernel.release.is_empty() && survey.kernel.version().is_some());
}

#[test]
fn a_real_veth_is_described() {
    if !is_privileged("a_real_veth_is_described") {
        return;
    }
    let (one, _two) = Space::pair();
    one.tc(&["qdisc", "add", "dev", "el0", "clsact"]);
    let pass = "6 0 0 4294967295";
    one.tc(&[
        "filter",
        "add",
        "dev",
        "el0",
        "ingress",
        "bpf",
        "da",
        "bytecode",
        &format!("1,{pass}"),
    ]);
    let survey = one.inside(|| Survey::of([10, 77, 0, 1].into(), 9_000).unwrap());
    let device = &survey.device;
    assert_eq!((&device.kind, device.mtu), (&InterfaceKind::Veth, 1_500));
    assert_eq!(device.mac.as_deref(), Some("02:00:00:00:77:01"));
    assert_eq!(device.veth_peer_here, Some(false));
    assert!(device.receive_queues.is_some_and(|count| count >= 1));
    assert!(device.offloads.unwrap().tx_checksum, "a veth leaves checksums to the receiver");
    assert_eq!(survey.occupants.ingress.tcx, Some(Vec::new()));
    let filters = survey.occupants.ingress.filters.as_ref().unwrap();
    assert_eq!(filters.iter().map(|it| it.kind.as_str()).collect::<Vec<_>>(), ["bpf"]);
    assert_eq!(survey.occupants.egress.filters, Some(Vec::new()));
    for subject in ["MTU", "veth", "TC"] {
        assert!(survey.findings.iter().any(|it| it.subject == subject), "{subject}: {survey}");
    }
}

#[test]
fn whose_programs_are_there_is_told_by_name() {
    if !is_privileged("whose_programs_are_there_is_told_by_name") {
        return;
    }
    let (one, _two) = Space::pair();
    for (mode, told) in [
        (aya::programs::XdpMode::Skb, XdpMode::Generic),
        (aya::programs::XdpMode::Driver, XdpMode::Native),
    ] {
        let survey = one.inside(|| {
            let settings = Settings {
                endpoint: Endpoint { body_len_max: 1_380, ..Endpoint::default() },
                offloads: 0,
                log_bytes: 1 << 16,
                notice_bytes: 1 << 16,
            };
            let (mut kernel, _rings) = Kernel::load(&settings).unwrap();
            let interface = Interface::by_name("el0").unwrap();
            let xdp = kernel.load_xdp(IN_XDP).unwrap();
            xdp.attach_to_if_index(interface.index, mode).unwrap();
            let tc = kernel.load_tc(OUT_TC).unwrap();
            tc.attach("el0", TcAttachType::Egress).unwrap();
            Survey::of([10, 77, 0, 1].into(), 1_472).unwrap()
        });
        let [occupant] = survey.occupants.xdp.as_slice() else { panic!("one program: {survey}") };
        assert_eq!((occupant.mode, occupant.program.name.as_deref()), (told, Some(IN_XDP)));
        let [program] = survey.occupants.egress.tcx.as_deref().unwrap() else { panic!("{survey}") };
        assert_eq!(program.name.as_deref(), Some(OUT_TC));
        assert_eq!(survey.occupants.ingress.tcx, Some(Vec::new()));
        assert!(survey.excluded(Hook::XdpNative).unwrap().contains(IN_XDP), "{survey}");
        assert_eq!(survey.excluded(Hook::Tc), None);
        // For whoever reads the test's output: this is what people see.
        println!("{}", Report::new(survey, |_| Ok(Proof::Echoed)));
    }
}
