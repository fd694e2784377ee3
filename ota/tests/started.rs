//! A good start takes the count away that would leave its system, and keeps what a rescue has to know of the site.
use super::tpm::Emulator;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use sund_ota::started::{SITE, STARTS};

/// A box with the firmware's variables in a directory, and a TPM.
struct World(tempfile::TempDir, Emulator);

impl World {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"), Emulator::start())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn starts(&self) -> PathBuf {
        self.path(Path::new(STARTS).file_name().expect("a name").to_str().expect("UTF-8"))
    }

    fn site(&self) -> PathBuf {
        self.path(Path::new(SITE).file_name().expect("a name").to_str().expect("UTF-8"))
    }

    fn configure(&self) {
        let path = self.0.path().display();
        let text = format!(
            "id = \"box\"\n[server]\nurl = \"https://channel.example\"\nca = \"{path}/ca.pem\"\ntoken = \"{path}/token\"\n[repository]\n\
             metadata = \"https://channel.example/repository/metadata\"\ntargets = \"https://channel.example/repository/targets\"\n\
             root = \"{path}/root.json\"\n[agent]\nsocket = \"{path}/agent.sock\"\n"
        );
        fs::write(self.path("updater.toml"), text).expect("a configuration");
        fs::write(self.path("ca.pem"), "-----BEGIN CERTIFICATE-----\n").expect("an authority");
    }

    fn started(&self) -> (Option<i32>, String) {
        let output = self.command(&self.1.socket).output().expect("sund-updater starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn command(&self, tpm: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sund-updater"));
        command.arg("--config").arg(self.path("updater.toml")).arg("started");
        for (option, path) in
            [("--starts", self.starts()), ("--site", self.site()), ("--network", self.path("site.conf"))]
        {
            command.arg(option).arg(path);
        }
        command.arg("--tpm").arg(tpm).arg("--directory").arg(self.path("updater"));
        command
    }
}

#[test]
fn a_good_start_of_a_box_without_a_region_is_counted_no_more() {
    let world = World::new();
    fs::write(world.starts(), b"\x07\0\0\0aa").expect("starts");
    assert_eq!(world.started().0, Some(0));
    assert!(!world.starts().exists() && !world.site().exists());
    assert_eq!(world.started().0, Some(0), "a good start after a good one");
}

#[test]
fn what_a_rescue_needs_is_kept_with_the_sites_addresses_and_written_only_where_it_changes() {
    let world = World::new();
    world.configure();
    assert_eq!(world.started().0, Some(0));
    let kept = fs::read(world.site()).expect("a site");
    assert_eq!(kept[..4], [7, 0, 0, 0]);
    let site: toml::Table = String::from_utf8_lossy(&kept[4..]).parse().expect("TOML");
    assert_eq!(site["sources"][0].as_str(), Some("https://channel.example/repository/targets/"));
    assert_eq!(site["authorities"].as_str(), Some("-----BEGIN CERTIFICATE-----\n"));
    assert!(!site.contains_key("network"));
    let written = fs::metadata(world.site()).expect("a site").modified().expect("a time");
    assert_eq!(world.started().0, Some(0));
    assert_eq!(fs::metadata(world.site()).expect("a site").modified().expect("a time"), written, "firmware wears out");
    fs::write(world.path("site.conf"), "[Network]\nDHCP=no\nAddress=10.20.0.5/24\nGateway=10.20.0.1\n")
        .expect("addresses");
    assert_eq!(world.started().0, Some(0));
    let kept = fs::read_to_string(world.site()).expect("a site");
    assert!(kept.contains("[network]\naddress = \"10.20.0.5/24\"\ngateway = \"10.20.0.1\"\n"), "{kept}");
}

#[test]
fn what_a_rescue_needs_is_kept_before_a_tpm_that_does_not_answer_is_asked() {
    let world = World::new();
    world.configure();
    let silent = world.path("silent");
    let listener = UnixListener::bind(&silent).expect("a socket");
    let child = world.command(&silent).stderr(Stdio::piped()).spawn().expect("sund-updater starts");
    let asked = listener.accept().expect("the TPM is asked");
    assert!(world.site().exists());
    drop((asked, listener));
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("tpm-away"), "{said}");
}

#[test]
fn a_configuration_that_cannot_be_read_takes_no_good_start_away() {
    let world = World::new();
    fs::write(world.path("updater.toml"), "id =").expect("a configuration");
    fs::write(world.starts(), b"\x07\0\0\0aa").expect("starts");
    assert_eq!(world.started().0, Some(64));
    assert!(!world.starts().exists());
}
