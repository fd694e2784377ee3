//! C-STORE into our node, which is durable before it answers, against DCMTK's and dicom-rs's `storescp`, which are not.
//!
//! ```text
//! cargo bench --bench cstore [-- --smoke | --rounds N | --directory DIR | --only NAME]
//! ```
//! The servers run all the time, each in a process of its own, and take turns; each run sends the same bytes with the same
//! sender, and between runs everything received is removed and the disk brought to rest, outside the measured time. The
//! sink shows how fast the sender is: far faster than each server, or the table would be about the sender.
mod machine;
#[path = "cstore/node.rs"]
mod node;
#[path = "cstore/sender.rs"]
mod sender;
#[path = "cstore/server.rs"]
mod server;

use machine::Probe;
use sender::Messages;
use server::{Dcmtk, Family, Server};
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const ASSOCIATIONS: [usize; 3] = [1, 4, 16];

/// What is sent, and how much faster than the best peer we are to be on one association.
struct Case {
    name: &'static str,
    count: usize,
    pixels: usize,
    target: f64,
}

struct Options {
    smoke: bool,
    rounds: usize,
    directory: PathBuf,
    only: Option<String>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--sink"] => node::sink(),
        ["--node", directory] => node::node(Path::new(directory)),
        arguments => compare(&options(arguments)?),
    }
}

fn options(arguments: &[&str]) -> Result<Options> {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut options = Options { smoke: false, rounds: 7, directory, only: None };
    let mut arguments = arguments.iter();
    while let Some(&argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| Error::other(format!("{argument} lacks its value")));
        match argument {
            // What cargo adds.
            "--bench" => {}
            "--smoke" => (options.smoke, options.rounds) = (true, 1),
            "--rounds" => options.rounds = value()?.parse().map_err(Error::other)?,
            "--directory" => options.directory = PathBuf::from(value()?),
            "--only" => options.only = Some((*value()?).to_owned()),
            other => return Err(Error::other(format!("unknown option {other}"))),
        }
    }
    Ok(options)
}

#[expect(clippy::print_stdout, reason = "the tables are the output")]
fn compare(options: &Options) -> Result<()> {
    let directory = tempfile::tempdir_in(&options.directory)?;
    machine::describe(directory.path())?;
    println!("median, least and most of {} rounds, in which the servers take turns", options.rounds);
    let mut servers = servers(options, directory.path())?;
    for server in &servers {
        println!("{} is process {}", server.name, server.process());
    }
    let few = |count: usize| if options.smoke { count / 20 } else { count };
    let cases = [
        Case { name: "CT slices of 0.5 MB", count: few(300), pixels: 512 * 1024, target: 1.2 },
        Case { name: "instances of 40 KB", count: few(1000), pixels: 40 * 1000, target: 3.0 },
    ];
    let mut run = 0;
    for case in &cases {
        for associations in ASSOCIATIONS {
            let mut rates = vec![Vec::new(); servers.len()];
            let (probe, mut disk) = (Probe::new(directory.path(), case.pixels, case.count)?, Vec::new());
            // The first round warms up and is not counted.
            for round in 0..=options.rounds {
                run += 1;
                let messages = Arc::new(Messages::ct_slices(case.count, case.pixels, run));
                disk.push(probe.direct()?.iter().sum::<Duration>().min(probe.cached()?.iter().sum()));
                for turn in 0..servers.len() {
                    let turn = (turn + round) % servers.len();
                    let server = &mut servers[turn];
                    let failed = |error: Error| Error::other(format!("{}: {error}", server.name));
                    let time = sender::send(&messages, server.address, associations).map_err(failed)?;
                    let held = server.clear()?;
                    if held.is_some_and(|held| held != messages.count()) {
                        let name = server.name;
                        return Err(Error::other(format!("{name} holds {held:?} of {} instances", messages.count())));
                    }
                    if round > 0 || options.rounds == 1 {
                        rates[turn].push(case.count as f64 / time.as_secs_f64());
                    }
                }
            }
            report(case, associations, options.smoke, &servers, &mut rates);
            report_disk(case, disk);
        }
    }
    Ok(())
}

/// Medians, and ours against the best of the others; the target is for the full count.
#[expect(clippy::print_stdout, reason = "the tables are the output")]
fn report(case: &Case, associations: usize, smoke: bool, servers: &[Server], rates: &mut [Vec<f64>]) {
    println!("\n{} {}, {associations} association{}", case.count, case.name, if associations == 1 { "" } else { "s" });
    let mut medians = Vec::new();
    for (server, rates) in servers.iter().zip(rates) {
        rates.sort_by(f64::total_cmp);
        let (median, least, most) = (rates[rates.len() / 2], rates[0], rates[rates.len() - 1]);
        println!("  {:24} {median:7.0} instances/s  ({least:.0} to {most:.0})", server.name);
        medians.push((server.family, median));
    }
    let of = |families: &[Family]| {
        let rates = medians.iter().filter(|(family, _)| families.contains(family)).map(|(_, rate)| *rate);
        rates.max_by(f64::total_cmp)
    };
    if let (Some(ours), Some(peers)) = (of(&[Family::Ours]), of(&[Family::Dcmtk, Family::DicomRs])) {
        let ratio = ours / peers;
        let verdict = match associations {
            // So few instances, sent once, say that it runs, and nothing about how fast it is.
            _ if smoke => "not judged".to_owned(),
            1 if ratio >= case.target => format!("target {:.1}: met", case.target),
            1 => format!("target {:.1}: MISSED", case.target),
            _ => "reported".to_owned(),
        };
        println!("  ours / best of the others: {ratio:.2}  ({verdict})");
    }
    if let (Some(sink), Some(ours)) = (of(&[Family::Sink]), of(&[Family::Ours])) {
        println!("  sender / ours: {:.1}", sink / ours);
    }
}

/// What a node that makes each instance durable before the next can reach at most on one association of this disk.
#[expect(clippy::print_stdout, reason = "the tables are the output")]
fn report_disk(case: &Case, mut times: Vec<Duration>) {
    times.sort();
    let median = case.count as f64 / times[times.len() / 2].as_secs_f64();
    println!("  the disk alone, each write durable before the next: {median:.0} writes/s");
}

#[expect(clippy::print_stdout, reason = "what is missing belongs to the output")]
fn servers(options: &Options, directory: &Path) -> Result<Vec<Server>> {
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let mut servers = vec![Server::sink()?];
    if wanted("ours") {
        servers.push(Server::ours(directory)?);
    }
    if wanted("dcmtk") {
        servers.push(Server::dcmtk(directory, Dcmtk::Plain, sender::PDU)?);
        servers.push(Server::dcmtk(directory, Dcmtk::AsRead, sender::PDU)?);
        servers.push(Server::dcmtk(directory, Dcmtk::AsReadForked, sender::PDU)?);
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers").join("bin/dicom-storescp");
    if wanted("dicom-rs") {
        if program.exists() {
            servers.push(Server::dicom_rs(&program, directory, false, sender::PDU)?);
            servers.push(Server::dicom_rs(&program, directory, true, sender::PDU)?);
        } else {
            let how = "cargo install --root target/peers dicom-storescp@0.10.1";
            if !options.smoke {
                return Err(Error::other(format!("dicom-rs's storescp is not there: {how}")));
            }
            println!("left out, dicom-rs's storescp is not there: {how}");
        }
    }
    Ok(servers)
}
