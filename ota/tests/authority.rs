//! The channel's authority as a box sees it: enrolment, renewal, escrow and a bundle, over real TLS with client certificates.
use super::appliance::Appliance;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair, PublicKeyData,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use sund_ota::hex::hex;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What it has to be streamed.
pub const BUNDLE: &[u8] = b"hsqs and many bytes more";

/// The server: its authority, and what it was asked.
pub struct Authority {
    pub issuer: Issuer<'static, KeyPair>,
    pub ca_pem: String,
    pub codes: Mutex<Vec<&'static str>>,
    /// The key for which a code was used: as the real one, it lets that key ask again.
    used: Mutex<BTreeMap<String, Vec<u8>>>,
    /// What comes in place of the answer to a code that was good: a status, and the line breaks.
    pub loses: Mutex<Option<StatusCode>>,
    /// It is in other hands, and sends this for a certificate.
    pub sends: Mutex<Option<String>>,
    /// Something else stands at its address, and says this.
    pub stranger: Mutex<Option<(StatusCode, &'static str)>>,
    /// Whether who asked last had a certificate of this authority.
    pub is_known: AtomicBool,
    /// Sealed keys that it was sent.
    pub escrow: Mutex<Vec<Value>>,
    /// What it says of them: that it keeps them, that it keeps other bytes, or a status.
    pub keeps: Mutex<Result<bool, StatusCode>>,
    pub issued: AtomicU32,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let ca_pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            ca_pem,
            codes: Mutex::new(vec!["one-time"]),
            used: Mutex::default(),
            loses: Mutex::default(),
            sends: Mutex::default(),
            stranger: Mutex::default(),
            is_known: AtomicBool::new(false),
            escrow: Mutex::new(Vec::new()),
            keeps: Mutex::new(Ok(true)),
            issued: AtomicU32::new(0),
        }
    }

    /// A certificate, of which the first is two thirds through its life.
    fn issue(&self, request: &Value) -> Response {
        if let Some(certificate) = &*self.sends.lock().expect("no test failed while it held this") {
            return axum::Json(json!({"certificate_pem": certificate})).into_response();
        }
        let csr = request["csr_pem"].as_str().expect("a request");
        let mut csr = CertificateSigningRequestParams::from_pem(csr).expect("a request that its key has signed");
        let days = |n: i64| {
            let second = jiff::Timestamp::now().as_second() + n * 86_400;
            rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(second as u64)
        };
        let age = if self.issued.fetch_add(1, Ordering::Relaxed) == 0 { 80 } else { 0 };
        (csr.params.not_before, csr.params.not_after) = (days(-age), days(100 - age));
        let certificate = csr.signed_by(&self.issuer).expect("a certificate").pem();
        axum::Json(json!({"certificate_pem": certificate, "ca_pem": self.ca_pem})).into_response()
    }
}

/// Connections with TLS, with or without a client certificate.
struct Tls(TcpListener, TlsAcceptor, Arc<Authority>);

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.0.accept().await else { continue };
            let Ok(stream) = self.1.accept(stream).await else { continue };
            self.2.is_known.store(stream.get_ref().1.peer_certificates().is_some(), Ordering::Relaxed);
            return (stream, address);
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

pub async fn start(authority: &Arc<Authority>) -> u16 {
    use rustls_pki_types::pem::PemObject;
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &authority.issuer).expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls_pki_types::CertificateDer::from_pem_slice(authority.ca_pem.as_bytes()).expect("PEM");
    roots.add(ca).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .expect("a verifier");
    let private = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS#8");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("a configuration");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tls = Tls(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(authority));
    let router = Router::new()
        .route("/enrol", post(enrol))
        .route("/enrol/renew", post(renew))
        .route("/bundle", get(bundle))
        .route("/escrow", post(escrow))
        .fallback(async || axum::Json(json!({"config": {"polling": {"sleep": "00:05:00"}}, "_links": {}})))
        .with_state(Arc::clone(authority));
    tokio::spawn(async move { axum::serve(tls, router).await });
    port
}

/// For boxes that it knows alone, whole or by a range.
async fn bundle(State(authority): State<Arc<Authority>>, headers: axum::http::HeaderMap) -> Response {
    if !authority.is_known.load(Ordering::Relaxed) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let range =
        headers.get("range").and_then(|range| range.to_str().ok()).and_then(|range| range.strip_prefix("bytes="));
    match range.and_then(|range| range.split_once('-')) {
        Some((from, to)) => {
            let (from, to): (usize, usize) = (from.parse().expect("a number"), to.parse().expect("a number"));
            let of = format!("bytes {from}-{to}/{}", BUNDLE.len());
            (StatusCode::PARTIAL_CONTENT, [("content-range", of)], &BUNDLE[from..=to]).into_response()
        }
        None => BUNDLE.into_response(),
    }
}

async fn enrol(State(authority): State<Arc<Authority>>, body: axum::body::Bytes) -> Response {
    if let Some((status, says)) = *authority.stranger.lock().expect("no test failed while it held this") {
        let location = [("location", "https://login.hospital.example/")];
        return (status, location, says).into_response();
    }
    let request: Value = serde_json::from_slice(&body).expect("JSON");
    let code = request["code"].as_str().expect("a code").to_owned();
    let csr = CertificateSigningRequestParams::from_pem(request["csr_pem"].as_str().expect("a request"));
    let key = csr.expect("a request that its key has signed").public_key.der_bytes().to_vec();
    let is_good = {
        let mut codes = authority.codes.lock().expect("no test failed while it held this");
        let before = codes.len();
        codes.retain(|known| *known != code);
        let mut used = authority.used.lock().expect("no test failed while it held this");
        if codes.len() < before {
            used.insert(code.clone(), key.clone());
        }
        used.get(&code) == Some(&key)
    };
    if !is_good {
        let refused = json!({"errorCode": "enrol-code", "message": "No box is expected with this code now."});
        return (StatusCode::FORBIDDEN, axum::Json(refused)).into_response();
    }
    let issued = authority.issue(&request);
    if let Some(status) = *authority.loses.lock().expect("no test failed while it held this") {
        let broken =
            futures_util::stream::iter([Err::<axum::body::Bytes, _>(std::io::Error::other("the line breaks"))]);
        return (status, axum::body::Body::from_stream(broken)).into_response();
    }
    issued
}

async fn escrow(State(authority): State<Arc<Authority>>, body: axum::body::Bytes) -> Response {
    if !authority.is_known.load(Ordering::Relaxed) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let offer: Value = serde_json::from_slice(&body).expect("JSON");
    let sealed = STANDARD.decode(offer["sealed"].as_str().expect("a sealed key")).expect("base64");
    let digest = |bytes: &[u8]| hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    authority.escrow.lock().expect("no test failed while it held this").push(offer);
    match *authority.keeps.lock().expect("no test failed while it held this") {
        Ok(true) => axum::Json(json!({"sha256": digest(&sealed), "kept_at": 1})).into_response(),
        Ok(false) => axum::Json(json!({"sha256": digest(b"other bytes"), "kept_at": 1})).into_response(),
        Err(status) => status.into_response(),
    }
}

async fn renew(State(authority): State<Arc<Authority>>, body: axum::body::Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).expect("JSON");
    if authority.is_known.load(Ordering::Relaxed) {
        authority.issue(&request)
    } else {
        StatusCode::FORBIDDEN.into_response()
    }
}

/// A box whose key is a file, and the server with its authority.
pub async fn appliance_of(authority: &Arc<Authority>) -> Appliance {
    let appliance = Appliance::new().await;
    let port = start(authority).await;
    let key = format!("key = \"{}/box.key\"", appliance.directory.path().display());
    let text = known_to(&appliance, authority, port, &key);
    std::fs::write(appliance.configuration(), text).expect("updater.toml");
    appliance
}

/// The configuration of a box that knows this authority at this port, with these lines for its key.
pub fn known_to(appliance: &Appliance, authority: &Authority, port: u16, key: &str) -> String {
    let path = appliance.directory.path();
    std::fs::write(path.join("ca.pem"), &authority.ca_pem).expect("ca.pem");
    let text = std::fs::read_to_string(appliance.configuration()).expect("updater.toml");
    let http = format!("http://127.0.0.1:{}", appliance.channel.address.port());
    let identity = format!("ca = \"{0}/ca.pem\"\ncertificate = \"{0}/box.pem\"\n{key}\n[repository]", path.display());
    text.replace(&http, &format!("https://localhost:{port}")).replace("[repository]", &identity)
}
