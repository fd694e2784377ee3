//! Brings a worker up: as a child of the agent, or by connecting to a systemd unit of its own.
//!
//! Either way the worker's connection is its standard input: a child is started with one end of a socket pair, a
//! socket-activated unit (`Accept=yes`, `StandardInput=socket`) with the accepted connection.
use super::channel::{Channel, ChannelError};
use super::message::{Asked, Question};
use crate::fault::{Blame, Fault};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// From a child's last word to its end: the system closes its files before it says how the process ended.
const LAST_BREATH: Duration = Duration::from_millis(500);

/// How workers are started.
#[derive(Clone, Debug)]
pub enum Launcher {
    /// `PROGRAM worker`, as a child: for a laptop and for the demo.
    Child {
        /// The `sund` binary.
        program: PathBuf,
    },
    /// A unit with its own user, cgroup and device nodes, which listens on this socket.
    Unit {
        /// Path of the socket.
        socket: PathBuf,
    },
}

/// Where one worker works: on a GPU that is named, or on what it finds. Who runs jobs has a seat, and one worker after the other in it.
#[derive(Debug)]
pub struct Seat {
    launcher: Launcher,
    device: Option<String>,
    process: Option<Process>,
}

impl Seat {
    /// An empty seat. `device` is what `nvidia-smi -L` calls a GPU, or a part of one: `GPU-…`, `MIG-…`.
    pub fn new(launcher: Launcher, device: Option<String>) -> Self {
        Self { launcher, device, process: None }
    }

    /// The worker that is there, or a fresh one; give it back with [`Seat::put`].
    pub fn take(&mut self) -> Result<Process, Fault> {
        self.process.take().map_or_else(|| self.launcher.launch_on(self.device.as_deref()), Ok)
    }

    /// What is left of the worker after a task; `None` where it was lost.
    pub fn put(&mut self, process: Option<Process>) {
        self.process = process;
    }

    /// The GPU.
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }
}

/// A worker process and the connection to it.
#[derive(Debug)]
pub struct Process {
    /// The connection.
    pub channel: Channel,
    /// Process number, for the memory watchdog.
    pub pid: Option<i32>,
    /// Questions so far.
    asked: u64,
    child: Option<Child>,
}

impl Launcher {
    /// Starts, or connects to, one worker, for which no GPU is named.
    pub fn launch(&self) -> Result<Process, Fault> {
        self.launch_on(None)
    }

    /// The same; it sees this GPU and no other.
    pub fn launch_on(&self, device: Option<&str>) -> Result<Process, Fault> {
        let mut process = self.connect()?;
        if let Some(device) = device {
            // Fails only where the worker is gone already, which its first task tells.
            let _ = process.ask(Asked::See(device.to_owned()), &[]);
        }
        Ok(process)
    }

    fn connect(&self) -> Result<Process, Fault> {
        match self {
            Launcher::Child { program } => launch_child(program).map_err(|error| {
                let reason = format!("the worker {} cannot be started: {error}", program.display());
                Fault::new("worker-not-started", Blame::Box, reason)
            }),
            Launcher::Unit { socket } => connect_unit(socket).map_err(|error| {
                let reason =
                    format!("no worker answers on {}: {error}; is sund-worker.socket active?", socket.display());
                Fault::new("worker-not-started", Blame::Configuration, reason)
            }),
        }
    }
}

fn launch_child(program: &std::path::Path) -> std::io::Result<Process> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = Command::new(program)
        .arg("worker")
        // Ctrl-C on the terminal is for the agent, which lets the job that runs come to its end.
        .process_group(0)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()?;
    let pid = i32::try_from(child.id()).ok();
    Ok(Process { channel: Channel::new(ours), pid, asked: 0, child: Some(child) })
}

fn connect_unit(socket: &std::path::Path) -> std::io::Result<Process> {
    let stream = UnixStream::connect(socket)?;
    // No process number: until systemd has accepted, the peer is systemd itself. The unit's cgroup bounds the memory.
    Ok(Process { channel: Channel::new(stream), pid: None, asked: 0, child: None })
}

impl Process {
    /// Asks the worker; the number that its answers bear.
    pub(super) fn ask(&mut self, asked: Asked<'_>, files: &[BorrowedFd<'_>]) -> Result<u64, ChannelError> {
        self.asked += 1;
        self.channel.send(&Question { number: self.asked, asked }, files)?;
        Ok(self.asked)
    }

    /// Ends the worker at once: a child is killed; a unit's worker sees the connection close and exits.
    pub fn kill(mut self) {
        self.end();
    }

    /// How the process ended, for a child that ends by itself. One that has closed its connection and lives on is not
    /// waited for.
    pub fn verdict(&mut self) -> Option<String> {
        let child = self.child.as_mut()?;
        let until = Instant::now() + LAST_BREATH;
        let status = loop {
            match child.try_wait().ok()? {
                Some(status) => break status,
                None if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                None => return None,
            }
        };
        Some(match status.signal() {
            Some(signal) => format!("ended by signal {signal}"),
            None => format!("exited with status {}", status.code().unwrap_or(-1)),
        })
    }

    fn end(&mut self) {
        if let Some(child) = &mut self.child {
            // Fails only where the child is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
