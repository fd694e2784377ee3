//! The children of the benchmark: our node as it runs in a hospital, and a sink that answers at once.
use std::io::{BufRead, BufReader, Error, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use sund_agent::association::{Listener, Policy, serve};
use sund_agent::audit;
use sund_agent::infer::Engines;
use sund_agent::limits::association::MAX_ASSOCIATIONS;
use sund_agent::pipeline::{Activation, Pipeline, Recorder, ServingSet, Site, SpoolIntake, assemble};
use sund_agent::results::UidKey;
use sund_agent::spool::{Spool, SpoolOptions};
use sund_agent::study::assembly::AssemblyRules;
use sund_agent::worker::Bounds;
use tokio::sync::watch;

/// Our node: spool, audit trail and pipeline as `sund serve` has them, without a model. Prints its port, then answers
/// each line on its standard input with the number of instances that it held, and has none from then on.
#[expect(clippy::print_stdout, reason = "the answers are the output")]
pub fn node(directory: &Path) -> Result<()> {
    let spool = Spool::open(SpoolOptions::in_directory(directory.join("spool"))).map_err(Error::other)?;
    let random = || UidKey::random().ok_or_else(|| Error::other("no random numbers"));
    let site = Site {
        ae_title: "SUND".to_owned(),
        uid_key: UidKey::new(&random()?),
        device: "bench".to_owned(),
        variant: None,
        bounds: Bounds { memory: 1 << 30, time: Duration::from_mins(1), wait: Duration::ZERO },
        engines: Engines::here(None),
        activation: Activation::AtStart,
        has_channel: false,
    };
    let log = audit::Log::open(audit::Options {
        dir: directory.join("audit"),
        key: audit::Key::new(random()?),
        source: "SUND".to_owned(),
        max_file: 16 << 20,
    });
    let recorder = Recorder::new(Some(Arc::new(log.map_err(Error::other)?)));
    let pipeline =
        Pipeline::new(spool.clone(), site, ServingSet::own(Vec::new(), Vec::new()), recorder).map_err(Error::other)?;
    let policy = Policy {
        ae_title: "SUND".to_owned(),
        require_called_ae: true,
        also_called: Vec::new(),
        callers: Vec::new(),
        max_associations: MAX_ASSOCIATIONS,
    };
    // What comes after the C-STORE is not measured here: no study is completed.
    let rules = AssemblyRules { quiet: Duration::from_hours(24), complete_on_association_end: false };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (stop, stopped) = watch::channel(false);
    runtime
        .block_on(async {
            let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            println!("{}", socket.local_addr()?.port());
            let (intake, feed) = SpoolIntake::new(Arc::clone(&pipeline));
            tokio::spawn(assemble(Arc::clone(&pipeline), rules, feed));
            tokio::spawn(serve(Listener { socket, tls: None }, policy, Arc::new(intake), stopped));
            tokio::task::spawn_blocking(move || {
                for line in std::io::stdin().lines() {
                    line?;
                    println!("{}", spool.usage().instances);
                    for study in spool.studies() {
                        spool.erase_study(&study).map_err(Error::other)?;
                    }
                }
                Ok(())
            })
            .await?
        })
        .inspect(|()| drop(stop))
}

/// Takes everything and answers each C-STORE as soon as its last fragment is there: how fast the sender is.
#[expect(clippy::print_stdout, reason = "the answers are the output")]
pub fn sink() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || swallow(&stream));
    }
    Ok(())
}

fn swallow(stream: &TcpStream) -> Result<()> {
    let mut output = stream;
    stream.set_nodelay(true)?;
    let mut input = BufReader::with_capacity(256 * 1024, stream);
    loop {
        let mut head = [0; 6];
        input.read_exact(&mut head)?;
        let mut left = u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize;
        match head[0] {
            1 => {
                // Its own request is answer enough: one context, taken as it was proposed.
                let mut body = vec![0; left];
                input.read_exact(&mut body)?;
                output.write_all(&accept(&body))?;
            }
            4 => {
                let mut value = [0; 6];
                input.read_exact(&mut value)?;
                left -= 6;
                while left > 0 {
                    let there = input.fill_buf()?.len().min(left);
                    if there == 0 {
                        return Ok(());
                    }
                    input.consume(there);
                    left -= there;
                }
                // The last fragment of a data set.
                if value[5] == 2 {
                    output.write_all(&[
                        4, 0, 0, 0, 0, 38, 0, 0, 0, 34, 1, 3, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0x80, 0, 0, 0, 8, 2, 0, 0, 0,
                        1, 1, 0, 0, 0, 9, 2, 0, 0, 0, 0, 0, 0, 0,
                    ])?;
                }
            }
            5 => {
                output.write_all(&[6, 0, 0, 0, 0, 4, 0, 0, 0, 0])?;
            }
            _ => return Ok(()),
        }
    }
}

/// An A-ASSOCIATE-AC (PS3.8 9.3.3) with one context, of explicit VR little endian.
fn accept(request: &[u8]) -> Vec<u8> {
    let syntax = b"1.2.840.10008.1.2.1";
    let mut body = request[..68].to_vec();
    body.extend_from_slice(&[0x10, 0, 0, 21]);
    body.extend_from_slice(b"1.2.840.10008.3.1.1.1");
    body.extend_from_slice(&[0x21, 0, 0, 8 + syntax.len() as u8, 1, 0, 0, 0, 0x40, 0, 0, syntax.len() as u8]);
    body.extend_from_slice(syntax);
    body.extend_from_slice(&[0x50, 0, 0, 8, 0x51, 0, 0, 4, 0, 2, 0, 0]);
    let mut pdu = vec![2, 0];
    pdu.extend_from_slice(&(body.len() as u32).to_be_bytes());
    pdu.extend_from_slice(&body);
    pdu
}
