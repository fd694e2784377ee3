//! A node under test: the real service over the real spool.
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sund_agent::association::{Association, Caller, Intake, Listener, Policy, serve};
use sund_agent::fault::Fault;
use sund_agent::instance::StoredInstance;
use sund_agent::spool::{Incoming, Spool, SpoolOptions};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Keeps what associations did.
pub struct Recording {
    spool: Spool,
    faults: Mutex<Vec<Fault>>,
}

impl Intake for Recording {
    type Instance = Incoming;

    fn begin(&self, _: &Association, study: &str, _: &str) -> Result<Incoming, Fault> {
        Ok(self.spool.begin(study)?)
    }

    fn rejected(&self, _: &Association, fault: &Fault) {
        self.faults.lock().unwrap().push(fault.clone());
    }

    fn refused(&self, _: &Association, fault: &Fault) {
        self.faults.lock().unwrap().push(fault.clone());
    }
}

/// A node that runs until it is dropped.
pub struct Node {
    pub address: SocketAddr,
    intake: Arc<Recording>,
    /// Dropped, it stops the service; then the runtime ends; then the folder goes.
    _stop: watch::Sender<bool>,
    _runtime: Runtime,
    _folder: Option<tempfile::TempDir>,
}

/// One stored instance and its data set.
pub struct Stored {
    pub instance: StoredInstance,
    pub dataset: bytes::Bytes,
}

impl Node {
    /// A node `SUND` for anybody.
    pub fn start() -> Self {
        Self::start_with(Vec::new(), None)
    }

    /// A node for whoever has a certificate of the authority.
    pub fn start_over_tls(pki: &Pki) -> Self {
        Self::start_with(Vec::new(), Some(pki.acceptor()))
    }

    pub fn start_with(callers: Vec<Caller>, tls: Option<TlsAcceptor>) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let node = Self::over(folder.path(), callers, tls);
        Self { _folder: Some(folder), ..node }
    }

    /// The same over a spool in a folder that stays.
    pub fn start_in(folder: &Path) -> Self {
        Self::over(folder, Vec::new(), None)
    }

    fn over(folder: &Path, callers: Vec<Caller>, tls: Option<TlsAcceptor>) -> Self {
        let spool = Spool::open(options(folder)).unwrap();
        let intake = Arc::new(Recording { spool, faults: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (stop, stopped) = watch::channel(false);
        let socket = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = socket.local_addr().unwrap();
        runtime.spawn(serve(Listener { socket, tls }, policy(callers), Arc::clone(&intake), stopped));
        Self { address, intake, _stop: stop, _runtime: runtime, _folder: None }
    }

    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// All that is stored, in the order of the commits.
    pub fn stored(&self) -> Vec<Stored> {
        stored(&self.intake.spool)
    }

    /// The codes of all refusals so far.
    pub fn refusals(&self) -> Vec<String> {
        self.intake.faults.lock().unwrap().iter().map(|fault| fault.code.to_string()).collect()
    }

    /// Waits until a refusal with this code has happened.
    pub fn expect_refusal(&self, code: &str) {
        until(&format!("refusal {code}; there were {:?}", self.refusals()), || {
            self.refusals().iter().any(|refusal| refusal == code)
        });
    }

    /// Waits until something was refused for this reason.
    pub fn expect_reason(&self, reason: &str) {
        let has_it = || self.intake.faults.lock().unwrap().iter().any(|fault| fault.reason.contains(reason));
        let said = self.intake.faults.lock().unwrap().clone();
        until(&format!("a refusal because {reason}; there were {said:?}"), has_it);
    }
}

pub fn stored(spool: &Spool) -> Vec<Stored> {
    let instances = spool.studies().into_iter().flat_map(|study| spool.instances_of(&study));
    let mut stored: Vec<Stored> =
        instances.map(|instance| Stored { dataset: spool.read(&instance).unwrap(), instance }).collect();
    stored.sort_by_key(|stored| stored.instance.id);
    stored
}

pub fn options(folder: &Path) -> SpoolOptions {
    SpoolOptions { segment_bytes: 4 << 20, spares: 0, ..SpoolOptions::in_directory(folder.join("spool")) }
}

fn policy(callers: Vec<Caller>) -> Policy {
    Policy {
        ae_title: "SUND".into(),
        require_called_ae: true,
        also_called: vec!["SUND_MR".into()],
        callers,
        max_associations: 32,
    }
}

/// Waits for a condition, at most thirty seconds.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        std::thread::yield_now();
    }
}

/// An authority, and one certificate and key for both ends, as PEM files.
pub struct Pki {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    folder: tempfile::TempDir,
}

impl Pki {
    pub fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Test authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &authority).unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Self {
            authority: write("authority.pem", authority.pem()),
            certificate: write("certificate.pem", leaf.pem()),
            key: write("key.pem", key.serialize_pem()),
            folder,
        }
    }

    fn roots(&self) -> Arc<rustls::RootCertStore> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.authority).unwrap()).unwrap();
        Arc::new(roots)
    }

    fn identity(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = vec![CertificateDer::from_pem_file(&self.certificate).unwrap()];
        (chain, PrivateKeyDer::from_pem_file(&self.key).unwrap())
    }

    /// Authority, certificate and key, for programs.
    pub fn paths(&self) -> [String; 3] {
        [&self.authority, &self.certificate, &self.key].map(|path| path.to_string_lossy().into_owned())
    }

    /// For a node that asks each caller for a certificate of the authority.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.server())
    }

    /// The same, as a node is configured.
    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        assert!(self.folder.path().exists());
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider)).build().unwrap();
        let (chain, key) = self.identity();
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(config.unwrap().with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap())
    }

    pub fn connector(&self) -> (Arc<TlsConnector>, ServerName<'static>) {
        self.connector_as(self)
    }

    /// For one that trusts this authority and shows the certificate of another.
    pub fn connector_as(&self, shown: &Self) -> (Arc<TlsConnector>, ServerName<'static>) {
        let provider = Arc::new(ring::default_provider());
        let (chain, key) = shown.identity();
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(self.roots()).with_client_auth_cert(chain, key).unwrap();
        (Arc::new(TlsConnector::from(Arc::new(config))), ServerName::try_from("localhost").unwrap())
    }
}
