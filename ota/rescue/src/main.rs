//! `sund-rescue`: see the library.
#![forbid(unsafe_code)]
use std::env;
use std::ffi::OsString;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use sund_rescue::config::Config;
use sund_rescue::fault::{Blame, Fault};
use sund_rescue::rescue::{Event, rescue};

const USAGE: &str = "\
Usage: sund-rescue [--config FILE]

Fetches the newest recovery bundle that the recovery role has signed, verifies it and writes it to the destination.
FILE is /etc/sund/rescue.toml where it is not named. One line of JSON on stdout says what was written.
Exit codes: 0 written and verified; 64 configuration; 65 what the sources hold is not what was signed, or too old;
69 no source can be reached; 74 disk or TPM; 76 no source proves who it is. After anything but 0 the destination is
not valid.";

fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        eprintln!("sund-rescue: a step ended in an error that it does not know ({place})");
    }));
    match command(env::args_os().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("sund-rescue: {fault}");
            fault.blame.into()
        }
    }
}

enum Command {
    Rescue(PathBuf),
    Say(&'static str),
}

fn command(mut arguments: impl Iterator<Item = OsString>) -> Result<Command, Fault> {
    let mut path = PathBuf::from("/etc/sund/rescue.toml");
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--config") => {
                path = arguments.next().map(PathBuf::from).ok_or_else(|| usage("--config names no file"))?;
            }
            Some("--help") => return Ok(Command::Say(USAGE)),
            Some("--version") => return Ok(Command::Say(concat!("sund-rescue ", env!("CARGO_PKG_VERSION")))),
            _ => return Err(usage(&format!("{} is not known", argument.display()))),
        }
    }
    Ok(Command::Rescue(path))
}

fn usage(reason: &str) -> Fault {
    Fault::new("usage", Blame::Configuration, format!("{reason}\n{USAGE}"))
}

#[expect(clippy::print_stdout, reason = "data goes to stdout")]
fn run(command: Command) -> Result<(), Fault> {
    let path = match command {
        Command::Say(text) => {
            println!("{text}");
            return Ok(());
        }
        Command::Rescue(path) => path,
    };
    let config = Config::read(&path)?;
    let admitted = rescue(&config, &mut |event| say(&event))?;
    let descriptor = admitted.get();
    eprintln!("sund-rescue: version {} is written and verified", descriptor.version);
    let written = serde_json::json!({
        "version": descriptor.version,
        "length": descriptor.bundle.length,
        "sha256": descriptor.bundle.sha256,
        "destination": config.destination,
    });
    println!("{written}");
    Ok(())
}

fn say(event: &Event<'_>) {
    let line = match event {
        Event::Minimum(version) => format!("nothing below version {version} is taken"),
        Event::Offered(source, version) => format!("{source} offers version {version}"),
        Event::Refused(source, fault) => format!("{source} is passed over: {fault}"),
        Event::Received(source, bytes, all) => format!("{} % from {source}", bytes * 100 / all),
        Event::Resumes(source, bytes, fault) => format!("{source} is asked to go on after byte {bytes}: {fault}"),
        Event::AsksAgain => "no source gave a bundle; all are asked once more".to_owned(),
    };
    eprintln!("sund-rescue: {line}");
}
