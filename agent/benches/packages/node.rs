//! A node with five models: from its start until each is active, with golden cases to run and with ones that are known to hold.
use super::Options;
use rcgen::{KeyPair, PKCS_ED25519};
use std::fmt::Write as _;
use std::fs;
use std::io::{Error, Result};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MODELS: usize = 5;
/// What takes longer than this has failed.
const PATIENCE: Duration = Duration::from_mins(5);

#[expect(clippy::print_stdout, reason = "the figures are the output")]
pub fn measure(options: &Options, scratch: &Path) -> Result<bool> {
    let config = site(&options.program, scratch)?;
    println!("a node with {MODELS} packages, packed and signed");
    for what in ["first start, golden cases run", "later start, they are known to hold"] {
        let begun = Instant::now();
        let log = fs::File::create(scratch.join("log"))?;
        let mut command = Command::new(&options.program);
        command.args(["serve", "--config"]).arg(&config).env_remove("SUND_ONNXRUNTIME");
        let mut node = Node(command.stdout(Stdio::null()).stderr(log).spawn()?);
        while !is_ready(&options.program, &config) {
            if begun.elapsed() > PATIENCE || node.0.try_wait()?.is_some() {
                return Err(Error::other(fs::read_to_string(scratch.join("log"))?));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("  {what}: {:.2} s until every model is active", begun.elapsed().as_secs_f64());
    }
    Ok(true)
}

/// Each model is active, as `sund status` says.
fn is_ready(program: &Path, config: &Path) -> bool {
    let asked = Command::new(program).args(["status", "--json", "--config"]).arg(config).stderr(Stdio::null()).output();
    let status: serde_json::Value =
        asked.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or_default();
    let models = status["models"].as_array();
    models.is_some_and(|models| models.len() == MODELS && models.iter().all(|model| model["state"] == "active"))
}

/// The configuration of a node whose models are the text model under five names, packed and signed by its vendor.
fn site(program: &Path, scratch: &Path) -> Result<PathBuf> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/models/text-detection");
    for name in ["spool", "audit"] {
        fs::create_dir_all(scratch.join(name))?;
    }
    for name in ["uid.key", "audit.key"] {
        fs::write(scratch.join(name), "5a".repeat(32))?;
        fs::set_permissions(scratch.join(name), fs::Permissions::from_mode(0o600))?;
    }
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut text = format!(
        "[node]\nae_title = \"SUND\"\nlisten = \"{port}\"\n[spool]\ndirectory = \"spool\"\n[identity]\nuid_key_file = \
         \"uid.key\"\n[audit]\ndirectory = \"audit\"\nkey_file = \"audit.key\"\n"
    );
    let (name, key, private) =
        ("PaddleOCR authors (PP-OCRv4); packaged by Sund", "vendor.pub", scratch.join("vendor.pem"));
    let vendor = KeyPair::generate_for(&PKCS_ED25519).map_err(Error::other)?;
    fs::write(&private, vendor.serialize_pem())?;
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600))?;
    fs::write(scratch.join(key), vendor.public_key_pem())?;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "[[vendors]]\nname = \"{name}\"\nkey = \"{key}\"");
    let mut names = Vec::new();
    for n in 0..MODELS {
        let name = format!("text-{n}");
        let (folder, packed) = (scratch.join(&name), scratch.join(format!("{name}.sund")));
        done(Command::new("cp").arg("-r").arg(&demo).arg(&folder))?;
        let manifest = folder.join("model.toml");
        let written = fs::read_to_string(&manifest)?.replace("\"text-detection\"", &format!("\"{name}\""));
        fs::write(&manifest, written)?;
        done(Command::new(program).args(["model", "pack"]).arg(&folder).arg("--to").arg(&packed))?;
        done(Command::new(program).args(["model", "sign", "--key"]).arg(&private).arg(&packed))?;
        let _ = writeln!(text, "[[models]]\npackage = \"{name}.sund\"");
        names.push(format!("\"{name}\""));
    }
    let _ = writeln!(
        text,
        "[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"127.0.0.1:104\"\n[[routes]]\nname = \
         \"all\"\nmodels = [{}]\nmode = \"clinical\"\ndestinations = [\"pacs\"]",
        names.join(", ")
    );
    let config = scratch.join("sund.toml");
    fs::write(&config, text)?;
    Ok(config)
}

/// Runs a command that prints nothing of interest.
fn done(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let told = || Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)));
    output.status.success().then_some(()).ok_or_else(told)
}

/// Ends with the value.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
