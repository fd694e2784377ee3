//! The image that is built ahead of time: the same bytes each time, and in it every kernel for every card.
#[path = "../../build/fatbin.rs"]
mod fatbin;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use sund_kernels::cuda::{code, sources};

#[test]
fn the_image_built_again_has_the_same_bytes() {
    let again = Path::new(env!("CARGO_TARGET_TMPDIR")).join("again.fatbin");
    fatbin::compile_to(&again);
    assert!(code::image().is_some_and(|image| image == fs::read(&again).unwrap()), "the two images differ");
}

/// cuobjdump lies beside nvcc.
#[test]
fn every_kernel_is_in_the_image_for_every_card_and_as_ptx() {
    let image = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels.fatbin");
    fs::write(&image, code::image().unwrap()).unwrap();
    let tool = PathBuf::from(std::env::var_os("SUND_NVCC").expect("SUND_NVCC names nvcc")).with_file_name("cuobjdump");
    let say = |what: &str| {
        let said = Command::new(&tool).arg(what).arg(&image).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    };
    let kernels: BTreeSet<String> = sources::kernels().into_iter().collect();
    let symbols = say("--dump-elf-symbols");
    let mut cards = Vec::new();
    // A chapter for each card; those of PTX have no symbols.
    for chapter in symbols.split("\nFatbin ").filter(|chapter| chapter.starts_with("elf code")) {
        let card = chapter.lines().find_map(|line| line.strip_prefix("arch = sm_")).unwrap();
        let lines = chapter.lines().filter(|line| line.starts_with("FUNC") && line.contains("ENTRY"));
        let found: BTreeSet<String> =
            lines.filter_map(|line| line.split_whitespace().last()).map(String::from).collect();
        assert_eq!(found, kernels, "for compute capability {card}");
        cards.push(card.parse::<u32>().unwrap());
    }
    assert_eq!(cards, fatbin::CAPABILITIES);
    let ptx = say("--dump-ptx");
    assert!(kernels.iter().all(|kernel| ptx.contains(&format!(".entry {kernel}("))));
}
