//! `run` and `once`.
use crate::config::Config;
use crate::exit::Exit;
use crate::fault::Fault;
use crate::firmware::{self, SecureBoot};
use crate::machine::Machine;
use crate::machine::cycle::Next;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

/// Polls without a pause between them, against a server that always has one thing more.
pub(super) const MAX_AT_ONCE: u32 = 8;

/// Polls until it is told to end. Wherever it is stopped, the next start goes on from there.
pub(super) async fn run(config: Config) -> Exit {
    say_unsecured(&config);
    let mut machine = match Machine::load(config) {
        Ok(machine) => machine,
        Err(fault) => return failed(&fault),
    };
    let (mut terminated, mut interrupted) =
        match signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?))) {
            Ok(signals) => signals,
            Err(error) => {
                eprintln!("signals are not heard: {error}");
                return Exit::Failed;
            }
        };
    // No service manager, no word to it.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    tokio::select! {
        () = poll_on(&mut machine) => Exit::Done,
        _ = terminated.recv() => stopped(),
        _ = interrupted.recv() => stopped(),
    }
}

/// Once for each start, for as long as it lasts.
fn say_unsecured(config: &Config) {
    if SecureBoot::of(config) == Some(SecureBoot::Off) {
        let Fault { code, reason, .. } = firmware::off();
        tracing::warn!(target: "audit", %code, reason, "the box was started without Secure Boot");
    }
}

async fn poll_on(machine: &mut Machine) {
    let mut at_once = 0;
    // What it waits for is said once for as long as it lasts: a channel may be away for days.
    let mut said = None;
    loop {
        match machine.cycle().await {
            Ok(Next::Again) if at_once < MAX_AT_ONCE => {
                at_once += 1;
                continue;
            }
            Ok(Next::Again | Next::Wait(None)) => said = None,
            Ok(Next::Wait(Some(fault))) | Err(fault) if said.as_ref() == Some(&fault.code) => {
                tracing::info!(%fault, "nothing more until the next poll");
            }
            Ok(Next::Wait(Some(fault))) | Err(fault) => {
                tracing::warn!(target: "audit", code = %fault.code, blame = ?fault.blame, reason = fault.reason, "nothing more until the next poll");
                said = Some(fault.code);
            }
        }
        at_once = 0;
        tokio::select! {
            () = tokio::time::sleep_until(machine.next_poll()) => {}
            () = machine.stick_arrives() => {}
            () = machine.is_enrolled_anew() => {}
            () = machine.can_leave() => {}
        }
    }
}

fn stopped() -> Exit {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    Exit::Done
}

/// One poll, and all that follows from it.
pub(super) async fn once(config: Config) -> Exit {
    let mut machine = match Machine::load(config) {
        Ok(machine) => machine,
        Err(fault) => return failed(&fault),
    };
    for _ in 0..MAX_AT_ONCE {
        match machine.cycle().await {
            Ok(Next::Again) => {}
            Ok(Next::Wait(None)) => return Exit::Done,
            Ok(Next::Wait(Some(fault))) if waits(&machine, &fault) => {
                eprintln!("{fault}");
                return Exit::Later;
            }
            Ok(Next::Wait(Some(fault))) | Err(fault) => return failed(&fault),
        }
    }
    Exit::Later
}

/// Whether there is more to do later.
fn waits(machine: &Machine, fault: &Fault) -> bool {
    machine.record().action.is_some() || ["channel-away", "os-leaves"].contains(&fault.code.as_ref())
}

pub(super) fn failed(fault: &Fault) -> Exit {
    eprintln!("{fault}");
    Exit::Failed
}
