//! `kill -9`: of all replicas at once, of the leader under load, and of one in `Received` mode.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cluster::{Cluster, err, run, wait_for};

#[test]
fn killing_all_replicas_at_once_loses_nothing_acknowledged() {
    let mut cluster = Cluster::start("persisted");
    let file = cluster.directory.path().join("records.tsv");
    let text: String = (0..3_000).map(|index| format!("k{index:05}\tv{index}\n")).collect();
    fs::write(&file, &text).unwrap();
    for round in 0..3 {
        cluster.succeed(&["load", file.to_str().unwrap()]);
        // Single puts go on until the replicas are gone from under them.
        let (config, killed) = (cluster.config(), AtomicBool::new(false));
        let acknowledged = std::thread::scope(|scope| {
            let putting = scope.spawn(|| {
                let mut count = 0;
                while !killed.load(Ordering::Relaxed) {
                    let (key, value) = (format!("p{round}-{count:05}"), count.to_string());
                    let put = run(&config, &["put", "--timeout", "200ms", &key, &value]);
                    if !put.status.success() {
                        break;
                    }
                    count += 1;
                }
                count
            });
            let key = format!("p{round}-00007");
            wait_for("some puts", || cluster.run(&["get", &key]).status.success().then_some(()));
            cluster.kill(&[1, 2, 3]);
            killed.store(true, Ordering::Relaxed);
            putting.join().unwrap()
        });
        (1..=3).for_each(|node| cluster.spawn(node));
        let expected = &text;
        let found = cluster.succeed(&["scan", "k"]);
        assert!(found == *expected, "round {round}: loaded records were lost");
        let found = cluster.succeed(&["scan", &format!("p{round}-")]);
        for count in 0..acknowledged {
            let line = format!("p{round}-{count:05}\t{count}\n");
            assert!(found.contains(&line), "round {round}: {line:?} of {acknowledged} was lost");
        }
        assert!(found.lines().count() <= acknowledged + 1, "round {round}: writes of nobody");
        cluster.await_equal();
    }
}

/// Each client counts its own key up by compare-and-set, one step after the other. A step that was
/// executed, and executed again because its answer was lost with the leader, would fail: the key
/// does not hold the old number any more.
#[test]
fn clients_see_each_write_applied_exactly_once_while_leaders_are_killed() {
    const STEPS: u32 = 60;
    let mut cluster = Cluster::start("persisted");
    let config = cluster.config();
    let steps = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for client in 0..3 {
            let (config, steps) = (&config, &steps);
            scope.spawn(move || {
                let key = format!("counter-{client}");
                for step in 0..STEPS {
                    let (old, new) = (step.to_string(), (step + 1).to_string());
                    let cas = match step {
                        0 => run(config, &["cas", &key, "--absent", &new]),
                        _ => run(config, &["cas", &key, "--expect", &old, &new]),
                    };
                    assert!(cas.status.success(), "{key} at {step}: {}", err(&cas));
                    steps.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut killed = None;
        for goal in [STEPS / 2, STEPS * 3 / 2, STEPS * 5 / 2] {
            wait_for("progress", || (steps.load(Ordering::Relaxed) >= goal).then_some(()));
            let leader = cluster.leader();
            cluster.kill(&[leader]);
            if let Some(before) = killed.replace(leader) {
                assert_ne!(before, leader, "a replica that is down cannot lead");
            }
            cluster.spawn(leader);
            killed = None;
        }
    });
    for client in 0..3 {
        let found = cluster.succeed(&["get", &format!("counter-{client}")]);
        assert_eq!(found.trim(), STEPS.to_string());
    }
    cluster.await_equal();
}

#[test]
fn in_received_mode_a_restarted_replica_recovers_from_the_others() {
    let mut cluster = Cluster::start("received");
    for round in 0..3 {
        let leader = cluster.leader();
        let node = if round == 1 { leader } else { leader % 3 + 1 };
        cluster.succeed(&["put", &format!("before-{round}"), "v"]);
        cluster.kill(&[node]);
        cluster.succeed(&["put", &format!("during-{round}"), "v"]);
        cluster.spawn(node);
        cluster.await_equal();
        assert!(cluster.log(node).contains("recovering from the other replicas"));
    }
    let found = cluster.succeed(&["scan", ""]);
    let mut expected: Vec<String> = (0..3)
        .flat_map(|round| [format!("before-{round}\tv"), format!("during-{round}\tv")])
        .collect();
    expected.sort();
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_minority_acknowledges_nothing() {
    let mut cluster = Cluster::start("persisted");
    cluster.succeed(&["put", "k", "old"]);
    let leader = cluster.leader();
    let others: Vec<usize> = (1..=3).filter(|node| *node != leader).collect();
    cluster.kill(&others);
    let put = cluster.run(&["put", "--timeout", "1s", "k", "new"]);
    assert_eq!(put.status.code(), Some(1), "a write was acknowledged without a majority");
    let get = cluster.run(&["get", "--timeout", "1s", "k"]);
    assert_eq!(get.status.code(), Some(1), "a read was answered without a majority");
    cluster.spawn(others[0]);
    // The write that was not acknowledged may have come through or not.
    let found = cluster.succeed(&["get", "k"]);
    assert!(["old\n", "new\n"].contains(&found.as_str()), "{found}");
}
