//! No instance is acknowledged before it is durable: the system calls of the agent, as the kernel saw them.
//!
//! `strace` writes down every write to a file and to a socket, with the moment at which each began and returned. Each image
//! has a length of its own, by which its record in the log is known. A C-STORE-RSP with 0000H may begin only after a
//! durable write (`RWF_DSYNC`) of that record has returned.
use crate::hospital::{Image, frame, new_uid};
use crate::serve::Site;
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

fn strace(pid: u32, output: &Path) -> Child {
    let mut strace = tool("strace", "strace");
    strace.args(["-f", "-y", "-x", "-s", "400", "-e", "trace=pwritev2,pwrite64,write,writev,sendto,sendmsg", "-o"]);
    strace.arg(output).args(["-p", &pid.to_string()]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn each_0000h_is_written_after_the_record_of_its_instance_is_durable() {
    assert!(usize::from(ROWS) * ROW > SLACK);
    let site = Site::new("");
    let daemon = site.serve();
    let trace = site.folder("trace");
    let mut strace = strace(daemon.pid().as_raw_nonzero().get() as u32, &trace);
    // It says that it is attached; what comes after is in the trace.
    let mut said = std::io::BufReader::new(strace.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("attached") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "strace may not trace here");
    }
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
