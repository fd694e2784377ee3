//! From the region's desk to the box: the file that `sund-channel provision` writes is the one that a box takes.
use crate::region::{Region, text};
use jiff::Timestamp;
use std::fs;
use sund_ota::provision::envelope::Keys;
use sund_ota::provision::{Applied, Provision, Provisioned};

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
    let site = tempfile::tempdir().unwrap();
    assert_eq!(provision.apply(site.path()).unwrap(), Applied::Now);
    assert_eq!(Provisioned::read(site.path()).unwrap().unwrap().name, "north-1");

    // What no box can be is not signed.
    let wrong = region.file("wrong.toml", &DESCRIPTION.replace("10.20.0.5/24", "10.20.0.5"));
    let refused = region.run(&["provision", text(&wrong), "--key", text(&signer), "--out", text(stick.path())]);
    assert_eq!(refused.refusal(), "provision-invalid");
}
