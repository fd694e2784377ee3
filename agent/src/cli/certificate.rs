//! `sund certificate`: the clinical certificate, from the region's PKI.
use super::{ConfigFile, fail, on_runtime, print};
use crate::certificate::{Installed, Proof, Settings, enrol, install, installed, pending, write_request};
use crate::config::certificate_settings;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::limits::certificate::{MAX_FILE, MAX_PASSWORD};
use clap::Subcommand;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use zeroize::Zeroizing;

#[derive(Debug, Subcommand)]
pub(super) enum CertificateCommand {
    /// Makes a key, where none waits for its certificate, and prints its request (PKCS#10, PEM) for the region's PKI.
    Request {
        #[command(flatten)]
        config: ConfigFile,
        /// Write the request to this file.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Checks a certificate against key, names, chain and time, and puts it in place; the agent shows it from the next connection on.
    Install {
        #[command(flatten)]
        config: ConfigFile,
        /// The certificate and its intermediates, PEM.
        file: PathBuf,
    },
    /// Gets a certificate from the region's EST server: the first by a one-time password, its successors by the one before.
    Enrol {
        #[command(flatten)]
        config: ConfigFile,
        /// User name of the one-time password; it is read from standard input.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Says which certificate is in place.
    Show(ConfigFile),
}

pub(super) fn run(command: CertificateCommand) -> Exit {
    let done = match command {
        CertificateCommand::Request { config, output } => request(&config.config, output.as_deref()),
        CertificateCommand::Install { config, file } => install_file(&config.config, &file),
        CertificateCommand::Enrol { config, user } => enrol_now(&config.config, user),
        CertificateCommand::Show(config) => certificate_settings(&config.config)
            .and_then(|settings| installed(&settings))
            .map(|now| told("holds", &now)),
    };
    done.unwrap_or_else(|fault| fail(&fault))
}

fn request(config: &Path, output: Option<&Path>) -> Result<Exit, Fault> {
    let settings = certificate_settings(config)?;
    let pem = pending(&settings, None)?.pem()?;
    match output {
        None => Ok(print(&pem)),
        Some(to) => write_request(to, &pem).map(|()| Exit::Ok),
    }
}

fn install_file(config: &Path, file: &Path) -> Result<Exit, Fault> {
    let settings = certificate_settings(config)?;
    let unreadable = |why: String| {
        let reason = format!("no certificate can be read from {}: {why}", file.display());
        Fault::new("certificate-malformed", Blame::Configuration, reason)
    };
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(|error| unreadable(error.to_string()))?;
    opened.take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    let given: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let given = given.map_err(|error| unreadable(error.to_string()))?;
    if given.is_empty() {
        let der = format!("openssl x509 -inform der -in {} -out FILE", file.display());
        return Err(unreadable(format!("there is none in it in PEM; one in DER becomes it by: {der}")));
    }
    install(&settings, &given).map(|now| told("installed", &now))
}

fn enrol_now(config: &Path, user: Option<String>) -> Result<Exit, Fault> {
    let settings = certificate_settings(config)?;
    let Some(est) = settings.est.clone() else {
        let reason = "the configuration names no EST server: [certificate] est";
        return Err(Fault::new("est-not-configured", Blame::Configuration, reason));
    };
    let proof = match user {
        Some(user) => Proof::Password { user, password: password()? },
        None => Proof::Current,
    };
    let enrolling = async |settings: Settings| enrol(&settings, &est, proof).await;
    Ok(on_runtime(async {
        match enrolling(settings).await {
            Ok(now) => told("enrolled", &now),
            Err(fault) => fail(&fault),
        }
    }))
}

fn password() -> Result<Zeroizing<String>, Fault> {
    let mut password = Zeroizing::new(String::new());
    let read = std::io::stdin().lock().take(MAX_PASSWORD).read_to_string(&mut password);
    read.map_err(|error| {
        Fault::new("password-unreadable", Blame::Configuration, format!("the password cannot be read: {error}"))
    })?;
    let length = password.trim_end_matches(['\r', '\n']).len();
    password.truncate(length);
    Ok(password)
}

fn told(what: &str, now: &Installed) -> Exit {
    let leaf = now.leaf();
    let time = |at: SystemTime| humantime::format_rfc3339_seconds(at);
    print(&format!("{what}: {}, from {} to {}\n", leaf.names.join(" "), time(leaf.not_before), time(leaf.not_after)))
}
