//! The audit log: durable on return, chained, sealed, and every tampering seen.
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use sund_agent::audit::{
    Anchors, ChainBreak, Event, GENESIS, Head, Key, Log, Options, Peer, Study, UpdaterEvent, identifiers, verify,
};
use sund_agent::fault::{Blame, Fault};
use sund_agent::privacy::Private;

fn key() -> Key {
    Key::new([7; 32])
}

fn open(dir: &Path, max_file: u64) -> Result<Log, Fault> {
    Log::open(Options { dir: dir.to_owned(), key: key(), source: "SUND".into(), max_file })
}

fn study() -> Study {
    Study {
        uid: Private::new("1.2.3.4.5".into()),
        patient_id: Private::new("010203-0405".into()),
        patient_name: Private::new("Sørensen^Åse Ægidia".into()),
    }
}

fn stored(instances: u64) -> Event {
    let peer = Peer { ae_title: "MR1".into(), address: "10.0.0.7".into() };
    Event::InstancesStored { study: study(), peer, instances }
}

/// A log of `n` events in files of `max_file` bytes, and its head.
fn written(dir: &Path, n: u64, max_file: u64) -> Head {
    let log = open(dir, max_file).unwrap();
    (0..n).map(|i| log.append(stored(i)).unwrap()).last().unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "jsonl"));
    files.sort();
    files
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn rewrite(path: &Path, lines: &[String]) {
    fs::write(path, lines.join("\n") + if lines.is_empty() { "" } else { "\n" }).unwrap();
}

#[test]
fn an_event_is_a_message_of_ps3_15_with_its_identifiers_sealed() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 1, 1 << 20);
    let text = fs::read_to_string(&files(dir.path())[0]).unwrap();
    for secret in ["1.2.3.4.5", "010203", "rensen", "gidia"] {
        assert!(!text.contains(secret), "{secret} stands in the clear");
    }
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["prev"], GENESIS);
    let event = &line["message"]["EventIdentification"];
    assert_eq!(event["EventID"]["csd-code"], "110104");
    assert_eq!(event["EventTypeCode"][0]["csd-code"], "instances-stored");
    assert_eq!(event["EventActionCode"], "C");
    assert_eq!(event["EventOutcomeIndicator"], 0);
    assert!(event["EventDateTime"].as_str().unwrap().ends_with('Z'));
    let caller = &line["message"]["ActiveParticipant"][0];
    assert_eq!((&caller["UserID"], &caller["NetworkAccessPointID"]), (&"MR1".into(), &"10.0.0.7".into()));
    let known = identifiers(text.trim_end(), &key()).unwrap().unwrap();
    assert_eq!(known["patient_name"], "Sørensen^Åse Ægidia");
    assert_eq!(known["study"], "1.2.3.4.5");
    assert_eq!(identifiers(text.trim_end(), &Key::new([8; 32])).unwrap_err().code, "audit-unseal");
    let moved = text.trim_end().replace("\"seq\":0", "\"seq\":1");
    assert_eq!(identifiers(&moved, &key()).unwrap_err().code, "audit-unseal");
}

#[test]
fn a_refusal_carries_its_stable_code() {
    let dir = tempfile::tempdir().unwrap();
    let fault = Fault::new("two-patients-in-one-study", Blame::Peer, "The study names two patients.");
    open(dir.path(), 1 << 20).unwrap().append(Event::StudyRefused { study: study(), fault }).unwrap();
    let line: Value = serde_json::from_str(&lines(&files(dir.path())[0])[0]).unwrap();
    let event = &line["message"]["EventIdentification"];
    assert_eq!(event["EventOutcomeIndicator"], 4);
    // Where REFUSALS.md says that it stands.
    let place = "message.EventIdentification.EventOutcomeDescription.code";
    assert!(include_str!("../REFUSALS.md").contains(&format!("`{place}`")));
    let code = line.pointer(&format!("/{}", place.replace('.', "/"))).unwrap();
    assert_eq!(code, "two-patients-in-one-study");
}

#[test]
fn the_chain_goes_on_across_files_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 10, 2_000);
    let head = written(dir.path(), 10, 2_000);
    let report = verify(dir.path(), &Anchors { start: None, head: Some(head.clone()) }).unwrap();
    assert_eq!((report.lines, report.head), (20, Some(head.clone())));
    assert!(report.files > 3 && report.files == files(dir.path()).len());
    // Older files may be collected: the chain then starts at their last line.
    let first = files(dir.path()).remove(0);
    let gone = lines(&first);
    let report = verify(dir.path(), &Anchors::default()).unwrap();
    fs::remove_file(&first).unwrap();
    assert!(matches!(verify(dir.path(), &Anchors::default()), Err(ChainBreak::OutOfOrder { expected: 0, .. })));
    let last = gone.last().unwrap();
    let seq = serde_json::from_str::<Value>(last).unwrap()["seq"].as_u64().unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, last.as_bytes());
    let hash = digest.as_ref().iter().fold(String::new(), |hex, b| hex + &format!("{b:02x}"));
    let rest = verify(dir.path(), &Anchors { start: Some(Head { seq, hash }), head: Some(head) }).unwrap();
    assert_eq!(rest.lines, report.lines - gone.len() as u64);
}

/// One that is offered again after a restart, however many files have come meanwhile.
#[test]
fn an_event_of_the_updater_is_written_once_across_files_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let offered = |seq: u64| {
        let (trail, by) = ("5d41402abc4b2a76b9719d911017c592".to_owned(), "run".to_owned());
        let text = format!("event {seq}");
        Event::Updater(UpdaterEvent { trail, seq, by, warns: true, text, details: BTreeMap::new() })
    };
    let happened = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    for restart in 0..4_u64 {
        // Files of one line, or of a few.
        let log = open(dir.path(), if restart % 2 == 0 { 1 } else { 3000 }).unwrap();
        for seq in 1..=2 + restart {
            let head = log.append_of(offered(seq), happened).unwrap();
            assert_eq!(log.append_of(offered(seq), happened).unwrap(), head, "it is answered as the first time");
        }
        (0..restart * 3).for_each(|n| drop(log.append(stored(n)).unwrap()));
    }
    let text: String = files(dir.path()).iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for seq in 1..=5 {
        assert_eq!(text.matches(&format!("\"event {seq}\"")).count(), 1);
    }
    assert_eq!(text.matches("2026-09-21T14:13:20.000Z").count(), 5, "with the time at which it happened");
    assert_eq!(verify(dir.path(), &Anchors::default()).unwrap().lines, 5 + 18);
}

/// `sund audit verify` is no false alarm on a node that works.
#[test]
fn a_log_that_is_written_meanwhile_holds() {
    const EVENTS: u64 = 400;
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 1, 100_000);
    let log = open(dir.path(), 100_000).unwrap();
    let writing = std::thread::spawn(move || (1..EVENTS).for_each(|n| drop(log.append(stored(n)).unwrap())));
    let mut seen = 1;
    while !writing.is_finished() {
        let report = verify(dir.path(), &Anchors::default()).unwrap();
        assert!(report.lines >= seen, "{report:?}");
        seen = report.lines;
    }
    writing.join().unwrap();
    assert_eq!(verify(dir.path(), &Anchors::default()).unwrap().lines, EVENTS);
}

#[test]
fn every_edit_removal_swap_and_cut_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let head = written(dir.path(), 8, 1 << 20);
    let file = files(dir.path()).remove(0);
    let good = lines(&file);
    let anchors = Anchors { start: None, head: Some(head) };
    let broken = |lines: &[String]| {
        rewrite(&file, lines);
        verify(dir.path(), &anchors).expect_err("the tampering was not seen")
    };
    for at in 0..good.len() {
        let mut edited = good.clone();
        edited[at] = edited[at].replace("10.0.0.7", "10.0.0.8");
        broken(&edited);
        let mut removed = good.clone();
        removed.remove(at);
        broken(&removed);
        let mut doubled = good.clone();
        doubled.insert(at, good[at].clone());
        assert!(matches!(broken(&doubled), ChainBreak::OutOfOrder { .. }));
        if at > 0 {
            let mut swapped = good.clone();
            swapped.swap(at - 1, at);
            assert!(matches!(broken(&swapped), ChainBreak::OutOfOrder { .. }));
        }
        assert!(matches!(broken(&good[..at]), ChainBreak::CutOff { seq: 7 }));
    }
    let mut padded = good.clone();
    padded[3].push(' ');
    assert!(matches!(broken(&padded), ChainBreak::NotLinked { line: 5, .. }));
    rewrite(&file, &good);
    verify(dir.path(), &anchors).unwrap();
}

#[test]
fn a_chain_written_anew_as_a_whole_differs_from_its_anchor() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let head = written(dir.path(), 5, 1 << 20);
    written(other.path(), 6, 1 << 20);
    let report = verify(other.path(), &Anchors { start: None, head: Some(head) });
    assert!(matches!(report, Err(ChainBreak::NotAnchored { seq: 4 })));
}

#[test]
fn a_line_torn_by_a_crash_is_kept_aside_and_the_repair_is_an_event() {
    for torn in [b"{\"format\":1,\"seq\":3,\"pre".to_vec(), vec![0; 4096], b"\0\0\0\n\0\0\n".to_vec()] {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 3, 1 << 20);
        let file = files(dir.path()).remove(0);
        let mut bytes = fs::read(&file).unwrap();
        bytes.extend_from_slice(&torn);
        fs::write(&file, &bytes).unwrap();
        assert!(verify(dir.path(), &Anchors::default()).is_err());
        let head = open(dir.path(), 1 << 20).unwrap().append(stored(9)).unwrap();
        let report = verify(dir.path(), &Anchors { start: None, head: Some(head) }).unwrap();
        assert_eq!(report.lines, 5); // three, the repair, one more
        assert!(lines(&file)[3].contains("audit-log-repaired"));
        let aside = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
        let aside = aside.into_iter().find(|p| p.to_string_lossy().contains("incomplete-")).unwrap();
        assert_eq!(fs::read(aside).unwrap(), torn);
    }
}

#[test]
fn an_edited_log_is_not_mended_on_opening() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 4, 1 << 20);
    let file = files(dir.path()).remove(0);
    let mut edited = lines(&file);
    edited[1] = edited[1].replace("10.0.0.7", "10.0.0.8");
    rewrite(&file, &edited);
    assert_eq!(open(dir.path(), 1 << 20).err().unwrap().code, "audit-chain-broken");
    assert_eq!(lines(&file), edited);
}

#[test]
fn a_file_begun_just_before_a_crash_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let head = written(dir.path(), 4, 1 << 20);
    fs::write(dir.path().join(format!("audit-{:020}.jsonl", head.seq + 1)), "").unwrap();
    let head = written(dir.path(), 1, 1 << 20);
    assert_eq!(verify(dir.path(), &Anchors { start: None, head: Some(head) }).unwrap().lines, 5);
}

#[test]
fn two_agents_cannot_write_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path(), 1 << 20).unwrap();
    assert_eq!(open(dir.path(), 1 << 20).err().unwrap().code, "audit-in-use");
}

#[test]
fn many_stages_append_at_once_and_share_the_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 16_000).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|i| drop(log.append(stored(i)).unwrap())));
        }
    });
    drop(log);
    assert_eq!(verify(dir.path(), &Anchors::default()).unwrap().lines, 400);
}
