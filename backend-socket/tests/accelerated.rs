//! The seam for backends whose kernel works beside the socket, with a kernel made of atomics: it is
//! slept on with the socket, spares system calls, and has copies left out.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
#![allow(unexpected_cfgs, reason = "`--cfg electrode_portable` tests the portable module on Linux")]
#![cfg(all(target_os = "linux", not(electrode_portable)))]

mod bell;
mod cluster;

use std::future::poll_fn;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use bell::{Bell, BellTransport, bound};
use cluster::{BALLOT, Cluster, GROUP, PATIENCE, poll};
use electrode_backend_socket::{SocketEndpoint, SocketTransport};
use electrode_transport::{
    Counter, Frame, GroupConfig, GroupId, Incarnation, Interest, Member, Membership, NodeId,
    Obstacle, QuorumRule, Slot, TransportCore, TransportError,
};
use tokio::runtime::Builder;

/// Sleeps until something ends the sleep, which time alone must not.
fn sleep(handle: &BellTransport) {
    let start = Instant::now();
    handle.wait(PATIENCE).unwrap();
    assert!(start.elapsed() < PATIENCE, "nothing ended the sleep");
}

/// Node 1 with a bell, and `others` plain sockets, in one group that nobody leads.
fn group(others: u64) -> (SocketEndpoint<Bell>, BellTransport, Vec<SocketTransport>) {
    let first = bound(1);
    let own = first.local_addr().ip();
    let plain = Cluster::with(others, |node| cluster::config(node + 1, own)).endpoints;
    let addresses =
        std::iter::once(first.local_addr()).chain(plain.iter().map(SocketEndpoint::local_addr));
    let members = addresses.zip(1..).map(|(address, id)| Member::voter(NodeId(id), address));
    let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority).unwrap();
    let config = GroupConfig::new(GROUP, membership);
    let handle = first.join(config.clone()).unwrap();
    let others = plain.iter().map(|other| other.join(config.clone()).unwrap()).collect();
    (first, handle, others)
}

fn address_of(member: &SocketTransport) -> std::net::SocketAddr {
    let membership = member.membership().unwrap();
    let index = membership.index_of(member.node()).unwrap();
    membership.member(index).unwrap().address
}

/// Rings once somebody sleeps.
fn ring_the_sleeper(bell: &Bell) {
    let start = Instant::now();
    while bell.dozing.load(SeqCst) == 0 {
        assert!(start.elapsed() < PATIENCE, "nobody sleeps");
        thread::sleep(Duration::from_micros(50));
    }
    bell.ring();
}

/// Ends when the group's log has news. `then` is called once that is waited for.
async fn news(handle: &BellTransport, then: impl FnOnce()) {
    let mut then = Some(then);
    poll_fn(|cx| {
        let Some(then) = then.take() else { return Poll::Ready(()) };
        handle.watch(Interest::Log, cx.waker()).unwrap();
        then();
        Poll::Pending
    })
    .await;
}

#[test]
fn a_thread_in_wait_is_woken_by_the_descriptor() {
    let (endpoint, handle, _) = group(1);
    let bell = endpoint.accelerator();
    for round in 1..=3 {
        thread::scope(|scope| {
            scope.spawn(|| ring_the_sleeper(bell));
            sleep(&handle);
        });
        assert_eq!(bell.harvested.load(SeqCst), round);
    }
    assert_eq!(bell.dozing.load(SeqCst), 0, "whoever slept is awake");
}

#[test]
fn nobody_sleeps_on_what_is_ripe() {
    let (endpoint, handle, _) = group(1);
    let bell = endpoint.accelerator();
    // As a kernel that was not asked to wake anybody: nothing makes the descriptor readable.
    bell.ring_unless_asleep_at_the_next_doze();
    sleep(&handle);
    assert_eq!(bell.harvested.load(SeqCst), 1);
    bell.ring();
    sleep(&handle);
    assert_eq!(bell.harvested.load(SeqCst), 2);
}

/// Whoever drives, tasks hear of what the kernel did.
fn tasks_are_woken(block_on: impl Fn(&BellTransport, &mut dyn FnMut())) {
    let (endpoint, handle, others) = group(1);
    let bell = endpoint.accelerator();
    for round in 1..=5 {
        thread::scope(|scope| {
            block_on(&handle, &mut || drop(scope.spawn(|| ring_the_sleeper(bell))));
        });
        assert_eq!(bell.harvested.load(SeqCst), round);
    }
    // Also if it happens just before the driver sleeps, and so without a word.
    block_on(&handle, &mut || {
        bell.ring_unless_asleep_at_the_next_doze();
        others[0].try_send(NodeId(1), b"do something, then sleep").unwrap();
    });
}

#[test]
fn the_drivers_task_is_woken_by_the_descriptor() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    tasks_are_woken(|handle, then| {
        let woken = async { tokio::time::timeout(PATIENCE, news(handle, then)).await };
        runtime.block_on(woken).expect("the task is woken");
    });
}

#[test]
fn the_drivers_task_on_another_worker_is_woken_by_the_descriptor() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    tasks_are_woken(|handle, then| {
        let woken = async { tokio::time::timeout(PATIENCE, news(handle, then)).await };
        runtime.block_on(woken).expect("the task is woken");
    });
}

/// A task that is woken says so.
struct Tell(std::sync::mpsc::Sender<()>);

impl Wake for Tell {
    fn wake(self: Arc<Self>) {
        // Nobody listens any more to a late word.
        let _ = self.0.send(());
    }
}

#[test]
fn the_drivers_thread_is_woken_by_the_descriptor() {
    tasks_are_woken(|handle, then| {
        let (tell, told) = std::sync::mpsc::channel();
        let woken = Waker::from(Arc::new(Tell(tell)));
        handle.watch(Interest::Log, &woken).unwrap();
        then();
        told.recv_timeout(PATIENCE).expect("the task is woken");
    });
}

#[test]
fn a_driver_that_ends_sleeps_no_more() {
    let (endpoint, handle, _) = group(1);
    let bell = endpoint.accelerator();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    thread::scope(|scope| {
        runtime.block_on(news(&handle, || drop(scope.spawn(|| ring_the_sleeper(bell)))));
    });
    let asleep = async {
        while bell.dozing.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    let asleep = async { tokio::time::timeout(PATIENCE, asleep).await };
    runtime.block_on(asleep).expect("the driver sleeps again");
    drop(runtime);
    assert_eq!(bell.dozing.load(SeqCst), 0);
}

/// Also what the next test runs under strace.
#[test]
fn a_drive_without_news_asks_nobody() {
    let (endpoint, handle, _) = group(1);
    let bell = endpoint.accelerator();
    bell.silent.store(true, SeqCst);
    for _ in 0..1_000 {
        handle.drive().unwrap();
    }
    assert_eq!(bell.asked.load(SeqCst), 0, "the socket was not asked");
    handle.try_send(NodeId(2), b"one call").unwrap();
    bell.ring();
    handle.drive().unwrap();
    assert_eq!((bell.asked.load(SeqCst), bell.harvested.load(SeqCst)), (0, 1));
}

#[test]
fn a_drive_without_news_asks_nobody_by_strace() {
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=recvmmsg,sendmmsg,sendto"])
        .args(["-o", "/dev/stderr"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_drive_without_news_asks_nobody", "--test-threads", "1"])
        .output();
    let is_required = std::env::var_os("CI").is_some()
        || std::env::var_os("ELECTRODE_REQUIRE_PRIVILEGED").is_some_and(|value| value == "1");
    let output = match traced {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: strace cannot be run ({error})");
            assert!(!is_required, "strace is required here: install it");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("PTRACE") && !said.contains("sendto(") {
        eprintln!("skipped: strace may not trace here: {said}");
        assert!(!is_required, "strace must be allowed to trace here");
        return;
    }
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("sendto(").count(), 1, "the message is seen:\n{said}");
    assert!(!said.contains("recvmmsg("), "nothing is received:\n{said}");
}

#[test]
fn a_datagram_that_no_program_saw_ends_a_sleep_all_the_same() {
    let (endpoint, handle, others) = group(1);
    endpoint.accelerator().silent.store(true, SeqCst);
    let mut body = Vec::new();
    others[0].try_send(NodeId(1), b"by thread").unwrap();
    sleep(&handle);
    assert_eq!(handle.try_recv(&mut body).unwrap(), Some(NodeId(2)));

    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let receive = async {
            poll_fn(|cx| handle.poll_recv(cx, &mut body)).await.unwrap();
        };
        let send = async {
            tokio::task::yield_now().await;
            others[0].try_send(NodeId(1), b"by task").unwrap();
        };
        let both = async { tokio::join!(receive, send) };
        tokio::time::timeout(PATIENCE, both).await.expect("the task is woken");
    });
    assert_eq!(body, b"by task");
}

#[test]
fn copies_that_the_kernel_makes_are_not_sent() {
    let (endpoint, handle, others) = group(3);
    *endpoint.accelerator().carrier.lock().unwrap() = Some(address_of(&others[0]));
    let token = handle.fence(BALLOT).unwrap().token;
    handle.lead(&token, Slot(1)).unwrap();
    for other in &others {
        let token = other.fence(BALLOT).unwrap().token;
        other.follow(&token, NodeId(1), Slot(1)).unwrap();
    }
    let before = handle.stats();
    let frames = [Frame::single(Slot(1), b"one"), Frame::single(Slot(2), b"two")];
    assert_eq!(handle.try_broadcast(BALLOT, &frames).unwrap(), 2);
    let after = handle.stats();
    let count = |counter| after.count(counter) - before.count(counter);
    assert_eq!((count(Counter::TxDatagrams), count(Counter::SyscallsSend)), (6, 1));
    for (place, other) in others.iter().enumerate() {
        other.drive().unwrap();
        let expected = if place == 0 { 2 } else { 0 };
        assert_eq!(other.stats().count(Counter::RxStored), expected, "follower {place}");
    }
    // What is sent to one member alone is its own: a kernel that makes no copy harms nobody.
    let start = Instant::now();
    while others[2].stats().count(Counter::RxStored) < 2 {
        assert!(start.elapsed() < PATIENCE, "{:?}", handle.stats());
        handle.wait(Duration::from_millis(5)).unwrap();
        others[2].drive().unwrap();
    }
    assert_eq!(poll(&others[2]).len(), 2);
}

#[test]
fn upkeep_comes_when_it_is_due_whoever_drives() {
    let times = |count: u64, endpoint: &SocketEndpoint<Bell>, wait: &dyn Fn()| {
        let start = Instant::now();
        while endpoint.accelerator().upkeeps.load(SeqCst) < count {
            assert!(start.elapsed() < PATIENCE, "{:?}", endpoint.accelerator());
            wait();
        }
    };
    let nap = || thread::sleep(Duration::from_millis(1));
    let (endpoint, handle, _) = group(1);
    let bell = endpoint.accelerator();
    bell.keep_up_every(Duration::from_millis(5));
    times(2, &endpoint, &|| handle.drive().unwrap());
    times(4, &endpoint, &|| sleep(&handle));
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { handle.watch(Interest::Log, Waker::noop()) }).unwrap();
    let until = bell.upkeeps.load(SeqCst) + 3;
    times(until, &endpoint, &nap);
    drop(runtime);
    handle.watch(Interest::Log, Waker::noop()).unwrap();
    let until = bell.upkeeps.load(SeqCst) + 3;
    times(until, &endpoint, &nap);
}

#[test]
fn what_the_backend_says_reaches_the_user() {
    let (endpoint, handle, _) = group(1);
    assert_eq!(handle.capabilities().backend, "bell");
    assert_eq!(handle.stats().count(Counter::RxStored), 1_000, "the kernel's are added");
    assert_eq!(endpoint.stats().count(Counter::RxStored), 1_000);

    let mut config = GroupConfig::new(GroupId(9), handle.membership().unwrap().as_ref().clone());
    let refused = endpoint.join(config.clone()).unwrap_err();
    assert!(matches!(refused, TransportError::Unavailable { backend: "bell", .. }), "{refused}");
    config.group = GroupId(10);
    endpoint.join(config).unwrap();
}

#[test]
fn closing_detaches_before_the_port_is_free() {
    let (endpoint, handle, _) = group(1);
    let bell = endpoint.accelerator();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| while handle.wait(PATIENCE).is_ok() {});
        while bell.dozing.load(SeqCst) == 0 {
            thread::yield_now();
        }
        endpoint.close();
        waiting.join().unwrap();
    });
    assert_eq!(*bell.bound_when_closed.lock().unwrap(), Some(true));
    assert_eq!(bell.dozing.load(SeqCst), 0);
    bell.silent.store(true, SeqCst);
    bell.ring();
    let closed = handle.drive();
    assert!(matches!(closed, Err(TransportError::Closed)), "{closed:?}");
    assert_eq!(bell.harvested.load(SeqCst), 0, "nothing is harvested any more");
    std::net::UdpSocket::bind(endpoint.local_addr()).expect("the port is free");
}

#[test]
fn an_accelerator_that_cannot_be_made_leaves_the_port_free() {
    let mut port = None;
    let refused = SocketEndpoint::<Bell>::bind_with(
        cluster::config(1, std::net::Ipv4Addr::LOCALHOST.into()),
        electrode_backend_socket::SocketOptions::default(),
        |address, _| {
            port = Some(address);
            Err(TransportError::Unavailable {
                backend: "bell",
                reason: Obstacle::Refused,
                why: "a test".into(),
            })
        },
    );
    assert!(matches!(refused, Err(TransportError::Unavailable { .. })));
    std::net::UdpSocket::bind(port.unwrap()).expect("the port is free");
}
