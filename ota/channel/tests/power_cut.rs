//! The program is killed at every one of its writing system calls while it publishes.
use crate::region::{Region, TWO, text};
use std::fs;
use std::process::Command;

/// What changes the disk, one after the other: `strace` counts the calls of each kind for itself.
const WRITING: [&str; 5] = ["write", "fsync", "rename", "mkdir", "unlink,unlinkat,rmdir"];

#[test]
fn killed_at_any_moment_of_approve_the_repository_is_the_old_or_the_new_one() {
    let region = Region::new();
    region.must(&["stop-all", "--reason", "a test"]);
    region.sign("state-2", &TWO);
    let kills = kill_at_each_call(&region, "state-2", || {
        region.load().unwrap();
    });
    assert!(kills > 15, "killed only {kills} times");
    assert_eq!(region.must(&["status"])["stopped"]["reason"], "a test");
}

#[test]
fn killed_at_any_moment_of_a_rotation_boxes_of_the_old_and_of_the_new_root_go_on() {
    let region = Region::new();
    region.must(&["root", "rotate", "--online-keys"]);
    region.must(&["root", "remove-key", "--person", "Carla Lund", "--with", "root-2"]);
    region.sign("root-2", &["Anna Holm", "Bo Krog"]);
    let kills = kill_at_each_call(&region, "root-2", || {
        region.load().unwrap();
    });
    assert!(kills > 20, "killed only {kills} times");
    assert_eq!(region.must(&["status"])["roles"][0]["version"], 2);
}

#[test]
fn killed_at_any_moment_of_a_withdrawal_no_withdrawn_system_is_left_as_the_rescue() {
    let region = crate::rescue::region();
    region.must(&["publish", "rescue", "1.2.0"]);
    region.publish("rescue-1", &TWO);
    region.must(&["withdraw", "os/sund-1.2.0.raucb", "--reason", "does not start"]);
    region.sign("os-4", &TWO);
    let (waits, rescue) = (region.home().join("proposals/os-4"), "repository/targets/rescue/rescue.json");
    let rescue = region.home().join(rescue);
    let kills = kill_at_each_call(&region, "os-4", || {
        region.load().unwrap();
        assert!(waits.exists() || !rescue.exists(), "nobody is asked any more to take the rescue back");
    });
    assert!(kills > 15, "killed only {kills} times");
}

/// Kills `approve` at its 1st, 2nd, 3rd ... call of each kind until a run ends by itself; what is there then is asked each
/// time. The same command, done again, has to end what was begun.
fn kill_at_each_call(region: &Region, id: &str, holds: impl Fn()) -> u32 {
    let (home, before) = (region.home(), region.path("before"));
    assert!(Command::new("cp").arg("-a").arg(&home).arg(&before).status().unwrap().success());
    let mut kills = 0;
    for kind in WRITING {
        fs::remove_dir_all(&home).unwrap();
        assert!(Command::new("cp").arg("-a").arg(&before).arg(&home).status().unwrap().success());
        for call in 1..1_000 {
            let status = Command::new("strace")
                .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={kind}")])
                .args(["-e", &format!("inject={kind}:signal=KILL:when={call}")])
                .arg(env!("CARGO_BIN_EXE_sund-channel"))
                .args(["--json", "--home", text(&home), "approve", id])
                .output()
                .unwrap()
                .status;
            holds();
            if status.success() || !home.join("proposals").join(id).exists() {
                break;
            }
            kills += 1;
        }
        assert!(!home.join("proposals").join(id).exists(), "{kind}: never came to an end");
    }
    kills
}
