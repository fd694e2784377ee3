//! From the region's desk to the box: the file that `sund-channel provision` writes is the one that a box takes.
use crate::region::{Region, text};
use jiff::Timestamp;
use std::fs;
use sund_ota::provision::envelope::Keys;
use sund_ota::provision::{Applied, Provision, Provisioned};
use sund_ota::reset::{Carried, Places, Signed};

const DESCRIPTION: &str = r#"region = "north"
box = "north-1"
server = "https://channel.north.example:8443"
code = "AB1CD-2EF3G-4HJ5K-6MN7P"
site = "north-1.toml"
channel_ca = "ca.pem"
[attributes]
site = "odense"
[network]
ntp = [{ host = "10.20.0.3" }]
[network.management]
address = "10.20.0.5/24"
gateway = "10.20.0.1"
"#;

#[test]
fn a_box_becomes_what_the_region_has_described_and_signed() {
    let region = Region::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    region.file("ca.pem", &ca.pem());
    let own = sund_channel::enrol::authority::Authority::open(&region.home()).unwrap();
    region.file("north-1.toml", "[node]\nae_title = \"SUND\"\n");
    let description = region.file("north-1.provision.toml", DESCRIPTION);
    let signer = region.file("provisioning", "");
    fs::remove_file(&signer).unwrap();
    let shown = region.must(&["key", "new", text(&signer), "--person", "Region North"]);
    let stick = tempfile::tempdir().unwrap();
    let written = region.must(&["provision", text(&description), "--key", text(&signer), "--out", text(stick.path())]);
    assert_eq!((written["box"].as_str(), written["region"].as_str()), (Some("north-1"), Some("north")));

    let keys = Keys::of_pem(shown["pem"].as_str().unwrap().as_bytes()).unwrap();
    let provision = Provision::read(stick.path(), &keys, Timestamp::now()).unwrap();
    let root = fs::read_to_string(region.home().join("repository/metadata/1.root.json")).unwrap();
    assert_eq!(provision.document().root, root);
    assert_eq!(
        provision.document().channel_ca,
        format!("{}\n{}", ca.pem(), own.pem()),
        "who vouches for the server, and for the box"
    );
    let site = tempfile::tempdir().unwrap();
    assert_eq!(provision.apply(site.path()).unwrap(), Applied::Now);
    assert_eq!(Provisioned::read(site.path()).unwrap().unwrap().name, "north-1");

    // What no box can be is not signed.
    let wrong = region.file("wrong.toml", &DESCRIPTION.replace("10.20.0.5/24", "10.20.0.5"));
    let refused = region.run(&["provision", text(&wrong), "--key", text(&signer), "--out", text(stick.path())]);
    assert_eq!(refused.refusal(), "provision-invalid");
}

#[tokio::test]
async fn a_box_is_reset_by_the_order_that_its_region_has_signed_and_not_by_its_channels_keys() {
    let region = Region::new();
    let signer = region.path("provisioning");
    let shown = region.must(&["key", "new", text(&signer), "--person", "Region North"]);
    let keys = Keys::of_pem(shown["pem"].as_str().unwrap().as_bytes()).unwrap();
    let stick = tempfile::tempdir().unwrap();
    let order = |key: &std::path::Path| {
        let of =
            ["--region", "north", "--box", "north-1", "--discard", "--key", text(key), "--out", text(stick.path())];
        region.must(&[&["reset"][..], &of].concat())
    };
    order(&region.key("Dora Munk"));
    let by_an_approver = Signed::read(stick.path(), &keys, Timestamp::now()).unwrap_err();
    assert_eq!(by_an_approver.code, "provision-not-signed");

    assert_eq!(order(&signer)["discard"], true);
    let signed = Signed::read(stick.path(), &keys, Timestamp::now()).unwrap();
    let site = tempfile::tempdir().unwrap();
    let variable = site.path().join("variable");
    let agent = site.path().join("control.sock");
    let places = Places { site: site.path(), updater: site.path(), agent: &agent, variable: &variable };
    assert_eq!(signed.carry_out(None, &places).await.unwrap(), Carried::Nobodys);
    // Whose it is nobody can tell, and the order gives up what is there.
    fs::write(site.path().join("provisioned.json"), "damaged").unwrap();
    assert!(matches!(signed.carry_out(None, &places).await.unwrap(), Carried::Out(lost) if lost.len() == 1));
    assert_eq!(fs::read(&variable).unwrap().len(), 8);
}
