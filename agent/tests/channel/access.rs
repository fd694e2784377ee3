//! Who may bring a state, and what the socket does when the system is out of means.
use super::fixture::Hospital;
use crate::hospital::until;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

/// Only root can be somebody else: without it there is nobody to try.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stranger_on_this_box_brings_no_state() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let hospital = Hospital::new().await;
    let _daemon = hospital.serve().await;
    let socket = hospital.site.folder("channel.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    fs::set_permissions(hospital.site.folder(""), fs::Permissions::from_mode(0o755)).unwrap();
    let asks = |group: &str| {
        let client = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
                      s.sendall(b'\"status\"\\n')\nprint(s.makefile().read())";
        let who = ["--reuid=65534", &format!("--regid={group}"), "--clear-groups", "python3", "-c", client];
        // Not the Python of somebody's home, which a stranger may not enter.
        let asked = Command::new("setpriv").args(who).arg(&socket).env("PATH", "/usr/bin:/bin").output();
        let asked = asked.expect("setpriv, of util-linux");
        (asked.status.success(), String::from_utf8_lossy(&asked.stdout).into_owned())
    };
    assert!(!asks("65534").0, "the socket's mode keeps who is not of its group");
    let (_, answer) = asks("0");
    assert!(answer.contains("channel-stranger") && answer.contains("65534"), "{answer}");
    assert!(hospital.site.audit().contains("channel-stranger"));
}

/// Time that a process has had of the processors, in ticks of a hundredth of a second (proc_pid_stat(5), utime and stime).
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_system_out_of_descriptors_is_waited_for_and_told_once() {
    let hospital = Hospital::new().await;
    let daemon = hospital.serve().await;
    let (pid, whole) = (daemon.pid(), getrlimit(Resource::Nofile));
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(3), ..whole }).unwrap();
    let mut stream = UnixStream::connect(hospital.site.folder("channel.sock")).unwrap();
    let log = || fs::read_to_string(hospital.site.folder("log")).unwrap();
    until("it is told", || log().contains("takes no connection now").then_some(())).await;
    let before = ticks(pid.as_raw_nonzero().get());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = ticks(pid.as_raw_nonzero().get()) - before;
    assert!(spent < 30, "{spent} of 100 ticks were spent on waiting");
    assert_eq!(log().matches("takes no connection now").count(), 1);
    prlimit(Some(pid), Resource::Nofile, whole).unwrap();
    writeln!(stream, "\"status\"").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["status"]["models"][0]["version"], "4.0.0");
}
