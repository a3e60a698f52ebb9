//! What is refused, and that the message names the thing and what to do.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::process::{Output, Stdio};

use crate::cluster::{Cluster, err, kv};

/// Runs a `serve` that must not start.
fn refused(mut command: std::process::Command) -> String {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // Keeps its standard input open, so that it ends for its own reason.
    let held = child.stdin.take();
    let output: Output = child.wait_with_output().unwrap();
    drop(held);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let said = err(&output);
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn a_wrong_configuration_names_the_file_and_the_line() {
    let cluster = Cluster::prepare("persisted");
    let path = cluster.config();
    let right = fs::read_to_string(&path).unwrap();
    for (from, to, line, says) in [
        ("cluster = 5", "cluster = \"five\"", 1, "invalid type"),
        ("mode = \"persisted\"", "mode = \"durable\"", 2, "unknown variant `durable`"),
        ("id = 2", "id = 1", 8, "member 1 is listed twice"),
        ("id = 3\npeer = \"", "id = 3\npeer = \"not-an-address", 13, "socket address"),
        ("id = 2", "idd = 2", 8, "unknown field `idd`"),
    ] {
        assert!(right.contains(from));
        fs::write(&path, right.replacen(from, to, 1)).unwrap();
        let expected = format!("{}:{line}: ", path.display());
        for said in [refused(cluster.serve(1)), err(&cluster.run(&["get", "k"]))] {
            assert!(said.contains(&expected) && said.contains(says), "{said}");
        }
    }
    let said = err(&kv().args(["serve", "--config", "/no/such/file"]).output().unwrap());
    assert!(said.contains("/no/such/file"), "{said}");
}

#[test]
fn a_backend_that_is_not_there_is_an_error_and_no_silent_fall_back() {
    let cluster = Cluster::prepare("persisted");
    let mut command = cluster.serve(1);
    command.args(["--backend", "ebpf"]);
    let said = refused(command);
    assert!(said.contains("the ebpf backend is not available"), "{said}");
    let help = if cfg!(target_os = "linux") { "bind an address of an" } else { "Linux 6.6" };
    assert!(said.contains(help), "{said}");
}

#[test]
fn a_node_that_is_no_member_is_named() {
    let cluster = Cluster::prepare("persisted");
    let mut command = cluster.serve(1);
    command.args(["--node", "9"]);
    // clap refuses a flag given twice; the file is where the first one would be.
    let said = err(&command.output().unwrap());
    assert!(said.contains("--node"), "{said}");
    let said = refused(cluster.serve(9));
    assert!(said.contains("9 is not among the members 1, 2, 3"), "{said}");
}

#[test]
fn the_data_directory_of_another_cluster_node_or_mode_is_refused() {
    let mut cluster = Cluster::start("persisted");
    cluster.kill(&[1, 2, 3]);
    for (flag, value, says) in
        [("--cluster", "6", "node 1 of cluster 6"), ("--mode", "received", "in received mode")]
    {
        let mut command = cluster.serve(1);
        command.args([flag, value]);
        let said = refused(command);
        assert!(said.contains("node 1 of cluster 5 in persisted mode"), "{said}");
        assert!(said.contains(says) && said.contains("own data directory"), "{said}");
    }
    fs::rename(cluster.data_dir(1), cluster.data_dir(9)).unwrap();
    fs::rename(cluster.data_dir(2), cluster.data_dir(1)).unwrap();
    let said = refused(cluster.serve(1));
    assert!(said.contains("belongs to node 2 of cluster 5"), "{said}");
}

#[test]
fn a_damaged_data_directory_is_refused() {
    let mut cluster = Cluster::start("persisted");
    cluster.succeed(&["put", "k", "a value that is not there twice"]);
    cluster.kill(&[1, 2, 3]);
    let path = cluster.data_dir(1).join("log.redb");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 3]).unwrap();
    let said = refused(cluster.serve(1));
    assert!(
        said.contains("log.redb is damaged") && said.contains("keep this replica stopped"),
        "{said}"
    );
}

#[test]
fn a_directory_that_another_process_has_open_is_in_use() {
    let cluster = Cluster::start("persisted");
    let said = refused(cluster.serve(1));
    assert!(said.contains("is in use by another process"), "{said}");
}

#[test]
fn taken_ports_are_named() {
    let cluster = Cluster::prepare("persisted");
    let (peer, client) = cluster.addresses[0];
    let held = TcpListener::bind(client).unwrap();
    let said = refused(cluster.serve(1));
    assert!(said.contains(&client.to_string()) && said.contains("another address"), "{said}");
    drop(held);
    let _held = UdpSocket::bind(peer).unwrap();
    let said = refused(cluster.serve(1));
    assert!(said.contains(&peer.to_string()) && said.contains("in use"), "{said}");
}

#[test]
fn an_address_of_another_machine_is_named() {
    let cluster = Cluster::prepare("persisted");
    let path = cluster.config();
    let (peer, client) = cluster.addresses[0];
    // TEST-NET-1 (RFC 5737) is nobody's.
    let far = format!("192.0.2.1:{}", peer.port());
    let text = fs::read_to_string(&path).unwrap().replace(&peer.to_string(), &far);
    fs::write(&path, text).unwrap();
    let said = refused(cluster.serve(1));
    assert!(said.contains(&far) && said.contains("not on this machine"), "{said} {client}");
}

#[test]
fn a_value_that_is_too_large_is_refused_with_the_limit() {
    let cluster = Cluster::start("persisted");
    let put = cluster.run(&["put", "big", &"x".repeat(2_000)]);
    assert_eq!(put.status.code(), Some(1));
    let said = err(&put);
    assert!(said.contains("too large") && said.contains("2012 bytes"), "{said}");
    assert!(said.contains("datagram_len_max"), "{said}");
    let get = cluster.run(&["get", "big"]);
    assert!(err(&get).contains("no such key"), "{}", err(&get));
    // What does fit is stored to the byte.
    let value = "y".repeat(900);
    cluster.succeed(&["put", "big", &value]);
    assert_eq!(cluster.succeed(&["get", "big"]).trim_end(), value);
}

#[test]
fn nobody_there_is_told_with_whom_was_asked() {
    let cluster = Cluster::prepare("persisted");
    let get = cluster.run(&["get", "--timeout", "300ms", "k"]);
    let said = err(&get);
    assert_eq!(get.status.code(), Some(1));
    for (_, client) in &cluster.addresses {
        assert!(said.contains(&client.to_string()), "{said}");
    }
    assert!(said.contains("is a majority of the replicas up?"), "{said}");
}

#[test]
fn a_file_to_load_that_is_no_table_names_the_line() {
    let cluster = Cluster::prepare("persisted");
    let file = cluster.directory.path().join("bad.tsv");
    fs::write(&file, "a\t1\nb\n").unwrap();
    let load = cluster.run(&["load", file.to_str().unwrap()]);
    assert!(err(&load).contains("bad.tsv:2: no tab"), "{}", err(&load));
}

#[test]
fn strangers_at_the_clients_port_do_no_harm() {
    use std::io::{Read, Write};
    let cluster = Cluster::start("persisted");
    let client = cluster.addresses[0].1;
    for said in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"EKVCLNT\x01\xff\xff\xff\xff",
        b"EKVCLNT\x01\x03\0\0\0abc",
    ] {
        let mut stream = std::net::TcpStream::connect(client).unwrap();
        stream.set_read_timeout(Some(crate::cluster::PATIENCE)).unwrap();
        stream.write_all(said).unwrap();
        let mut answer = Vec::new();
        // Hung up on, perhaps by a reset, and told nothing.
        let _reset = stream.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    cluster.succeed(&["put", "k", "v"]);
}
