//! A box goes back to its factory state by an order of its region, for this box, in this life of it, and loses nothing unsaid.
use super::provision::{Signer, document};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use sund_ota::provision::envelope;
use sund_ota::reset::{FILE, PAYLOAD_TYPE, VARIABLE};
use tempfile::TempDir;

/// What the firmware has to be asked: attributes, and `1` in UTF-16 with its end.
const REQUEST: [u8; 8] = [7, 0, 0, 0, b'1', 0, 0, 0];

/// A box of the region north, with its stick, and an agent that says what it has not sent.
struct World {
    directory: TempDir,
    region: Signer,
    status: Arc<Mutex<Option<Value>>>,
}

fn all_sent() -> Value {
    json!({"format": 1, "version": "0.1.0", "queue": [], "node": {"associations": 0},
        "spool": {"instances": 300, "unconsidered": 0},
        "studies": [{"state": "delivered"}, {"state": "refused"}],
        "destinations": [{"name": "pacs", "waiting": 0, "delivered": 7, "dead": 0, "held": 0}],
        "forward": {"collector": "audit.example:6514", "collected": 9, "waiting": 0, "trouble": null}})
}

impl World {
    fn new() -> Self {
        let (directory, region) = (tempfile::tempdir().expect("a directory"), Signer::new());
        let path = |name: &str| directory.path().join(name);
        for name in ["site", "stick", "updater"] {
            std::fs::create_dir(path(name)).expect("a directory");
        }
        std::fs::write(path("keys.pem"), region.pem()).expect("keys");
        let status = Arc::new(Mutex::new(Some(all_sent())));
        let (socket, says) = (UnixListener::bind(path("control.sock")).expect("a socket"), Arc::clone(&status));
        std::thread::spawn(move || {
            for stream in socket.incoming() {
                let mut stream = stream.expect("a connection");
                let mut asked = String::new();
                BufReader::new(&stream).read_line(&mut asked).expect("a line");
                assert_eq!(asked, "\"status\"\n");
                if let Some(status) = says.lock().expect("no test failed while it held this").clone() {
                    stream.write_all(json!({"status": status}).to_string().as_bytes()).expect("an answer");
                }
            }
        });
        let world = Self { directory, region, status };
        world.provision();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn provision(&self) {
        let provision = self.region.open(&document()).expect("a document");
        provision.apply(&self.path("site")).expect("it is applied");
    }

    fn agent_says(&self, pointer: &str, value: Value) {
        let mut status = all_sent();
        *status.pointer_mut(pointer).expect("a place") = value;
        *self.status.lock().expect("no test failed while it held this") = Some(status);
    }

    fn order() -> Value {
        let now = Timestamp::now();
        json!({"format": 1, "region": "north", "box": "north-1", "created": now + 1.second(), "expires": now + 24.hours()})
    }

    /// Puts in a stick with an order; how the command ended, and what it said.
    fn stick(&self, order: &Value) -> (Option<i32>, String) {
        self.stick_says(&self.region.sign_as(PAYLOAD_TYPE, order))
    }

    fn stick_says(&self, envelope: &Value) -> (Option<i32>, String) {
        std::fs::write(self.path("stick").join(FILE), envelope.to_string()).expect("a stick");
        let output = Command::new(env!("CARGO_BIN_EXE_sund-updater"))
            .arg("--config")
            .arg(self.path("site/updater.toml"))
            .arg("reset")
            .arg(self.path("stick"))
            .args(["--keys".into(), self.path("keys.pem"), "--site".into(), self.path("site")])
            .args(["--agent".into(), self.path("control.sock"), "--variable".into(), self.path("variable")])
            .args(["--said".into(), self.path("said"), "--directory".into(), self.path("updater")])
            .output()
            .expect("sund-updater starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn is_asked(&self) -> bool {
        std::fs::read(self.path("variable")).is_ok_and(|asked| asked == REQUEST)
    }

    fn refuses(&self, order: &Value, code: &str) {
        let (exit, said) = self.stick(order);
        assert!(exit == Some(1) && said.contains(&format!("[{code}]")), "{code}: {said}");
        assert!(!self.path("variable").exists(), "{code}");
        // Whoever stands before the box reads it on its screen.
        let shown = Command::new(env!("CARGO_BIN_EXE_sund-updater"))
            .args(["screen", "--once", "--stick"])
            .arg(self.path("said"))
            .output()
            .expect("sund-updater starts");
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("The stick:"), "{shown}");
    }
}

#[test]
fn an_order_of_the_region_has_the_next_start_erase_the_box() {
    let world = World::new();
    let (exit, said) = world.stick(&World::order());
    assert!(exit == Some(0) && said.contains("the next start erases"), "{said}");
    assert!(said.lines().any(|line| line.contains("\"target\":\"audit\"") && line.contains("north-1")), "{said}");
    assert!(world.is_asked());
    // The start that was to do it has not: the stick that is still there restarts nothing again and again.
    let (exit, said) = world.stick(&World::order());
    assert!(exit == Some(1) && said.contains("[reset-not-erased]") && world.is_asked(), "{said}");
}

/// Else the system would know of no request, or make a partition that another key opens.
#[test]
fn the_system_looks_for_the_request_and_makes_the_partition_as_at_its_first_start() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/root/usr/lib/systemd/system");
    let values = |file: &str, key: &str| {
        let unit = std::fs::read_to_string(units.join(file)).expect("a unit");
        let lines = unit.lines().filter_map(|line| line.split_once('='));
        lines
            .filter(|(name, value)| *name == key && !value.is_empty())
            .map(|(_, value)| value.to_owned())
            .collect::<Vec<_>>()
    };
    let (resets, makes) = ("sund-factory-reset.service", "systemd-repart.service.d/10-sund.conf");
    assert_eq!(values(resets, "ConditionPathExists"), [VARIABLE]);
    assert_eq!(
        values(resets, "ExecStart").join("").replace(" --factory-reset=yes", ""),
        values(makes, "ExecStart").join("")
    );
    assert!(values(resets, "Before").join(" ").contains("systemd-repart.service"));
    assert!(values(makes, "Wants").contains(&resets.to_owned()) && values(makes, "After").join(" ").contains(resets));
}

#[test]
fn a_clock_that_was_ahead_on_the_first_day_keeps_no_order_from_being_taken() {
    let world = World::new();
    let record = std::fs::File::options().write(true).open(world.path("site/provisioned.json")).expect("a record");
    record.set_modified(SystemTime::now() + Duration::from_hours(24 * 365)).expect("a time");
    let (exit, said) = world.stick(&World::order());
    assert!(exit == Some(0) && world.is_asked(), "{said}");
}

#[test]
fn nobody_else_resets_a_box_and_no_order_for_another_one_or_another_time() {
    let world = World::new();
    let order = World::order();
    let by_a_stranger = world.stick_says(&Signer::new().sign_as(PAYLOAD_TYPE, &order));
    assert!(by_a_stranger.1.contains("[provision-not-signed]"), "{}", by_a_stranger.1);
    let as_something_else = world.stick_says(&world.region.sign_as(envelope::PAYLOAD_TYPE, &order));
    assert!(as_something_else.1.contains("[provision-invalid]"), "{}", as_something_else.1);
    let changed = |key: &str, value: Value| {
        let mut order = order.clone();
        order[key] = value;
        order
    };
    let now = Timestamp::now();
    for (order, code) in [
        (changed("box", json!("north-2")), "reset-other-box"),
        (changed("region", json!("south")), "reset-other-box"),
        (changed("expires", json!(now - 1.second())), "reset-expired"),
        (changed("created", json!("2026-01-02T00:00:00Z")), "reset-older"),
        (changed("format", json!(2)), "provision-invalid"),
        (changed("more", json!(true)), "provision-invalid"),
    ] {
        world.refuses(&order, code);
    }
}

/// The stick with both files stays in the box.
#[test]
fn a_box_that_was_reset_and_provisioned_again_is_not_reset_by_the_same_order_once_more() {
    let world = World::new();
    let mut order = World::order();
    order["created"] = json!(Timestamp::now());
    assert_eq!(world.stick(&order).0, Some(0));
    // The next start erases all of it, and takes the request away.
    for name in ["site", "variable"] {
        let path = world.path(name);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.expect("it was there");
    }
    std::fs::create_dir(world.path("site")).expect("a directory");
    let (exit, said) = world.stick(&order);
    assert!(exit == Some(0) && said.contains("nobody's") && !world.is_asked(), "{said}");
    world.provision();
    world.refuses(&order, "reset-older");
}

/// A stranger's order is refused, and that it was is lost as little as anything else.
#[test]
fn an_audit_event_that_the_agent_has_not_taken_is_told_as_unsent() {
    let world = World::new();
    let by_a_stranger = world.stick_says(&Signer::new().sign_as(PAYLOAD_TYPE, &World::order()));
    assert_eq!(by_a_stranger.0, Some(1));
    let (exit, said) = world.stick(&World::order());
    assert!(exit == Some(1) && said.contains("1 audit events of the updater"), "{said}");
    let mut discarding = World::order();
    discarding["discard"] = json!(true);
    let (exit, said) = world.stick(&discarding);
    assert!(exit == Some(0) && said.contains("2 audit events of the updater") && world.is_asked(), "{said}");
}

#[test]
fn what_was_not_sent_is_told_and_given_up_only_where_the_order_says_so() {
    let world = World::new();
    let mut discarding = World::order();
    discarding["discard"] = json!(true);
    for (pointer, value, told) in [
        ("/node/associations", json!(2), "2 associations"),
        ("/spool/unconsidered", json!(300), "300 images whose study is not complete yet"),
        ("/studies/1/state", json!("receiving"), "1 studies that have no job yet"),
        ("/studies", json!([{"state": "complete"}, {"state": "routed"}]), "2 studies"),
        ("/queue", json!([{"id": 1}, {"id": 2}]), "2 jobs"),
        ("/destinations/0/waiting", json!(3), "3 results"),
        ("/destinations/0/held", json!(1), "1 results"),
        ("/forward/waiting", json!(40), "40 events of the audit log"),
        ("/forward", json!(null), "the audit log, which nobody collects"),
    ] {
        world.agent_says(pointer, value);
        world.refuses(&World::order(), "reset-unsent");
        let (exit, said) = world.stick(&discarding);
        assert!(exit == Some(0) && said.contains(told) && world.is_asked(), "{said}");
        std::fs::remove_file(world.path("variable")).expect("it was asked");
    }
    // An agent that does not answer, or answers something else.
    world.agent_says("/format", json!(2));
    world.refuses(&World::order(), "reset-unsent-unknown");
    *world.status.lock().expect("no test failed while it held this") = None;
    world.refuses(&World::order(), "reset-unsent-unknown");
    assert_eq!(world.stick(&discarding).0, Some(0));
    std::fs::remove_file(world.path("variable")).expect("it was asked");

    // Whose the box is nobody can tell any more: a reset is what mends that.
    std::fs::write(world.path("site/provisioned.json"), "half of").expect("a file");
    world.refuses(&World::order(), "provision-record-damaged");
    assert_eq!(world.stick(&discarding).0, Some(0));
    assert!(world.is_asked());
}
