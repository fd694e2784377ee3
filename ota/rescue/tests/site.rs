//! A server on a port of its own that speaks TLS by rustls, and HTTP as well or as badly as a test wants.
use crate::authority::Identity;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

type Session = StreamOwned<ServerConnection, TcpStream>;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub path: String,
    /// First byte of the Range.
    pub from: Option<usize>,
}

/// What a server does with a request, one after the other.
pub enum Act {
    Send(Vec<u8>),
    /// Sends byte by byte with a pause after each.
    Drip(Vec<u8>, Duration),
    /// Says no more until the peer goes.
    Hold,
    /// Breaks the connection without a word of TLS.
    Break,
    /// Sends zeros until the peer goes.
    Endless,
}

/// A running server.
pub struct Site {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Site {
    pub fn new(identity: Identity, serve: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let config = Arc::new(config(identity));
        let (seen, serve) = (Arc::clone(&requests), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, seen, serve) = (Arc::clone(&config), Arc::clone(&seen), Arc::clone(&serve));
                thread::spawn(move || {
                    let session = ServerConnection::new(config).expect("a configuration");
                    let mut session = StreamOwned::new(session, stream);
                    // A peer that goes before it has asked has refused us.
                    if let Some(request) = asked(&mut session) {
                        seen.lock().expect("no test panicked here").push(request.clone());
                        play(&mut session, serve(&request));
                    }
                });
            }
        });
        Self { address, requests }
    }

    /// A server of these files that resumes.
    pub fn of_files(identity: Identity, files: Vec<(&'static str, Vec<u8>)>) -> Self {
        Self::new(identity, move |request| file(&files, request))
    }

    pub fn address(&self) -> String {
        format!("https://localhost:{}/", self.address.port())
    }

    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test panicked here").clone()
    }
}

/// The answer of a static server.
pub fn file(files: &[(&'static str, Vec<u8>)], request: &Request) -> Vec<Act> {
    let Some((_, content)) = files.iter().find(|(name, _)| request.path.strip_prefix('/') == Some(name)) else {
        return vec![Act::Send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec())];
    };
    let from = request.from.unwrap_or(0);
    vec![Act::Send(head(request, content.len())), Act::Send(content[from..].to_vec())]
}

/// The head of an answer for a file of this length, or for the rest of it.
pub fn head(request: &Request, length: usize) -> Vec<u8> {
    match request.from {
        None => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
        Some(from) => format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{length}\r\n\r\n",
            length - from,
            length - 1,
        ),
    }
    .into_bytes()
}

#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn config(identity: Identity) -> ServerConfig {
    // Not asked whether the key belongs to the certificate: a thief of a certificate has another key.
    let key = any_supported_type(&identity.key).expect("a key");
    let shown = Shown(Arc::new(CertifiedKey::new(identity.chain, key)));
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown))
}

fn asked(session: &mut Session) -> Option<Request> {
    let mut received = Vec::new();
    let mut byte = [0];
    while !received.ends_with(b"\r\n\r\n") {
        session.read_exact(&mut byte).ok()?;
        received.extend(byte);
    }
    let text = String::from_utf8(received).expect("text");
    let path = text.split(' ').nth(1).expect("a path").to_owned();
    let range = text.lines().find_map(|line| line.strip_prefix("Range: bytes="));
    let from = range.map(|range| range.trim_end_matches('-').parse().expect("a number"));
    Some(Request { path, from })
}

/// Ends early where the peer goes.
fn play(session: &mut Session, acts: Vec<Act>) {
    for act in acts {
        let done = match act {
            Act::Send(bytes) => session.write_all(&bytes).is_ok(),
            Act::Drip(bytes, pause) => bytes.chunks(1).all(|byte| {
                thread::sleep(pause);
                session.write_all(byte).and_then(|()| session.flush()).is_ok()
            }),
            Act::Hold => session.read_exact(&mut [0]).is_ok(),
            Act::Break => {
                let _ = session.sock.shutdown(Shutdown::Both);
                false
            }
            Act::Endless => {
                while session.write_all(&[0; 4096]).is_ok() {}
                false
            }
        };
        if !done {
            return;
        }
    }
    session.conn.send_close_notify();
    let _ = session.flush();
}
