//! A fleet against one server: `cargo bench -p sund-channel --bench fleet -- --devices 10000 --rate 1000 --seconds 30`.
//!
//! Every box has a key and a certificate of its own and opens a new connection for each poll, with its last ticket. A poll is what a box
//! asks where nothing is new: the DDI, whether the root was rotated, and the timestamp. What is new is fetched besides, and counts here
//! in the rollout alone, without its payloads.
//! Polls are sent when they are due, whether or not earlier ones have been answered, and an answer's time counts from
//! when its poll was due: a server that stalls cannot hide it. The processor time of server and simulator is told
//! apart.
use anyhow::{Context, Result, bail};
use clap::Parser;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use sund_channel::database::{Database, now};
use sund_channel::enrol::authority::Authority;
use sund_channel::enrol::{enrol, expect, new_code};
use sund_channel::rollout::orders::Order;
use sund_channel::rollout::{New, NewWave};
use sund_channel::server::control::{Answer, Request, ask};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 10_000)]
    devices: usize,
    /// Polls in a second.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Some seconds with a small fleet, for a machine that does other things meanwhile: no poll fails, and memory keeps
    /// its bar; how long an answer takes is told and not judged.
    #[arg(long)]
    smoke: bool,
    /// Set by `cargo bench`.
    #[arg(long)]
    bench: bool,
}

/// The bars. Past one of them the bench ends with 1.
const LONGEST_P99: Duration = Duration::from_millis(50);
const MOST_MEMORY_KIB: u64 = 300 * 1024;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<()> {
    let small = Arguments { devices: 500, rate: 100, seconds: 5, ..*arguments };
    let arguments = if arguments.smoke { &small } else { arguments };
    let home = tempfile::tempdir()?;
    let home = home.path();
    let settings = "[server]\nlisten = ['127.0.0.1:0']\nnames = ['localhost']\napproval = false\npoll_seconds = 300\n";
    std::fs::write(home.join("channel.toml"), settings)?;
    list_state(home)?;
    let begun = Instant::now();
    let fleet = enrolled(home, arguments.devices).await?;
    say(&format!("{} boxes enrolled in {:.1} s", fleet.len(), begun.elapsed().as_secs_f64()))?;
    let program = Program::start(home)?;
    let mut missed = polls(&program, &fleet, arguments).await?;
    missed.extend(rollout(&program, &fleet, home).await?);
    let peak = program.peak()?;
    say(&format!("server: {} MB at most", peak / 1024))?;
    if peak >= MOST_MEMORY_KIB {
        missed.push(format!("the server held {peak} KiB, and {MOST_MEMORY_KIB} is too much"));
    }
    if missed.is_empty() {
        return say("every bar is held");
    }
    bail!("bars are missed: {}", missed.join("; "))
}

/// Polls at a steady rate, boxes in turn. Gives the bars that were missed.
async fn polls(program: &Program, fleet: &[Arc<Identity>], arguments: &Arguments) -> Result<Vec<String>> {
    let (ours, theirs) = (processor_time("self")?, program.processor_time()?);
    let total = arguments.rate * arguments.seconds;
    let begun = Instant::now();
    let mut open = JoinSet::new();
    let mut times = Vec::with_capacity(total as usize);
    let mut failed = 0;
    for n in 0..total {
        let due = begun + Duration::from_secs(1) * n / arguments.rate;
        tokio::time::sleep_until(due.into()).await;
        let (identity, port) = (Arc::clone(&fleet[n as usize % fleet.len()]), program.port);
        open.spawn(async move { (identity.poll(port).await.is_ok(), due.elapsed()) });
        while let Some(ended) = open.try_join_next() {
            let (is_good, time) = ended?;
            if is_good { times.push(time) } else { failed += 1 }
        }
    }
    while let Some(ended) = open.join_next().await {
        let (is_good, time) = ended?;
        if is_good { times.push(time) } else { failed += 1 }
    }
    let wall = begun.elapsed().as_secs_f64();
    let (ours, theirs) = (processor_time("self")? - ours, program.processor_time()? - theirs);
    times.sort();
    let at = |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)));
    let ms = |share: f64| at(share).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0);
    say(&format!(
        "{:.0} polls/s over {wall:.1} s, {failed} failed; p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        times.len() as f64 / wall,
        ms(0.5),
        ms(0.99),
        ms(1.0)
    ))?;
    say(&format!(
        "processors: server {:.2}, simulator {:.2}; server {} MB",
        theirs / wall,
        ours / wall,
        program.peak()? / 1024
    ))?;
    let mut missed = Vec::new();
    if failed > 0 {
        missed.push(format!("{failed} of {total} polls failed"));
    }
    if !arguments.smoke && at(0.99).is_none_or(|time| *time >= LONGEST_P99) {
        missed.push(format!("p99 is {:.1} ms, and {} ms is too long", ms(0.99), LONGEST_P99.as_millis()));
    }
    Ok(missed)
}

/// A rollout in three waves over the whole fleet; boxes take it and report success as fast as they can.
async fn rollout(program: &Program, fleet: &[Arc<Identity>], home: &Path) -> Result<Option<String>> {
    let wave = |filter: &str| NewWave { filter: filter.into(), success: 95, error: 5 };
    let waves = vec![wave("1%"), wave("20%"), wave("100%")];
    let new = New {
        name: "all".into(),
        state: "bench".into(),
        waves,
        silence_hours: 24,
        maintenance: None,
        confirm: false,
        all_at_once: false,
    };
    ask(home, &Request::NewRollout(new)).await?;
    ask(home, &Request::Order { name: "all".into(), order: Order::Start }).await?;
    let begun = Instant::now();
    let at_once = Arc::new(Semaphore::new(64));
    let mut boxes = JoinSet::new();
    for identity in fleet {
        let (identity, at_once, port) = (Arc::clone(identity), Arc::clone(&at_once), program.port);
        boxes.spawn(async move {
            loop {
                let place = at_once.acquire().await?;
                if identity.install(port).await? {
                    return Ok::<_, anyhow::Error>(());
                }
                drop(place);
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        });
    }
    let mut failed = 0;
    while let Some(ended) = boxes.join_next().await {
        if let Err(error) = ended? {
            failed += 1;
            if failed == 1 {
                say(&format!("a box: {error:#}"))?;
            }
        }
    }
    let Answer::Rollouts(rollouts) = ask(home, &Request::Rollouts { name: Some("all".into()) }).await? else {
        bail!("no rollouts")
    };
    let done: i64 = rollouts[0].waves.iter().filter_map(|wave| wave.boxes.get("finished")).sum();
    say(&format!("rollout: {done} boxes in 3 waves in {:.1} s, {failed} failed", begun.elapsed().as_secs_f64()))?;
    let is_whole = failed == 0 && done as usize == fleet.len();
    Ok((!is_whole).then(|| format!("the rollout reached {done} of {} boxes, and {failed} failed", fleet.len())))
}

/// A box: its name and its TLS, with the ticket of its last session.
struct Identity {
    name: String,
    tls: TlsConnector,
}

impl Identity {
    fn root(&self) -> String {
        format!("/DEFAULT/controller/v1/{}", self.name)
    }

    async fn connect(&self, port: u16) -> Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        Ok(self.tls.connect(ServerName::try_from("localhost")?, socket).await?)
    }

    /// A poll that finds nothing new, on a new connection.
    async fn poll(&self, port: u16) -> Result<()> {
        let mut stream = tokio::io::BufReader::new(self.connect(port).await?);
        let root = self.root();
        for (path, expected) in [
            (root.as_str(), 200),
            ("/repository/metadata/2.root.json", 404),
            ("/repository/metadata/timestamp.json", 200),
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await?;
            let status = answer(&mut stream).await?;
            if status != expected {
                bail!("{path} was answered {status}");
            }
        }
        Ok(())
    }

    /// One request on a new connection.
    async fn ask(&self, port: u16, method: &str, path: &str, body: &str) -> Result<(u16, Vec<u8>)> {
        let mut stream = self.connect(port).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("no answer")?;
        let status = std::str::from_utf8(&answer[..end])?.split(' ').nth(1).context("no status")?.parse()?;
        Ok((status, answer.split_off(end + 4)))
    }

    /// Polls; takes what is offered, and says that it went well.
    async fn install(&self, port: u16) -> Result<bool> {
        let (_, base) = self.ask(port, "GET", &self.root(), "").await?;
        let base: Value = serde_json::from_slice(&base)?;
        let Some(link) = base["_links"]["deploymentBase"]["href"].as_str() else { return Ok(false) };
        let path = link.find(&self.root()).map_or(link, |start| &link[start..]);
        let (_, deployment) = self.ask(port, "GET", path, "").await?;
        let deployment: Value = serde_json::from_slice(&deployment)?;
        let id = deployment["id"].as_str().context("no action")?;
        let path = format!("{}/deploymentBase/{id}/feedback", self.root());
        let body = r#"{"status":{"execution":"closed","result":{"finished":"success"}}}"#;
        match self.ask(port, "POST", &path, body).await? {
            (200, _) => Ok(true),
            (status, _) => bail!("feedback was answered {status}"),
        }
    }
}

/// Reads one of several answers; its status.
async fn answer(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<u16> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let status = line.split(' ').nth(1).context("no status")?.parse()?;
    let mut length = None;
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            bail!("the answer ends in its head");
        }
        let header = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        length = header.map_or(length, |(_, value)| value.trim().parse::<usize>().ok());
    }
    stream.read_exact(&mut vec![0; length.context("an answer without a length")?]).await?;
    Ok(status)
}

/// Enrols the fleet: each box by its own code and key.
async fn enrolled(home: &Path, count: usize) -> Result<Vec<Arc<Identity>>> {
    let database = Database::open(home)?;
    let authority = Arc::new(Authority::open(home)?);
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let roots = Arc::new(roots);
    let made = Arc::clone(&authority);
    let boxes = database.write(move |c| {
        let all = (0..count).map(|n| {
            let (name, key) = (format!("box-{n:05}"), KeyPair::generate().map_err(sick)?);
            let code = new_code()?;
            expect(c, &name, &[("n".to_owned(), n.to_string())].into(), &code, 1, "bench", now())?;
            let csr = CertificateParams::default().serialize_request(&key).and_then(|csr| csr.pem()).map_err(sick)?;
            let (_, issued) = enrol(c, &made, &code, &Authority::request(&csr)?, now())?;
            Ok((name, issued.pem, key.serialize_der()))
        });
        all.collect::<Result<Vec<_>, sund_ota::fault::Fault>>()
    });
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let identity = |(name, pem, key): (String, String, Vec<u8>)| {
        let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes())?];
        let key = PrivateKeyDer::try_from(key).map_err(anyhow::Error::msg)?;
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain, key)?;
        config.resumption = Resumption::in_memory_sessions(1);
        Ok(Arc::new(Identity { name, tls: TlsConnector::from(Arc::new(config)) }))
    };
    boxes.await?.into_iter().map(identity).collect()
}

fn sick(error: impl std::fmt::Display) -> sund_ota::fault::Fault {
    sund_ota::fault::Fault::new("bench", sund_ota::fault::Blame::Channel, error.to_string())
}

/// The real program.
struct Program {
    child: Child,
    port: u16,
}

impl Program {
    fn start(home: &Path) -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sund-channel"))
            .args(["serve", "--config"])
            .arg(home.join("channel.toml"))
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("no log")?).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("serving")).context("it does not serve")?;
        let port = line.rsplit(':').next().context("no port")?.trim().parse()?;
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, port })
    }

    fn processor_time(&self) -> Result<f64> {
        processor_time(&self.child.id().to_string())
    }

    /// Most memory that it has held, in KiB.
    fn peak(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of processor time of a process: user and system, in ticks of 10 ms.
fn processor_time(process: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let rest = stat.rsplit(')').next().context("no stat")?;
    let ticks: Vec<u64> = rest.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<u64>() as f64 / 100.0)
}

/// The metadata by which the repository lists the state `bench`.
fn list_state(home: &Path) -> Result<()> {
    let folder = home.join("repository/metadata");
    std::fs::create_dir_all(&folder)?;
    let put = |file: &str, kind: &str, rest: &str| {
        let role = format!(
            r#"{{"_type":"{kind}","spec_version":"1.0.31","version":1,"expires":"2036-01-01T00:00:00Z",{rest}}}"#
        );
        std::fs::write(folder.join(file), format!(r#"{{"signed":{role},"signatures":[]}}"#))
    };
    let digest = "0".repeat(64);
    let target = format!(r#""targets":{{"state/bench.json":{{"length":100,"hashes":{{"sha256":"{digest}"}}}}}}"#);
    put("1.state.json", "targets", &target)?;
    put("1.snapshot.json", "snapshot", r#""meta":{"state.json":{"version":1}}"#)?;
    put("timestamp.json", "timestamp", r#""meta":{"snapshot.json":{"version":1}}"#)?;
    Ok(())
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
