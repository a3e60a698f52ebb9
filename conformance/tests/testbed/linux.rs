//! The tests, and the roles of the processes that die.

use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::panic::{catch_unwind, resume_unwind};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use electrode_conformance::testbed::{BridgeBed, Host, MTU_JUMBO, MTU_PLAIN, TapBed, TapPool};
use electrode_conformance::{Link, SetupError, require_privileged};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

const ROLE: &str = "ELECTRODE_TESTBED_ROLE";
const PORT: u16 = 7_400;
const PATIENCE: Duration = Duration::from_secs(10);

type Outcome = Result<(), SetupError>;
type Test = (&'static str, fn() -> Outcome);

pub(crate) fn main() -> ExitCode {
    if let Ok(role) = std::env::var(ROLE) {
        return play(&role);
    }
    let tests: [Test; 12] = [
        ("bridge/hosts-reach-each-other", bridge_reaches),
        ("bridge/commands-start-on-a-host", commands),
        ("taps/hosts-reach-each-other", taps_reach),
        ("taps/faults-follow-their-seed", seeded_faults),
        ("taps/cut-links-leave-neighbours-alone", cut_links),
        ("taps/injected-from-anybody", injected),
        ("taps/two-beds-at-once", two_beds),
        ("taps/pooled-beds-are-as-new", pooled),
        ("leaves-nothing/after-a-drop-and-a-panic", after_drop),
        ("leaves-nothing/after-the-end-of-its-process", after_ends),
        ("leaves-nothing/after-sigkill-once-the-next-comes", after_sigkill),
        ("threads-come-home", threads_come_home),
    ];
    let mut trials: Vec<_> = tests.into_iter().map(|(name, test)| privileged(name, test)).collect();
    trials.push(Trial::test("without-privileges-it-says-so", unprivileged));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Left out, and said, where a privilege is missing; a failure where that may not be.
fn privileged(name: &str, test: fn() -> Outcome) -> Trial {
    Trial::ignorable_test(name, move || match test() {
        Ok(()) => Ok(Completion::Completed),
        Err(SetupError::MissingPrivilege(why)) if !require_privileged() => {
            Ok(Completion::ignored_with(format!("LEFT OUT: {why}")))
        }
        Err(error) => Err(Failed::from(format!("{error:?}"))),
    })
}

// ---- reaching --------------------------------------------------------------------------------------

/// A socket of a host. Tests run beside each other and some start processes: between its fork and its exec a
/// child holds a copy of every socket of this process, also of one that was closed meanwhile, so an address
/// may be in use for a moment longer.
fn bind(host: &Host, ipv6: bool) -> Result<UdpSocket, SetupError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match host.within(|| UdpSocket::bind(host.address(ipv6, PORT)))? {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            bound => {
                let socket = bound.unwrap();
                socket.set_nonblocking(true).unwrap();
                return Ok(socket);
            }
        }
    }
}

/// What comes within patience, moving frames by `turn`.
fn receive(socket: &UdpSocket, mut turn: impl FnMut()) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 1 << 16];
    let end = Instant::now() + PATIENCE;
    loop {
        turn();
        match socket.recv_from(&mut buffer) {
            Ok((len, source)) => return (buffer[..len].to_vec(), source),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert!(Instant::now() < end, "nothing came");
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn bridge_reaches() -> Outcome {
    let bed = BridgeBed::build(3, MTU_JUMBO)?;
    assert_eq!(bed.peers().count(), 3);
    for (namespace, peer) in bed.peers() {
        let show = namespace.command("ip")?.args(["link", "show", "dev", &peer]).output().unwrap();
        assert!(show.status.success(), "{peer} is not there: {show:?}");
    }
    for ipv6 in [false, true] {
        let [from, to] = [bind(&bed.hosts()[0], ipv6)?, bind(&bed.hosts()[2], ipv6)?];
        // As long as a jumbo frame takes, and whole.
        let bytes = vec![7; MTU_JUMBO - 48];
        from.send_to(&bytes, to.local_addr().unwrap()).unwrap();
        assert_eq!(receive(&to, || {}), (bytes, from.local_addr().unwrap()));
    }
    Ok(())
}

fn commands() -> Outcome {
    let bed = BridgeBed::build(2, MTU_PLAIN)?;
    let host = &bed.hosts()[1];
    let shown = host.command("ip")?.args(["-o", "address", "show"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    for address in [format!("{}/24", host.ipv4()), format!("{}/64", host.ipv6())] {
        assert!(shown.contains(&address), "{address} is not in {shown}");
    }
    // In another process's socket what a thread sends from inside another host arrives.
    let inside = || UdpSocket::bind(bed.hosts()[0].address(false, PORT)).unwrap().local_addr();
    assert_eq!(bed.hosts()[0].enter(inside)?.unwrap().ip(), bed.hosts()[0].ipv4());
    Ok(())
}

fn taps_reach() -> Outcome {
    for mtu in [MTU_PLAIN, MTU_JUMBO] {
        let mut bed = TapBed::build(3, mtu, 1)?;
        for ipv6 in [false, true] {
            let [from, to] = [bind(&bed.hosts()[0], ipv6)?, bind(&bed.hosts()[2], ipv6)?];
            let bytes = vec![7; mtu - 48];
            bed.switch_mut().watch(PORT);
            from.send_to(&bytes, to.local_addr().unwrap()).unwrap();
            let heard = receive(&to, || _ = bed.switch_mut().pump());
            assert_eq!(heard, (bytes.clone(), from.local_addr().unwrap()));
            let passed = bed.switch_mut().take_passed();
            assert_eq!(passed.len(), 1);
            assert_eq!((passed[0].from, passed[0].to), (0, Some(2)));
            assert!(passed[0].checksums_right && passed[0].bytes == bytes);
        }
    }
    Ok(())
}

// ---- faults ----------------------------------------------------------------------------------------

/// Which of the numbered datagrams arrive over a bad link, in their order.
fn arrivals(seed: u64) -> Result<Vec<u16>, SetupError> {
    let mut bed = TapBed::build(2, MTU_PLAIN, seed)?;
    let [from, to] = [bind(&bed.hosts()[0], false)?, bind(&bed.hosts()[1], false)?];
    bed.switch_mut().warm_up([(0, 1)], false)?;
    bed.switch_mut().set_link(0, 1, Link::BAD);
    let mut arrived = Vec::new();
    let mut listen = || {
        let mut bytes = [0; 2];
        while to.recv(&mut bytes).is_ok() {
            arrived.push(u16::from_le_bytes(bytes));
        }
    };
    for number in 0..1_000_u16 {
        from.send_to(&number.to_le_bytes(), to.local_addr().unwrap()).unwrap();
        bed.switch_mut().pump();
        listen();
    }
    // Ten times as long as anything is held back.
    let end = Instant::now() + Duration::from_millis(20);
    while Instant::now() < end {
        bed.switch_mut().pump();
        listen();
    }
    Ok(arrived)
}

fn seeded_faults() -> Outcome {
    let sorted = |mut numbers: Vec<u16>| {
        numbers.sort_unstable();
        numbers
    };
    let first = arrivals(7)?;
    let overtaken = first.windows(2).filter(|pair| pair[0] > pair[1]).count();
    let doubled = sorted(first.clone()).windows(2).filter(|pair| pair[0] == pair[1]).count();
    let distinct = first.len() - doubled;
    assert!((850..950).contains(&distinct), "about a tenth is lost: {distinct} of 1000 came");
    assert!((50..150).contains(&doubled), "about a tenth comes twice: {doubled} of 1000 did");
    assert!(overtaken > 5, "some are overtaken: {overtaken}");
    let first = sorted(first);
    assert_eq!(first, sorted(arrivals(7)?), "a seed repeats itself");
    assert_ne!(first, sorted(arrivals(8)?), "another is another");
    Ok(())
}

fn cut_links() -> Outcome {
    let mut bed = TapBed::build(2, MTU_PLAIN, 1)?;
    let [from, to] = [bind(&bed.hosts()[0], false)?, bind(&bed.hosts()[1], false)?];
    bed.switch_mut().watch(PORT);
    bed.switch_mut().set_link(0, 1, Link::CUT);
    from.send_to(b"lost", to.local_addr().unwrap()).unwrap();
    let end = Instant::now() + PATIENCE;
    let mut passed = Vec::new();
    while passed.is_empty() {
        assert!(Instant::now() < end, "it left once the neighbour was found, link or not");
        bed.switch_mut().pump();
        passed = bed.switch_mut().take_passed();
    }
    assert_eq!(passed[0].bytes, b"lost");
    bed.switch_mut().set_link(0, 1, Link::CLEAN);
    from.send_to(b"heard", to.local_addr().unwrap()).unwrap();
    assert_eq!(receive(&to, || _ = bed.switch_mut().pump()).0, b"heard");
    Ok(())
}

fn injected() -> Outcome {
    let mut bed = TapBed::build(2, MTU_PLAIN, 1)?;
    for ipv6 in [false, true] {
        let to = bind(&bed.hosts()[1], ipv6)?;
        let address = to.local_addr().unwrap();
        bed.switch_mut().set_link(0, 1, Link::CUT);
        for port in [PORT, 9_999] {
            let source = bed.hosts()[0].address(ipv6, port);
            // Longer than the MTU too: nobody on a real wire could.
            for len in [0, 100, 3_000] {
                let bytes = vec![3; len];
                bed.switch().inject(0, source, 1, address, &bytes);
                assert_eq!(receive(&to, || {}), (bytes, source));
            }
        }
    }
    Ok(())
}

fn two_beds() -> Outcome {
    let mut beds = [TapBed::build(2, MTU_PLAIN, 1)?, TapBed::build(2, MTU_PLAIN, 1)?];
    let mut sockets = Vec::new();
    for bed in &beds {
        sockets.push([bind(&bed.hosts()[0], false)?, bind(&bed.hosts()[1], false)?]);
    }
    // The same addresses in both, and each hears its own.
    for (which, [from, to]) in sockets.iter().enumerate() {
        from.send_to(&[which as u8], to.local_addr().unwrap()).unwrap();
    }
    for (which, [_, to]) in sockets.iter().enumerate() {
        let turn = || beds.iter_mut().for_each(|bed| _ = bed.switch_mut().pump());
        assert_eq!(receive(to, turn).0, [which as u8]);
        assert_eq!(to.recv(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
    Ok(())
}

fn pooled() -> Outcome {
    let pool = TapPool::default();
    let mut bed = pool.take(2, MTU_PLAIN, 1)?;
    let name = bed.hosts()[0].namespace().name().to_owned();
    let socket = bind(&bed.hosts()[0], false)?;
    bed.switch_mut().warm_up([(0, 1), (1, 0)], false)?;
    bed.switch_mut().watch(PORT);
    bed.switch_mut().set_link(0, 1, Link::CUT);
    // Never read by its switch.
    socket.send_to(b"old", bed.hosts()[1].address(false, PORT)).unwrap();
    drop((socket, bed));
    let mut bed = pool.take(2, MTU_PLAIN, 2)?;
    assert_eq!(bed.hosts()[0].namespace().name(), name, "the same one again");
    let [from, to] = [bind(&bed.hosts()[0], false)?, bind(&bed.hosts()[1], false)?];
    from.send_to(b"new", to.local_addr().unwrap()).unwrap();
    assert_eq!(receive(&to, || _ = bed.switch_mut().pump()).0, b"new");
    assert!(bed.switch_mut().take_passed().is_empty(), "nobody asked for a copy");
    let another = pool.take(2, MTU_PLAIN, 3)?;
    assert_ne!(another.hosts()[0].namespace().name(), name, "one that is in use stays alone");
    Ok(())
}

fn threads_come_home() -> Outcome {
    let home = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let bed = TapBed::build(1, MTU_PLAIN, 1)?;
    let before = home();
    assert_ne!(bed.hosts()[0].within(home)?, before);
    assert_eq!(home(), before);
    let panicked = catch_unwind(|| bed.hosts()[0].within(|| resume_unwind(Box::new(()))));
    assert!(panicked.is_err());
    assert_eq!(home(), before, "also from a panic");
    Ok(())
}

// ---- leaving nothing -------------------------------------------------------------------------------

/// The names of a process's namespaces.
fn names_of(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&format!("el{pid}-"))).collect()
}

fn after_drop() -> Outcome {
    let exists = |name: &str| names_of(std::process::id()).contains(&name.to_owned());
    let bed = TapBed::build(2, MTU_PLAIN, 1)?;
    let name = bed.hosts()[1].namespace().name().to_owned();
    assert!(exists(&name));
    drop(bed);
    assert!(!exists(&name));
    let bed = BridgeBed::build(2, MTU_PLAIN)?;
    let name = bed.switch().name().to_owned();
    assert!(exists(&name));
    let panicked = catch_unwind(move || {
        let _bed = bed;
        resume_unwind(Box::new(()))
    });
    assert!(panicked.is_err() && !exists(&name));
    Ok(())
}

/// This program again in a role, once it says that it has built its beds.
fn child(role: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "built\n", "{role}");
    assert_eq!(names_of(child.id()).len(), 5, "{role}");
    child
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn after_ends() -> Outcome {
    drop(TapBed::build(1, MTU_PLAIN, 1)?);
    for role in ["panics", "exits", "terminated", "interrupted"] {
        let mut child = child(role);
        match role {
            "terminated" => signal(&child, "-TERM"),
            "interrupted" => signal(&child, "-INT"),
            _ => drop(child.stdin.take()),
        }
        let status = child.wait().unwrap();
        assert!(!status.success() && status.signal().is_none(), "{role}: {status}");
        assert_eq!(names_of(child.id()), Vec::<String>::new(), "{role}");
    }
    Ok(())
}

fn after_sigkill() -> Outcome {
    drop(TapBed::build(1, MTU_PLAIN, 1)?);
    let mut killed = child("killed");
    let mut bystander = child("bystander");
    signal(&killed, "-KILL");
    killed.wait().unwrap();
    assert_eq!(names_of(killed.id()).len(), 5, "nobody could tell it");
    let mut next = child("exits");
    assert_eq!(names_of(killed.id()), Vec::<String>::new(), "the next one cleared it away");
    let lock = format!("/run/electrode-testbed/{}.lock", killed.id());
    assert!(!std::fs::exists(lock).unwrap(), "with its lock");
    assert_eq!(names_of(bystander.id()).len(), 5, "and touched nobody who lives");
    for child in [&mut next, &mut bystander] {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    Ok(())
}

fn unprivileged() -> Result<(), Failed> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let status = child.env(ROLE, "unprivileged").status().unwrap();
    if status.success() { Ok(()) } else { Err("an unprivileged process was not told".into()) }
}

/// Without root's capabilities from here on.
fn shed_privileges() {
    // SAFETY: takes a number and changes only who this process is. It has one thread.
    let result = unsafe { libc::setuid(65_534) };
    // Whoever is not root has none anyway.
    assert!(result == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM));
}

fn play(role: &str) -> ExitCode {
    if role == "unprivileged" {
        shed_privileges();
        let told = [TapBed::build(1, MTU_PLAIN, 1).err(), BridgeBed::build(1, MTU_PLAIN).err()];
        let right = |error: &_| matches!(error, Some(SetupError::MissingPrivilege(_)));
        return if told.iter().all(right) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    // In a static, as a pool may be: nobody drops it.
    let tap = Box::leak(Box::new(TapBed::build(2, MTU_PLAIN, 1)));
    let bridge = BridgeBed::build(2, MTU_PLAIN);
    let (Ok(_), Ok(_bridge)) = (tap, bridge) else { return ExitCode::FAILURE };
    println!("built");
    // Until the parent lets go.
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    assert!(role != "panics", "on purpose");
    std::process::exit(3);
}
