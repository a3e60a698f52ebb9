//! The demonstration over the kernel's programs, which needs hosts and therefore root.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::cluster::{err, is_running, kv, out, signal};

/// Whether this process may make hosts.
fn is_privileged() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    if out(&id).trim() == "0" {
        return true;
    }
    let required = std::env::var_os("ELECTRODE_REQUIRE_PRIVILEGED");
    assert!(required.is_none_or(|value| value != "1"), "this needs root");
    eprintln!("LEFT OUT: the demonstration over the kernel needs root");
    false
}

/// A folder with a small file to load, and in it one for the demonstration's own.
fn small() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("small.tsv");
    let text: String = (0..400).map(|index| format!("key {index}\tvalue {index}\n")).collect();
    fs::write(&file, text).unwrap();
    (directory, file)
}

fn demo(directory: &Path, file: &Path, words: &[&str]) -> Command {
    let mut demo = kv();
    demo.args(["demo", "--outstanding", "16", "--dir"]).arg(directory).args(words).arg(file);
    demo.stdout(Stdio::piped()).stderr(Stdio::piped());
    demo
}

fn pids(said: &str) -> Vec<u32> {
    let after = said.split("pid ").skip(1);
    after.map(|rest| rest.split(',').next().unwrap().parse().unwrap()).collect()
}

fn leaves_nothing(pid: u32, replicas: &[u32], directory: &Path) {
    assert!(!replicas.iter().copied().any(is_running), "a replica still runs");
    assert_eq!(fs::read_dir(directory).unwrap().count(), 1, "only the file is left");
    let prefix = format!("el{pid}-");
    let names = fs::read_dir("/run/netns").unwrap().flatten();
    let left: Vec<_> = names
        .filter(|name| name.file_name().to_string_lossy().starts_with(&prefix))
        .map(|name| name.file_name())
        .collect();
    assert!(left.is_empty(), "hosts are left: {left:?}");
}

#[test]
fn both_backends_are_shown_side_by_side() {
    if !is_privileged() {
        return;
    }
    let (directory, file) = small();
    for (backend, mode) in [("ebpf", "received"), ("ebpf", "persisted"), ("auto", "received")] {
        let words = ["--backend", backend, "--mode", mode];
        let child = demo(directory.path(), &file, &words).spawn().unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        let said = out(&output);
        assert!(output.status.success(), "{backend}, {mode}: {said}{}", err(&output));
        for part in [
            "backend socket: it was asked for",
            "programs on eth0 by tc",
            "puts (socket)",
            "puts (ebpf)",
            "gets, linearizable (ebpf)",
            "All checks passed",
        ] {
            assert!(said.contains(part), "{part:?} is not in:\n{said}");
        }
        assert_eq!(said.matches("400 of 400 keys are as they were written").count(), 2, "{said}");
        assert_eq!(said.matches("      0 lost").count(), 2, "{said}");
        let replicas = pids(&said);
        assert_eq!(replicas.len(), 6);
        leaves_nothing(pid, &replicas, directory.path());
    }
}

/// Starts one and reads what it says until the replicas over the kernel run.
fn started(
    directory: &Path,
    file: &Path,
) -> (Child, BufReader<std::process::ChildStdout>, Vec<u32>) {
    let words = ["--backend", "ebpf", "--mode", "received"];
    let mut demo = demo(directory, file, &words).spawn().unwrap();
    let mut said = BufReader::new(demo.stdout.take().unwrap());
    let mut all = String::new();
    while !all.contains("backend ebpf") {
        let len = said.read_line(&mut all).unwrap();
        assert!(len > 0, "it ended early:\n{all}");
    }
    let replicas = pids(&all).split_off(3);
    assert!(replicas.len() == 3 && replicas.iter().copied().all(is_running));
    (demo, said, replicas)
}

#[test]
fn interrupted_or_panicking_it_leaves_nothing() {
    if !is_privileged() {
        return;
    }
    for how in ["-INT", "-TERM", "panic"] {
        let (directory, file) = small();
        let (demo, said, replicas) = started(directory.path(), &file);
        let pid = demo.id();
        // Printing to a pipe that nobody reads panics.
        let said = if how == "panic" {
            drop(said);
            None
        } else {
            signal(how, pid);
            Some(said)
        };
        let output = demo.wait_with_output().unwrap();
        drop(said);
        match how {
            "panic" => assert!(err(&output).contains("panicked"), "{}", err(&output)),
            _ => assert_eq!(output.status.code(), Some(130), "{how}: {}", err(&output)),
        }
        leaves_nothing(pid, &replicas, directory.path());
    }
}

#[test]
fn without_root_the_kernel_is_refused_and_auto_stays_on_sockets() {
    let (directory, file) = small();
    // Where everybody may start it and write.
    let copy = directory.path().join("electrode-kv");
    fs::copy(env!("CARGO_BIN_EXE_electrode-kv"), &copy).unwrap();
    let open = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    };
    open(directory.path());
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    open(&data);
    let run = |backend: &str| {
        let mut command = Command::new(&copy);
        command.args(["demo", "--outstanding", "16", "--backend", backend, "--dir"]);
        command.arg(&data).arg(&file);
        if out(&Command::new("id").arg("-u").output().unwrap()).trim() == "0" {
            command.uid(65_534);
        }
        command.output().unwrap()
    };
    let refused = run("ebpf");
    assert_eq!(refused.status.code(), Some(1), "{}{}", out(&refused), err(&refused));
    for part in ["need interfaces", "run as root", "leave out --backend ebpf"] {
        assert!(err(&refused).contains(part), "{part:?}: {}", err(&refused));
    }
    let auto = run("auto");
    let said = out(&auto);
    assert!(auto.status.success(), "{said}{}", err(&auto));
    for part in ["backend socket: instead of ebpf", "lo is the loopback", "puts (socket)"] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}
