//! Media that were made here, read by a guest.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use imgbuild_qemu::http::{HttpServer, Served};
use imgbuild_qemu::media::{Files, iso_image};
use imgbuild_qemu::seed::{HostKey, Seed, SeedUser};
use imgbuild_qemu::spec::{Cd, CdInterface, Disk, MachineSpec, Nic};

use crate::guest::{Guest, LONG};

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_reads_its_seed() {
    let Some(guest) = Guest::new().await else { return };
    let user = SeedUser { name: "debian".into(), keys: vec!["ssh-ed25519 AAAA me".into()], password: None };
    let seed = Seed {
        instance: "i-42".into(),
        hostname: "web".into(),
        user: Some(user),
        host_key: Some(HostKey::generate().unwrap()),
        network: Some(serde_json::json!({"version": 2})),
        more: serde_json::Map::new(),
    };
    let path = guest.path("seed");
    fs_err::write(&path, seed.image().unwrap()).unwrap();
    let spec = MachineSpec { disks: vec![Disk::read_only(&path)], ..guest.spec("vfat") };
    let mut machine = guest.launch(spec).start(LONG).await.unwrap();
    assert!(machine.wait_for_console("that is all", LONG).await.unwrap());
    let console = machine.console(1000);
    // In the first sector and in the root folder.
    assert!(console.contains("CIDATA     FAT"), "{console}");
    assert!(console.lines().any(|line| line.trim_end().ends_with(":CIDATA")), "{console}");
    assert!(console.contains("file ./host_key: -----BEGIN OPENSSH PRIVATE KEY-----"), "{console}");
    assert!(console.contains("file ./authorized_keys: ssh-ed25519 AAAA me"), "{console}");
    assert!(console.contains("file ./meta-data: {\n  \"instance-id\": \"i-42\""), "{console}");
    assert!(
        console.contains("file ./user-data: #cloud-config\n{") && console.contains("bootcmd"),
        "{console}"
    );
    assert!(console.contains("file ./network-config: {"), "{console}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_fetches_what_is_served() {
    let Some(guest) = Guest::new().await else { return };
    let texts = BTreeMap::from([("/answer".to_owned(), "the answer came\n".to_owned())]);
    let server = HttpServer::start(Served::Texts(texts), Ipv4Addr::LOCALHOST.into(), 0, 0).await.unwrap();
    let spec =
        MachineSpec { nics: vec![Nic::new(Vec::new())], ..guest.spec(&format!("http{}", server.port())) };
    let mut machine = guest.launch(spec).start(LONG).await.unwrap();
    assert!(machine.wait_for_console("that is all", LONG).await.unwrap());
    let console = machine.console(20);
    assert!(console.contains("the answer came"), "{console}");
    assert_eq!(server.asked()[0].path, "/answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_reads_a_cd() {
    let Some(guest) = Guest::new().await else { return };
    let mut files = Files::new();
    files.add("user-data", "first").unwrap();
    files.add("Folder/Ä name that is long, and more than that.text", "second").unwrap();
    for number in 0..60 {
        files.add(&format!("Folder/deep/number {number}"), format!("number {number} of many")).unwrap();
    }
    let path = guest.path("cd.iso");
    fs_err::write(&path, iso_image("cidata", &files).unwrap()).unwrap();
    let spec = MachineSpec {
        cds: vec![Cd { interface: CdInterface::Virtio, ..Cd::new(path) }],
        ..guest.spec("iso9660")
    };
    let mut machine = guest.launch(spec).start(LONG).await.unwrap();
    assert!(machine.wait_for_console("that is all", LONG).await.unwrap());
    let console = machine.console(1000);
    assert!(console.contains("file ./user-data: first\n"), "{console}");
    // The console says what is no ASCII in its own way.
    assert!(console.contains(" name that is long, and more than that.text: second\n"), "{console}");
    for number in 0..60 {
        let wanted = format!("file ./Folder/deep/number {number}: number {number} of many\n");
        assert!(console.contains(&wanted), "{number}: {console}");
    }
}
