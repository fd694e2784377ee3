//! `sund serve` with a model, and an archive that takes what it answers.
use super::study::Study;
use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use sund_agent::association::{
    Association, Intake, IntakeInstance, Listener, ObjectToSend, Peer, Policy, Sent, send, serve,
};
use sund_agent::fault::Fault;
use sund_agent::instance::{Arrival, StoredInstance};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Values of /metrics by name and labels.
pub type Figures = BTreeMap<String, f64>;

/// What takes longer than this has failed.
const PATIENCE: Duration = Duration::from_mins(5);

pub struct Node {
    process: Child,
    config: PathBuf,
    dicom: SocketAddr,
    console: SocketAddr,
    _archive: watch::Sender<bool>,
}

impl Node {
    pub async fn start(folder: &Path, model: Option<&str>) -> Result<Self> {
        let (archive, pacs) = archive().await?;
        for name in ["spool", "audit"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        for name in ["uid.key", "audit.key"] {
            std::fs::write(folder.join(name), "5a".repeat(32))?;
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o600))?;
        }
        let [node, console] = [free()?, free()?];
        let text = format!(
            "[node]\nae_title = \"SUND\"\nlisten = \"{node}\"\n[console]\nlisten = \"{console}\"\n\
             [spool]\ndirectory = \"spool\"\n[study]\ncomplete_on_association_end = true\n\
             [identity]\nuid_key_file = \"uid.key\"\n[audit]\ndirectory = \"audit\"\nkey_file = \"audit.key\"\n\
             [worker]\nlauncher = \"child\"\n[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"{pacs}\"\n"
        );
        let served = model.map_or_else(String::new, |model| {
            let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models").join(model);
            format!(
                "[[models]]\nfolder = \"{}\"\n[[routes]]\nname = \"all\"\nmodels = [\"{model}\"]\nmode = \"research\"\n\
                 destinations = [\"pacs\"]\n",
                package.display()
            )
        });
        let config = folder.join("sund.toml");
        std::fs::write(&config, text + &served)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_sund"));
        let log = std::fs::File::create(folder.join("log"))?;
        let process = command.args(["serve", "--config"]).arg(&config).stdout(Stdio::null()).stderr(log).spawn()?;
        let this = Self { process, config, dicom: node, console, _archive: archive };
        let begun = Instant::now();
        while TcpStream::connect(this.dicom).await.is_err() || TcpStream::connect(this.console).await.is_err() {
            if begun.elapsed() > PATIENCE {
                return Err(Error::other(std::fs::read_to_string(folder.join("log"))?));
            }
            tokio::task::yield_now().await;
        }
        Ok(this)
    }

    /// Sends a study on one association.
    pub async fn receive(&self, study: &Study, round: usize) -> Result<()> {
        let objects: Vec<ObjectToSend> = study.objects(round)?;
        let address = self.dicom.to_string();
        let peer = Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None };
        let mut stored = 0;
        send(&peer, &objects, |_, sent| stored += usize::from(matches!(sent, Sent::Stored { status: 0 })))
            .await
            .map_err(Error::other)?;
        if stored < objects.len() {
            return Err(Error::other(format!("{stored} of {} instances were stored", objects.len())));
        }
        Ok(())
    }

    /// Waits until at least so many results are delivered, and nothing waits.
    pub async fn delivered(&mut self, count: u64) -> Result<()> {
        let begun = Instant::now();
        loop {
            let figures = self.figures().await?;
            let of = |name: &str| figures.get(name).copied().unwrap_or(0.0);
            let waiting = of("sund_delivery_waiting{destination=\"pacs\"}")
                + of("sund_jobs{state=\"waiting\"}")
                + of("sund_jobs{state=\"running\"}");
            let done = of("sund_delivery_total{destination=\"pacs\",result=\"delivered\"}");
            if done >= count as f64 && waiting == 0.0 {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE || self.process.try_wait()?.is_some() {
                return Err(Error::other(format!("{done} results after {:?}, {waiting} waiting", begun.elapsed())));
            }
        }
    }

    pub async fn figures(&self) -> Result<Figures> {
        let mut socket = TcpStream::connect(self.console).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.console);
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        let value = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(answer.lines().filter(|line| line.starts_with("sund_")).filter_map(value).collect())
    }

    /// The engine that serves the one model.
    pub fn engine(&self) -> Result<String> {
        let output = Command::new(env!("CARGO_BIN_EXE_sund"))
            .args(["status", "--json", "--config"])
            .arg(&self.config)
            .output()?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(Error::other)?;
        Ok(status["models"][0]["engine"].as_str().unwrap_or("no engine").to_owned())
    }

    /// Megabytes in memory, of the agent.
    pub fn resident(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|text| text.trim().parse().ok());
        kilobytes.map(|kilobytes: f64| kilobytes * 1024.0 / 1e6).ok_or_else(|| Error::other("no VmRSS"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address that is free now.
fn free() -> Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// An archive that answers at once and keeps nothing.
async fn archive() -> Result<(watch::Sender<bool>, SocketAddr)> {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    let policy = Policy {
        ae_title: "PACS".to_owned(),
        require_called_ae: true,
        also_called: Vec::new(),
        callers: Vec::new(),
        max_associations: 8,
    };
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(serve(Listener { socket, tls: None }, policy, Arc::new(Nowhere), stopped));
    Ok((stop, address))
}

struct Nowhere;
struct Dropped(u64);

impl Intake for Nowhere {
    type Instance = Dropped;

    fn begin(&self, _: &Association, _: &str) -> std::result::Result<Dropped, Fault> {
        Ok(Dropped(0))
    }
}

impl IntakeInstance for Dropped {
    fn write(&mut self, bytes: &[u8]) -> std::result::Result<(), Fault> {
        self.0 += bytes.len() as u64;
        Ok(())
    }

    async fn commit(self, arrival: Arrival) -> std::result::Result<StoredInstance, Fault> {
        Ok(StoredInstance { id: 0, length: self.0, arrival })
    }
}
