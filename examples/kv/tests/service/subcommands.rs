//! What each subcommand does on a healthy cluster.

use std::fs;

use crate::cluster::{Cluster, err, kv, out, wait_for};

#[test]
fn every_subcommand_does_what_its_help_says() {
    let cluster = Cluster::start("persisted");
    assert_eq!(cluster.succeed(&["put", "language/fr", "French"]), "version 1\n");
    assert_eq!(cluster.succeed(&["get", "language/fr"]), "French\n");
    assert_eq!(cluster.succeed(&["put", "language/fr", "français"]), "version 2\n");

    let cas = cluster.run(&["cas", "language/fr", "--expect", "French", "x"]);
    assert_eq!(cas.status.code(), Some(1));
    assert!(err(&cas).contains("not changed: the key holds \"français\""), "{}", err(&cas));
    assert_eq!(
        cluster.succeed(&["cas", "language/fr", "--expect", "français", "fr"]),
        "version 3\n"
    );
    assert_eq!(cluster.succeed(&["cas", "language/de", "--absent", "German"]), "version 1\n");
    let cas = cluster.run(&["cas", "language/en", "--expect", "x", "y"]);
    assert!(err(&cas).contains("the key is absent"), "{}", err(&cas));

    cluster.succeed(&["put", "region/CH", "Switzerland"]);
    let everything = "language/de\tGerman\nlanguage/fr\tfr\nregion/CH\tSwitzerland\n";
    assert_eq!(cluster.succeed(&["scan", ""]), everything);
    assert_eq!(cluster.succeed(&["scan", "", "--page", "1"]), everything);
    assert_eq!(cluster.succeed(&["scan", "region/"]), "region/CH\tSwitzerland\n");

    assert_eq!(cluster.succeed(&["del", "language/fr"]), "deleted\n");
    for gone in [["del", "language/fr"], ["get", "language/fr"]] {
        let output = cluster.run(&gone);
        assert_eq!(output.status.code(), Some(1));
        assert!(err(&output).contains("no such key"), "{}", err(&output));
    }
    let rows = cluster.await_equal();
    assert_eq!(rows.iter().filter(|row| row.role == "leader").count(), 1);
    assert_eq!(rows.iter().filter(|row| row.role == "follower").count(), 2);
}

#[test]
fn a_loaded_file_comes_out_of_scan_again() {
    let cluster = Cluster::start("persisted");
    let file = cluster.directory.path().join("records.tsv");
    let text: String = (0..2_000).map(|index| format!("k{index:05}\tvalue {index}\n")).collect();
    fs::write(&file, &text).unwrap();
    let said = cluster.succeed(&["load", "--outstanding", "64", file.to_str().unwrap()]);
    assert!(said.contains("puts") && said.contains("2000") && said.contains("p99.9"), "{said}");
    assert!(cluster.succeed(&["scan", "", "--page", "300"]) == text, "scan shows other records");
}

#[test]
fn flags_win_over_the_environment() {
    let cluster = Cluster::start("persisted");
    let servers = cluster.addresses[0].1.to_string();
    let put = kv().env("ELECTRODE_KV_SERVERS", &servers).args(["put", "k", "v"]).output().unwrap();
    assert!(put.status.success(), "{}", err(&put));
    let get = kv()
        .env("ELECTRODE_KV_SERVERS", "127.0.0.1:1")
        .args(["get", "--servers", &servers, "k"])
        .output()
        .unwrap();
    assert_eq!(out(&get), "v\n", "{}", err(&get));
}

#[test]
fn help_teaches() {
    let output = kv().arg("--help").output().unwrap();
    for part in ["electrode-kv demo", "[[members]]", "ELECTRODE_KV_", "serve", "scan"] {
        assert!(out(&output).contains(part), "{part} is not in:\n{}", out(&output));
    }
    for subcommand in ["serve", "put", "get", "cas", "scan", "load", "demo"] {
        let output = kv().args([subcommand, "--help"]).output().unwrap();
        let said = out(&output);
        assert!(said.contains("Example") && said.contains("electrode-kv"), "{subcommand}: {said}");
    }
}

#[test]
fn logs_can_be_json() {
    let cluster = Cluster::prepare("persisted");
    let path = cluster.directory.path().join("json.log");
    let log = fs::File::create(&path).unwrap();
    let mut command = cluster.serve(1);
    let mut replica = command.args(["--log-format", "json"]).stderr(log).spawn().unwrap();
    let started = || fs::read_to_string(&path).unwrap().contains("replica started").then_some(());
    wait_for("its log", started);
    replica.kill().unwrap();
    replica.wait().unwrap();
    let logged = fs::read_to_string(&path).unwrap();
    for line in logged.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        assert!(line.contains("\"level\":"), "{line}");
    }
}
