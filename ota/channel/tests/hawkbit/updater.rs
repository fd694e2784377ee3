//! Our own updater as one of hawkBit's devices: it knows a token and two addresses, hawkBit for the word and a plain
//! web server for all that is signed. Its agent is played, as in the updater's own tests.
use super::device::Device;
use super::server::{Server, Version, until};
use super::whole_path::{SOON, having_work, roll_out_of, rollout_is, switch};
use crate::copies::serve;
use crate::region::{Region, TWO, text};
use agent::Agent;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use sund_ota::ddi::{Execution, Finished};

#[path = "../../../tests/agent.rs"]
#[allow(dead_code, reason = "the updater's own tests have it do more")]
mod agent;

/// What the agent of the updater's tests wants of its neighbours.
mod region {
    pub fn sha256(bytes: &[u8]) -> String {
        sund_ota::hex::hex(&sund_channel::repository::files::sha256(bytes))
    }
}

const BOX: &str = "real-0";
const TOKEN: &str = "a-token-of-the-box";
/// A box of few words beside it.
const PLAYED: &str = "real-1";

/// The box and its region.
struct Appliance {
    region: Region,
    agent: Agent,
}

impl Appliance {
    async fn new(server: &Server) -> Self {
        let region = Region::with_state();
        for (state, with) in [("box-1", &[][..]), ("box-2", &["--with", "state-3"])] {
            let text_of_it = format!(
                r#"{{"name":"{state}","models":[{{"target":"models/sund/positive-values-1.0.0.sund"}}],
                    "routes":{{"neuro":{{"models":["positive-values"],"mode":"shadow"}}}},"watch_seconds":1}}"#
            );
            let file = region.file(&format!("{state}.json"), &text_of_it);
            region.must(&[&["publish", "state", text(&file)], with].concat());
        }
        region.publish("state-3", &TWO);
        let store = serve(region.home().join("repository"));
        let agent = Agent::start(&region.path(""));
        let path = |name: &str| region.path(name).display().to_string();
        region.file("token", TOKEN);
        let root = region.home().join("repository/metadata/1.root.json");
        let updater = format!(
            "id = \"{BOX}\"\ndirectory = \"{}\"\nconfirm = true\n[server]\nurl = \"{}\"\ntoken = \"{}\"\n\
             [repository]\nmetadata = \"{store}metadata\"\ntargets = \"{store}targets\"\nroot = \"{}\"\n\
             [poll]\nmin_seconds = 1\nmax_seconds = 2\n[agent]\nsocket = \"{}\"\nstart_seconds = 20\n\
             [watch]\nevery_seconds = 1\n[attributes]\nsite = \"odense\"\n",
            path("updater"),
            server.url,
            path("token"),
            root.display(),
            path("agent.sock"),
        );
        region.file("updater.toml", &updater);
        let target = |id: &str| json!({ "controllerId": id, "name": id, "securityToken": TOKEN });
        server.operator("POST", "targets", Some(json!([target(BOX), target(PLAYED)]))).await;
        for state in ["box-1", "box-2"] {
            let repository = region.home().join("repository");
            let pushed = server.channel(&["push", "--state", state, "--repository", text(&repository)]);
            assert_eq!(pushed["made"], true, "{state}");
        }
        Self { region, agent }
    }

    /// Makes and starts a rollout of one of its states.
    fn is_rolled_out(&self, server: &Server, name: &str, state: &str, more: &[&str]) {
        roll_out_of(server, &self.region.home().join("repository"), name, state, BOX, more);
    }

    /// In two groups, with the played box in one of them: hawkBit chooses in which, and the other one waits for it.
    async fn is_rolled_out_in_groups(&self, server: &Server, name: &str, state: &str) {
        let boxes = [BOX, PLAYED].map(|id| Device::new(&server.url, id, TOKEN));
        boxes[1].describe(&[("site", "odense")]).await;
        let repository = self.region.home().join("repository");
        roll_out_of(server, &repository, name, state, "real-*", &["--group", "canary=50", "--group", "rest=100"]);
        for group in 0..2 {
            let has_work = until("one box has work", SOON, || having_work(&boxes, 1)).await[0];
            let groups = server.channel(&["rollout", "status", name])["groups"].take();
            assert_eq!(groups[group]["status"], "running", "{groups}");
            if std::ptr::eq(has_work, &raw const boxes[0]) {
                self.serves(state).await;
            } else {
                let id = has_work.deployment().await.id;
                assert_eq!(has_work.report(&id, Execution::Closed, Finished::Success, &[]).await, 200);
            }
        }
    }

    /// One poll and all that follows; the exit code.
    async fn once(&self) -> Option<i32> {
        let program = Path::new(env!("CARGO_BIN_EXE_sund-channel")).with_file_name("sund-updater");
        assert!(program.exists(), "cargo test -p sund-ota -p sund-channel makes sund-updater too");
        let mut command = Command::new(program);
        command.arg("--config").arg(self.region.path("updater.toml")).arg("once");
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a thread").expect("it starts");
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        output.status.code()
    }

    /// Polls until the agent serves a state.
    async fn serves(&self, state: &str) {
        until(&format!("the box serves {state}"), SOON, || async {
            self.once().await;
            (self.agent.serving().state.as_deref() == Some(state)).then_some(())
        })
        .await;
    }
}

/// What hawkBit's operator sees of the box.
fn seen(server: &Server) -> Value {
    server.channel(&["targets", "--filter", &format!("controllerId=={BOX}")])[0].take()
}

/// A signature of the region for a switch that is proposed.
fn signed(region: &Region, arguments: &[&str]) {
    let proposed = region.must(arguments);
    region.publish(proposed["proposal"].as_str().expect("a proposal"), &TWO);
}

pub(super) async fn our_updater_is_one_of_its_devices(server: &Server) {
    let appliance = Appliance::new(server).await;
    // hawkBit wants to know the box first.
    assert_eq!(appliance.once().await, Some(0));
    let told = server.operator("GET", &format!("targets/{BOX}/attributes"), None).await;
    assert_eq!(told["site"], "odense", "{told}");

    // Descriptor from hawkBit, state and payloads from the store, tried, served, watched, reported.
    appliance.is_rolled_out_in_groups(server, "real-1", "box-1").await;
    rollout_is(server, "real-1", "finished").await;
    let known = seen(server);
    assert_eq!((&known["status"], &known["installed"]["state"]), (&json!("in_sync"), &json!("box-1")), "{known}");
    assert_eq!(appliance.agent.serving().trials, 1);

    // What has to be confirmed it confirms, since it was told to, and not before.
    let asks = server.version == Version::Current;
    if asks {
        switch(server, "user.confirmation.flow.enabled", true).await;
    }
    let confirm: &[&str] = if asks { &["--confirm"] } else { &[] };
    appliance.is_rolled_out(server, "real-2", "box-2", &[&["--group", "all=100"], confirm].concat());
    appliance.serves("box-2").await;
    rollout_is(server, "real-2", "finished").await;
    if asks {
        switch(server, "user.confirmation.flow.enabled", false).await;
    }

    // While the region has stopped all rollouts the action waits. Stopped in hawkBit, it is left.
    signed(&appliance.region, &["stop-all", "--reason", "a test"]);
    appliance.is_rolled_out(server, "real-3", "box-1", &["--group", "all=100"]);
    until("it waits for the region", SOON, || async { (appliance.once().await == Some(75)).then_some(()) }).await;
    server.stop("real-3", BOX).await;
    until("it has left it", SOON, || async {
        appliance.once().await;
        server.has_stopped("real-3", BOX).await.then_some(())
    })
    .await;
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("box-2"));

    // A second rollout over a running one: the older is left, the newer taken up.
    appliance.is_rolled_out(server, "real-4", "box-1", &["--group", "all=100"]);
    until("it waits for the region", SOON, || async { (appliance.once().await == Some(75)).then_some(()) }).await;
    signed(&appliance.region, &["go-on"]);
    appliance.is_rolled_out(server, "real-5", "box-2", &["--group", "all=100"]);
    until("hawkBit has the newer one", SOON, || async { (seen(server)["assigned"]["state"] == "box-2").then_some(()) })
        .await;
    until("the newer one has ended", SOON, || async {
        appliance.once().await;
        (server.channel(&["rollout", "status", "real-5"])["status"] == "finished").then_some(())
    })
    .await;
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("box-2"), "the older one never served");

    // What the agent's trial refuses, hawkBit's operator reads in the box's own words.
    appliance.agent.serving().misses = true;
    appliance.is_rolled_out(server, "real-6", "box-1", &["--group", "all=100", "--error", "100"]);
    until("the trial missed", SOON, || async { (appliance.once().await == Some(1)).then_some(()) }).await;
    let known = seen(server);
    assert!(known["reason"].to_string().contains("a golden case is off by 3 mm"), "{known}");
    assert_eq!(known["installed"]["state"], "box-2");
}
