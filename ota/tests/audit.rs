//! What the updater did and what it refused reaches the agent's audit log: each event once and in order, wherever either of them dies.
use super::agent::Agent;
use super::appliance::Appliance;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sund_ota::audit::{Event, Trail};

fn kept(appliance: &Appliance) -> usize {
    Trail::new(&appliance.directory.path().join("updater")).waiting().expect("the trail is whole")
}

fn audited(agent: &Agent) -> Vec<Event> {
    agent.serving().audited.clone()
}

/// The codes of what was refused, as the agent's audit log has them.
pub fn codes(agent: &Agent) -> Vec<String> {
    audited(agent).iter().filter_map(|event| event.details.get("code").cloned()).collect()
}

/// Numbers from 1 on, none twice and none missing.
fn is_whole(events: &[Event]) -> bool {
    events.iter().map(|event| event.seq).eq(1..=events.len() as u64)
}

/// The timestamp of the region without its signatures.
fn unsigned(appliance: &Appliance) -> Vec<u8> {
    let told = appliance.channel.told();
    let mut timestamp: Value = serde_json::from_slice(&told.files["metadata/timestamp.json"]).expect("JSON");
    timestamp["signatures"] = json!([]);
    timestamp.to_string().into_bytes()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 30 s: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_and_what_was_applied_is_in_the_agents_audit_log_with_its_time() {
    let appliance = Appliance::serving().await;
    let begun = jiff::Timestamp::now();
    let events = audited(&appliance.agent);
    assert!(is_whole(&events) && kept(&appliance) == 0, "{events:?}");
    let ended = events.iter().find(|event| event.text == "the action ended").expect("it ended");
    assert_eq!((ended.details["state"].as_str(), ended.warns, ended.by.as_str()), ("north-1", false, "once"));
    assert!(events.iter().all(|event| event.at <= begun));

    // A server that somebody else has: each poll refuses it, and each refusal is told.
    let unsigned = unsigned(&appliance);
    appliance.channel.told().files.insert("metadata/timestamp.json".to_owned(), unsigned);
    appliance.once().await;
    let refused = audited(&appliance.agent).into_iter().rfind(|event| event.text == "refused").expect("a refusal");
    assert_eq!((refused.details["code"].as_str(), refused.warns), ("signature-missing", true));
    assert!(!refused.details["reason"].is_empty());

    // A person's wrong code at the command line.
    assert_eq!(appliance.updater(&["enrol", "--code", "guessed"]).await.status.code(), Some(1));
    let enrol = audited(&appliance.agent).pop().expect("an event");
    assert_eq!((enrol.by.as_str(), enrol.text.as_str()), ("enrol", "the box was not enrolled"));
    assert!(is_whole(&audited(&appliance.agent)) && kept(&appliance) == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_between_taking_events_and_its_answer_has_each_of_them_once() {
    let mut appliance = Appliance::new().await;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    appliance.agent.serving().dies_after_audit = 3;
    let mut running = appliance.run();
    until("all is taken", || appliance.agent.serving().state.is_some() && kept(&appliance) == 0).await;
    until("it is told", || appliance.record().last.is_some() && kept(&appliance) == 0).await;
    running.kill().expect("it is killed");
    running.wait().expect("it ended");
    assert_eq!(appliance.agent.serving().dies_after_audit, 0);
    let events = audited(&appliance.agent);
    assert!(is_whole(&events) && events.iter().any(|event| event.text == "the action ended"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_updater_that_is_killed_again_and_again_hands_over_each_event_once() {
    let mut appliance = Appliance::new().await;
    for n in 1..=4 {
        let descriptor = appliance.state(&format!("north-{n}"), &[n; 1000], json!({}));
        appliance.channel.deploy(&n.to_string(), &descriptor);
        for _ in 0..4 {
            let mut running = appliance.run();
            tokio::time::sleep(super::kill::random_below(Duration::from_millis(800))).await;
            running.kill().expect("it is killed");
            running.wait().expect("it ended");
        }
        super::kill::finish(&appliance, &n.to_string(), &format!("north-{n}")).await;
    }
    let events = audited(&appliance.agent);
    assert!(is_whole(&events), "{:?}", events.iter().map(|event| event.seq).collect::<Vec<_>>());
    let ended = events.iter().filter(|event| event.text == "the action ended");
    let states: BTreeSet<_> = ended.map(|event| event.details["state"].as_str()).collect();
    assert_eq!(states, BTreeSet::from(["north-1", "north-2", "north-3", "north-4"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_away_gets_the_events_when_it_is_back_and_no_update_waits_for_it() {
    let appliance = Appliance::new().await;
    let socket = appliance.directory.path().join("agent.sock");
    let aside = appliance.directory.path().join("away.sock");
    fs::rename(&socket, &aside).expect("its socket");
    appliance.channel.told().busy = Some(1);
    let mut running = appliance.run();
    let log = || fs::read_to_string(appliance.log()).expect("a log");
    until("it is told", || log().contains("audit events wait for the agent")).await;
    until("it is tried again", || appliance.channel.told().polls > 3).await;
    assert!(kept(&appliance) > 0);
    assert!(audited(&appliance.agent).is_empty());
    fs::rename(&aside, &socket).expect("its socket");
    until("all is taken", || kept(&appliance) == 0).await;
    running.kill().expect("it is killed");
    running.wait().expect("it ended");
    assert!(is_whole(&audited(&appliance.agent)) && !codes(&appliance.agent).is_empty());
    assert_eq!(log().matches("audit events wait for the agent").count(), 1, "{}", log());
}

/// A channel that is away for days is one event.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_updater_waits_for_is_one_event_for_as_long_as_it_lasts() {
    let appliance = Appliance::new().await;
    appliance.channel.told().busy = Some(1);
    let mut running = appliance.run();
    let polls = || appliance.channel.told().polls;
    until("it has polled again and again", || polls() >= 4).await;
    running.kill().expect("it is killed");
    running.wait().expect("it ended");
    let waits = audited(&appliance.agent).into_iter().filter(|event| event.text.starts_with("nothing more"));
    assert_eq!(waits.count(), 1);
}

/// What is no audit event goes the same way where it is a warning, and is no less quiet.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_updater_warns_of_reaches_the_agent_whatever_the_journal_leaves_out_and_once_for_as_long_as_it_lasts()
{
    let mut appliance = Appliance::new().await;
    appliance.environment.push(("SUND_LOG".to_owned(), "off".to_owned()));
    appliance.channel.told().busy = Some(1);
    let mut running = appliance.run();
    let polls = || appliance.channel.told().polls;
    until("it has polled again and again", || polls() >= 4).await;
    until("all is taken", || kept(&appliance) == 0).await;
    running.kill().expect("it is killed");
    running.wait().expect("it ended");
    let events = audited(&appliance.agent);
    let warned: Vec<_> = events.iter().filter(|event| event.text == "the poll found nothing").collect();
    assert!(is_whole(&events) && warned.len() == 1, "{events:?}");
    assert!(warned[0].warns && !warned[0].details["trouble"].is_empty(), "{warned:?}");
}

/// A server that somebody else has, for weeks.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_is_refused_is_one_event_for_as_long_as_it_is_the_same() {
    let mut appliance = Appliance::serving().await;
    let unsigned = unsigned(&appliance);
    let refusals = || audited(&appliance.agent).into_iter().filter(|event| event.details.contains_key("what")).count();
    let before = refusals();
    let mut running = appliance.run();
    for times in 1..=2 {
        appliance.channel.told().files.insert("metadata/timestamp.json".to_owned(), unsigned.clone());
        until("it is refused", || refusals() == before + times).await;
        let polls = appliance.channel.told().polls;
        until("it is refused again and again", || appliance.channel.told().polls > polls + 3).await;
        assert_eq!(refusals(), before + times);
        let whole = appliance.region.publish();
        appliance.channel.serve(whole);
        let polls = appliance.channel.told().polls;
        until("it holds again", || appliance.channel.told().polls > polls + 2).await;
    }
    running.kill().expect("it is killed");
    running.wait().expect("it ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_agent_is_updated_all_the_same_and_the_events_wait_for_the_next() {
    let mut appliance = Appliance::new().await;
    appliance.agent.serving().takes_no_audit = true;
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    assert_eq!(appliance.once().await, Some(0));
    assert_eq!(appliance.agent.serving().state.as_deref(), Some("north-1"));
    let waiting = kept(&appliance);
    assert!(waiting > 3 && audited(&appliance.agent).is_empty(), "{waiting}");
    appliance.agent.serving().takes_no_audit = false;
    assert_eq!(appliance.once().await, Some(0));
    let events = audited(&appliance.agent);
    assert!(is_whole(&events) && events.len() >= waiting && kept(&appliance) == 0, "{events:?}");
}

/// What the journal is told to leave out is kept all the same.
#[tokio::test(flavor = "multi_thread")]
async fn no_level_of_the_journal_keeps_an_event_out_of_the_trail() {
    let mut appliance = Appliance::new().await;
    appliance.environment.push(("SUND_LOG".to_owned(), "off".to_owned()));
    let descriptor = appliance.state("north-1", b"model", json!({}));
    appliance.channel.deploy("1", &descriptor);
    let output = appliance.updater(&["once"]).await;
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    assert!(audited(&appliance.agent).iter().any(|event| event.text == "an action was taken up"));
}

/// Each detail that the source gives an audit event or a warning. A new one is looked at here first: none may tell of a patient.
#[test]
fn the_details_of_audit_events_are_these_and_name_no_patient() {
    const DETAILS: [&str; 32] = [
        "action",
        "because",
        "before",
        "blame",
        "code",
        "end",
        "error",
        "fault",
        "halt",
        "id",
        "key",
        "leaves",
        "left",
        "line",
        "listed",
        "lost",
        "name",
        "package",
        "panic",
        "reason",
        "recipient",
        "region",
        "runs",
        "sha256",
        "state",
        "step",
        "told",
        "trouble",
        "until",
        "version",
        "what",
        "why",
    ];
    let mut found = BTreeSet::new();
    let mut events = 0;
    for source in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(source).expect("a source");
        for begins in ["target: \"audit\",", "tracing::warn!(", "tracing::error!("] {
            for said in text.split(begins).skip(1) {
                let said = said.trim_start().trim_start_matches("target: \"audit\",");
                found.extend(fields(said.split(");\n").next().expect("an end")));
                events += 1;
            }
        }
    }
    assert!(events > 40, "{events}");
    let known: BTreeSet<String> = DETAILS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(found, known);
}

/// The names before the sentence: `name = value`, `%name`, `?name`, `name`.
fn fields(said: &str) -> Vec<String> {
    let (mut depth, mut part, mut parts) = (0, String::new(), Vec::new());
    for c in said.chars() {
        match c {
            '"' if depth == 0 && part.trim().is_empty() => break,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(c);
        }
    }
    let name = |part: &String| part.split('=').next().map(|name| name.trim().trim_start_matches(['%', '?']).to_owned());
    parts.iter().filter_map(name).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The golden file is what both sides hold; this is what the updater writes.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_written_as_the_golden_file_has_it() {
    let appliance = Appliance::serving().await;
    let event = serde_json::to_value(&audited(&appliance.agent)[0]).expect("JSON");
    let golden = include_str!("goldens/agent/request-audit.json");
    let golden: Value = serde_json::from_str(golden).expect("JSON");
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&event), keys(&golden["audit"]["events"][0]));
}
