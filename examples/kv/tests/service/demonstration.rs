//! The README's first command, and what it leaves behind: nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::cluster::{err, is_running, kv, out, signal, wait_for};

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

/// The process ids that the demonstration names.
fn pids(said: &str) -> Vec<u32> {
    let after = said.split("pid ").skip(1);
    after.map(|rest| rest.split(',').next().unwrap().parse().unwrap()).collect()
}

fn shows_everything(said: &str, records: usize) {
    for part in [
        "was elected leader",
        "writes acknowledged",
        &format!("{records} of {records} keys are as they were written"),
        "was killed with SIGKILL after",
        "fail-over: node",
        "      0 lost",
        "      0 applied twice",
        "      0 with another value",
        "caught up",
        "p50",
        "p99.9",
        "puts, leader killed half-way",
        "All checks passed",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

#[test]
fn with_the_built_in_file_it_shows_everything_and_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let began = Instant::now();
    let demo = kv().args(["demo", "--dir"]).arg(directory.path()).output().unwrap();
    assert!(demo.status.success(), "{}{}", out(&demo), err(&demo));
    shows_everything(&out(&demo), 9_281);
    assert!(began.elapsed().as_secs() < 30, "it took {:?}", began.elapsed());
    assert!(is_empty(directory.path()), "its directory is still there");
    let pids = pids(&out(&demo));
    assert_eq!(pids.len(), 3);
    assert!(!pids.into_iter().any(is_running), "a replica still runs");
}

#[test]
fn it_takes_a_file_and_the_other_mode() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("small.tsv");
    // One key on two lines, and values that are not text once reversed.
    let text: String = (0..400).map(|index| format!("clé {}\tvé {index}\n", index % 399)).collect();
    fs::write(&file, text).unwrap();
    for mode in ["persisted", "received"] {
        let demo = kv()
            .args(["demo", "--mode", mode, "--outstanding", "16", "--dir"])
            .arg(directory.path())
            .arg(&file)
            .output()
            .unwrap();
        assert!(demo.status.success(), "{mode}: {}{}", out(&demo), err(&demo));
        shows_everything(&out(&demo), 399);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "only the file is left");
}

#[test]
fn kept_files_start_the_cluster_again() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("small.tsv");
    fs::write(&file, "a\t12\nb\t34\nc\t56\nd\t78\ne\t90\nf\t11\n").unwrap();
    let demo = kv()
        .args(["demo", "--keep", "--outstanding", "1", "--dir"])
        .arg(directory.path())
        .arg(&file)
        .output()
        .unwrap();
    assert!(demo.status.success(), "{}{}", out(&demo), err(&demo));
    let said = out(&demo);
    let kept = said.lines().last().unwrap().rsplit(' ').next().unwrap();
    for part in ["cluster.toml", "node-1/log.redb", "node-1.log"] {
        assert!(Path::new(kept).join(part).exists(), "{part} is not in {kept}");
    }
}

/// Starts a demonstration and reads what it says until its replicas run.
fn started(directory: &Path) -> (Child, BufReader<std::process::ChildStdout>, Vec<u32>) {
    let mut demo = kv()
        .args(["demo", "--outstanding", "1", "--dir"])
        .arg(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(demo.stdout.take().unwrap());
    let mut all = String::new();
    while !all.contains("2. Load") {
        let len = said.read_line(&mut all).unwrap();
        assert!(len > 0, "it ended early:\n{all}");
    }
    let pids = pids(&all);
    assert_eq!(pids.len(), 3);
    assert!(pids.iter().copied().all(is_running));
    assert!(!is_empty(directory));
    (demo, said, pids)
}

#[test]
fn ctrl_c_leaves_no_process_and_no_directory() {
    for name in ["-INT", "-TERM"] {
        let directory = TempDir::new().unwrap();
        let (demo, said, pids) = started(directory.path());
        signal(name, demo.id());
        // Its end of the pipe is held open: it must not end because of that.
        let output = demo.wait_with_output().unwrap();
        drop(said);
        assert_eq!(output.status.code(), Some(130), "{name}: {}", err(&output));
        assert!(!pids.into_iter().any(is_running), "{name}: a replica still runs");
        assert!(is_empty(directory.path()), "{name}: its directory is still there");
    }
}

#[test]
fn a_panic_leaves_no_process_and_no_directory() {
    let directory = TempDir::new().unwrap();
    let (demo, said, pids) = started(directory.path());
    // Nobody reads any more, and printing to a broken pipe panics.
    drop(said);
    let output = demo.wait_with_output().unwrap();
    assert!(err(&output).contains("panicked"), "{}", err(&output));
    assert!(!pids.into_iter().any(is_running), "a replica still runs");
    assert!(is_empty(directory.path()), "its directory is still there");
}

#[test]
fn replicas_do_not_outlive_a_demonstration_that_was_killed() {
    let directory = TempDir::new().unwrap();
    let (mut demo, said, pids) = started(directory.path());
    demo.kill().unwrap();
    demo.wait().unwrap();
    drop(said);
    wait_for("the replicas to end", || (!pids.iter().copied().any(is_running)).then_some(()));
}
