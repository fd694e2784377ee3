//! Any byte flipped in any file is refused or harmless.
use crate::region::{Device, MODEL, Region, STATE, state_bytes};
use std::fs;
use std::path::{Path, PathBuf};
use sund_ota::state::Pin;
use tough::{FilesystemTransport, RepositoryLoader};
use url::Url;

/// What a box gets out of the repository, or nothing.
async fn taken(region: &mut Region, device: &Device, model: &Pin) -> Option<String> {
    let _ = fs::remove_file(device.datastore().join("seen.json"));
    let _ = fs::remove_file(device.store("model.sund"));
    let state = region.state();
    let trusted = device.load(region).await.ok()?;
    let state = trusted.state(&state).await.ok()?;
    let model = trusted.fetch(model, &device.store("model.sund")).await.ok()?;
    Some(format!("{:?} {:?}", state.get(), fs::read(model.get()).unwrap()))
}

/// What other people's client makes of the metadata.
async fn tough_takes(region: &Region, device: &Device) -> bool {
    let base = Url::from_directory_path(region.path()).unwrap();
    let at = |name: &str| base.join(name).unwrap();
    RepositoryLoader::new(&device.root, at("metadata/"), at("targets/"))
        .transport(FilesystemTransport)
        .load()
        .await
        .is_ok()
}

#[tokio::test]
async fn a_flipped_byte_is_refused_or_harmless() {
    let mut region = Region::new();
    let device = region.device();
    let payload: Vec<u8> = (0..2000).map(|n| (n % 251) as u8).collect();
    let model = region.role("models/acme").list(MODEL, &payload);
    let bytes = state_bytes("north-1", &model);
    region.role("state").list(STATE, &bytes);
    region.publish();
    let whole = taken(&mut region, &device, &model).await.expect("the whole repository is taken");
    assert!(tough_takes(&region, &device).await);
    let state = region.role("state").targets[STATE].bytes.clone();
    let mut files: Vec<_> =
        ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.state.json", "1.models/acme.json"]
            .map(|file| region.metadata().join(file))
            .to_vec();
    files.extend([region.payload(STATE, &state), region.payload(MODEL, &payload)]);
    let (mut refused, mut harmless) = (0, 0);
    for file in files {
        let right = fs::read(&file).unwrap();
        let copies = copies(&region.metadata(), &file);
        // About sixty bytes of each file, each time another bit.
        for at in (0..right.len()).step_by(right.len().div_ceil(60)) {
            let mut bytes = right.clone();
            bytes[at] ^= 1 << (at % 8);
            write_all(&copies, &bytes);
            match taken(&mut region, &device, &model).await {
                None => refused += 1,
                Some(taken) => {
                    assert_eq!(taken, whole, "{} byte {at}", file.display());
                    assert!(tough_takes(&region, &device).await, "{} byte {at}", file.display());
                    harmless += 1;
                }
            }
        }
        write_all(&copies, &right);
    }
    assert!(refused > 200 && harmless * 10 < refused, "{refused} refused, {harmless} harmless");
}

/// A file, and its copy under the escaped name where a role's name has a slash.
fn copies(metadata: &Path, file: &Path) -> Vec<PathBuf> {
    let name = file.strip_prefix(metadata).ok().and_then(Path::to_str).filter(|name| name.contains('/'));
    std::iter::once(file.to_owned()).chain(name.map(|name| metadata.join(name.replace('/', "%2F")))).collect()
}

fn write_all(files: &[PathBuf], bytes: &[u8]) {
    for file in files {
        fs::write(file, bytes).unwrap();
    }
}
