//! A bundle on a USB stick: the same signatures, a lifetime of its own, and a tar that anybody may have written.
use crate::region::{Device, MODEL, Region, after, code, model_bytes, pin, sha256};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use sund_ota::bundle::{self, Terms, Writer};
use sund_ota::descriptor::Descriptor;
use sund_ota::fault::Fault;
use sund_ota::state::Pin;
use sund_ota::trust::Trusted;

const TERMS: &str = "state/bundles/north-1.json";

/// A region that has signed the terms of a bundle, and the files of that bundle.
fn bundle_of(region: &mut Region, expires: Timestamp) -> Vec<(String, Vec<u8>)> {
    let state = region.state();
    let pin = Pin { target: state.target, sha256: state.sha256, length: state.length };
    let terms = serde_json::to_vec(&Terms { format: 1, state: pin, expires }).unwrap();
    bundle_under(region, &terms)
}

/// The same for terms of whatever text.
fn bundle_under(region: &mut Region, terms: &[u8]) -> Vec<(String, Vec<u8>)> {
    let signers = region.targets.signers.clone();
    let terms = region.role("state").list(TERMS, terms);
    region.role("state").version += 1;
    region.targets.version += 1;
    region.publish();
    // The region delegates this path by name: a `*` stands for no slash.
    region.alter(&format!("{}.targets.json", region.targets.version), &signers, |signed| {
        let roles = signed["delegations"]["roles"].as_array_mut().unwrap();
        let state = roles.iter_mut().find(|role| role["name"] == "state").unwrap();
        state["paths"] = json!(["state/*", "state/bundles/*"]);
    });
    region.snapshot.version += 1;
    region.timestamp.version += 1;
    region.publish_online();
    let pointer = json!({"format": 1, "target": TERMS, "sha256": terms.sha256, "length": terms.length});
    let mut files = vec![("bundle.json".to_owned(), pointer.to_string().into_bytes())];
    add(region.path(), &region.metadata(), &mut files);
    add(region.path(), &region.targets(), &mut files);
    files
}

/// Every file below a directory, by its name in the repository; escaped copies stay behind.
fn add(base: &Path, directory: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            add(base, &path, files);
        } else if !name.contains('%') {
            files.push((name, fs::read(&path).unwrap()));
        }
    }
}

fn write(directory: &Path, files: &[(String, Vec<u8>)]) -> PathBuf {
    let mut writer = Writer::new(Vec::new());
    for (name, bytes) in files {
        writer.add(name, bytes.len() as u64, bytes.as_slice()).unwrap();
    }
    let path = directory.join("stick.tar");
    fs::write(&path, writer.finish().unwrap()).unwrap();
    path
}

async fn open(device: &Device, stick: &Path) -> Result<(Trusted, Descriptor), Fault> {
    bundle::open(stick, device.root.clone(), device.datastore()).await
}

#[tokio::test]
async fn a_bundle_brings_a_state_and_its_targets_without_a_network() {
    let mut region = Region::new();
    let device = region.device();
    // Timestamp and snapshot of a stick are old by the time that it arrives; its terms say how long it may be used.
    region.timestamp.expires = after(SignedDuration::from_secs(-60));
    region.snapshot.expires = after(SignedDuration::from_secs(-60));
    let expires = after(SignedDuration::from_hours(12));
    let files = bundle_of(&mut region, expires);
    let stick = write(device.path(), &files);
    let (trusted, descriptor) = open(&device, &stick).await.unwrap();
    assert_eq!(trusted.expires(), expires);
    let state = trusted.state(&descriptor).await.unwrap();
    assert_eq!(state.get().name, "north-1");
    let model = &state.get().models[0].package;
    let fetched = trusted.fetch(model, &device.store("brain.sund")).await.unwrap();
    assert_eq!(fs::read(fetched.get()).unwrap(), model_bytes());
    // Over the network the same metadata is as frozen as it is.
    assert_eq!(code(device.load(&region).await), "timestamp-expired");
}

#[tokio::test]
async fn a_bundle_is_resumed_as_any_fetch_is() {
    let mut region = Region::new();
    let device = region.device();
    let files = bundle_of(&mut region, after(SignedDuration::from_hours(1)));
    let (trusted, _) = open(&device, &write(device.path(), &files)).await.unwrap();
    fs::create_dir_all(device.store("")).unwrap();
    fs::write(device.store("brain.part"), &model_bytes()[..12345]).unwrap();
    let fetched = trusted.fetch(&pin(MODEL, &model_bytes()), &device.store("brain.sund")).await.unwrap();
    assert_eq!(fs::read(fetched.get()).unwrap(), model_bytes());
}

#[tokio::test]
async fn a_bundle_whose_time_is_over_is_refused_and_says_since_when() {
    let mut region = Region::new();
    let device = region.device();
    let past = after(SignedDuration::from_secs(-1));
    let files = bundle_of(&mut region, past);
    let fault = open(&device, &write(device.path(), &files)).await.unwrap_err();
    assert_eq!((fault.code.as_ref(), fault.updates_stopped_since), ("bundle-expired", Some(past)));
}

#[tokio::test]
async fn a_bundle_older_than_what_the_box_has_seen_is_refused() {
    let mut region = Region::new();
    let device = region.device();
    let files = bundle_of(&mut region, after(SignedDuration::from_hours(1)));
    let stick = write(device.path(), &files);
    assert_eq!(code(open(&device, &stick).await), "");
    region.release("timestamp");
    assert_eq!(code(device.load(&region).await), "");
    assert_eq!(code(open(&device, &stick).await), "timestamp-rolled-back");
}

#[tokio::test]
async fn a_bundle_that_a_stranger_altered_is_refused() {
    let mut region = Region::new();
    let device = region.device();
    let files = bundle_of(&mut region, after(SignedDuration::from_hours(1)));
    let altered = |part: &str, alter: &dyn Fn(&mut Vec<u8>)| {
        let mut files = files.clone();
        let (_, bytes) = files.iter_mut().find(|(name, _)| name.contains(part)).unwrap();
        alter(bytes);
        write(device.path(), &files)
    };
    // Terms that nobody signed: longer ones under the name of the signed ones.
    let longer = altered(&format!("{}.north-1.json", sha256(&terms(&files))), &|bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap().replace("\"expires\":\"2", "\"expires\":\"3");
        *bytes = text.into_bytes();
    });
    assert_eq!(code(open(&device, &longer).await), "target-altered");
    let pointer = altered("bundle.json", &|bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap().replace("state/bundles/", "state/");
        *bytes = text.into_bytes();
    });
    assert_eq!(code(open(&device, &pointer).await), "bundle-invalid");
    let forged = altered("metadata/2.state.json", &|bytes| {
        let at = bytes.len() - 10;
        bytes[at] ^= 1;
    });
    assert_eq!(code(open(&device, &forged).await), "metadata-mixed");
    let short = write(device.path(), &files[..1]);
    assert_eq!(code(open(&device, &short).await), "store-incomplete");
    let whole = write(device.path(), &files);
    assert_eq!(code(open(&device, &whole).await), "");
}

fn terms(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    files.iter().find(|(name, _)| name.starts_with("targets/state/bundles/")).unwrap().1.clone()
}

/// One header of a tar as a stranger may write it.
fn header(name: &str, kind: u8, length: &str) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..124 + length.len()].copy_from_slice(length.as_bytes());
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[tokio::test]
async fn a_tar_of_a_strangers_making_is_refused() {
    let region = Region::new();
    let device = region.device();
    let stick = device.path().join("stick.tar");
    let end = vec![0; 1024];
    let file = |name: &str| header(name, b'0', "00000000000");
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("no end", file("metadata/a")),
        ("no bundle.json", end.clone()),
        ("no tar", vec![b'x'; 2048]),
        ("upwards", [file("targets/../../etc/passwd"), end.clone()].concat()),
        ("absolute", [file("/etc/passwd"), end.clone()].concat()),
        ("elsewhere", [file("etc/passwd"), end.clone()].concat()),
        ("backslash", [file("targets/a\\b"), end.clone()].concat()),
        ("twice", [file("bundle.json"), file("bundle.json"), end.clone()].concat()),
        ("link", [header("targets/a", b'2', "00000000000"), end.clone()].concat()),
        ("hard link", [header("targets/a", b'1', "00000000000"), end.clone()].concat()),
        ("directory", [header("targets/", b'5', "00000000000"), end.clone()].concat()),
        ("device", [header("targets/a", b'3', "00000000000"), end.clone()].concat()),
        ("long name", [header("././@LongLink", b'L', "77777777777"), end.clone()].concat()),
        ("pax", [header("pax", b'x', "00000000000"), end.clone()].concat()),
        ("behind its end", [header("bundle.json", b'0', "77777777777"), end.clone()].concat()),
        ("no number", [header("bundle.json", b'0', "9999999999x"), end.clone()].concat()),
        ("large pointer", [header("bundle.json", b'0', "00000020000"), vec![b' '; 8192], end.clone()].concat()),
        ("damaged", {
            let mut damaged = file("bundle.json");
            damaged[0] = b'c';
            [damaged, end.clone()].concat()
        }),
        ("too many", {
            let many = (0..=sund_ota::limits::bundle::MAX_FILES).flat_map(|n| file(&format!("targets/{n}")));
            many.chain(end.clone()).collect()
        }),
    ];
    for (defect, bytes) in hostile {
        fs::write(&stick, bytes).unwrap();
        assert_eq!(code(open(&device, &stick).await), "bundle-invalid", "{defect}");
    }
    assert_eq!(code(open(&device, &device.path().join("nothing.tar")).await), "bundle-unreadable");
}

#[test]
fn the_writer_makes_nothing_that_the_reader_refuses() {
    let mut writer = Writer::new(Vec::new());
    for name in ["targets/../x", "x", "targets//x", "other/x"] {
        assert!(writer.add(name, 0, [].as_slice()).is_err(), "{name}");
    }
    let long = format!("targets/{}/{}.sund", "d".repeat(140), "f".repeat(95));
    assert!(writer.add(&long, 3, b"abc".as_slice()).is_ok());
    assert!(writer.add(&format!("targets/{}", "f".repeat(101)), 0, [].as_slice()).is_err());
    assert!(writer.add("targets/short", 4, b"abc".as_slice()).is_err(), "fewer bytes than were told");
}

/// What other people's tar says of it.
#[tokio::test]
async fn tar_reads_a_bundle() {
    let mut region = Region::new();
    let device = region.device();
    let files = bundle_of(&mut region, after(SignedDuration::from_hours(1)));
    let stick = write(device.path(), &files);
    let output = std::process::Command::new("tar").arg("-tf").arg(&stick).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(listed, files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
}

#[tokio::test]
async fn terms_are_read_strictly() {
    let terms = json!({
        "format": 1, "expires": "2027-01-31T00:00:00Z",
        "state": {"target": "state/north-1.json", "sha256": "a".repeat(64), "length": 1},
    });
    assert_eq!(code(Terms::parse(TERMS, terms.to_string().as_bytes())), "");
    for (key, value) in [("format", json!(2)), ("expires", json!("for ever")), ("more", json!(1))] {
        let mut altered = terms.clone();
        altered[key] = value;
        assert_eq!(code(Terms::parse(TERMS, altered.to_string().as_bytes())), "bundle-terms-invalid", "{key}");
    }
    let mut region = Region::new();
    let device = region.device();
    let stick = write(device.path(), &bundle_under(&mut region, b"for ever"));
    assert_eq!(code(open(&device, &stick).await), "bundle-terms-invalid");
}
