//! Files that were made to do harm, and files that were damaged: each is refused with its code, and none is taken for another.
use super::header::{BLOCK, header, padding};
use super::{Archive, ENVELOPE, LIST, List};
use crate::fault::Fault;
use crate::hex::hex;
use crate::limits::model::{MAX_ENVELOPE, MAX_LIST, MAX_MEMBERS, MAX_NETWORK, MAX_PACKED};
use crate::model::Package;
use crate::model::signed::Verifier;
use proptest::prelude::*;
use proptest::sample::Index;
use ring::digest::{SHA256, digest};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The frozen package: signed, and small.
fn frozen(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packages").join(name)
}

fn good() -> Vec<u8> {
    std::fs::read(frozen("format-1.sund")).unwrap()
}

/// What comes of opening these bytes and comparing all of them.
fn opened(bytes: &[u8]) -> Result<Package, Fault> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    opened_file(file.path())
}

fn opened_file(path: &Path) -> Result<Package, Fault> {
    let archive = Archive::open(File::open(path).unwrap())?;
    archive.verify(&mut |_| {})?;
    let package = Package::open(path)?;
    package.envelope()?;
    Ok(package)
}

/// Refused with this code, and a sentence that says this.
fn refused(what: &str, bytes: &[u8], code: &str, says: &str) {
    let fault = opened(bytes).err().unwrap_or_else(|| panic!("{what} is taken"));
    assert!(fault.code == code && fault.reason.contains(says), "{what}: {fault}");
}

/// The members of the frozen package, the list and the envelope among them, in their order.
fn members() -> Vec<(String, Vec<u8>)> {
    let archive = Archive::open(File::open(frozen("format-1.sund")).unwrap()).unwrap();
    let files = archive.list().members().map(|(name, _)| (name.to_owned(), archive.read(name, MAX_NETWORK).unwrap()));
    let list = (LIST.to_owned(), archive.list().text().into_bytes());
    let envelope = (ENVELOPE.to_owned(), archive.envelope().unwrap().to_vec());
    std::iter::once(list).chain(files).chain([envelope]).collect()
}

/// A member as it is written, with another length in its header where that is given.
fn member(name: &str, bytes: &[u8], claimed: Option<u64>) -> Vec<u8> {
    let block = header(name, claimed.unwrap_or(bytes.len() as u64)).unwrap();
    [&block[..], bytes, &vec![0; padding(bytes.len() as u64) as usize]].concat()
}

/// An archive of members that are written already.
fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 2 * BLOCK]].concat()
}

fn written(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    archive(&members.iter().map(|(name, bytes)| member(name, bytes, None)).collect::<Vec<_>>())
}

/// A line of the list.
fn line(name: &str, bytes: &[u8]) -> String {
    format!("{}  {name}\n", hex(digest(&SHA256, bytes).as_ref()))
}

/// The frozen package with one more file, listed where its name belongs, and without signatures.
fn with_file(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut files = members();
    files.retain(|(known, _)| ![LIST, ENVELOPE].contains(&known.as_str()));
    files.push((name.to_owned(), bytes.to_vec()));
    files.sort();
    let list: String = files.iter().map(|(name, bytes)| line(name, bytes)).collect();
    files.insert(0, (LIST.to_owned(), list.into_bytes()));
    let put = |(name, bytes): &(String, Vec<u8>)| match header(name, 0) {
        Some(_) => member(name, bytes, None),
        None => Vec::new(),
    };
    archive(&files.iter().map(put).collect::<Vec<_>>())
}

#[test]
fn what_these_tests_take_apart_is_a_package_and_comes_together_as_the_same_file() {
    assert!(written(&members()) == good());
    let key = Verifier::read(&frozen("format-1.pub")).unwrap();
    assert!(opened(&good()).unwrap().envelope().unwrap().unwrap().is_signed_by(&key));
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_refused() {
    let bytes = good();
    for block in 0..bytes.len() / BLOCK {
        for length in [block * BLOCK, block * BLOCK + 1, block * BLOCK + BLOCK - 1] {
            let fault = opened(&bytes[..length]).expect_err("it is cut off");
            assert_eq!(fault.code, "package-invalid", "{length} bytes: {fault}");
        }
    }
}

#[test]
fn nothing_stands_behind_the_end_or_between_members() {
    let bytes = good();
    for more in [vec![0], vec![0; BLOCK], vec![0; 2 * BLOCK], member("more", b"x", None), b"PK\x03\x04".to_vec()] {
        refused("what has more behind it", &[&bytes[..], &more].concat(), "package-invalid", "behind the members");
    }
    let mut each: Vec<Vec<u8>> = members().iter().map(|(name, bytes)| member(name, bytes, None)).collect();
    for at in 1..each.len() {
        each.insert(at, vec![0; BLOCK]);
        let fault = opened(&archive(&each)).expect_err("a block of zeros stands between two members");
        assert_eq!(fault.code, "package-invalid", "{fault}");
        each.remove(at);
    }
}

#[test]
fn a_member_that_is_no_plain_file_is_refused() {
    let (bytes, first) = (good(), BLOCK + padding(members()[0].1.len() as u64) as usize + members()[0].1.len());
    // Links, devices, a folder, a pipe, and what GNU, Solaris and POSIX put into other types.
    for kind in *b"1234567xgLKSVMNA\0" {
        for place in [0, first] {
            let mut other = bytes.clone();
            let block = &mut other[place..place + BLOCK];
            block[156] = kind;
            block[157..168].copy_from_slice(b"/etc/passwd");
            sum(block);
            let says = if place == 0 { "does not begin with" } else { "is not where" };
            refused(&format!("type {}", kind as char), &other, "package-invalid", says);
        }
    }
}

/// Puts the checksum right.
fn sum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{:06o}\0 ", sum & 0o777_777).as_bytes());
}

#[test]
fn a_member_that_is_longer_or_shorter_than_its_header_says_is_refused() {
    let all = members();
    for at in 0..all.len() {
        let length = all[at].1.len() as u64;
        let lengths = [0, 1, length - 1, length + 1, length + BLOCK as u64, 1 << 31, (1 << 33) - 1];
        for claimed in lengths.into_iter().filter(|claimed| *claimed != length) {
            let claims = |n: usize| (n == at).then_some(claimed);
            let each = all.iter().enumerate().map(|(n, (name, bytes))| member(name, bytes, claims(n)));
            let fault = opened(&archive(&each.collect::<Vec<_>>())).err();
            let name = &all[at].0;
            let fault = fault.unwrap_or_else(|| panic!("{name} with {claimed} in place of {length} bytes is taken"));
            let is_told = ["package-invalid", "package-altered", "signature-invalid"].contains(&fault.code.as_ref());
            assert!(is_told, "{name}, {claimed}: {fault}");
        }
    }
}

#[test]
fn a_file_that_is_not_the_one_that_is_listed_is_refused() {
    let all = members();
    for at in 1..all.len() - 1 {
        let mut other = all.clone();
        other[at].1[0] ^= 1;
        refused(&other[at].0, &written(&other), "package-altered", &other[at].0);
    }
    let mut other = all;
    other[0].1[0] = if other[0].1[0] == b'0' { b'1' } else { b'0' };
    refused("a list with another digest", &written(&other), "package-altered", "CARD.md");
}

#[test]
fn names_that_leave_the_package_or_look_like_another_are_refused() {
    for name in [
        "../model.toml",
        "/model.toml",
        "./model.toml",
        "a/../../b",
        "a//b",
        "a/",
        "C:\\b",
        "a\\b",
        "a\0b",
        "a\u{202e}b",
        // As one letter, as two, and letters of another alphabet.
        "caf\u{e9}.md",
        "cafe\u{301}.md",
        "m\u{43e}del.toml",
        "\u{ff4d}odel.toml",
    ] {
        refused(&format!("{name:?}"), &with_file(name, b"x"), "package-invalid", "is no name of a file in a package");
    }
    for name in ["Model.toml", "card.MD", "POSITIVE.onnx"] {
        refused(name, &with_file(name, b"x"), "package-invalid", "differs from another file in upper and lower case");
    }
    for name in ["sha256sums", "Signatures.DSSE.json"] {
        refused(name, &with_file(name, b"x"), "package-invalid", "is a name that packing needs");
    }
    refused(
        "a folder that is a file",
        &with_file("CARD.md/x", b"x"),
        "package-invalid",
        "is a file, and the folder of",
    );
}

#[test]
fn a_second_manifest_is_refused_wherever_it_stands() {
    let all = members();
    let manifest = all.iter().position(|(name, _)| name == "model.toml").unwrap();
    // Behind the first one, and at the end, where tar would take the last.
    for at in [manifest + 1, all.len() - 1, all.len()] {
        let mut twice = all.clone();
        twice.insert(at, (all[manifest].0.clone(), b"format = 1\n".to_vec()));
        let fault = opened(&written(&twice)).expect_err("there are two");
        assert_eq!(fault.code, "package-invalid", "{fault}");
    }
    // Listed twice as well: a list has one form, in which a name stands once.
    let mut twice = all.clone();
    twice.insert(manifest + 1, all[manifest].clone());
    let listed = line(&all[manifest].0, &all[manifest].1);
    twice[0].1 = String::from_utf8(all[0].1.clone()).unwrap().replace(&listed, &listed.repeat(2)).into_bytes();
    refused("two that are listed", &written(&twice), "package-invalid", "or not in its place");
    refused("one in a folder", &with_file("golden/model.toml", b"format = 1\n"), "package-invalid", "does not name it");
}

#[test]
fn what_claims_to_be_large_is_refused_before_it_is_read() {
    // Nothing of it is on the disk: it has holes for bytes.
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(MAX_PACKED + 1).unwrap();
    let told = |file: &tempfile::NamedTempFile| opened_file(file.path()).expect_err("it is too large");
    assert!(told(&file).reason.contains(&format!("at most {MAX_PACKED} are taken")), "{}", told(&file));
    let large = |name: &str, length: u64, before: &[u8]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(before).unwrap();
        file.write_all(&header(name, length).unwrap()).unwrap();
        file.as_file()
            .set_len(before.len() as u64 + BLOCK as u64 + length + padding(length) + 2 * BLOCK as u64)
            .unwrap();
        file
    };
    let list = large(LIST, MAX_LIST as u64 + 1, b"");
    assert!(told(&list).reason.contains(&format!("at most {MAX_LIST} are taken")), "{}", told(&list));
    let before: Vec<u8> =
        members().iter().rev().skip(1).rev().flat_map(|(name, bytes)| member(name, bytes, None)).collect();
    let envelope = large(ENVELOPE, MAX_ENVELOPE + 1, &before);
    assert!(told(&envelope).reason.contains(&format!("at most {MAX_ENVELOPE} are taken")), "{}", told(&envelope));
    let lines: String = (0..=MAX_MEMBERS).map(|n| line(&format!("n{n:05}"), b"")).collect();
    let many = List::read(lines.as_bytes()).expect_err("they are too many");
    assert!(many.contains(&format!("at most {MAX_MEMBERS} files")), "{many}");
}

#[test]
fn a_manifest_or_a_network_of_gigabytes_is_refused_by_its_length() {
    for (name, says) in [("model.toml", "at most 262144 are taken"), ("positive.onnx", "at most 2147483648 are taken")]
    {
        let all = members();
        let at = all.iter().position(|(known, _)| known == name).unwrap();
        let length: u64 = (1 << 31) + 1;
        let before = all[..at].iter().flat_map(|(name, bytes)| member(name, bytes, None)).collect::<Vec<_>>();
        let after = all[at + 1..].iter().flat_map(|(name, bytes)| member(name, bytes, None)).collect::<Vec<_>>();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&before).unwrap();
        file.write_all(&header(name, length).unwrap()).unwrap();
        let behind = (before.len() + BLOCK) as u64 + length + padding(length);
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(behind)).unwrap();
        file.write_all(&after).unwrap();
        file.write_all(&[0; 2 * BLOCK]).unwrap();
        let fault = Package::open(file.path()).expect_err("it is too large");
        assert!(fault.code == "package-invalid" && fault.reason.contains(says), "{fault}");
    }
}

/// Neither waits for bytes that never come, nor reads ones that never end.
#[test]
fn a_pipe_or_a_device_in_the_place_of_a_package_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.sund");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for path in [pipe.as_path(), Path::new("/dev/zero"), Path::new("/dev/null")] {
        let fault = Package::open(path).expect_err("it is no file");
        assert!(fault.code == "package-invalid" && fault.reason.contains("neither a folder nor a file"), "{fault}");
    }
}

/// A change of a package.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Cut(Index, usize),
    Insert(Index, Vec<u8>),
    Copy(Index, Index, usize),
    SwapBlocks(Index, Index),
    Length(Index, u64),
    Resum,
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let length = prop_oneof![Just(1), Just(BLOCK), 1..2048_usize];
        prop_oneof![
            4 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            1 => (any::<Index>(), length.clone()).prop_map(|(at, length)| Self::Cut(at, length)),
            1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..600)).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            2 => (any::<Index>(), any::<Index>(), length).prop_map(|(from, to, length)| Self::Copy(from, to, length)),
            2 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Self::SwapBlocks(a, b)),
            2 => (any::<Index>(), 0..40_000_u64).prop_map(|(at, length)| Self::Length(at, length)),
            2 => Just(Self::Resum),
        ]
    }

    fn make(&self, bytes: &mut Vec<u8>) {
        if bytes.len() < BLOCK {
            return;
        }
        let blocks = bytes.len() / BLOCK;
        let headers: Vec<usize> =
            (0..blocks).map(|n| n * BLOCK).filter(|at| bytes[at + 257..].starts_with(b"ustar")).collect();
        match self {
            Self::Flip(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Self::Cut(at, length) => {
                let at = at.index(bytes.len());
                bytes.drain(at..bytes.len().min(at + length));
            }
            Self::Insert(at, more) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Copy(from, to, length) => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let length = (*length).min(bytes.len() - from.max(to));
                bytes.copy_within(from..from + length, to);
            }
            Self::SwapBlocks(a, b) => {
                let (a, b) = (a.index(blocks) * BLOCK, b.index(blocks) * BLOCK);
                (0..BLOCK).for_each(|n| bytes.swap(a + n, b + n));
            }
            Self::Length(at, length) if !headers.is_empty() => {
                let at = headers[at.index(headers.len())];
                bytes[at + 124..at + 135].copy_from_slice(format!("{length:011o}").as_bytes());
                sum(&mut bytes[at..at + BLOCK]);
            }
            Self::Length(..) => {}
            Self::Resum => headers.into_iter().for_each(|at| sum(&mut bytes[at..at + BLOCK])),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]
    #[test]
    fn no_change_makes_it_panic_or_passes_for_what_was_signed(changes in prop::collection::vec(Change::any(), 1..5)) {
        let (key, before) = (Verifier::read(&frozen("format-1.pub")).unwrap(), good());
        let mut bytes = before.clone();
        for change in &changes {
            change.make(&mut bytes);
        }
        if let Ok(package) = opened(&bytes) {
            let is_signed = package.envelope().is_ok_and(|all| all.is_some_and(|all| all.is_signed_by(&key)));
            let archive = Archive::open(File::open(frozen("format-1.sund")).unwrap()).unwrap();
            let end = archive.end() as usize;
            let is_same = bytes.get(..end) == Some(&before[..end]);
            prop_assert!(is_same || !is_signed, "another content is signed");
            prop_assert!(is_same || package.digest != archive.list().digest(), "another content has the same digest");
        }
    }
}
