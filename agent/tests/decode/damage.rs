//! Real files of every encoding, damaged at random: each reader gives an answer and none panics, and none takes for ever.
//! `SUND_FUZZ_ROUNDS=1000 cargo test --release damage` makes a long run of it. A failure names file and seed.
use super::oracle;
use bytes::Bytes;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use sund_agent::dataset::part10;
use sund_agent::decode::{images, volume};
use sund_agent::study::patient::Patient;

/// Of each file, unless the environment says otherwise.
const ROUNDS: u64 = 12;
/// Larger files are slow to damage often and have no reader of their own.
const LARGEST: usize = 300_000;

/// Steele, Lea and Flood's `SplitMix64`: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// The file with one to three damages, most of them in its first 2 KB, where the header is.
fn damaged(file: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=random.below(3) {
        let reach = if random.below(2) == 0 { bytes.len() } else { bytes.len().min(2_048) };
        let at = random.below(reach).max(132).min(bytes.len().saturating_sub(1));
        match random.below(12) {
            0..4 => bytes[at] = random.next() as u8,
            4..8 => bytes[at] ^= 1 << random.below(8),
            8 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
            9 => bytes.truncate(at.max(140)),
            10 => {
                let end = (at + random.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let piece: Vec<u8> = bytes[at..].iter().copied().take(random.below(64)).collect();
                bytes.splice(at..at, piece);
            }
        }
        if bytes.len() < 140 {
            break;
        }
    }
    bytes
}

/// All that reads a file before a network does. True where pixels came of it.
fn read(file: Vec<u8>) -> bool {
    let Ok(instance) = part10::read(&Bytes::from(file)) else { return false };
    let _ = Patient::of(&instance.header);
    let instances = [instance.clone(), instance];
    let flat = images(&instances[..1]).is_ok();
    flat | volume(&instances).is_ok()
}

#[test]
fn damage_gets_an_answer_and_never_a_panic() {
    let rounds = std::env::var("SUND_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let mut wrong = Vec::new();
    let (mut tried, mut survived) = (0, 0);
    for mode in ["made", "files"] {
        let (_out, entries) = oracle(mode);
        for entry in &entries {
            let file = std::fs::read(entry["path"].as_str().unwrap()).unwrap();
            if file.len() > LARGEST || file.len() < 140 {
                continue;
            }
            for seed in 0..rounds {
                let bytes = damaged(&file, &mut Random(seed));
                tried += 1;
                match catch_unwind(AssertUnwindSafe(|| read(bytes))) {
                    Ok(pixels) => survived += u64::from(pixels),
                    Err(_) => wrong.push(format!("{} with seed {seed}", name(entry))),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} panicked:\n{}", wrong.len(), wrong.join("\n"));
    // Were nothing readable left, the damage would be too coarse to reach the decoders.
    assert!(survived * 10 > tried, "{survived} of {tried} gave pixels");
}

fn name(entry: &Value) -> &str {
    entry["name"].as_str().unwrap_or("?")
}
