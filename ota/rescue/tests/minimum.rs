//! The minimum version against old signed bundles: a file, and an NV counter in a TPM (swtpm).
use crate::authority::Authority;
use crate::world::World;
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use sund_rescue::fault::Blame;
use sund_rescue::minimum::NvIndex;
use sund_rescue::tpm::{close, read_number};
use tempfile::TempDir;

const COUNTER: u32 = 0x0180_0100;
const NUMBER: u32 = 0x0180_0101;

/// TPMA_NV (TPM 2.0 Library, Part 2, 13.4): written and read with the index's own, empty, password.
const AUTHORIZED: u32 = 0x0004_0004;
const IS_COUNTER: u32 = 1 << 4;

struct Tpm {
    emulator: Child,
    socket: UnixStream,
    _state: TempDir,
}

impl Tpm {
    fn start() -> Self {
        let state = tempfile::tempdir().expect("a directory");
        let path = state.path().join("socket");
        let emulator = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", state.path().display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", path.display()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("swtpm: {error}: install it"));
        Self { emulator, socket: connected(&path), _state: state }
    }

    /// A command with the given handles and a password authorization; it has to succeed.
    fn command(&mut self, code: u32, handles: &[u32], parameters: &[u8]) {
        let mut body: Vec<u8> = handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
        body.extend([0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
        body.extend(parameters);
        let size = (10 + body.len() as u32).to_be_bytes();
        let command = [&[0x80, 2][..], &size, &code.to_be_bytes(), &body].concat();
        let begin = Instant::now();
        loop {
            self.socket.write_all(&command).expect("a TPM");
            let mut answer = [0; 4096];
            let length = self.socket.read(&mut answer).expect("an answer");
            match &answer[6..10] {
                [0, 0, 0, 0] => return,
                // TPM_RC_RETRY: it is not ready yet. Behind /dev/tpmrm0 the kernel asks again.
                [0, 0, 9, 0x22] if begin.elapsed() < Duration::from_secs(20) => {
                    thread::sleep(Duration::from_millis(20));
                }
                _ => panic!("command {code:#x}: {:02x?}", &answer[..length]),
            }
        }
    }

    /// TPM2_PCR_Read of the SHA-256 bank.
    fn measured(&mut self, register: usize) -> Vec<u8> {
        let mut select = [0; 3];
        select[register / 8] = 1 << (register % 8);
        let body = [&[0, 0, 0, 1, 0, 0x0b, 3][..], &select].concat();
        let head = [&[0x80, 1][..], &(10 + body.len() as u32).to_be_bytes(), &0x17E_u32.to_be_bytes()].concat();
        self.socket.write_all(&[head, body].concat()).expect("a TPM");
        let mut answer = [0; 4096];
        let length = self.socket.read(&mut answer).expect("an answer");
        answer[length - 32..length].to_vec()
    }

    fn define(&mut self, index: u32, attributes: u32) {
        // TPM2B_NV_PUBLIC: index, SHA-256, attributes, no policy, 8 bytes.
        let public = [&index.to_be_bytes()[..], &[0, 0x0b], &attributes.to_be_bytes(), &[0, 0, 0, 8]].concat();
        let parameters = [&[0, 0, 0, public.len() as u8][..], &public].concat();
        self.command(0x12A, &[0x4000_0001], &parameters); // TPM2_NV_DefineSpace by the owner
    }

    fn increment(&mut self, index: u32) {
        self.command(0x134, &[index, index], &[]);
    }

    fn write(&mut self, index: u32, number: u64) {
        self.command(0x137, &[index, index], &[&[0, 8][..], &number.to_be_bytes(), &[0, 0]].concat());
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

fn connected(path: &Path) -> UnixStream {
    let begin = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(socket) => return socket,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(20), "swtpm does not listen: {error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_counter_in_the_tpm_says_the_minimum_and_only_goes_up() {
    let mut tpm = Tpm::start();
    tpm.define(COUNTER, AUTHORIZED | IS_COUNTER);
    tpm.increment(COUNTER);
    let first = read_number(&mut tpm.socket, COUNTER).expect("a number");
    tpm.increment(COUNTER);
    tpm.increment(COUNTER);
    assert_eq!(read_number(&mut tpm.socket, COUNTER), Ok(first + 2));
}

#[test]
fn a_number_in_the_tpm_is_read_whole() {
    let mut tpm = Tpm::start();
    tpm.define(NUMBER, AUTHORIZED);
    tpm.write(NUMBER, 0x0102_0304_0506_0708);
    assert_eq!(read_number(&mut tpm.socket, NUMBER), Ok(0x0102_0304_0506_0708));
}

#[test]
fn once_a_rescue_has_begun_the_register_of_the_data_partition_is_another() {
    let mut tpm = Tpm::start();
    // TPM_RC_RETRY is borne with here, and not by what reads the register.
    tpm.define(COUNTER, AUTHORIZED | IS_COUNTER);
    assert_eq!(tpm.measured(11), [0; 32]);
    close(&mut tpm.socket).expect("it is measured");
    let extended = Sha256::new().chain_update([0; 32]).chain_update(Sha256::digest(b"sund-rescue")).finalize();
    assert_eq!(tpm.measured(11), extended.to_vec());
}

#[test]
fn an_index_that_is_not_defined_or_not_written_is_no_minimum() {
    let mut tpm = Tpm::start();
    for defined in [false, true] {
        if defined {
            tpm.define(NUMBER, AUTHORIZED);
        }
        let fault = read_number(&mut tpm.socket, NUMBER).expect_err("there is no number");
        assert_eq!((fault.code, fault.blame), ("tpm-unreadable", Blame::Box));
        assert!(fault.reason.contains(if defined { "code 0x14a" } else { "code 0x18b" }), "{fault}");
    }
}

#[test]
fn without_its_minimum_a_box_takes_nothing() {
    let authority = Authority::new();
    let mut world = World::new(&authority, &["https://localhost:1/".to_owned()]);
    world.config.minimum.tpm = Some(NvIndex { device: PathBuf::from("/no/such/tpm"), index: COUNTER });
    assert_eq!(world.refusal(), "tpm-unreadable");
    world.config.minimum.tpm = None;
    for content in ["", "three", "-3", "3 4"] {
        std::fs::write(world.path("minimum"), content).expect("it is written");
        assert_eq!(world.refusal(), "minimum-invalid", "{content:?}");
    }
    std::fs::remove_file(world.path("minimum")).expect("it was there");
    assert_eq!(world.refusal(), "config-unreadable");
}
