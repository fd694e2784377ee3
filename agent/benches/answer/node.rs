//! `sund serve` in a process of its own.
use super::study::Study;
use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use sund_agent::association::{ObjectToSend, Peer, Sent, send};
use sund_agent::infer::ONNXRUNTIME_VARIABLE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Values of /metrics by name and labels.
pub type Figures = BTreeMap<String, f64>;

/// What takes longer than this has failed.
pub const PATIENCE: Duration = Duration::from_mins(5);
/// Between two looks at /metrics: the node is not to be kept busy with them.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is started.
pub struct Setup<'a> {
    pub program: &'a Path,
    pub folder: &'a Path,
    /// The packaged model that is served.
    pub model: Option<&'a str>,
    /// ONNX Runtime's library; tract serves where there is none.
    pub onnxruntime: Option<&'a Path>,
    pub archive: SocketAddr,
}

pub struct Node {
    process: Child,
    program: PathBuf,
    config: PathBuf,
    dicom: SocketAddr,
    console: SocketAddr,
}

impl Node {
    pub async fn start(setup: &Setup<'_>) -> Result<Self> {
        let folder = setup.folder;
        for name in ["spool", "audit"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        for name in ["uid.key", "audit.key"] {
            std::fs::write(folder.join(name), "5a".repeat(32))?;
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o600))?;
        }
        let [dicom, console] = [free()?, free()?];
        let config = folder.join("sund.toml");
        std::fs::write(&config, configuration(setup, dicom, console))?;
        let log = std::fs::File::create(folder.join("log"))?;
        let mut command = Command::new(setup.program);
        command.args(["serve", "--config"]).arg(&config).stdout(Stdio::null()).stderr(log);
        command.env_remove(ONNXRUNTIME_VARIABLE);
        if let Some(library) = setup.onnxruntime {
            command.env(ONNXRUNTIME_VARIABLE, library);
        }
        let mut this = Self { process: command.spawn()?, program: setup.program.to_owned(), config, dicom, console };
        let begun = Instant::now();
        while TcpStream::connect(dicom).await.is_err() || TcpStream::connect(console).await.is_err() {
            if begun.elapsed() > PATIENCE || this.process.try_wait()?.is_some() {
                return Err(Error::other(std::fs::read_to_string(folder.join("log"))?));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(this)
    }

    /// Sends a study on one association; when the last response was there.
    pub async fn receive(&self, objects: &[ObjectToSend]) -> Result<Instant> {
        let address = self.dicom.to_string();
        let peer = Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None };
        let mut stored = 0;
        let mut last = Instant::now();
        send(&peer, objects, |_, sent| {
            stored += usize::from(matches!(sent, Sent::Stored { status: 0 }));
            last = Instant::now();
        })
        .await
        .map_err(Error::other)?;
        if stored < objects.len() {
            return Err(Error::other(format!("{stored} of {} instances were stored", objects.len())));
        }
        Ok(last)
    }

    /// Waits for figures that are as they should be.
    pub async fn until(&mut self, what: &str, is_so: impl Fn(&Figures) -> bool) -> Result<Figures> {
        let begun = Instant::now();
        loop {
            let figures = self.figures().await?;
            if is_so(&figures) {
                return Ok(figures);
            }
            if begun.elapsed() > PATIENCE || self.process.try_wait()?.is_some() {
                return Err(Error::other(format!("{what}: not after {:?}", begun.elapsed())));
            }
            tokio::time::sleep(LOOK_EVERY).await;
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
        let output = Command::new(&self.program).args(["status", "--json", "--config"]).arg(&self.config).output()?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(Error::other)?;
        Ok(status["models"][0]["engine"].as_str().unwrap_or("no engine").to_owned())
    }

    /// Megabytes that are resident now, of all processes of the node.
    pub fn resident(&self) -> Result<f64> {
        with_children(self.process.id()).into_iter().map(|process| memory(process, "VmRSS:")).sum()
    }

    /// Most megabytes that were resident at once, of the node itself.
    pub fn peak(&self) -> Result<f64> {
        memory(self.process.id(), "VmHWM:")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(setup: &Setup<'_>, dicom: SocketAddr, console: SocketAddr) -> String {
    let pacs = setup.archive;
    let node = format!(
        "[node]\nae_title = \"SUND\"\nlisten = \"{dicom}\"\n[console]\nlisten = \"{console}\"\n\
         [spool]\ndirectory = \"spool\"\n[study]\ncomplete_on_association_end = true\n\
         [identity]\nuid_key_file = \"uid.key\"\n[audit]\ndirectory = \"audit\"\nkey_file = \"audit.key\"\n\
         [worker]\nlauncher = \"child\"\n[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"{pacs}\"\n"
    );
    let served = setup.model.map_or_else(String::new, |model| {
        let package = Study::package(model);
        format!(
            "[[models]]\npackage = \"{}\"\n[[routes]]\nname = \"all\"\nmodels = [\"{model}\"]\nmode = \"research\"\n\
             destinations = [\"pacs\"]\n",
            package.display()
        )
    });
    node + &served
}

/// A process and all that it started (proc(5), task/TID/children).
fn with_children(process: u32) -> Vec<u32> {
    let mut all = vec![process];
    let mut next = 0;
    while let Some(process) = all.get(next) {
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
        let numbers: Vec<u32> = children
            .flat_map(|text| text.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<_>>())
            .collect();
        all.extend(numbers);
        next += 1;
    }
    all
}

/// A figure of proc(5), status, in megabytes of 10^6 bytes.
fn memory(process: u32, name: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let value =
        status.lines().find_map(|line| line.strip_prefix(name)).and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes = value.and_then(|text| text.trim().parse::<f64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1024.0 / 1e6).ok_or_else(|| Error::other(format!("no {name}")))
}

/// An address that is free now.
fn free() -> Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
