//! Approvers whose keys live in tokens, by PKCS #11: SoftHSM stands for the token, OpenSC's tool for whoever sets it
//! up.
use crate::region::{Ended, Region, TWO, text};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Debian's softhsm2.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "4711";

/// A region two of whose approvers have keys in one token, of both kinds.
struct Tokens {
    region: Region,
}

impl Tokens {
    fn new() -> Self {
        assert!(Path::new(MODULE).exists(), "softhsm2 and opensc are installed by .ci/test");
        let region = Region::new();
        fs::create_dir(region.path("tokens")).unwrap();
        region.file("softhsm2.conf", &format!("directories.tokendir = {}\n", text(&region.path("tokens"))));
        region.file("pin", &format!("{PIN}\n"));
        let tokens = Self { region };
        let made = ["--init-token", "--free", "--label", "The Region", "--pin", PIN, "--so-pin", "8888"];
        tokens.done(Command::new("softhsm2-util").args(made));
        for (label, id, kind) in [("gerda", "01", "EC:edwards25519"), ("hans", "02", "EC:prime256v1")] {
            let mut tool = Command::new("pkcs11-tool");
            tool.args(["--module", MODULE, "--token-label", "The Region", "--login", "--pin", PIN]);
            tokens.done(tool.args(["--keypairgen", "--key-type", kind, "--label", label, "--id", id]));
        }
        tokens
    }

    fn done(&self, command: &mut Command) {
        let ended = command.env("SOFTHSM2_CONF", self.region.path("softhsm2.conf")).output().unwrap();
        assert!(ended.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
    }

    fn uri(&self, object: &str) -> String {
        let pin = self.region.path("pin");
        format!("pkcs11:token=The%20Region;object={object}?module-path={MODULE}&pin-source=file:{}", text(&pin))
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = self.region.command(arguments);
        command.env("SOFTHSM2_CONF", self.region.path("softhsm2.conf")).env("HOME", self.region.path("home"));
        let output = command.env_remove("XDG_STATE_HOME").env_remove("SUND_PKCS11_PIN").output().unwrap();
        Ended { code: output.status.code(), json: serde_json::from_slice(&output.stdout).unwrap_or_default() }
    }

    fn must(&self, arguments: &[&str]) -> Value {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {:#}", ended.json);
        ended.json
    }

    fn refusal(&self, key: &str) -> String {
        let ended = self.run(&["sign", "state-2", "--yes", "--key", key]);
        assert_ne!(ended.code, Some(0), "{key}");
        ended.refusal().to_owned()
    }
}

#[test]
fn approvers_sign_with_keys_that_never_leave_their_token_and_boxes_take_it() {
    let tokens = Tokens::new();
    let region = &tokens.region;
    let mut delegate = vec!["delegate".to_owned(), "state".to_owned()];
    for (label, person) in [("gerda", "Gerda Pihl"), ("hans", "Hans Quist")] {
        let public = region.path(&format!("{label}.pub"));
        tokens.must(&["key", "import", &tokens.uri(label), "--person", person, "--out", text(&public)]);
        delegate.extend(["--key".to_owned(), text(&public).to_owned()]);
    }
    let delegate: Vec<&str> = delegate.iter().map(String::as_str).collect();
    region.must(&delegate);
    region.sign("targets-2", &["Anna Holm", "Bo Krog"]);
    for label in ["gerda", "hans"] {
        tokens.must(&["sign", "targets-2", "--yes", "--key", &tokens.uri(label)]);
    }
    assert_eq!(region.must(&["approve", "targets-2"])["is_published"], true);
    region.load().unwrap();

    // What the key has signed under is remembered: another region's root is refused by the token's person as well.
    region.must(&["stop-all", "--reason", "a test"]);
    for label in ["gerda", "hans"] {
        tokens.must(&["sign", "state-3", "--yes", "--key", &tokens.uri(label)]);
    }
    assert_eq!(region.must(&["approve", "state-3"])["is_published"], true);
    region.load().unwrap();
    assert_eq!(fs::read_dir(region.path("home/.local/state/sund-channel")).unwrap().count(), 4);
    let thief = Region::new();
    let mut arguments = vec!["delegate", "state"];
    let keys = [region.path("gerda.pub"), region.path("hans.pub")];
    for key in &keys {
        arguments.extend(["--key", text(key)]);
    }
    thief.must(&arguments);
    thief.sign("targets-2", &["Anna Holm", "Bo Krog"]);
    let copied = thief.home().join("proposals/targets-2");
    let ended = tokens.run(&["sign", text(&copied), "--yes", "--key", &tokens.uri("gerda")]);
    assert_eq!((ended.code, ended.refusal()), (Some(65), "another-root"));
}

#[test]
fn a_token_that_is_not_there_or_does_not_want_is_told_by_its_name() {
    let tokens = Tokens::new();
    tokens.region.must(&["stop-all", "--reason", "a test"]);
    let good = tokens.uri("gerda");
    assert_eq!(tokens.refusal(&good), "key-of-another-role", "it opens, and may sign nothing here");
    assert_eq!(tokens.refusal(&good.replace("object=gerda", "object=nobody")), "token-key-not-found");
    assert_eq!(tokens.refusal(&good.replace("Region", "Other")), "token-key-not-found");
    assert_eq!(tokens.refusal(&good.replace(MODULE, "/no/such/module.so")), "token-module-unusable");
    assert_eq!(tokens.refusal(good.split("&pin-source").next().unwrap()), "token-pin-missing");
    assert_eq!(tokens.refusal(&good.replace("object=gerda", "object=gerda;id=%02")), "token-key-not-found");
    // The command line itself is wrong.
    let ended = tokens.run(&["sign", "state-2", "--yes", "--key", "pkcs11:object=gerda?pin-value=4711"]);
    assert_eq!(ended.code, Some(64));
    // Last, since it counts in the token.
    tokens.region.file("pin", "0000");
    assert_eq!(tokens.refusal(&good), "token-refused");
    tokens.region.publish("state-2", &TWO);
}
