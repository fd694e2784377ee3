//! Format 1 of packages is frozen: a package of it is read as it was on the day that it was made, to the byte. What is of another
//! format is refused with the formats that are read here.
use crate::hospital::SUND;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use sund_agent::model::signed::Verifier;
use sund_agent::model::{Contents, Package};

fn frozen(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packages").join(name)
}

fn sund(arguments: &[&str]) -> Output {
    Command::new(SUND).arg("model").args(arguments).env_remove("SUND_ONNXRUNTIME").output().unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A package of format 1, as it was packed and signed when the format was frozen: its digest, and what its golden case finds.
struct Frozen {
    name: &'static str,
    digest: &'static str,
    found: &'static [(&'static str, f64)],
}

const FORMAT_1: [Frozen; 3] = [
    // A volume, one network, an engine compiled for it.
    Frozen {
        name: "format-1",
        digest: "sha256:5cf2b4d68b6f9a7a119b30f54aa44bc21782757ffe5630257cbbfc248db00f68",
        found: &[("volume, ml", 12.0), ("Dice", 1.0)],
    },
    // A volume, two networks, the steps between them.
    Frozen {
        name: "format-1-cascade",
        digest: "sha256:9453a366d35a0eac21a396a8ee5c9ed29dda9f6937776ee16b8d5a28f07ec7ff",
        found: &[("volume, ml", 12.0), ("Dice", 1.0)],
    },
    // An image, boxes.
    Frozen {
        name: "format-1-image",
        digest: "sha256:c8e5c9a923c45121db0b60eea2746787673f18574a0418565c1de27755eb0825",
        found: &[
            ("overlap of box 1", 0.9575892686843872),
            ("score of box 1", 1.0),
            ("overlap of box 2", 0.9360001087188721),
            ("score of box 2", 0.7843137383460999),
        ],
    },
];

#[test]
fn a_package_of_format_1_is_what_it_was() {
    for Frozen { name, digest, found } in FORMAT_1 {
        let file = frozen(&format!("{name}.sund"));
        let package = Package::open(&file).unwrap();
        assert_eq!(package.digest, digest);
        let Contents::Packed(archive, _) = &package.contents else { panic!("it is a folder") };
        archive.verify(&mut |_| {}).unwrap();
        let key = Verifier::read(&frozen(&format!("{name}.pub"))).unwrap();
        assert!(package.envelope().unwrap().unwrap().is_signed_by(&key));
        let shown = sund(&["inspect", text(&file), "--json"]);
        let expected = fs::read_to_string(frozen(&format!("{name}.json"))).unwrap();
        assert_eq!(String::from_utf8(shown.stdout).unwrap(), expected);
        let tested = sund(&["test", text(&file), "--json"]);
        assert!(tested.status.success(), "{}", told(&tested));
        let tested: serde_json::Value = serde_json::from_slice(&tested.stdout).unwrap();
        let numbers = tested["trials"][0]["compared"].as_array().unwrap();
        let now: Vec<(&str, f64)> =
            numbers.iter().map(|one| (one["what"].as_str().unwrap(), one["found"].as_f64().unwrap())).collect();
        assert_eq!(now.len(), found.len(), "{name}");
        for ((what, number), (known, expected)) in now.iter().zip(found) {
            assert_eq!(what, known, "{name}");
            // The engine's sums may round otherwise on another processor.
            assert!((number - expected).abs() < 1e-5, "{name}: {what}: {number}, not {expected}");
        }
    }
}

/// But for the signatures, which come behind what is signed.
#[test]
fn its_folder_is_packed_to_the_same_bytes() {
    for Frozen { name, .. } in FORMAT_1 {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("packed.sund");
        let packed = sund(&["pack", text(&frozen(name)), "--to", text(&to)]);
        assert!(packed.status.success(), "{}", told(&packed));
        let (now, then) = (fs::read(&to).unwrap(), fs::read(frozen(&format!("{name}.sund"))).unwrap());
        assert!(then.starts_with(&now[..now.len() - 1024]), "{name}");
    }
}

#[test]
fn a_package_of_a_later_format_is_refused_with_the_formats_that_are_read_here() {
    let folder = tempfile::tempdir().unwrap();
    let later = folder.path().join("later");
    let copied = Command::new("cp").arg("-r").arg(frozen("format-1")).arg(&later).status().unwrap();
    assert!(copied.success());
    let manifest = fs::read_to_string(later.join("model.toml")).unwrap();
    let manifest = manifest.replace("format = 1\n", "format = 2\nnot_known_yet = [1, 2]\n");
    fs::write(later.join("model.toml"), manifest).unwrap();
    let list = "sha256sum $(find . -type f -printf '%P\\n' | grep -v SHA256SUMS | LC_ALL=C sort) > SHA256SUMS && tar -b1 \
                --format=ustar --mode=0644 --owner=0 --group=0 --numeric-owner --mtime=@0 -cf ../later.sund SHA256SUMS \
                $(cut -c67- SHA256SUMS)";
    let made = Command::new("sh").args(["-c", list]).current_dir(&later).output().unwrap();
    assert!(made.status.success(), "{}", told(&made));
    for package in [later, folder.path().join("later.sund")] {
        let fault = Package::open(&package).unwrap_err();
        assert_eq!(fault.code, "package-format-unknown");
        assert!(fault.reason.contains("format 2") && fault.reason.contains("reads format 1 "), "{fault}");
        assert!(!fault.reason.contains("not_known_yet"), "what another format says is not judged: {fault}");
        let checked = sund(&["check", text(&package)]);
        assert_eq!(checked.status.code(), Some(65));
        assert!(told(&checked).contains("take a newer sund"), "{}", told(&checked));
    }
}
