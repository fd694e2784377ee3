//! A package of 500 MB: time and memory of `sund model pack`, `verify` and `inspect`, which opens it.
use super::Options;
use ring::digest::{SHA256, digest};
use std::fs;
use std::io::{Error, Result};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use sund_agent::hex::hex;

/// Megabytes of weights; of a smoke run.
const WHOLE: usize = 500;
const SMOKE: usize = 20;
/// Megabytes a second that are verified at least.
const VERIFY: f64 = 500.0;

#[expect(clippy::print_stdout, reason = "the figures are the output")]
pub fn measure(options: &Options, scratch: &Path) -> Result<bool> {
    let megabytes = if options.smoke { SMOKE } else { WHOLE };
    let folder = scratch.join("large");
    large(&folder, megabytes * 1_000_000)?;
    let packed = scratch.join("large.sund");
    println!("a package of {megabytes} MB");
    let mut rate = 0.0;
    for round in 0..2 {
        // The second time all of it is in the page cache: what is measured is Sund.
        let _ = fs::remove_file(&packed);
        let steps: [(&str, &[&Path]); 3] =
            [("pack", &[&folder, Path::new("--to"), &packed]), ("verify", &[&packed]), ("inspect", &[&packed])];
        for (command, arguments) in steps {
            let (seconds, resident) = timed(&options.program, command, arguments)?;
            if round == 1 {
                let speed = megabytes as f64 / seconds;
                println!("  {command:<8}{seconds:7.3} s {speed:8.0} MB/s, at most {resident:.0} MB of memory");
                rate = if command == "verify" { speed } else { rate };
            }
        }
    }
    let is_met = rate >= VERIFY;
    println!("  verify: {}", if is_met { "met" } else { "MISSED" });
    Ok(is_met)
}

/// Seconds, and the most megabytes that were resident, as the kernel keeps them.
fn timed(program: &Path, command: &str, arguments: &[&Path]) -> Result<(f64, f64)> {
    let begun = Instant::now();
    let mut child =
        Command::new(program).arg("model").arg(command).args(arguments).stdout(std::process::Stdio::null()).spawn()?;
    let mut resident = 0.0_f64;
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|line| line.split_whitespace().next());
        resident = resident.max(peak.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1000.0);
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    let seconds = begun.elapsed().as_secs_f64();
    if ended.success() { Ok((seconds, resident)) } else { Err(Error::other(format!("sund model {command} failed"))) }
}

/// The frozen package of format 1, with so many bytes of weights that no node uses.
fn large(folder: &Path, length: usize) -> Result<()> {
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packages/format-1");
    let copied = Command::new("cp").arg("-r").arg(frozen).arg(folder).status()?;
    if !copied.success() {
        return Err(Error::other("the package cannot be copied"));
    }
    let before = fs::read(folder.join("positive.onnx"))?;
    let network = with_weights(&before, length).ok_or_else(|| Error::other("the frozen network is none"))?;
    let [old, new] = [&before, &network].map(|bytes| hex(digest(&SHA256, bytes).as_ref()));
    fs::write(folder.join("positive.onnx"), network)?;
    for name in ["model.toml", "sbom.cdx.json"] {
        let text = fs::read_to_string(folder.join(name))?;
        fs::write(folder.join(name), text.replace(&old, &new))?;
    }
    Ok(())
}

/// The model with one more constant in its graph: field 7 is the graph, in which field 5 is a constant.
fn with_weights(model: &[u8], length: usize) -> Option<Vec<u8>> {
    let raw: Vec<u8> = (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let weights = [number(1, length as u64 / 4), number(2, 1), field(8, b"weights"), field(9, &raw)].concat();
    let weights = field(5, &weights);
    let mut at = 0;
    while at < model.len() {
        let start = at;
        let key = varint(model, &mut at)?;
        let value = varint(model, &mut at)?;
        if key & 7 != 2 {
            continue;
        }
        let end = at + value as usize;
        if key >> 3 == 7 {
            let graph = [&model[at..end], &weights].concat();
            return Some([&model[..start], &field(7, &graph), &model[end..]].concat());
        }
        at = end;
    }
    None
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [encoded(number << 3 | 2), encoded(bytes.len() as u64), bytes.to_vec()].concat()
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [encoded(field << 3), encoded(value)].concat()
}

fn encoded(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 127 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
