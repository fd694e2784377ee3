//! Brings a worker up: as a child of the agent, or by connecting to a systemd unit of its own.
//!
//! Either way the worker's connection is its standard input: a child is started with one end of a socket pair, a
//! socket-activated unit (`Accept=yes`, `StandardInput=socket`) with the accepted connection.
use super::call_off::CallOff;
use super::channel::{Channel, ChannelError};
use super::message::{Asked, Question};
use super::turns::Turn;
use crate::fault::{Blame, Fault};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// From a child's last word to its end: the system closes its files before it says how the process ended.
const LAST_BREATH: Duration = Duration::from_millis(500);

/// From the kill of a child to its end: the driver frees the GPU's memory in it.
const LONGEST_DEATH: Duration = Duration::from_secs(30);

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

/// A worker process and a conversation with it: one of several where more than one task may be in flight.
#[derive(Debug)]
pub struct Process {
    /// The connection.
    pub channel: Channel,
    /// Process number, for the memory watchdog.
    pub pid: Option<i32>,
    /// Questions so far.
    asked: u64,
    /// Which of its conversations this is, from 0.
    pub(super) lane: usize,
    /// Whom it may have beside it; held while it has a task.
    pub(super) turn: Option<Turn>,
    /// Ends it where what it is at is called off.
    pub(super) off: CallOff,
    running: Arc<Running>,
}

/// What all conversations with a worker have in common: it ends for all of them.
#[derive(Debug)]
struct Running {
    /// The connection that the worker was started with: it ends when that is closed.
    first: UnixStream,
    life: Mutex<Life>,
    /// Apart from its life, which others ask for while a child is waited for.
    child: Mutex<Option<Child>>,
}

#[derive(Debug)]
struct Life {
    is_over: bool,
    /// The code of what it was ended for.
    ended_for: Option<String>,
}

impl Launcher {
    /// Starts, or connects to, one worker, for which no GPU is named.
    pub fn launch(&self) -> Result<Process, Fault> {
        self.launch_on(None, &CallOff::new())
    }

    /// The same; it sees this GPU and no other.
    pub fn launch_on(&self, device: Option<&str>, off: &CallOff) -> Result<Process, Fault> {
        let mut process = self.connect()?;
        process.off = off.clone();
        if let Some(device) = device {
            // Fails only where the worker is gone already, which its first task tells.
            let _ = process.ask(Asked::See(device.to_owned()), &[]);
        }
        Ok(process)
    }

    /// Whether workers keep the kernels that an engine has made for them. Units do not: what one that ran a vendor's code has left behind,
    /// the next would run for another vendor's model.
    pub fn keeps_kernels(&self) -> bool {
        matches!(self, Launcher::Child { .. })
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
    Process::first(ours, pid, Some(child))
}

fn connect_unit(socket: &std::path::Path) -> std::io::Result<Process> {
    let stream = UnixStream::connect(socket)?;
    // No process number: until systemd has accepted, the peer is systemd itself. The unit's cgroup bounds the memory.
    Process::first(stream, None, None)
}

impl Process {
    fn first(connection: UnixStream, pid: Option<i32>, child: Option<Child>) -> std::io::Result<Self> {
        let life = Mutex::new(Life { is_over: false, ended_for: None });
        let running = Arc::new(Running { first: connection.try_clone()?, life, child: Mutex::new(child) });
        Ok(Self { channel: Channel::new(connection), pid, asked: 0, lane: 0, turn: None, off: CallOff::new(), running })
    }

    /// Opens one more conversation with the worker, before its first task.
    pub(super) fn open_lane(&mut self, lane: usize) -> std::io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        // Fails only where the worker is gone already, which its first task tells.
        let _ = self.ask(Asked::Lane, &[theirs.as_fd()]);
        let (channel, running) = (Channel::new(ours), Arc::clone(&self.running));
        Ok(Self { channel, pid: self.pid, asked: 0, lane, turn: None, off: self.off.clone(), running })
    }

    /// Asks the worker; the number that its answers bear.
    pub(super) fn ask(&mut self, asked: Asked<'_>, files: &[BorrowedFd<'_>]) -> Result<u64, ChannelError> {
        self.asked += 1;
        self.channel.send(&Question { number: self.asked, asked }, files)?;
        Ok(self.asked)
    }

    /// Ends the worker at once, for all its conversations: a child is killed; a unit's worker sees the connection close and
    /// exits. `code` says what for: the task beside is told, which is not to blame.
    pub(super) fn end_for(self, code: &str) {
        self.running.end(Some(code));
    }

    /// The same, with nobody to tell.
    pub fn kill(self) {
        self.running.end(None);
    }

    /// Says from another thread what the worker is about to be ended for: the task beside is told that, and not how it died.
    pub(super) fn foretell(&self) -> impl FnOnce(&str) + Send + use<> {
        let running = Arc::clone(&self.running);
        move |code| running.foretell(code)
    }

    /// True once it was ended.
    pub(super) fn is_over(&self) -> bool {
        self.running.life().is_over
    }

    /// What it was ended for by another conversation.
    pub(super) fn ended_for(&self) -> Option<String> {
        self.running.life().ended_for.clone()
    }

    /// How the process ended, for a child that ends by itself. One that has closed its connection and lives on is not
    /// waited for.
    pub fn verdict(&mut self) -> Option<String> {
        let until = Instant::now() + LAST_BREATH;
        let status = loop {
            match self.running.child().as_mut()?.try_wait().ok()? {
                Some(status) => break status,
                None if Instant::now() < until => {}
                None => return None,
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Some(match status.signal() {
            Some(signal) => format!("ended by signal {signal}"),
            None => format!("exited with status {}", status.code().unwrap_or(-1)),
        })
    }
}

impl Running {
    /// On return a child is no more: the next worker finds the GPU's memory free. One that the driver does not let go is left behind.
    fn end(&self, code: Option<&str>) {
        if let Some(code) = code {
            self.foretell(code);
        }
        self.life().is_over = true;
        // None of these fails but where the worker is gone already.
        let _ = self.first.shutdown(Shutdown::Both);
        let mut child = self.child();
        let Some(mut dying) = child.take() else { return };
        let _ = dying.kill();
        let until = Instant::now() + LONGEST_DEATH;
        while matches!(dying.try_wait(), Ok(None)) {
            if Instant::now() >= until {
                tracing::error!(pid = dying.id(), "a worker that was killed does not end: its driver may hold it");
                std::thread::spawn(move || dying.wait());
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Only the first reason counts, and none once it is over.
    fn foretell(&self, code: &str) {
        let mut life = self.life();
        if !life.is_over && life.ended_for.is_none() {
            life.ended_for = Some(code.to_owned());
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One conversation that is given up is the end of the worker: what it was at is not known.
impl Drop for Process {
    fn drop(&mut self) {
        self.running.end(None);
    }
}
