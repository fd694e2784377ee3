//! What the updater hands over of its audit trail: each event once in the agent's log, wherever either of them dies.
use crate::serve::Site;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const TRAIL: &str = "5d41402abc4b2a76b9719d911017c592";

pub fn site(more: &str) -> Site {
    let site = Site::new(&format!("[channel]\nsocket = \"channel.sock\"\ndirectory = \"channel\"\n{more}"));
    std::fs::create_dir(site.folder("channel")).unwrap();
    site
}

/// The request that the golden file has, which the updater's own tests hold as well.
pub fn golden() -> Value {
    serde_json::from_str(include_str!("../goldens/channel/request-audit.json")).unwrap()
}

fn event(seq: u64) -> Value {
    json!({ "seq": seq, "at": "2026-11-29T17:00:00.123Z", "by": "run", "warns": false, "text": format!("event {seq}"),
            "details": { "state": "north-1" } })
}

fn request(trail: &str, events: impl Iterator<Item = u64>) -> Value {
    json!({ "audit": { "trail": trail, "events": events.map(event).collect::<Vec<_>>() } })
}

fn says(site: &Site, request: &Value) -> UnixStream {
    let mut stream = UnixStream::connect(site.folder("channel.sock")).unwrap();
    writeln!(stream, "{request}").unwrap();
    stream
}

pub fn asks(site: &Site, request: &Value) -> Value {
    let mut answer = String::new();
    says(site, request).read_to_string(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Messages of the updater in the log, in order.
fn of_updater(site: &Site) -> Vec<Value> {
    let lines = site.audit();
    // The last line may be one that a kill cut short.
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let messages = lines.map(|mut line| line["message"].take());
    messages.filter(|message| message["EventIdentification"]["EventTypeCode"][0]["csd-code"] == "updater").collect()
}

fn object<'a>(message: &'a Value, id: &str) -> &'a Value {
    let objects = message["ParticipantObjectIdentification"].as_array().unwrap();
    objects
        .iter()
        .find(|object| object["ParticipantObjectID"] == id)
        .map_or(&Value::Null, |o| &o["ParticipantObjectDetail"])
}

fn numbers(site: &Site) -> Vec<u64> {
    of_updater(site).iter().map(|message| object(message, "updater-event")["seq"].as_u64().unwrap()).collect()
}

#[test]
fn an_event_of_the_updater_is_an_audit_message_with_its_own_time_and_why_it_was_refused() {
    let site = site("");
    let _daemon = site.serve();
    assert_eq!(asks(&site, &golden()), json!({ "audited": { "seq": 42 } }));
    let messages = of_updater(&site);
    let [refused, enrolled] = &messages[..] else { panic!("{messages:?}") };
    let what = &refused["EventIdentification"];
    assert_eq!(
        (&what["EventDateTime"], &what["EventOutcomeIndicator"]),
        (&json!("2026-11-29T17:00:00.123Z"), &json!(4))
    );
    assert_eq!(what["EventOutcomeDescription"]["code"], "signature-forged");
    assert!(what["EventOutcomeDescription"]["text"].as_str().unwrap().contains("3f2a does not hold"));
    assert_eq!(refused["ActiveParticipant"][0]["UserID"], "sund-updater run");
    assert_eq!(refused["AuditSourceIdentification"]["AuditSourceID"], "SUND");
    assert_eq!((object(refused, "updater-says"), object(refused, "what")), (&json!("refused"), &json!("the metadata")));
    assert_eq!(enrolled["EventIdentification"]["EventOutcomeIndicator"], 0);
    assert_eq!(
        (object(enrolled, "updater-says"), object(enrolled, "id")),
        (&json!("the box was enrolled"), &json!("box-17"))
    );
    // Offered again, as after an answer that was lost, and with one that is new.
    assert_eq!(asks(&site, &golden()), json!({ "audited": { "seq": 42 } }));
    let mut more = golden();
    let mut suspended = event(43);
    suspended["details"] = json!({ "package": "bone-age", "reason": "drift at three sites" });
    more["audit"]["events"].as_array_mut().unwrap().push(suspended);
    assert_eq!(asks(&site, &more), json!({ "audited": { "seq": 43 } }));
    assert_eq!(numbers(&site), [41, 42, 43]);
    let suspended = of_updater(&site).pop().unwrap();
    assert_eq!(object(&suspended, "reason"), "drift at three sites", "what went well has a reason too");
    // A trail that was lost and begun anew.
    asks(&site, &request("a0", 1..=2));
    assert_eq!(numbers(&site), [41, 42, 43, 1, 2]);
}

#[test]
fn an_agent_that_is_killed_between_taking_an_event_and_its_answer_has_it_once() {
    let site = site("");
    for round in 0..5_u64 {
        let daemon = site.serve();
        let first = round * 10 + 1;
        // Those before it are offered once more, as by an updater that heard nothing.
        let offered = request(TRAIL, first.saturating_sub(10).max(1)..=first + 9);
        let answer = says(&site, &offered);
        let end = Instant::now() + Duration::from_secs(30);
        // Killed at another of its events each time, or right behind the last.
        while numbers(&site).last().is_none_or(|last| *last < first + round * 2 + 1) {
            assert!(Instant::now() < end);
        }
        daemon.signal(rustix::process::Signal::KILL);
        drop((answer, daemon));
        let found = numbers(&site);
        assert!(found.iter().copied().eq(1..=found.len() as u64), "{found:?}");
    }
    let _daemon = site.serve();
    assert_eq!(asks(&site, &request(TRAIL, 31..=50)), json!({ "audited": { "seq": 50 } }));
    assert_eq!(numbers(&site), (1..=50).collect::<Vec<_>>());
}

#[test]
fn what_is_no_part_of_a_trail_is_refused_and_audited_and_nothing_of_it_is_taken() {
    let site = site("");
    let _daemon = site.serve();
    for wrong in [
        request("", 1..=1),
        request("../trail", 1..=1),
        request(TRAIL, std::iter::empty()),
        request(TRAIL, 1..=65),
        request(TRAIL, [2, 1].into_iter()),
        request(TRAIL, [1, 1].into_iter()),
    ] {
        assert_eq!(asks(&site, &wrong)["refused"]["code"], "updater-events-invalid", "{wrong}");
    }
    let mut wrong = request(TRAIL, 1..=1);
    wrong["audit"]["events"][0]["at"] = json!("yesterday");
    assert_eq!(asks(&site, &wrong)["refused"]["code"], "control-request");
    assert!(of_updater(&site).is_empty());
    assert_eq!(site.audit().matches("updater-events-invalid").count(), 6);
}

/// A longer line would break the chain.
#[test]
fn the_longest_event_is_a_line_of_the_log_and_the_chain_holds() {
    let site = site("");
    let daemon = site.serve();
    // Twice as many details as are written, of the characters that JSON makes the longest.
    let text = "\u{1}".repeat(5000);
    let names = (0..20).map(|n| format!("{n}{}", "x".repeat(100))).chain(["code".to_owned(), "reason".to_owned()]);
    let details: BTreeMap<_, _> = names.map(|name| (name, &text)).collect();
    let mut long = request(TRAIL, 1..=1);
    for (key, value) in [("details", json!(details)), ("by", json!(text)), ("text", json!(text))] {
        long["audit"]["events"][0][key] = value;
    }
    assert_eq!(asks(&site, &long), json!({ "audited": { "seq": 1 } }));
    let longest = site.audit().lines().map(str::len).max().unwrap();
    assert!(longest > 50_000 && longest < 64 * 1024, "{longest}");
    drop(daemon);
    let _daemon = site.serve();
    assert_eq!(asks(&site, &request(TRAIL, 1..=2)), json!({ "audited": { "seq": 2 } }));
    assert_eq!(numbers(&site), [1, 2]);
}
