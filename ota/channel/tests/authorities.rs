//! The channel's own authority is changed: by persons, with commands, while real boxes poll, and none of them is lost.
use crate::fixture::configure;
use crate::json::Serving;
use crate::region::{ROOT, Region, TWO, block_on, text};
use crate::rescue;
use reqwest::{Client, StatusCode};
use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};
use sund_channel::database::now;
use sund_channel::enrol::authority::Authority;
use sund_channel::repository::mirror;
use sund_ota::authorities::{Believed, kept};

/// A region with its server, and a box that it has enrolled.
struct World {
    region: Region,
    serving: Serving,
}

impl World {
    fn new() -> Self {
        Self::with("approval = false", |_| String::new())
    }

    /// With these settings of the server, and who vouches for it beside the channel itself, PEM.
    fn with(settings: &str, vouches: impl FnOnce(&Path) -> String) -> Self {
        let region = rescue::region();
        region.must(&["publish", "rescue", "1.2.0"]);
        region.publish("rescue-1", &TWO);
        configure(&region.home(), settings);
        let vouches = vouches(&region.home());
        let serving = Serving::as_configured(&region);
        let world = Self { region, serving };
        let own = fs::read_to_string(world.ca().join("ca.pem")).unwrap();
        fs::write(world.path("channel-ca.pem"), vouches + &own).unwrap();
        world.enrols("box-1", &[]);
        world
    }

    /// Where the channel's authorities lie.
    fn ca(&self) -> PathBuf {
        self.region.home().join("ca")
    }

    /// Ends the server, does that, and lets another one serve; these boxes are told where.
    fn restarts(&mut self, boxes: &[&str], meanwhile: impl FnOnce(&Path)) {
        let before = self.serving.url("");
        self.serving.stop();
        meanwhile(&self.ca());
        self.serving = Serving::as_configured(&self.region);
        for name in boxes.iter().map(|name| format!("{name}.toml")) {
            let config = fs::read_to_string(self.path(&name)).unwrap();
            self.region.file(&name, &config.replace(&before, &self.serving.url("")));
        }
    }

    /// What alarms of the authorities say.
    fn alarms(&self) -> String {
        let fleet = self.region.must(&["fleet"]);
        let all = fleet["overview"]["repository"]["alarms"].as_array().unwrap().clone();
        all.iter().filter(|it| it["role"] == "authority").map(|it| it["advice"].to_string()).collect()
    }

    fn until_alarmed(&self, of: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while !self.alarms().contains(of) {
            assert!(Instant::now() < end, "{of}: {:#}", self.region.must(&["fleet"])["overview"]["repository"]);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.region.path(name)
    }

    /// Enrols a box, or a mirror, with the real updater.
    fn enrols(&self, name: &str, more: &[&str]) {
        let code = self.region.must(&[&["enrol", "new", "--name", name][..], more].concat())["code"].take();
        let path = |file: &str| self.path(file).display().to_string();
        fs::create_dir(self.path(name)).unwrap();
        let (url, root) = (self.serving.url(""), self.region.home().join("repository/metadata/1.root.json"));
        let config = format!(
            "id = \"{name}\"\ndirectory = \"{}\"\n[server]\nurl = \"{url}\"\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
             [repository]\nmetadata = \"{url}/repository/metadata\"\ntargets = \"{url}/repository/targets\"\nroot = \"{}\"\n\
             [agent]\nsocket = \"{}\"\n",
            path(name),
            path("channel-ca.pem"),
            path(&format!("{name}.pem")),
            path(&format!("{name}.key")),
            root.display(),
            path("agent.sock"),
        );
        self.region.file(&format!("{name}.toml"), &config);
        let enrolled = self.updater(name, &["enrol", "--code", code.as_str().unwrap()]);
        assert!(enrolled.status.success(), "{}", said(&enrolled));
    }

    fn updater(&self, name: &str, arguments: &[&str]) -> Output {
        let program = Path::new(env!("CARGO_BIN_EXE_sund-channel")).with_file_name("sund-updater");
        let config = self.path(&format!("{name}.toml"));
        Command::new(program).arg("--config").arg(config).args(arguments).output().unwrap()
    }

    /// One poll. No agent runs here: what it says of that is no matter.
    fn polls(&self, name: &str) -> String {
        said(&self.updater(name, &["once"]))
    }

    /// What `ca show` says of an authority.
    fn shown(&self, name: &str) -> Value {
        let all = self.region.must(&["ca", "show"]);
        all.as_array().unwrap().iter().find(|it| it["name"] == name).cloned().unwrap_or_default()
    }

    /// Proposes by a command, and publishes it as two holders of the root.
    fn orders(&self, arguments: &[&str]) -> Value {
        let proposed = self.region.must(arguments);
        self.region.publish(proposed["proposal"].as_str().unwrap(), &ROOT[..2]);
        proposed
    }

    /// Polls until nobody is of the old authority any more: what the server hears it writes down after some seconds.
    fn until_nobody_is_old(&self, boxes: &[&str]) {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let told: Vec<String> = boxes.iter().map(|name| self.polls(name)).collect();
            if self.shown("ca")["held_by"] == 0 && self.shown("ca-2")["unknown_to"] == 0 {
                return;
            }
            assert!(Instant::now() < end, "{:#}\n{told:#?}", self.region.must(&["ca", "show"]));
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Whom a box believes.
    fn believed(&self, name: &str) -> Believed {
        let provisioned = fs::read(self.path("channel-ca.pem")).unwrap();
        Believed::from(&provisioned, kept(&self.path(name), &self.root()).as_ref()).unwrap()
    }

    /// The root that boxes and mirrors were given.
    fn root(&self) -> Vec<u8> {
        fs::read(self.region.home().join("repository/metadata/1.root.json")).unwrap()
    }

    fn authority(&self, name: &str) -> Authority {
        Authority::read(&self.region.home(), name).unwrap()
    }

    fn identity(&self, name: &str) -> Vec<u8> {
        [fs::read(self.path(&format!("{name}.pem"))).unwrap(), fs::read(self.path(&format!("{name}.key"))).unwrap()]
            .concat()
    }

    /// Whether a box speaks to a server that has a certificate of this authority.
    fn is_fooled(&self, name: &str, thief: &Authority) -> bool {
        let (chain, key) = thief.issue_server(&["localhost".to_owned()], now()).unwrap();
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let asked = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut connection = ServerConnection::new(config).unwrap();
            while connection.is_handshaking() {
                if connection.complete_io(&mut socket).is_err() {
                    return false;
                }
            }
            true
        });
        let config = fs::read_to_string(self.path(&format!("{name}.toml"))).unwrap();
        self.region.file("elsewhere.toml", &config.replace(&self.serving.url(""), &there));
        self.polls("elsewhere");
        asked.join().unwrap()
    }

    fn poll_as(&self, client: &Client, name: &str) -> impl Future<Output = Result<StatusCode, reqwest::Error>> + use<> {
        let asked = client.get(self.serving.url(&format!("/DEFAULT/controller/v1/{name}")));
        async { asked.send().await.map(|answer| answer.status()) }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_box_of_before_the_change_is_served_through_it_and_the_old_authority_and_its_thief_are_worth_nothing_after_it() {
    let world = World::new();
    let (stolen, old) = (world.authority("ca"), world.identity("box-1"));
    assert!(world.is_fooled("box-1", &stolen), "whoever has the authority is the channel");

    let alone = world.region.run(&["ca", "drop", "ca"]);
    assert_eq!(alone.refusal(), "authority-alone");
    let made = world.region.must(&["ca", "new"]);
    assert_eq!(made["authority"]["name"], "ca-2");
    assert_eq!(world.shown("ca-2")["counts"], "waits", "the region has not signed it");
    world.polls("box-1");
    assert_eq!(world.believed("box-1"), Believed::from(stolen.pem().as_bytes(), None).unwrap());
    world.region.publish(made["proposal"].as_str().unwrap(), &ROOT[..2]);
    let (first, second) = (world.shown("ca"), world.shown("ca-2"));
    assert_eq!((&first["counts"], &first["serves"], &first["held_by"]), (&json!("good"), &json!(true), &json!(1)));
    assert_eq!((&second["counts"], &second["unknown_to"]), (&json!("issues"), &json!(1)));

    // Nobody is cut off unseen.
    let held = world.region.run(&["ca", "drop", "ca"]);
    assert_eq!(held.refusal(), "authority-held");
    assert!(held.json["error"]["reason"].as_str().unwrap().contains("(box-1)"), "{:#}", held.json);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let of_old = mirror::client(Some(&world.believed("box-1")), Some(&old)).unwrap();
    assert_eq!(runtime.block_on(world.poll_as(&of_old, "box-1")).unwrap(), StatusCode::OK);

    world.until_nobody_is_old(&["box-1"]);
    let fleet = world.region.must(&["fleet"]);
    assert_eq!(fleet["devices"][0]["authority"], "ca-2");
    world.orders(&["ca", "drop", "ca"]);
    assert_eq!((&world.shown("ca")["counts"], &world.shown("ca-2")["serves"]), (&json!("dropped"), &json!(true)));

    // The certificate of before: on the connection that is open, and on another one.
    assert_eq!(runtime.block_on(world.poll_as(&of_old, "box-1")).unwrap(), StatusCode::UNAUTHORIZED);
    let again = mirror::client(Some(&world.believed("box-1")), Some(&old)).unwrap();
    assert!(block_on(world.poll_as(&again, "box-1")).is_err(), "the handshake ends there");

    // The box goes on, under the new one alone.
    let told = world.polls("box-1");
    assert!(!told.contains("channel-away"), "{told}");
    let only = world.authority("ca-2");
    assert_eq!(world.believed("box-1").told(), only.digest());
    let own = mirror::client(Some(&world.believed("box-1")), Some(&world.identity("box-1"))).unwrap();
    assert_eq!(block_on(world.poll_as(&own, "box-1")).unwrap(), StatusCode::OK);
    assert!(!world.is_fooled("box-1", &stolen) && world.is_fooled("box-1", &only));

    // A box that is made anew knows the new one from its first day.
    assert_eq!(sund_channel::enrol::authorities::pem(&world.region.home()).unwrap().unwrap(), only.pem());

    // A rescue asks as the box has left it in the firmware, and the authority of before leads nowhere.
    let (site, starts) = (world.path("site"), world.path("starts"));
    let at = [
        "started",
        "--site",
        text(&site),
        "--starts",
        text(&starts),
        "--tpm",
        "/nonexistent",
        "--network",
        "/nonexistent",
    ];
    world.updater("box-1", &[&at[..], &["--directory", text(&world.path("box-1"))]].concat());
    let left: toml::Table = String::from_utf8_lossy(&fs::read(&site).unwrap()[4..]).parse().unwrap();
    let left = world.region.file("left.pem", left["authorities"].as_str().unwrap());
    let port = world.serving.url("").rsplit(':').next().unwrap().parse().unwrap();
    let rescued = |authority: &Path| {
        let place = tempfile::tempdir().unwrap();
        rescue::rescued(place.path(), authority, port, &rescue::persons(&world.region), 0).status.code()
    };
    assert_eq!((rescued(&left), rescued(&world.path("channel-ca.pem"))), (Some(0), Some(76)));
}

#[test]
fn a_mirror_follows_its_channel_to_another_authority() {
    let world = World::new();
    world.enrols("mirror-1", &["--mirror"]);
    let (root, copy) = (world.region.home().join("repository/metadata/1.root.json"), world.path("copy"));
    let mirrors = || {
        let (from, ca) = (world.serving.url("/repository/"), world.path("channel-ca.pem"));
        let (certificate, key) = (world.path("mirror-1.pem"), world.path("mirror-1.key"));
        let from = ["mirror", text(&copy), "--from", &from, "--root", text(&root), "--ca", text(&ca)];
        let ended =
            world.region.run(&[&from[..], &["--certificate", text(&certificate), "--key", text(&key)]].concat());
        assert_eq!(ended.code, Some(0), "{:#}", ended.json);
    };
    mirrors();
    world.orders(&["ca", "new"]);
    // It learns, it renews, it shows the new one.
    (0..3).for_each(|_| mirrors());
    world.until_nobody_is_old(&["box-1"]);
    world.orders(&["ca", "drop", "ca"]);
    assert_eq!(world.shown("ca-2")["held_by"], 2);
    (0..2).for_each(|_| mirrors());
    let provisioned = fs::read(world.path("channel-ca.pem")).unwrap();
    let believed = Believed::from(&provisioned, kept(&copy, &world.root()).as_ref()).unwrap();
    assert_eq!(believed.told(), world.authority("ca-2").digest());
}

#[test]
fn a_new_authority_locks_nobody_out_while_the_servers_own_certificate_cannot_be_read() {
    let settings = "approval = false\ncertificate = 'server.pem'\nkey = 'server.key'";
    let world = World::with(settings, |home| {
        let pki = tempfile::tempdir().unwrap();
        let pki = Authority::open(pki.path()).unwrap();
        let (certificate, key) = pki.issue_server(&["localhost".to_owned()], now()).unwrap();
        fs::write(home.join("server.pem"), certificate).unwrap();
        fs::write(home.join("server.key"), key).unwrap();
        pki.pem().to_owned()
    });
    fs::remove_file(world.region.home().join("server.key")).unwrap();
    world.orders(&["ca", "new"]);
    world.until_nobody_is_old(&["box-1"]);
    assert!(!world.polls("box-1").contains("channel-away"));
}

#[test]
fn an_authority_that_counts_for_nobody_and_cannot_be_read_holds_nothing_up_and_is_named() {
    let mut world = World::new();
    world.region.must(&["ca", "new"]);
    world.restarts(&["box-1"], |ca| {
        fs::write(ca.join("ca-2.key"), "").unwrap();
        fs::write(ca.join("ca-3.pem"), "").unwrap();
    });
    world.until_alarmed("ca-2.key");
    assert!(world.alarms().contains("ca-3.pem"), "{}", world.alarms());
    assert_eq!((&world.shown("ca")["counts"], &world.shown("ca-2")["counts"]), (&json!("issues"), &json!("waits")));
    world.region.must(&["rollout", "status"]);
    assert!(!world.polls("box-1").contains("channel-away"));
}

#[test]
fn after_an_older_copy_of_the_authorities_was_brought_back_the_boxes_of_the_new_one_are_served() {
    let mut world = World::new();
    let older = ["ca.pem", "ca.key"].map(|name| (name, fs::read(world.ca().join(name)).unwrap()));
    world.orders(&["ca", "new"]);
    world.until_nobody_is_old(&["box-1"]);
    world.restarts(&["box-1"], |ca| {
        fs::remove_dir_all(ca).unwrap();
        fs::create_dir(ca).unwrap();
        for (name, bytes) in &older {
            fs::write(ca.join(name), bytes).unwrap();
        }
    });
    let told = world.polls("box-1");
    assert!(!told.contains("channel-away"), "{told}");
    let (first, second) = (world.shown("ca"), world.shown("ca-2"));
    assert_eq!((&first["counts"], &first["serves"], &first["held_by"]), (&json!("issues"), &json!(true), &json!(0)));
    assert_eq!((&second["counts"], &second["held_by"]), (&json!("good"), &json!(1)));
    world.until_alarmed("ca-2.key");
    assert_eq!(world.region.run(&["ca", "drop", "ca"]).refusal(), "authority-alone", "nobody would issue");
}

#[test]
fn a_stolen_authority_is_dropped_at_once_and_who_is_lost_by_it_is_named() {
    let world = World::new();
    world.orders(&["ca", "new"]);
    let dropped = world.region.must(&["ca", "drop", "ca", "--force"]);
    let lost = json!({ "boxes": 1, "held_by": 1, "unknown_to": 1, "names": ["box-1"] });
    assert_eq!(dropped["lost"], lost);
    assert!(dropped["words"].to_string().contains("NO BOX BELIEVES IT"), "{dropped:#}");
    let id = dropped["proposal"].as_str().unwrap();
    world.region.sign(id, &ROOT[..2]);
    assert_eq!(world.region.run(&["approve", id]).refusal(), "authority-in-use", "whoever approves says so too");
    let approved = world.region.must(&["approve", id, "--cut-off", "1"]);
    assert_eq!((&approved["is_published"], &approved["lost"]), (&json!(true), &lost));
    assert_eq!(world.shown("ca-2")["serves"], true);
    assert!(world.polls("box-1").contains("channel-away"), "it waits for a stick");
}

#[test]
fn a_box_that_enrols_by_the_old_authority_while_its_end_waits_for_signatures_is_not_cut_off_by_approving_it() {
    let mut world = World::new();
    world.orders(&["ca", "new"]);
    world.until_nobody_is_old(&["box-1"]);
    let dropped = world.region.must(&["ca", "drop", "ca"])["proposal"].clone();
    let approve = ["approve", dropped.as_str().unwrap()];
    world.region.sign(approve[1], &ROOT[..2]);
    // Its stick was written before there was another one.
    world.enrols("box-2", &[]);
    let refused = world.region.run(&approve);
    assert_eq!(refused.refusal(), "authority-in-use");
    assert!(refused.json["error"]["reason"].as_str().unwrap().contains("1 in all (box-2)"), "{:#}", refused.json);
    assert_eq!(world.shown("ca")["counts"], "good", "nothing was published");
    // It is counted where no server runs, too.
    world.serving.stop();
    assert_eq!(world.region.run(&approve).refusal(), "authority-in-use");
    world.restarts(&["box-1", "box-2"], |_| ());
    world.until_nobody_is_old(&["box-1", "box-2"]);
    let approved = world.region.must(&approve);
    assert_eq!((&approved["is_published"], &approved["lost"]["boxes"]), (&json!(true), &json!(0)));
    assert!(!world.polls("box-2").contains("channel-away"));
}
