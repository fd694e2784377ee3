//! The recovery key of a box's disk, from the box to the holder of the region's private key: the updater's own code, the server, OpenSSL.
use crate::fixture::{Channel, PLAIN};
use reqwest::StatusCode;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;
use sund_channel::database::FILE_NAME;
use sund_channel::server::control::{Answer, Request};
use sund_ota::config::Config;
use sund_ota::escrow::{EscrowStatus, Offers, Standing};
use sund_ota::http::Http;
use sund_ota::identity;

const KEY: &str = "cbdefghi-jklnrtuv-vutrnlkj-ihgfedbc-cccccccc-dddddddd-eeeeeeee-tttttttt";

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A region's key: the private half, and the public one.
pub fn region_key(directory: &Path) -> (String, String) {
    let [private, public] = ["region.key", "escrow.pem"].map(|name| directory.join(name).display().to_string());
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", &private]);
    openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
    (private, public)
}

/// A box that is enrolled at the channel, with a recovery key that its system has just made.
async fn box_of(channel: &Channel, directory: &Path, escrow: &str) -> Config {
    let path = |name: &str| directory.join(name).display().to_string();
    let url = channel.url("");
    let text = format!(
        "id = \"odense-1\"\ndirectory = \"{}\"\n[server]\nurl = \"{url}\"\nca = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
         [repository]\nmetadata = \"{url}\"\ntargets = \"{url}\"\nroot = \"/root.json\"\n[agent]\nsocket = \"/agent.sock\"\n\
         [escrow]\nkey = \"{escrow}\"\nrecovery = \"{}\"\n",
        path("updater"),
        channel.home.path().join("ca/ca.pem").display(),
        path("box.pem"),
        path("box.key"),
        path("recovery"),
    );
    fs::create_dir(directory.join("updater")).unwrap();
    fs::write(directory.join("updater.toml"), text).unwrap();
    fs::write(directory.join("recovery"), format!("{KEY}\n")).unwrap();
    let config = Config::read(&directory.join("updater.toml")).unwrap();
    let asked = Request::Enrol { name: "odense-1".into(), attributes: [].into(), hours: 1 };
    identity::enrol(&config, &config.server, &channel.secret(asked).await).await.unwrap();
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn the_holder_of_the_regions_key_opens_what_the_channel_keeps_of_a_box_with_openssl_alone() {
    let channel = Channel::start(PLAIN).await;
    let directory = tempfile::tempdir().unwrap();
    let (private, public) = region_key(directory.path());
    let config = box_of(&channel, directory.path(), &public).await;
    let http = Http::new(&config).unwrap();
    Offers::default().keep(&config, &http).await;
    assert_eq!(EscrowStatus::read(&config).unwrap().standing, Standing::Kept);
    assert!(!directory.path().join("recovery").exists());
    let bytes = fs::read(channel.home.path().join(FILE_NAME)).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains(&KEY[..17]), "the channel has it sealed alone");

    let sealed = directory.path().join("odense-1.sealed").display().to_string();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sund-channel"));
        command.arg("--home").arg(channel.home.path()).args(arguments);
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = command(&["escrow", "write", "--name", "odense-1", "--out", &sealed]);
    assert!(code == Some(0) && said.contains("openssl pkeyutl -decrypt"), "{said}");
    // The very command that it tells.
    let padding = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256"];
    let open = [&["pkeyutl", "-decrypt", "-inkey", &private][..], &padding, &["-in", &sealed]].concat();
    assert_eq!(openssl(&open), KEY.as_bytes());
    let (_, page) = command(&["fleet", "--json"]);
    assert!(page.contains("\"escrowed_at\": 1"), "{page}");
    assert_eq!(command(&["escrow", "write", "--name", "vejle-1", "--out", &sealed]).0, Some(64));

    // The acknowledgment was lost: the same bytes are kept once. A server that has lost them has them again with the box's next start.
    Offers::default().keep(&config, &http).await;
    let kept = |answer| if let Answer::Escrow(kept) = answer { kept } else { panic!("{answer:?}") };
    let list = || channel.ask(Request::Escrow { name: "odense-1".into() });
    let first = kept(list().await.unwrap());
    assert_eq!(first.len(), 1);
    let sha256 = first[0].sha256.clone();
    channel.ask(Request::DropEscrow { name: "odense-1".into(), sha256 }).await.unwrap();
    assert!(kept(list().await.unwrap()).is_empty());
    Offers::default().keep(&config, &http).await;
    assert_eq!(kept(list().await.unwrap())[0].sha256, first[0].sha256);

    // A disk that was made anew has another key, and the older one stays.
    fs::write(directory.path().join("recovery"), KEY.replace("tttttttt", "uuuuuuuu")).unwrap();
    Offers::default().keep(&config, &http).await;
    assert_eq!(kept(list().await.unwrap()).len(), 2);
    channel.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_a_box_leaves_a_key_and_only_under_its_own_name() {
    let channel = Channel::start(PLAIN).await;
    let offer = json!({ "format": 1, "recipient": "a".repeat(64), "sealed": "AAAA" });
    let stranger = channel.client(None).post(channel.url("/escrow")).json(&offer).send().await.unwrap();
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    let device = channel.device("odense-1", &[]).await;
    channel.device("vejle-1", &[]).await;
    let kept = device.request(reqwest::Method::POST, &channel.url("/escrow")).json(&offer).send().await.unwrap();
    assert_eq!(kept.status(), StatusCode::OK);
    for (name, count) in [("odense-1", 1), ("vejle-1", 0)] {
        let Answer::Escrow(kept) = channel.ask(Request::Escrow { name: name.into() }).await.unwrap() else {
            panic!("it lists them")
        };
        assert_eq!(kept.len(), count, "{name}");
    }
    let named = json!({ "format": 1, "recipient": "a".repeat(64), "sealed": "AAAA", "name": "vejle-1" });
    let refused = device.request(reqwest::Method::POST, &channel.url("/escrow")).json(&named).send().await.unwrap();
    assert!(refused.status().is_client_error());
    channel.stop().await;
}
