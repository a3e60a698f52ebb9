//! What cannot be taken over is refused with words that say what to do, and is left as it is.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use aya::maps::{Array, Map, MapData};
use electrode_backend_ebpf::{EbpfEndpoint, EbpfError, EbpfOptions, Hook};
use electrode_conformance::testbed::{BridgeBed, Host};
use electrode_transport::wire::Key;
use electrode_transport::{
    AckMode, Ballot, ClusterId, EndpointConfig, GroupConfig, NodeId, TransportError,
};

use crate::Outcome;
use crate::bpffs::Bpffs;
use crate::crashes::{attached, members};
use crate::member::{FOLLOWER, PORT, endpoint, group, options};
use crate::take_over::bind;

/// What an endpoint on this host is refused with.
fn refusal(host: &Host, options: EbpfOptions) -> String {
    said(bind(host, options))
}

fn said(result: electrode_transport::Result<EbpfEndpoint>) -> String {
    match result {
        Err(TransportError::Unavailable { backend: "ebpf", why, .. }) => why,
        Err(other) => panic!("refused otherwise: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

pub(crate) fn folders() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(1, 1_500)?, Bpffs::mount());
    let host = &bed.hosts()[0];
    let try_at = |path: &Path| refusal(host, options(Some(path)));
    let expect = |path: &Path, words: &str| {
        let why = try_at(path);
        assert!(why.contains(words), "{}: {why}", path.display());
    };
    expect(&std::env::temp_dir(), "is not on a BPF file system");
    expect(&std::env::temp_dir().join("not-there"), "is not on a BPF file system");
    // The mount point itself, where everybody may write.
    expect(bpffs.root(), "its mode 1777 lets others write");
    let folder = bpffs.root().join("theirs");
    std::fs::create_dir(&folder).unwrap();
    chown(&folder, Some(1), Some(1)).unwrap();
    expect(&folder, "it belongs to user 1");
    chown(&folder, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o720)).unwrap();
    expect(&folder, "its mode 0720 lets others write");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    let link = bpffs.root().join("link");
    symlink(&folder, &link).unwrap();
    expect(&link, "a symbolic link is on the way");
    expect(&link.join("below"), "a symbolic link is on the way");
    // The endpoint's own folder, by somebody else.
    let own = folder.join("10-77-0-1_7400");
    symlink(bpffs.root(), &own).unwrap();
    expect(&folder, "it is not a folder");
    std::fs::remove_file(&own).unwrap();
    std::fs::create_dir(&own).unwrap();
    std::fs::set_permissions(&own, PermissionsExt::from_mode(0o777)).unwrap();
    expect(&folder, "its mode 0777 lets others write");
    std::fs::set_permissions(&own, PermissionsExt::from_mode(0o700)).unwrap();
    bind(host, options(Some(&folder))).unwrap().close();
    expect(&folder.join("not/there"), "could not open a folder for pins");
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert_eq!(attached(host), 0);
    Ok(())
}

/// Two hosts of two beds have the same address: only the lock keeps them apart.
pub(crate) fn two_owners() -> Outcome {
    let beds = [BridgeBed::build(2, 1_500)?, BridgeBed::build(2, 1_500)?];
    let bpffs = Bpffs::mount();
    let [one, other] = [&beds[0].hosts()[1], &beds[1].hosts()[1]];
    let living = bind(one, options(Some(&bpffs.folder()))).unwrap();
    let transport = living.join(group(members(&beds[0]))).unwrap();
    let why = refusal(other, options(Some(&bpffs.folder())));
    assert!(why.contains("another process has the endpoint that is pinned"), "{why}");
    let busy = EbpfEndpoint::unpin(&bpffs.folder(), one.address(false, PORT));
    assert!(matches!(busy, Err(EbpfError::PinsInUse { .. })), "{busy:?}");
    transport.fence(Ballot(1)).map(|_| ()).unwrap();
    drop((living, transport));
    // Somebody else's now, on an interface with the same index in another namespace.
    let moved = bind(other, options(Some(&bpffs.folder()))).unwrap();
    assert_eq!((attached(one), attached(other)), (0, 2), "the programs move with their owner");
    moved.close();
    Ok(())
}

pub(crate) fn other_settings() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let (members, host) = (members(&bed), &bed.hosts()[1]);
    drop(bind(host, options(Some(&bpffs.folder()))).unwrap());
    let config = |change: fn(&mut EndpointConfig)| {
        let mut config = endpoint(FOLLOWER, members[1]);
        change(&mut config);
        let options = options(Some(&bpffs.folder()));
        said(host.within(|| EbpfEndpoint::bind(config, options)).unwrap())
    };
    let option = |change: fn(&mut EbpfOptions)| {
        let mut options = options(Some(&bpffs.folder()));
        change(&mut options);
        refusal(host, options)
    };
    let refused = [
        (config(|it| it.cluster = ClusterId(8)), "the cluster 9, and here it is 8"),
        (config(|it| it.node = NodeId(3)), "the node 2, and here it is 3"),
        (config(|it| it.key = Some(Key([1; 16]))), "the key"),
        (config(|it| it.datagram_len_max = 1_000), "the longest body"),
        (
            option(|it| it.log_bytes = 1 << 21),
            "the log ring's size 1048576, and here it is 2097152",
        ),
        (option(|it| it.quorum = false), "the offloads 7, and here it is 3"),
        (option(|it| it.hook = Hook::XdpGeneric.into()), "the hook"),
    ];
    for (why, words) in refused {
        assert!(why.contains(words) && why.contains("EbpfEndpoint::unpin"), "{words}: {why}");
    }
    // All of that changed nothing.
    bind(host, options(Some(&bpffs.folder()))).unwrap().close();
    Ok(())
}

fn desk_words(live: &Path, change: impl FnOnce(&mut [u64; 8])) {
    let map = Map::from_map_data(MapData::from_pin(live.join("el_desk")).unwrap()).unwrap();
    let mut desk: Array<_, [u64; 8]> = map.try_into().unwrap();
    let mut words = desk.get(&0, 0).unwrap();
    change(&mut words);
    desk.set(0, words, 0).unwrap();
}

pub(crate) fn other_layout() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let host = &bed.hosts()[1];
    drop(bind(host, options(Some(&bpffs.folder()))).unwrap());
    let live = bpffs.contents().pop().unwrap().join("live");
    let mut layout = 0;
    desk_words(&live, |words| layout = std::mem::replace(&mut words[2], 4_711));
    let why = refusal(host, options(Some(&bpffs.folder())));
    assert!(why.contains(&format!("the layout version 4711, and here it is {layout}")), "{why}");
    desk_words(&live, |words| words[2] = layout);
    // The layout may be the same and the programs not.
    let map = MapData::from_pin(live.join("charter")).unwrap();
    let mut charter: Array<_, [u64; 512]> = Map::from_map_data(map).unwrap().try_into().unwrap();
    let mut words = charter.get(&0, 0).unwrap();
    words[10] ^= 1;
    charter.set(0, words, 0).unwrap();
    let why = refusal(host, options(Some(&bpffs.folder())));
    assert!(why.contains("the programs (as a digest)"), "{why}");
    drop(charter);
    EbpfEndpoint::unpin(&bpffs.folder(), host.address(false, PORT)).unwrap();
    assert_eq!(attached(host), 0);
    EbpfEndpoint::unpin(&bpffs.folder(), host.address(false, PORT)).unwrap();
    bind(host, options(Some(&bpffs.folder()))).unwrap().close();
    Ok(())
}

pub(crate) fn groups() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let (members, host) = (members(&bed), &bed.hosts()[1]);
    let first = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transport = first.join(group(members)).unwrap();
    transport.fence(Ballot(6)).map(|_| ()).unwrap();
    drop((first, transport));
    let second = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let join = |change: fn(&mut GroupConfig)| {
        let mut config = group(members);
        change(&mut config);
        second.join(config).map(|_| ()).unwrap_err().to_string()
    };
    let other = |config: &mut GroupConfig| {
        let [leader, follower] =
            [0, 1].map(|index| *config.membership.members().get(index).unwrap());
        let moved = std::net::SocketAddr::new([10, 77, 0, 9].into(), PORT);
        let leader = electrode_transport::Member { address: moved, ..leader };
        config.membership = electrode_transport::Membership::new(
            config.membership.incarnation(),
            [leader, follower],
            electrode_transport::QuorumRule::Majority,
        )
        .unwrap();
    };
    let renamed = |config: &mut GroupConfig| {
        let [leader, follower] =
            [0, 1].map(|index| *config.membership.members().get(index).unwrap());
        let leader = electrode_transport::Member { id: NodeId(5), ..leader };
        config.membership = electrode_transport::Membership::new(
            config.membership.incarnation(),
            [leader, follower],
            electrode_transport::QuorumRule::Majority,
        )
        .unwrap();
    };
    let refused = [
        (join(|it| it.mode = AckMode::Persisted), "the mode Received, and here it is Persisted"),
        (join(|it| it.log_bytes += 1), "a log (`log_bytes`) of 1048576, and here it is 1048577"),
        (join(other), "other members at incarnation 1"),
        (join(renamed), "other members at incarnation 1"),
    ];
    for (why, words) in refused {
        assert!(why.contains(words) && why.contains("EbpfEndpoint::discard"), "{words}: {why}");
    }
    let transport = second.join(group(members)).unwrap();
    let refused = transport.fence(Ballot(5)).map(|_| ());
    assert!(matches!(refused, Err(TransportError::BallotBackwards { current: Ballot(6), .. })));
    second.close();
    Ok(())
}

pub(crate) fn half_made() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let host = &bed.hosts()[1];
    drop(bind(host, options(Some(&bpffs.folder()))).unwrap());
    let own = bpffs.contents().pop().unwrap();
    // Killed before everything had its name, and killed while it was removed.
    for stage in ["new", "old"] {
        std::fs::rename(own.join("live"), own.join(stage)).unwrap();
        let endpoint = bind(host, options(Some(&bpffs.folder()))).unwrap();
        assert_eq!(endpoint.dormant(), []);
        assert!(!own.join(stage).exists() && own.join("live").exists());
        assert_eq!(attached(host), 2, "those of the half-made are gone");
        drop(endpoint);
    }
    // Killed between a shelf and its group.
    let members = members(&bed);
    let endpoint = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transport = endpoint.join(group(members)).unwrap();
    let shelf = MapData::from_pin(own.join("live/shelf_0")).unwrap();
    transport.close();
    shelf.pin(own.join("live/shelf_0")).unwrap();
    drop((transport, endpoint));
    let endpoint = bind(host, options(Some(&bpffs.folder()))).unwrap();
    assert_eq!(endpoint.dormant(), []);
    assert!(!own.join("live/shelf_0").exists());
    endpoint.close();
    Ok(())
}

pub(crate) fn damaged() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let (members, host) = (members(&bed), &bed.hosts()[1]);
    for name in ["el_control", "el_boards", "log_0", "log_1", "charter", "shelf_0", "el_notices"] {
        let first = bind(host, options(Some(&bpffs.folder()))).unwrap();
        let transport = first.join(group(members)).unwrap();
        drop((first, transport));
        let live = bpffs.contents().pop().unwrap().join("live");
        std::fs::remove_file(live.join(name)).unwrap();
        let why = refusal(host, options(Some(&bpffs.folder())));
        let shown = if name.starts_with("log_") { "log rings" } else { name };
        assert!(why.contains("is damaged") && why.contains(shown), "{name}: {why}");
        assert!(live.exists(), "left as it is");
        EbpfEndpoint::unpin(&bpffs.folder(), members[1]).unwrap();
        assert_eq!(attached(host), 0);
    }
    Ok(())
}
