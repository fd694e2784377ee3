//! The program as it stands in the initramfs. `SUND_TEST_RESCUE` names the static one, which `.ci/test` builds for musl; without
//! it the one of this build is run.
use crate::authority::{Authority, Wish};
use crate::released::{envelope, key, payload, pem};
use crate::site::{Act, Site, file, head};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BUNDLE: &[u8] = b"a recovery bundle for the program";

fn program() -> PathBuf {
    std::env::var_os("SUND_TEST_RESCUE").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_sund-rescue")), PathBuf::from)
}

/// A directory with a configuration as an initramfs has it.
fn initramfs(authority: &Authority, site: &Site) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("authorities.pem"), &authority.pem).expect("it is written");
    fs::write(path("minimum"), "3").expect("it is written");
    let config = format!(
        r#"sources = ["{}"]
authorities = "{}"
built = "2026-01-01T00:00:00Z"
destination = "{}"
rounds = 1

[minimum]
file = "{}"

[[person]]
name = "Ane"
key = """
{}"""

[[person]]
name = "Bo"
key = """
{}"""
"#,
        site.address(),
        path("authorities.pem"),
        path("bundle"),
        path("minimum"),
        pem(&key(1)),
        pem(&key(2)),
    );
    fs::write(path("rescue.toml"), config).expect("it is written");
    directory
}

fn run(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).env_clear().output().expect("the program")
}

fn rescue(directory: &Path) -> Output {
    run(&["--config", &directory.join("rescue.toml").display().to_string()])
}

fn site(authority: &Authority, version: u64, bundle: &[u8]) -> Site {
    let files = vec![
        ("rescue/rescue.json", envelope(&payload(version, BUNDLE), &[&key(1), &key(2)])),
        ("rescue/bundle.raucb", bundle.to_vec()),
    ];
    Site::of_files(authority.issue(Wish::server()), files)
}

#[test]
fn the_program_writes_a_verified_bundle_and_says_so() {
    let authority = Authority::new();
    let directory = initramfs(&authority, &site(&authority, 3, BUNDLE));
    let output = rescue(directory.path());
    let console = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{console}");
    assert!(console.contains("version 3 is written and verified"), "{console}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!((&said["version"], &said["length"]), (&3.into(), &BUNDLE.len().into()));
    assert_eq!(fs::read(directory.path().join("bundle")).expect("a bundle"), BUNDLE);
}

#[test]
fn its_exit_code_tells_what_kind_of_failure_it_was() {
    let authority = Authority::new();
    let code = |site: &Site, alter: &dyn Fn(&Path)| {
        let directory = initramfs(&authority, site);
        alter(directory.path());
        let output = rescue(directory.path());
        assert!(output.stdout.is_empty(), "something was said on stdout");
        assert!(!output.stderr.is_empty(), "nothing was said on stderr");
        output.status.code()
    };
    let good = site(&authority, 3, BUNDLE);
    let edit = |directory: &Path, from: &str, to: &str| {
        let path = directory.join("rescue.toml");
        let text = fs::read_to_string(&path).expect("a configuration");
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).expect("it is written");
    };
    assert_eq!(code(&good, &|directory| edit(directory, "[minimum]\nfile", "[minimum]\nfiles")), Some(64));
    assert_eq!(code(&good, &|directory| edit(directory, "built", "threshold = 3\nbuilt")), Some(64));
    assert_eq!(
        code(&good, &|directory| fs::write(directory.join("minimum"), "many").expect("it is written")),
        Some(64)
    );
    assert_eq!(
        code(&good, &|directory| {
            let tpm = "[minimum]\ntpm = { device = \"/no/such/tpm\", index = 0x01800100 }\nfile";
            edit(directory, "[minimum]\nfile", tpm);
        }),
        Some(74)
    );
    let nobody = format!("localhost:{}", good.port());
    assert_eq!(code(&good, &|directory| edit(directory, &nobody, "127.0.0.1:1")), Some(69));
    let stranger = Authority::new().pem;
    let strange = |directory: &Path| fs::write(directory.join("authorities.pem"), &stranger).expect("it is written");
    assert_eq!(code(&good, &strange), Some(76));
    assert_eq!(run(&["--no-such-option"]).status.code(), Some(64));
    assert_eq!(run(&["--config", "/no/such/file"]).status.code(), Some(64));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

#[test]
fn the_site_that_the_firmware_keeps_says_where_the_channel_is_and_nothing_else() {
    let authority = Authority::new();
    let site = site(&authority, 3, BUNDLE);
    let directory = initramfs(&authority, &site);
    let (config, variable) = (directory.path().join("rescue.toml"), directory.path().join("site"));
    let text = fs::read_to_string(&config).expect("a configuration");
    let (_, signed) = text.split_once("built").expect("what is signed");
    fs::write(&config, format!("site = \"{}\"\nbuilt{signed}", variable.display())).expect("it is written");
    let keeps = |more: &str| {
        let kept = format!("sources = [\"{}\"]\nauthorities = '''{}'''\n{more}", site.address(), authority.pem);
        fs::write(&variable, [&[7, 0, 0, 0], kept.as_bytes()].concat()).expect("it is kept");
    };
    keeps("network = { address = '10.20.0.5/24', dns = ['10.20.0.2'] }\n");
    let output = rescue(directory.path());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(directory.path().join("bundle")).expect("a bundle"), BUNDLE);
    let told = run(&["--config", &config.display().to_string(), "network"]);
    assert_eq!(String::from_utf8_lossy(&told.stdout), "10.20.0.5/24 - 10.20.0.2\n");
    keeps("threshold = 1\n");
    assert_eq!(rescue(directory.path()).status.code(), Some(64));
    fs::remove_file(&variable).expect("it was there");
    assert_eq!(rescue(directory.path()).status.code(), Some(64));
}

#[test]
fn a_box_is_told_at_each_start_what_comes_next() {
    let directory = tempfile::tempdir().expect("a directory");
    let variables = directory.path().display().to_string();
    for (number, label) in [("0001", "sund-a\0"), ("0002", "sund-b\0")] {
        let text: Vec<u8> = label.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let entry = directory.path().join(format!("Boot{number}-8be4df61-93ca-11d2-aa0d-00e098032b8c"));
        fs::write(entry, [&[7, 0, 0, 0, 1, 0, 0, 0, 0, 0][..], &text].concat()).expect("an entry");
    }
    let step = |command: &str, slot: &str| {
        let output = run(&["--variables", &variables, command, slot]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let says = |word: &str| (Some(0), word.to_owned());
    assert_eq!(step("begin", "a"), says("this"));
    assert_eq!(step("broken", "a"), says("other"));
    assert_eq!(step("begin", "b"), says("this"));
    assert_eq!(step("broken", "b"), says("rescue"));
    assert_eq!(step("made-anew", "a"), says(""));
    let next = fs::read(directory.path().join("BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c")).expect("it is asked");
    assert_eq!(next, [7, 0, 0, 0, 1, 0]);
    assert_eq!(step("begin", "a"), says("this"));
    assert_eq!(step("begin", "c"), (Some(64), String::new()));
}

#[test]
fn a_tampered_bundle_ends_with_65_and_nothing_valid() {
    let authority = Authority::new();
    let mut altered = BUNDLE.to_vec();
    altered[0] ^= 1;
    let directory = initramfs(&authority, &site(&authority, 3, &altered));
    let output = rescue(directory.path());
    assert_eq!(output.status.code(), Some(65), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!directory.path().join("bundle").exists());
}

#[test]
fn a_program_killed_in_the_middle_leaves_nothing_that_looks_like_a_bundle() {
    let authority = Authority::new();
    let bundle = vec![7; 300_000];
    let descriptor = envelope(&payload(3, &bundle), &[&key(1), &key(2)]);
    let site = Site::new(authority.issue(Wish::server()), move |request| {
        if request.path == "/rescue/rescue.json" {
            return file(&[("rescue/rescue.json", descriptor.clone())], request);
        }
        vec![Act::Send(head(request, bundle.len())), Act::Send(bundle[..200_000].to_vec()), Act::Hold]
    });
    let directory = initramfs(&authority, &site);
    let destination = directory.path().join("bundle");
    let mut running = Command::new(program())
        .arg("--config")
        .arg(directory.path().join("rescue.toml"))
        .stderr(Stdio::null())
        .spawn()
        .expect("the program");
    let begin = Instant::now();
    while fs::metadata(&destination).map_or(0, |metadata| metadata.len()) < 150_000 {
        assert!(begin.elapsed() < Duration::from_mins(1), "nothing is written");
        thread::sleep(Duration::from_millis(20));
    }
    running.kill().and_then(|()| running.wait()).expect("it is killed");
    let written = fs::read(&destination).expect("a beginning");
    assert!(written[..4096].iter().all(|byte| *byte == 0) && written[4096] == 7);
}
