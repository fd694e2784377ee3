//! No instance is acknowledged before it is durable: the system calls of the agent, as the kernel saw them.
//!
//! `strace` writes down every write to a file and to a socket, with the moment at which each began and returned. Each image
//! has a length of its own, by which its record in the log is known. A C-STORE-RSP with 0000H may begin only after a
//! durable write (`RWF_DSYNC`) of that record has returned.
use crate::hospital::{Image, frame, new_uid};
use crate::serve::{Daemon, Site};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use sund_agent::dataset::part10;

const SENDERS: usize = 3;
const IMAGES: usize = 6;
/// Sealing adds a tag to each chunk, and the disk takes whole blocks: an image's record is longer than it by less than this.
const SLACK: usize = 5 << 10;
/// Two images differ in length by some rows of so many bytes; all are short enough to lie in the log in one piece.
const ROW: usize = 640 * 3;
const ROWS: u16 = 5;

/// What the trace says, in its order.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    /// A durable write of a file returned: the lengths of its parts.
    Durable(Vec<usize>),
    /// A response that says 0000H began to be written: the SOP Instance UID that it names.
    Acknowledged(String),
}

/// SOP Instance UIDs that were acknowledged, in order; an error names one that was not durable by then.
fn acknowledged_after_durable(events: &[Event], lengths: &BTreeMap<String, usize>) -> Result<Vec<String>, String> {
    let mut durable: Vec<usize> = Vec::new();
    let mut acknowledged = Vec::new();
    for event in events {
        match event {
            Event::Durable(parts) => durable.extend(parts),
            Event::Acknowledged(uid) => {
                let length = lengths.get(uid).ok_or(format!("{uid} was never sent"))?;
                let is_record = |part: &usize| (*length..*length + SLACK).contains(part);
                let record = durable.iter().position(is_record);
                // A record speaks for one instance.
                durable.swap_remove(record.ok_or(format!("{uid} was acknowledged before it was durable"))?);
                acknowledged.push(uid.clone());
            }
        }
    }
    Ok(acknowledged)
}

/// Reads what strace wrote. A call that another thread's call interrupts has two lines, `<unfinished ...>` at its beginning
/// and `<... resumed>` at its return.
fn events(trace: &str) -> Vec<Event> {
    let mut begun: BTreeMap<&str, String> = BTreeMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(rest) = call.strip_prefix("<... ") {
            let tail = rest.split_once(" resumed>").map_or("", |(_, tail)| tail);
            let whole = begun.remove(thread).unwrap_or_default() + tail;
            events.extend(durable(&whole));
        } else if let Some(head) = call.strip_suffix("<unfinished ...>") {
            events.extend(acknowledgement(head));
            begun.insert(thread, head.trim_end().to_owned());
        } else {
            events.extend(acknowledgement(call));
            events.extend(durable(call));
        }
    }
    events
}

/// A durable write to a segment of the log that returned all that it was given.
fn durable(call: &str) -> Option<Event> {
    if !call.starts_with("pwritev2(") || !call.contains("/spool/segment-") || !call.contains("RWF_DSYNC") {
        return None;
    }
    let parts = call.split("iov_len=").skip(1).filter_map(|text| text.split(['}', ',']).next()?.parse().ok());
    let parts: Vec<usize> = parts.collect();
    let written: usize = call.rsplit_once(" = ")?.1.split_whitespace().next()?.parse().ok()?;
    (written == parts.iter().sum::<usize>()).then_some(Event::Durable(parts))
}

/// A write to a socket that is a P-DATA-TF with a C-STORE-RSP of status 0000H.
fn acknowledgement(call: &str) -> Option<Event> {
    let is_send = ["write(", "writev(", "sendto(", "sendmsg("].iter().any(|name| call.starts_with(name));
    if !is_send || !call.contains("<TCP") && !call.contains("<socket:") {
        return None;
    }
    let bytes = string(call.split_once('"')?.1);
    let element = |tag: [u8; 4]| {
        let at = bytes.windows(4).position(|window| window == tag)?;
        let length = u32::from_le_bytes(bytes.get(at + 4..at + 8)?.try_into().ok()?) as usize;
        bytes.get(at + 8..at + 8 + length)
    };
    // PS3.7 9.3.1.2: Command Field 8001H, Status, Affected SOP Instance UID; implicit VR.
    let is_stored =
        bytes.first() == Some(&4) && element([0, 0, 0, 1])? == [0x01, 0x80] && element([0, 0, 0, 9])? == [0, 0];
    let uid = String::from_utf8_lossy(element([0, 0, 0, 16])?).trim_end_matches(['\0', ' ']).to_owned();
    is_stored.then_some(Event::Acknowledged(uid))
}

/// A string as strace writes it, up to its closing quote: `\xHH`, octal, and the escapes of C.
fn string(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'"', _) => break,
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                rest = tail;
            }
            (b'\\', [b'0'..=b'7', ..]) => {
                let digits = tail.iter().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
                bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..digits]).unwrap(), 8).unwrap());
                rest = &tail[digits..];
            }
            (b'\\', [escaped, tail @ ..]) => {
                let at = b"ntrvfba".iter().position(|letter| letter == escaped);
                bytes.push(at.map_or(*escaped, |at| b"\n\t\r\x0b\x0c\x08\x07"[at]));
                rest = tail;
            }
            (byte, _) => bytes.push(*byte),
        }
    }
    bytes
}

fn tool(name: &str, package: &str) -> Command {
    let found =
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|p| p.join(name).exists()));
    assert!(found, "{name} is not there: apt-get install {package}");
    Command::new(name)
}

/// The images of one sender, each of its own length, as files.
fn images(folder: &Path, sender: usize, lengths: &mut BTreeMap<String, usize>) {
    let study = new_uid();
    for n in 0..IMAGES {
        let rows = ROWS * (1 + (sender * IMAGES + n) as u16);
        let object = Image::in_study(frame().rows(rows), &study, &n.to_string()).object();
        lengths.insert(object.sop_instance.clone(), object.dataset.len());
        let file = part10::write(&object.sop_class, &object.sop_instance, &object.transfer_syntax, &object.dataset);
        std::fs::write(folder.join(format!("{n}.dcm")), file).unwrap();
    }
}

/// Traces the daemon, from the system calls on that it makes after this returns.
fn strace(daemon: &Daemon, arguments: &[&str], output: &Path) -> Child {
    let mut strace = tool("strace", "strace");
    strace.arg("-f").args(arguments).arg("-o").arg(output);
    strace.args(["-p", &daemon.pid().as_raw_nonzero().to_string()]);
    let mut child = strace.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("attached") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "strace may not trace here");
    }
    // Held open: strace says there when threads come and go.
    child.stderr = Some(said.into_inner());
    child
}

#[test]
fn each_0000h_is_written_after_the_record_of_its_instance_is_durable() {
    assert!(usize::from(ROWS) * ROW > SLACK);
    let site = Site::new("");
    let daemon = site.serve();
    let trace = site.folder("trace");
    let calls = "trace=pwritev2,pwrite64,write,writev,sendto,sendmsg";
    let mut strace = strace(&daemon, &["-y", "-x", "-s", "400", "-e", calls], &trace);
    let address = site.status()["node"]["address"].as_str().unwrap().to_owned();
    let (host, port) = address.split_once(':').unwrap();
    let mut lengths = BTreeMap::new();
    let senders: Vec<Child> = (0..SENDERS)
        .map(|sender| {
            let folder = site.folder(&format!("sender-{sender}"));
            std::fs::create_dir(&folder).unwrap();
            images(&folder, sender, &mut lengths);
            let mut storescu = tool("storescu", "dcmtk");
            storescu.args(["-aec", "SUND", "+sd", host, port]).arg(&folder);
            storescu.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut sender in senders {
        assert!(sender.wait().unwrap().success(), "storescu: everything is stored");
    }
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit_code(), Some(0));
    strace.wait().unwrap();

    let events = events(&std::fs::read_to_string(&trace).unwrap());
    let acknowledged = acknowledged_after_durable(&events, &lengths).unwrap();
    assert_eq!(acknowledged.len(), SENDERS * IMAGES, "every response is in the trace");

    // The same trace with one response moved before the write of its record does not pass.
    let mut wrong = events.clone();
    let last = wrong.iter().rposition(|event| matches!(event, Event::Acknowledged(_))).unwrap();
    let early = wrong.remove(last);
    wrong.insert(0, early);
    assert!(acknowledged_after_durable(&wrong, &lengths).is_err());
    assert!(events.iter().any(|event| matches!(event, Event::Durable(parts) if parts.len() >= 2)));
}

/// A disk that fails under the spool: the sender is told, and the agent ends for its supervisor to see, rather than refuse
/// every study from then on.
#[test]
fn a_failing_disk_refuses_the_instance_and_ends_the_agent() {
    let site = Site::new("");
    let daemon = site.serve();
    let address = site.status()["node"]["address"].as_str().unwrap().to_owned();
    let (host, port) = address.split_once(':').unwrap();
    let mut strace =
        strace(&daemon, &["-e", "trace=pwritev2", "-e", "inject=pwritev2:error=EIO"], &site.folder("trace"));
    let folder = site.folder("sender");
    std::fs::create_dir(&folder).unwrap();
    images(&folder, 0, &mut BTreeMap::new());
    let mut storescu = tool("storescu", "dcmtk");
    let sent = storescu.args(["-aec", "SUND", "+sd", host, port]).arg(&folder).output().unwrap();
    assert!(!sent.status.success(), "{}", String::from_utf8_lossy(&sent.stdout));
    assert_eq!(daemon.exit_code(), Some(74));
    strace.wait().unwrap();
    let log = std::fs::read_to_string(site.folder("log")).unwrap();
    assert!(log.contains("spool-broken") && log.contains("Check the disk"), "{log}");
    let audit = site.audit();
    let stopped = audit.lines().find(|line| line.contains("agent-stopped")).unwrap_or_default();
    assert!(stopped.contains("spool-broken"), "why it stopped is in the audit log: {audit}");
    // With the disk mended it goes on.
    let daemon = site.serve();
    assert_eq!(site.status()["spool"]["instances"], 0);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit_code(), Some(0));
}

/// What a disk has lost between two starts is told wherever somebody looks.
#[test]
fn a_place_that_does_not_read_back_is_in_the_status_the_log_and_the_audit_trail() {
    let site = Site::new("");
    let daemon = site.serve();
    let address = site.status()["node"]["address"].as_str().unwrap().to_owned();
    let (host, port) = address.split_once(':').unwrap();
    let folder = site.folder("sender");
    std::fs::create_dir(&folder).unwrap();
    images(&folder, 0, &mut BTreeMap::new());
    let mut storescu = tool("storescu", "dcmtk");
    assert!(storescu.args(["-aec", "SUND", "+sd", host, port]).arg(&folder).status().unwrap().success());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit_code(), Some(0));

    let segment = std::fs::File::options().write(true).open(site.folder("spool/segment-000000000001.log")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&segment, &[0; 512], 4096).unwrap();
    let daemon = site.serve();
    assert_eq!(site.status()["spool"]["damaged"], 1);
    let said = String::from_utf8(site.sund(&["status"]).stdout).unwrap();
    assert!(said.contains("damaged: 1 place does not read back; check the disk"), "{said}");
    let told = "1 of its places does not read back";
    assert!(std::fs::read_to_string(site.folder("log")).unwrap().contains(told));
    assert!(site.audit().contains("spool-damaged") && site.audit().contains(told), "{}", site.audit());
    let metrics = site.metrics();
    assert!(metrics.contains("sund_refusals_total{code=\"spool-damaged\"} 1\n"), "{metrics}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.exit_code(), Some(0));
}
