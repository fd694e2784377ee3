//! From a signed state to boxes that say how it went, through a real hawkBit; what came over the wire is kept as
//! goldens.
use super::device::Device;
use super::region::Region;
use super::server::{Server, Version, until};
use super::updater::our_updater_is_one_of_its_devices;
use crate::region::text;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use sund_ota::ddi::{DeploymentBase, Execution, Finished, Handling};
use sund_ota::descriptor::{Descriptor, FILE_NAME};

/// Until hawkBit's own scheduler has done what is due.
pub(super) const SOON: Duration = Duration::from_secs(30);

/// One server for all of it: it takes 15 s to start.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_path_through_a_real_hawkbit() {
    walk(Version::Current).await;
}

/// What anybody can fetch: older, and without confirmation.
#[tokio::test(flavor = "multi_thread")]
async fn the_path_through_the_hawkbit_of_maven_central() {
    walk(Version::Central).await;
}

async fn walk(version: Version) {
    let region = Region::new(&["north-1", "north-2", "broken-off", "changed", "south-1 for south-*"]).await;
    let server = Server::start(version).await;
    let wire = Wire { base: server.url.clone(), version };
    the_same_state_twice_makes_one(&server, &region);
    a_push_that_broke_off_is_taken_up(&server, &region).await;
    what_somebody_changed_in_hawkbit_is_not_taken_for_the_state(&server, &region).await;
    the_second_group_waits_for_the_first(&server, &region, &wire).await;
    a_rollout_takes_no_box_that_its_state_is_not_for(&server, &region).await;
    a_failure_pauses_the_rollout_and_its_reason_is_shown(&server, &region).await;
    a_rollout_over_a_running_one_supersedes_it(&server, &region, &wire).await;
    if version == Version::Current {
        a_stopped_rollout_is_cancelled_on_the_box(&server, &region).await;
        a_box_that_has_to_confirm_gets_nothing_before(&server, &region, &wire).await;
    }
    outside_its_window_a_box_downloads_and_waits(&server, &wire).await;
    our_updater_is_one_of_its_devices(&server).await;
    where_hawkbit_asks_for_approval_nothing_starts_without(&server, &region).await;
    server.shapes_are_frozen();
}

fn the_same_state_twice_makes_one(server: &Server, region: &Region) {
    for state in ["north-1", "north-2"] {
        let (first, again) = (push(server, region, state), push(server, region, state));
        assert_eq!((&first["made"], &again["made"]), (&json!(true), &json!(false)), "{state}");
        assert_eq!(first["distribution_set"], again["distribution_set"], "{state}");
        assert_eq!(first["software_module"], again["software_module"], "{state}");
    }
    let repository = region.path().to_string_lossy();
    let said = server.channel_refuses(&["push", "--state", "north-3", "--repository", &repository]);
    assert!(said.contains("target-not-approved"), "{said}");
}

async fn a_push_that_broke_off_is_taken_up(server: &Server, region: &Region) {
    let module = json!({ "name": "broken-off", "version": version(region, "broken-off"), "type": "sund-state" });
    let module = server.operator("POST", "softwaremodules", Some(json!([module]))).await;
    let pushed = push(server, region, "broken-off");
    assert_eq!((&pushed["software_module"], &pushed["made"]), (&module[0]["id"], &json!(true)));
    assert_eq!(push(server, region, "broken-off")["made"], false);
}

async fn what_somebody_changed_in_hawkbit_is_not_taken_for_the_state(server: &Server, region: &Region) {
    let other = push(server, region, "north-1");
    let set = json!({ "name": "changed", "version": version(region, "changed"), "type": "sund-state",
        "modules": [{ "id": other["software_module"] }] });
    server.operator("POST", "distributionsets", Some(json!([set]))).await;
    let repository = region.path().to_string_lossy();
    let said = server.channel_refuses(&["push", "--state", "changed", "--repository", &repository]);
    assert!(said.contains("hawkbit-altered"), "{said}");
}

/// The digest of a state: its version in hawkBit.
fn version(region: &Region, state: &str) -> String {
    let file = region.file_of(state);
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
    name.split('.').next().expect("the digest stands first").to_owned()
}

async fn the_second_group_waits_for_the_first(server: &Server, region: &Region, wire: &Wire) {
    let boxes = boxes(server, "wave", 4).await;
    wire.came("base-idle", boxes[0].poll().await.1);
    for device in &boxes {
        device.describe(&[("site", "north"), ("model.brain-extraction", "1.0.0")]).await;
    }
    assert_eq!(boxes[0].link("configData").await, None, "it has been told");

    roll_out(server, region, "waves", "north-1", "wave-*", &["--group", "canary=50", "--group", "rest=100"]);
    let ids = ["wave-0", "wave-1", "wave-2", "wave-3"];
    let canary: Vec<&Device> = until("two boxes have work", SOON, || having_work(&boxes, 2)).await;
    let waits = server.channel(&["rollout", "status", "waves"]);
    assert_eq!(
        (&waits["groups"][0]["status"], &waits["groups"][1]["status"]),
        (&json!("running"), &json!("scheduled"))
    );

    let (first, second) = (canary[0], canary[1]);
    wire.came("base-deployment", first.poll().await.1);
    let before = first.link("deploymentBase").await;
    let (deployment, came) = first.follow::<DeploymentBase>("deploymentBase").await;
    wire.came("deployment", came);
    // What was fetched gets another `c`: a link is followed as it comes, never kept.
    assert_ne!(first.link("deploymentBase").await, before);
    the_descriptor_names_the_state(first, &deployment, region).await;

    for execution in [Execution::Proceeding, Execution::Download, Execution::Downloaded] {
        assert_eq!(first.report(&deployment.id, execution, Finished::None, &["on its way"]).await, 200);
    }
    assert_eq!(first.report(&deployment.id, Execution::Closed, Finished::Success, &["watched 600 s"]).await, 200);
    // Said twice, after a power cut perhaps: it is gone, and that is well.
    assert_eq!(first.report(&deployment.id, Execution::Closed, Finished::Success, &[]).await, 410);
    if server.version == Version::Current {
        let installed = first.poll().await.1;
        assert!(installed["_links"]["installedBase"].is_object(), "{installed}");
        wire.came("base-installed", installed);
        wire.came("installed", first.follow::<DeploymentBase>("installedBase").await.1);
    }

    assert_eq!(having_work(&boxes, 2).await.map(|boxes| boxes.len()), None, "one of two is not 100 per cent");
    let id = second.deployment().await.id;
    assert_eq!(second.report(&id, Execution::Closed, Finished::Success, &[]).await, 200);
    let rest: Vec<&Device> = until("the second group has work", SOON, || having_work(&boxes, 2)).await;
    for device in rest {
        let id = device.deployment().await.id;
        assert_eq!(device.report(&id, Execution::Closed, Finished::Success, &[]).await, 200);
    }
    rollout_is(server, "waves", "finished").await;
    let fleet = server.channel(&["targets", "--filter", "controllerId==wave-*"]);
    for (known, id) in fleet.as_array().expect("boxes").iter().zip(ids) {
        assert_eq!(
            (&known["id"], &known["status"], &known["installed"]["state"]),
            (&json!(id), &json!("in_sync"), &json!("north-1"))
        );
    }
    assert!(!fleet.to_string().contains("token"), "a box's token is nobody's business: {fleet}");
}

/// The artifact: its name, its size, its bytes, whole and resumed.
async fn the_descriptor_names_the_state(device: &Device, deployment: &DeploymentBase, region: &Region) {
    let artifact = &deployment.deployment.chunks[0].artifacts[0];
    assert_eq!(artifact.filename, FILE_NAME);
    let url = &artifact.links["download-http"].href;
    let (status, bytes) = device.fetch(url, None).await;
    assert_eq!((status, bytes.len() as u64), (200, artifact.size));
    let descriptor = Descriptor::parse(&bytes).expect("a descriptor");
    let file = region.file_of("north-1");
    assert!(file.to_string_lossy().contains(&descriptor.sha256), "{descriptor:?} is another than {}", file.display());
    assert_eq!(device.fetch(url, Some(10)).await, (206, bytes[10..].to_vec()));
    // A part that is whole already has nothing after it.
    assert_eq!(device.fetch(url, Some(artifact.size)).await.0, 416);
}

async fn a_rollout_takes_no_box_that_its_state_is_not_for(server: &Server, region: &Region) {
    let (boxes, _) = (boxes(server, "south", 2).await, boxes(server, "strange", 1).await);
    let from = ["--repository", text(region.path())];
    let new = |filter| {
        let new = ["rollout", "new", "south", "--state", "south-1", "--group", "all=100", "--filter", filter];
        [&new[..], &from].concat()
    };
    let said = server.channel_refuses(&new("controllerId==south-*"));
    assert!(said.contains("state-not-pushed"), "{said}");
    let set = push(server, region, "south-1")["distribution_set"].take();
    let said = server.channel_refuses(&new("controllerId==south-*,controllerId==strange-*"));
    assert!(said.contains("rollout-not-for-box") && said.contains("not for: strange-0. It is for south-*"), "{said}");
    server.channel(&new("controllerId==south-*"));
    let start = |name| [&["rollout", "start", name][..], &from].concat();
    server.channel(&start("south"));
    until("both have work", SOON, || having_work(&boxes, 2)).await;

    // A rollout that somebody has made in hawkBit itself is held to it as well, before it starts.
    let by_hand = json!({ "name": "by-hand", "targetFilterQuery": "controllerId==strange-*", "distributionSetId": set,
        "type": "forced", "amountGroups": 1 });
    server.operator("POST", "rollouts", Some(by_hand)).await;
    let said = server.channel_refuses(&start("by-hand"));
    assert!(said.contains("rollout-not-for-box") && said.contains("strange-0"), "{said}");
}

async fn a_failure_pauses_the_rollout_and_its_reason_is_shown(server: &Server, region: &Region) {
    let boxes = boxes(server, "bad", 2).await;
    roll_out(
        server,
        region,
        "bad",
        "north-1",
        "bad-*",
        &["--group", "canary=50", "--group", "rest=100", "--error", "50"],
    );
    let canary = until("the canary has work", SOON, || having_work(&boxes, 1)).await[0];
    let id = canary.deployment().await.id;
    let said = "golden case 2 of brain-extraction missed [golden-missed]";
    assert_eq!(canary.report(&id, Execution::Closed, Finished::Failure, &[said]).await, 200);
    rollout_is(server, "bad", "paused").await;
    assert!(having_work(&boxes, 1).await.is_none(), "the second group never starts");
    let fleet = server.channel(&["targets", "--filter", "controllerId==bad-*"]);
    let failed = fleet.as_array().expect("boxes").iter().find(|known| known["status"] == "error").expect("one failed");
    assert_eq!(failed["reason"][0], said, "{failed}");
}

async fn a_rollout_over_a_running_one_supersedes_it(server: &Server, region: &Region, wire: &Wire) {
    let boxes = boxes(server, "over", 1).await;
    roll_out(server, region, "older", "north-1", "over-*", &["--group", "all=100"]);
    until("it has work", SOON, || having_work(&boxes, 1)).await;
    let older = boxes[0].deployment().await.id;
    roll_out(server, region, "newer", "north-2", "over-*", &["--group", "all=100"]);
    until("it is to stop", SOON, || async { boxes[0].link("cancelAction").await }).await;
    wire.came("base-cancel", boxes[0].poll().await.1);
    // Until the box has said that it stopped, hawkBit offers nothing else.
    assert_eq!(boxes[0].link("deploymentBase").await, None);
    let came = boxes[0].accept_cancel().await;
    assert_eq!(came["cancelAction"]["stopId"], json!(older));
    wire.came("cancel", came);
    let newer = boxes[0].deployment().await;
    assert_eq!(newer.deployment.chunks[0].name, "north-2");
    assert_eq!(boxes[0].report(&newer.id, Execution::Closed, Finished::Success, &[]).await, 200);
    assert_eq!(boxes[0].report(&older, Execution::Closed, Finished::Success, &[]).await, 410);
    rollout_is(server, "newer", "finished").await;
}

async fn a_stopped_rollout_is_cancelled_on_the_box(server: &Server, region: &Region) {
    let boxes = boxes(server, "stop", 1).await;
    roll_out(server, region, "stop", "north-1", "stop-*", &["--group", "all=100"]);
    until("it has work", SOON, || having_work(&boxes, 1)).await;
    let paused = server.channel(&["rollout", "pause", "stop"]);
    assert_eq!(paused["status"], "paused");
    assert!(boxes[0].link("deploymentBase").await.is_some(), "a pause takes back nothing that has begun");
    server.channel(&["rollout", "resume", "stop"]);
    server.channel(&["rollout", "stop", "stop"]);
    until("it is to stop", SOON, || async { boxes[0].link("cancelAction").await }).await;
    boxes[0].accept_cancel().await;
    rollout_is(server, "stop", "stopped").await;
    assert_eq!(boxes[0].link("deploymentBase").await, None);
}

async fn a_box_that_has_to_confirm_gets_nothing_before(server: &Server, region: &Region, wire: &Wire) {
    switch(server, "user.confirmation.flow.enabled", true).await;
    let boxes = boxes(server, "ask", 1).await;
    roll_out(server, region, "ask", "north-1", "ask-*", &["--group", "all=100", "--confirm"]);
    until("it is asked", SOON, || async { boxes[0].link("confirmationBase").await }).await;
    wire.came("base-confirmation", boxes[0].poll().await.1);
    let (asked, came) = boxes[0].follow::<DeploymentBase>("confirmationBase").await;
    wire.came("confirmation", came);
    assert_eq!(asked.deployment.chunks[0].name, "north-1");
    assert_eq!(boxes[0].report(&asked.id, Execution::Proceeding, Finished::None, &[]).await, 404, "not before");
    // Denied is not over: hawkBit goes on asking.
    assert_eq!(boxes[0].confirm(&asked.id, "denied").await, 200);
    assert!(boxes[0].link("confirmationBase").await.is_some());
    assert_eq!(boxes[0].confirm(&asked.id, "confirmed").await, 200);
    assert_eq!(boxes[0].deployment().await.id, asked.id);
    switch(server, "user.confirmation.flow.enabled", false).await;
}

/// What a rollout cannot carry, an assignment by hand can.
async fn outside_its_window_a_box_downloads_and_waits(server: &Server, wire: &Wire) {
    let boxes = boxes(server, "night", 4).await;
    let window = |schedule| json!({ "schedule": schedule, "duration": "01:00:00", "timezone": "+01:00" });
    let sets = server.operator("GET", "distributionsets?q=name==north-1", None).await;
    let set = &sets["content"][0]["id"];
    for (n, (golden, assignment)) in [
        ("deployment-window-closed", json!({ "id": set, "maintenanceWindow": window("0 0 3 1 1 ? 2090") })),
        ("deployment-window-open", json!({ "id": set, "maintenanceWindow": window("0 * * * * ?") })),
        ("deployment-soft", json!({ "id": set, "type": "soft" })),
        ("deployment-download-only", json!({ "id": set, "type": "downloadonly" })),
    ]
    .into_iter()
    .enumerate()
    {
        server.operator("POST", &format!("targets/night-{n}/assignedDS"), Some(json!([assignment]))).await;
        let (deployment, came) = boxes[n].follow::<DeploymentBase>("deploymentBase").await;
        wire.came(golden, came);
        let deployment = deployment.deployment;
        let (update, open) = (deployment.update, deployment.maintenance_window.as_deref());
        let expected = [
            (Handling::Skip, Some("unavailable")),
            (Handling::Forced, Some("available")),
            (Handling::Attempt, None),
            (Handling::Skip, None),
        ];
        assert_eq!((update, open), expected[n], "{golden}");
    }
}

async fn where_hawkbit_asks_for_approval_nothing_starts_without(server: &Server, region: &Region) {
    switch(server, "rollout.approval.enabled", true).await;
    boxes(server, "appr", 10).await;
    let groups = ["--group", "canary=20", "--group", "half=50", "--group", "rest=100"];
    let repository = text(region.path());
    let new = ["rollout", "new", "appr", "--state", "north-1", "--filter", "controllerId==appr-*"];
    let new = [&new[..], &groups, &["--repository", repository]].concat();
    let start = ["rollout", "start", "appr", "--repository", repository];
    server.channel(&new);
    let said = server.channel_refuses(&start);
    assert!(said.contains("rollout-awaits-approval"), "{said}");
    if server.version == Version::Current {
        let said = server.channel_refuses(&["rollout", "approve", "appr"]);
        assert!(said.contains("hawkbit-permission"), "who publishes does not approve: {said}");
    }
    let approved = server.channel_as("approver", &["rollout", "approve", "appr"]);
    assert_eq!(approved["status"], "ready");
    let sizes: Vec<_> = approved["groups"].as_array().expect("groups").iter().map(|group| &group["boxes"]).collect();
    // Per cent of all, and the last takes what is left; before 0.5 per cent of those left.
    let expected = if server.version == Version::Current { [2, 5, 3] } else { [2, 4, 4] };
    assert_eq!(sizes, expected.map(Value::from).each_ref());
    server.channel(&start);
    rollout_is(server, "appr", "running").await;
    let said = server.channel_refuses(&new);
    assert!(said.contains("hawkbit-there-already"), "{said}");
}

fn push(server: &Server, region: &Region, state: &str) -> Value {
    server.channel(&["push", "--state", state, "--repository", &region.path().to_string_lossy()])
}

/// Makes and starts a rollout.
fn roll_out(server: &Server, region: &Region, name: &str, state: &str, boxes: &str, more: &[&str]) {
    roll_out_of(server, region.path(), name, state, boxes, more);
}

/// The same of a repository.
pub(super) fn roll_out_of(server: &Server, from: &Path, name: &str, state: &str, boxes: &str, more: &[&str]) {
    let (filter, from) = (format!("controllerId=={boxes}"), ["--repository", text(from)]);
    let new = ["rollout", "new", name, "--state", state, "--filter", &filter];
    let made = server.channel(&[&new, more, &from].concat());
    assert_eq!(made["name"], name);
    server.channel(&[&["rollout", "start", name][..], &from].concat());
}

pub(super) async fn rollout_is(server: &Server, name: &str, status: &str) {
    until(&format!("`{name}` is {status}"), SOON, || async {
        (server.channel(&["rollout", "status", name])["status"] == status).then_some(())
    })
    .await;
}

/// Boxes that were enrolled, each with its token.
async fn boxes(server: &Server, name: &str, count: usize) -> Vec<Device> {
    let id = |n| format!("{name}-{n}");
    let targets: Vec<Value> = (0..count)
        .map(|n| json!({ "controllerId": id(n), "name": id(n), "securityToken": format!("token-{n}") }))
        .collect();
    server.operator("POST", "targets", Some(Value::Array(targets))).await;
    (0..count).map(|n| Device::new(&server.url, &id(n), &format!("token-{n}"))).collect()
}

/// Those that have something to install, where they are this many.
pub(super) async fn having_work(boxes: &[Device], count: usize) -> Option<Vec<&Device>> {
    let mut having = Vec::new();
    for device in boxes {
        if device.link("deploymentBase").await.is_some() {
            having.push(device);
        }
    }
    (having.len() == count).then_some(having)
}

pub(super) async fn switch(server: &Server, what: &str, on: bool) {
    server.operator("PUT", &format!("system/configs/{what}"), Some(json!({ "value": on }))).await;
}

/// What came over the wire from the current version, against the goldens that the updater's own tests read.
struct Wire {
    base: String,
    version: Version,
}

impl Wire {
    fn came(&self, name: &str, answer: Value) {
        if self.version == Version::Central {
            return;
        }
        let mut answer = answer;
        self.steady(&mut answer);
        let text = format!("{}\n", serde_json::to_string_pretty(&answer).expect("JSON"));
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/goldens/ddi/hawkbit-{name}.json"));
        if std::env::var_os("SUND_TEST_WRITE_GOLDENS").is_some() {
            std::fs::create_dir_all(golden.parent().expect("a folder")).expect("a folder");
            std::fs::write(&golden, text).expect("written");
            return;
        }
        let known = std::fs::read_to_string(&golden).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
        assert_eq!(text, known, "hawkBit answers otherwise than {}", golden.display());
    }

    /// Without what differs from run to run: the port and numbers.
    fn steady(&self, value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(|value| self.steady(value)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if matches!(name.as_str(), "id" | "stopId") => "7".clone_into(text),
                        Value::String(text) if name == "href" => *text = self.steady_link(text),
                        _ => self.steady(value),
                    }
                }
            }
            _ => {}
        }
    }

    fn steady_link(&self, link: &str) -> String {
        let link = link.replace(&self.base, "http://hawkbit.example/");
        let (path, query) = link.split_once("?c=").map_or((link.as_str(), None), |(path, c)| (path, Some(c)));
        let number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit() || digit == b'-');
        let mut parts: Vec<&str> = path.split('/').map(|part| if number(part) { "7" } else { part }).collect();
        if let Some(id) = parts.iter().position(|part| *part == "v1") {
            // Which box it was: hawkBit chooses those of the first group.
            parts[id + 1] = "box";
        }
        let path = parts.join("/");
        match query {
            Some(c) if number(c) => format!("{path}?c=7"),
            Some(c) => format!("{path}?c={c}"),
            None => path,
        }
    }
}
