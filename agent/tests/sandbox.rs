//! The kernel holds the daemon to its files. Bounds are a thread's and of what it starts, so a thread of the test takes them.
use crate::serve::Site;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use sund_agent::config;
use sund_agent::sandbox::{Held, Places, confine};

#[test]
fn a_daemon_can_touch_nothing_but_its_own_files_and_start_nothing_but_its_worker() {
    let site = Site::new("");
    let elsewhere = tempfile::tempdir().unwrap();
    let secret = elsewhere.path().join("secret");
    fs::write(&secret, "of others").unwrap();
    // A way out of a folder that it may read.
    std::os::unix::fs::symlink(&secret, site.folder("way-out")).unwrap();
    let config = config::check(&site.config()).unwrap();
    let places = Places::of(&config, &site.config());
    let denied = |done: std::io::Result<()>| done.unwrap_err().kind() == ErrorKind::PermissionDenied;
    let (file, folder) = (site.config(), site.folder(""));
    let at = |name: &str| folder.join(name);
    let program = std::env::current_exe().unwrap();
    std::thread::scope(|scope| {
        let bound = scope.spawn(|| {
            assert_eq!(confine(&places).unwrap(), Held::Whole);
            // Its own.
            assert!(fs::read(&file).is_ok() && fs::read(at("uid.key")).is_ok());
            fs::write(at("spool/probe"), "written").unwrap();
            fs::rename(at("spool/probe"), at("spool/probe-2")).unwrap();
            fs::write(at("audit/probe"), "written").unwrap();
            assert!(fs::read("/etc/passwd").is_ok() && fs::read("/proc/self/status").is_ok());
            fs::write("/dev/null", "nothing").unwrap();
            // Not its own.
            assert!(denied(fs::read(&secret).map(drop)) && denied(fs::read(at("way-out")).map(drop)));
            assert!(denied(fs::write(&file, "other")) && denied(fs::write(at("new"), "")));
            assert!(denied(fs::write("/etc/sund-probe", "")) && denied(fs::remove_file(&secret)));
            assert!(denied(fs::read_dir("/root").map(drop)) && denied(fs::create_dir("/var/tmp/sund-probe")));
            // Its worker is this program, which is the test's here; no other starts, nor does what it has written itself.
            assert!(Command::new(&program).arg("--list").output().unwrap().status.success());
            for other in ["/bin/sh", "/usr/bin/env"] {
                assert!(Path::new(other).exists() && denied(Command::new(other).output().map(drop)), "{other}");
            }
        });
        bound.join().unwrap();
    });
    assert!(fs::read(&secret).is_ok(), "the thread alone is bound");
}

#[test]
fn the_daemon_says_that_it_is_held_to_its_files() {
    let site = Site::new("");
    let _daemon = site.serve();
    let log = fs::read_to_string(site.folder("log")).unwrap();
    assert!(log.contains("the kernel holds this process to its files (Landlock)"), "{log}");
}
