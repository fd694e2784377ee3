//! A package is one signed file: the same bytes each time, opened by others, and refused where one byte of it is another.
use crate::hospital::{SUND, copy_of, models, signed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use sund_agent::model::packed::{Archive, LIST};
use sund_agent::model::signed::Verifier;
use sund_agent::model::{Contents, Package};

fn sund(arguments: &[&str]) -> Output {
    Command::new(SUND).arg("model").args(arguments).output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Ends with this exit code, and says this.
fn ends(arguments: &[&str], code: i32, says: &str) -> String {
    let output = sund(arguments);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    assert!(told.contains(says), "{arguments:?}: {told}");
    told
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", told(&output));
    told(&output)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Opens a packed package and compares each of its files.
fn whole(file: &Path) -> Result<Package, sund_agent::fault::Fault> {
    let package = Package::open(file)?;
    let Contents::Packed(archive, _) = &package.contents else { panic!("{} is a folder", file.display()) };
    archive.verify(&mut |_| {})?;
    Ok(package)
}

#[test]
fn the_same_folder_is_the_same_file_and_gnu_tar_makes_and_opens_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let demo = models().join("text-detection");
    // In another place, at another time, with another order of its files, and with a file that the manifest does not name.
    copy_of("text-detection", &at("copy"));
    fs::write(at("copy/notes.txt"), "not part of the package").unwrap();
    ends(&["pack", text(&demo), "--to", text(&at("a.sund"))], 0, "6 files");
    ends(&["pack", text(&at("copy")), "--to", text(&at("b.sund"))], 0, "6 files");
    let packed = fs::read(at("a.sund")).unwrap();
    assert!(packed == fs::read(at("b.sund")).unwrap());
    ends(&["pack", text(&demo), "--to", text(&at("a.sund"))], 64, "package-exists");
    assert_eq!(Package::open(&at("a.sund")).unwrap().digest, Package::open(&demo).unwrap().digest);

    fs::create_dir(at("tar")).unwrap();
    run("tar", &["-xf", "../a.sund"], &at("tar"));
    run("sha256sum", &["--quiet", "--check", "--strict", LIST], &at("tar"));
    let make = "tar -b1 --format=ustar --mode=0644 --owner=0 --group=0 --numeric-owner --mtime=@0 -cf ../c.sund \
                SHA256SUMS $(cut -c67- SHA256SUMS)";
    run("sh", &["-c", make], &at("tar"));
    assert!(packed == fs::read(at("c.sund")).unwrap(), "GNU tar makes another file");
}

#[test]
fn a_folder_that_is_no_whole_package_is_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("m");
    copy_of("text-detection", &copy);
    let manifest = fs::read_to_string(copy.join("model.toml")).unwrap();
    let refused = |says: &str| {
        let to = folder.path().join("m.sund");
        ends(&["pack", text(&copy), "--to", text(&to)], 65, says);
        assert!(!to.exists(), "nothing is left behind");
    };
    let (begin, end) = (manifest.find("[documents]").unwrap(), manifest.find("[selection]").unwrap());
    fs::write(copy.join("model.toml"), [&manifest[..begin], &manifest[end..]].concat()).unwrap();
    refused("names no documents");
    fs::write(copy.join("model.toml"), &manifest).unwrap();
    fs::write(copy.join("sbom.cdx.json"), "{}").unwrap();
    refused("does not name the SHA-256 of detect.onnx");
    fs::remove_file(copy.join("sbom.cdx.json")).unwrap();
    refused("documents.sbom: sbom.cdx.json cannot be read");
    std::os::unix::fs::symlink("/etc/hostname", copy.join("sbom.cdx.json")).unwrap();
    refused("is a symbolic link");
    fs::remove_file(copy.join("sbom.cdx.json")).unwrap();
    fs::copy(models().join("text-detection/sbom.cdx.json"), copy.join("sbom.cdx.json")).unwrap();
    fs::rename(copy.join("golden/ultrasound/frame.dcm"), copy.join("golden/ultrasound/a frame.dcm")).unwrap();
    refused("is no name of a file in a package");
}

/// A signature is one by DSSE, which others check; who is not named counts for nothing.
#[test]
fn a_vendor_and_a_test_centre_sign_and_openssl_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let vendors = signed("text-detection", folder.path());
    let (file, key) = (text(&vendors.package), text(&vendors.public_key));
    let unsigned = folder.path().join("unsigned.sund");
    ends(&["pack", text(&models().join("text-detection")), "--to", text(&unsigned)], 0, "");
    ends(&["verify", text(&unsigned)], 0, "not signed");
    ends(&["verify", text(&unsigned), "--key", key], 65, "signature-missing");
    ends(&["verify", file], 0, "not checked: a signature of");
    ends(&["verify", file, "--key", key], 0, "signed by");
    assert_eq!(Package::open(&unsigned).unwrap().digest, Package::open(&vendors.package).unwrap().digest);

    // A key that stays elsewhere: only the message goes there, and the signature comes back.
    let at = |name: &str| folder.path().join(name);
    run("openssl", &["genpkey", "-algorithm", "ed25519", "-out", "token.key"], folder.path());
    run("openssl", &["pkey", "-in", "token.key", "-pubout", "-out", "token.pub"], folder.path());
    let (token, message, made) = (at("token.pub"), at("message"), at("made"));
    ends(&["sign", file, "--write-message", text(&message)], 0, "--public-key");
    run(
        "openssl",
        &["pkeyutl", "-sign", "-inkey", "token.key", "-rawin", "-in", "message", "-out", "made"],
        folder.path(),
    );
    let wrong = ["sign", file, "--public-key", key, "--signature", text(&made)];
    ends(&wrong, 65, "did not make this signature");
    ends(&["sign", file, "--public-key", text(&token), "--signature", text(&made)], 0, "signed");
    ends(&["verify", file, "--key", key, "--key", text(&token)], 0, "(");
    // Signed by its key once more, nothing changes: Ed25519 signs the same with the same bytes.
    let before = fs::read(&vendors.package).unwrap();
    ends(&["sign", file, "--key", text(&at("token.key"))], 0, "signed");
    assert!(before == fs::read(&vendors.package).unwrap());

    // What was signed, by the envelope's own words.
    let archive = Archive::open(fs::File::open(&vendors.package).unwrap()).unwrap();
    let envelope: serde_json::Value = serde_json::from_slice(archive.envelope().unwrap()).unwrap();
    let script = "import base64, json, sys\ne = json.load(sys.stdin)\np = base64.b64decode(e['payload'])\nt = e['payloadType']\n\
                  open('pae', 'wb').write(b'DSSEv1 %d %s %d %s' % (len(t), t.encode(), len(p), p))\n\
                  open('sig', 'wb').write(base64.b64decode(e['signatures'][1]['sig']))\n\
                  s = json.loads(p)\nprint(s['_type'], s['subject'][0]['digest']['sha256'])\n";
    let mut python = Command::new("python3")
        .args(["-c", script])
        .current_dir(folder.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), envelope.to_string().as_bytes()).unwrap();
    let said = python.wait_with_output().unwrap();
    let digest = archive.list().digest().replace("sha256:", "");
    assert_eq!(told(&said).trim(), format!("https://in-toto.io/Statement/v1 {digest}"));
    run(
        "openssl",
        &["pkeyutl", "-verify", "-pubin", "-inkey", "token.pub", "-rawin", "-in", "pae", "-sigfile", "sig"],
        folder.path(),
    );
}

#[test]
fn a_file_that_holds_no_key_is_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let vendors = signed("text-detection", folder.path());
    let file = text(&vendors.package);
    run("openssl", &["genpkey", "-algorithm", "rsa", "-out", "rsa.key"], folder.path());
    run("openssl", &["pkey", "-in", "rsa.key", "-pubout", "-out", "rsa.pub"], folder.path());
    let at = |name: &str| folder.path().join(name);
    ends(&["sign", file, "--key", text(&at("rsa.key"))], 64, "not of Ed25519");
    ends(&["sign", file, "--key", text(&vendors.public_key)], 64, "no private key");
    ends(&["verify", file, "--key", text(&at("rsa.pub"))], 64, "not of Ed25519");
    ends(&["verify", file, "--key", text(&at("absent"))], 64, "cannot be read");
    ends(&["verify", file, "--key", file], 64, "too long for a key");
    assert!(Verifier::read(&vendors.public_key).is_ok());
}

/// Each byte of the headers, of the list and of the end, and many of the files': changed, it is seen.
#[test]
fn no_byte_of_a_package_can_change_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let vendors = signed("text-detection", folder.path());
    let key = Verifier::read(&vendors.public_key).unwrap();
    let bytes = fs::read(&vendors.package).unwrap();
    let path = folder.path().join("changed.sund");
    let is_taken = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        whole(&path).is_ok_and(|package| {
            package.envelope().is_ok_and(|envelope| envelope.is_some_and(|envelope| envelope.is_signed_by(&key)))
        })
    };
    assert!(is_taken(&bytes));
    let places: Vec<usize> = (0..4096).step_by(61).chain((4096..bytes.len() - 4096).step_by(500_009)).collect();
    for at in places.into_iter().chain((bytes.len() - 4096..bytes.len()).step_by(61)) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        assert!(!is_taken(&changed), "byte {at}");
    }
    for length in [0, 511, 512, 1024, bytes.len() / 2, bytes.len() - 1024, bytes.len() - 512, bytes.len() - 1] {
        assert!(!is_taken(&bytes[..length]), "{length} bytes of it");
    }
    assert!(!is_taken(&[&bytes[..], &[0; 512]].concat()) && !is_taken(&[&bytes[..], b"more"].concat()));
}

/// What others could put in an archive, made by Python's tarfile from a good package.
#[test]
fn an_archive_of_another_making_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let vendors = signed("text-detection", folder.path());
    let script = r#"
import io, sys, tarfile, hashlib
source = tarfile.open(sys.argv[1])
members = [(m, source.extractfile(m).read()) for m in source.getmembers()]
def header(info):
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    # tarfile leaves the device numbers of files empty; GNU tar writes them.
    block[329:345] = b"0000000\0" * 2
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return block
def write(name, members):
    with open(name, "wb") as out:
        for info, data in members:
            info.size = len(data)
            out.write(header(info) + data + bytes(-len(data) % 512))
        out.write(bytes(1024))
def write_by_tarfile(name, members, format):
    with tarfile.open(name, mode="w", format=format) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
def info(name, **more):
    made = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(made, key, value)
    return made
def listed(pairs):
    lines = sorted((n, hashlib.sha256(d).hexdigest()) for n, d in pairs)
    return "".join(f"{h}  {n}\n" for n, h in lines).encode()
plain = [(i, d) for i, d in members if i.name != "SIGNATURES.dsse.json"]
files = [(i, d) for i, d in plain if i.name != "SHA256SUMS"]
sums = info("SHA256SUMS")
write("same", plain)
write_by_tarfile("gnu", plain, tarfile.GNU_FORMAT)
write_by_tarfile("pax", plain, tarfile.PAX_FORMAT)
write("order", plain[:1] + plain[:0:-1])
write("twice", plain + [files[0]])
write("extra", plain + [(info("extra"), b"x")])
write("lacks", plain[:-1])
write("no-list", files)
write("link", [plain[0], (info(files[0][0].name, type=tarfile.SYMTYPE, linkname="/etc/passwd"), b"")] + plain[2:])
write("time", [(info(i.name, mtime=1), d) for i, d in plain])
write("mode", [(info(i.name, mode=0o755), d) for i, d in plain])
for name, path in [("up", "../up"), ("absolute", "/tmp/up"), ("dot", "./up")]:
    more = sorted(files + [(info(path), b"x")], key=lambda pair: pair[0].name)
    write(name, [(sums, listed([(i.name, d) for i, d in more]))] + more)
more = sorted(files + [(info("unnamed.txt"), b"x")], key=lambda pair: pair[0].name)
write("unnamed", [(sums, listed([(i.name, d) for i, d in more]))] + more)
fewer = [(i, d) for i, d in files if i.name != "CARD.md"]
write("uncarded", [(sums, listed([(i.name, d) for i, d in fewer]))] + fewer)
write("bomb", [(sums, b"0" * 4_000_000)])
open("claims", "wb").write(header(info("SHA256SUMS", size=0o77777777777)) + bytes(1024))
"#;
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    fs::write(path("make.py"), script).unwrap();
    run("python3", &["make.py", text(&vendors.package)], folder.path());
    whole(&path("same")).expect("what the script makes is taken but for what it changes");
    for (name, reason) in [
        ("gnu", "does not begin with SHA256SUMS"),
        ("pax", "does not begin with SHA256SUMS"),
        ("order", "is not where SHA256SUMS has it"),
        ("twice", "behind the members"),
        ("extra", "behind the members"),
        ("lacks", "is not where SHA256SUMS has it"),
        ("no-list", "does not begin with SHA256SUMS"),
        ("link", "is not where SHA256SUMS has it"),
        ("time", "does not begin with SHA256SUMS"),
        ("mode", "does not begin with SHA256SUMS"),
        ("up", "is no name of a file in a package"),
        ("absolute", "is no name of a file in a package"),
        ("dot", "is no name of a file in a package"),
        ("unnamed", "the manifest does not name it"),
        ("uncarded", "CARD.md is not in the package"),
        ("bomb", "SHA256SUMS has 4000000 bytes"),
        ("claims", "ends too early"),
    ] {
        let fault = whole(&path(name)).expect_err(name);
        assert_eq!(fault.code, "package-invalid", "{name}: {fault}");
        assert!(fault.reason.contains(reason), "{name}: {fault}");
    }
}

/// The other ways to look at a package take both its forms.
#[test]
fn a_packed_package_is_checked_run_inspected_and_compared_as_its_folder_is() {
    let folder = tempfile::tempdir().unwrap();
    let packed = signed("text-detection", folder.path());
    let (file, demo) = (text(&packed.package), models().join("text-detection"));
    ends(&["check", file], 0, "the package holds");
    let out = folder.path().join("out");
    ends(&["run", file, "--on", text(&demo.join("golden")), "--out", text(&out)], 0, "Burned-in text: 10 places");
    ends(&["inspect", file], 0, "not checked");
    let json: serde_json::Value = serde_json::from_slice(&sund(&["inspect", file, "--json"]).stdout).unwrap();
    assert_eq!(json["digest"], Package::open(&demo).unwrap().digest);
    assert_eq!((json["files"].as_array().unwrap().len(), &json["manifest"]["version"]), (6, &"4.0.0".into()));
    ends(&["diff", file, text(&demo)], 0, "the same package");
    let copy = folder.path().join("copy");
    copy_of("text-detection", &copy);
    let manifest = fs::read_to_string(copy.join("model.toml")).unwrap();
    fs::write(copy.join("model.toml"), manifest.replace("\"4.0.0\"", "\"4.0.1\"")).unwrap();
    let differs = ends(&["diff", file, text(&copy)], 1, "version");
    let lines: Vec<&str> = differs.lines().collect();
    assert!(lines.len() == 3 && lines[1].contains("\"4.0.0\"") && lines[2].starts_with("model.toml"), "{differs}");
}
