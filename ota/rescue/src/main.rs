//! `sund-rescue`: see the library.
#![forbid(unsafe_code)]
use std::env;
use std::ffi::OsString;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use sund_rescue::config::Config;
use sund_rescue::fault::{Blame, Fault};
use sund_rescue::firmware::{DIRECTORY, Firmware};
use sund_rescue::rescue::{Event, rescue};
use sund_rescue::starts::Slot;

const USAGE: &str = "\
Usage: sund-rescue [--config FILE] [--variables DIRECTORY] [COMMAND]

Without a command: fetches the newest recovery bundle that the recovery role has signed, verifies it and writes it to
the destination. FILE is /etc/sund/rescue.toml where it is not named. One line of JSON on stdout says what was written.

begin SLOT      counts that slot a or b begins to start
broken SLOT     the slot that began to start is not what was signed
                Both say on stdout what comes next: this (it goes on), other (the firmware starts the other one at the
                restart) or rescue (neither starts).
made-anew SLOT  the firmware starts this slot at the restart, and no start from before counts
network         says the site's address, its gateway or -, and its name servers; nothing where there is DHCP

Exit codes: 0 done, or written and verified; 64 configuration; 65 what the sources hold is not what was signed, or too
old; 69 no source can be reached; 74 disk, TPM or firmware; 76 no source proves who it is. After anything but 0 the
destination is not valid.";

fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        eprintln!("sund-rescue: a step ended in an error that it does not know ({place})");
    }));
    match Invocation::parse(env::args_os().skip(1)).and_then(|invocation| run(&invocation)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("sund-rescue: {fault}");
            fault.blame.into()
        }
    }
}

struct Invocation {
    config: PathBuf,
    firmware: Firmware,
    command: Command,
}

#[derive(Clone, Copy)]
enum Command {
    Rescue,
    Begin(Slot),
    Broken(Slot),
    MadeAnew(Slot),
    Network,
    Say(&'static str),
}

impl Invocation {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, Fault> {
        let mut invocation = Self {
            config: PathBuf::from("/etc/sund/rescue.toml"),
            firmware: Firmware::new(Path::new(DIRECTORY)),
            command: Command::Rescue,
        };
        while let Some(argument) = arguments.next() {
            let mut path = || {
                arguments
                    .next()
                    .map(PathBuf::from)
                    .ok_or_else(|| usage(&format!("{} names nothing", argument.display())))
            };
            match argument.to_str() {
                Some("--config") => invocation.config = path()?,
                Some("--variables") => invocation.firmware = Firmware::new(&path()?),
                Some("--help") => invocation.command = Command::Say(USAGE),
                Some("--version") => {
                    invocation.command = Command::Say(concat!("sund-rescue ", env!("CARGO_PKG_VERSION")));
                }
                Some("network") => invocation.command = Command::Network,
                Some(name @ ("begin" | "broken" | "made-anew")) => {
                    let slot = path()?.to_str().and_then(Slot::parse).ok_or_else(|| usage("a slot is a or b"))?;
                    invocation.command = match name {
                        "begin" => Command::Begin(slot),
                        "broken" => Command::Broken(slot),
                        _ => Command::MadeAnew(slot),
                    };
                }
                _ => return Err(usage(&format!("{} is not known", argument.display()))),
            }
        }
        Ok(invocation)
    }
}

fn usage(reason: &str) -> Fault {
    Fault::new("usage", Blame::Configuration, format!("{reason}\n{USAGE}"))
}

#[expect(clippy::print_stdout, reason = "data goes to stdout")]
fn run(invocation: &Invocation) -> Result<(), Fault> {
    let Invocation { config, firmware, command } = invocation;
    match command {
        Command::Rescue => println!("{}", rescued(&Config::read(config)?)?),
        Command::Begin(slot) => println!("{}", firmware.begin(*slot)?),
        Command::Broken(slot) => println!("{}", firmware.broken(*slot)?),
        Command::MadeAnew(slot) => firmware.made_anew(*slot)?,
        Command::Network => {
            if let Some(network) = Config::read(config)?.network {
                println!("{network}");
            }
        }
        Command::Say(text) => println!("{text}"),
    }
    Ok(())
}

/// Rescues the box, and says what was written.
fn rescued(config: &Config) -> Result<serde_json::Value, Fault> {
    let admitted = rescue(config, &mut |event| say(&event))?;
    let descriptor = admitted.get();
    eprintln!("sund-rescue: version {} is written and verified", descriptor.version);
    Ok(serde_json::json!({
        "version": descriptor.version,
        "length": descriptor.bundle.length,
        "sha256": descriptor.bundle.sha256,
        "destination": config.destination,
    }))
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
