//! A web server that serves a directory, and misbehaves where it is told to.
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// Speaks HTTP without TLS.
pub fn plain_client() -> reqwest::Client {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).build().expect("a client")
}

/// How a path is served.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// A byte now and then.
    Drips,
    /// Without an end and without a length.
    Endless,
    /// With so many bytes more than there are, and with that length.
    Longer(usize),
    /// So many bytes, as if that were all.
    Truncated(usize),
    /// So many bytes of what was asked for; then the line breaks.
    Breaks(usize),
    /// Elsewhere.
    Redirects,
    /// 500.
    Fails,
    /// All of it, whatever range was asked for.
    KnowsNoRanges,
    /// In small pieces with a pause between them.
    Slowly,
}

/// The server.
pub struct Web {
    pub url: Url,
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    manners: Mutex<Vec<(String, Manner)>>,
    asked: Mutex<Vec<(String, u64)>>,
    tokens: Mutex<Vec<String>>,
}

impl Web {
    pub async fn serve(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let shared = Shared {
            root: root.to_owned(),
            manners: Mutex::default(),
            asked: Mutex::default(),
            tokens: Mutex::default(),
        };
        let shared = Arc::new(shared);
        let of = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, of.clone()));
            }
        });
        Self { url, shared }
    }

    /// From now on, paths that contain `part` are served in this manner.
    pub fn behave(&self, part: &str, manner: Manner) {
        self.shared.manners.lock().unwrap().insert(0, (part.to_owned(), manner));
    }

    pub fn behave_well(&self) {
        self.shared.manners.lock().unwrap().clear();
    }

    /// What each request authorized itself with, as far as it did.
    pub fn tokens(&self) -> Vec<String> {
        self.shared.tokens.lock().unwrap().clone()
    }

    /// The first byte that each request for a path with `part` asked for.
    pub fn asked(&self, part: &str) -> Vec<u64> {
        let asked = self.shared.asked.lock().unwrap();
        asked.iter().filter(|(path, _)| path.contains(part)).map(|(_, from)| *from).collect()
    }
}

/// The peer may hang up at any moment: that is what many tests are about.
async fn answer(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().replace("%2F", "/");
    let range = request.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let from: u64 = range.as_ref().map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
    shared.asked.lock().unwrap().push((path.clone(), from));
    let tokens = request.lines().filter_map(|line| line.strip_prefix("authorization: "));
    shared.tokens.lock().unwrap().extend(tokens.map(str::to_owned));
    let manner = shared.manners.lock().unwrap().iter().find(|(part, _)| path.contains(part)).map(|(_, manner)| *manner);
    let _ = respond(&mut stream, &shared, &path, from, manner).await;
    let _ = stream.shutdown().await;
}

async fn respond(
    stream: &mut TcpStream,
    shared: &Shared,
    path: &str,
    from: u64,
    manner: Option<Manner>,
) -> std::io::Result<()> {
    let Ok(mut bytes) = std::fs::read(shared.root.join(path.trim_start_matches('/'))) else {
        return head(stream, "404 Not Found", "Content-Length: 0").await;
    };
    let from = if matches!(manner, Some(Manner::KnowsNoRanges)) { 0 } else { from as usize };
    match manner {
        Some(Manner::Longer(more)) => bytes.extend(vec![0; more]),
        Some(Manner::Truncated(length)) => bytes.truncate(length),
        Some(Manner::Redirects) => {
            return head(stream, "302 Found", &format!("Content-Length: 0\r\nLocation: /elsewhere{path}")).await;
        }
        Some(Manner::Fails) => return head(stream, "500 Internal Server Error", "Content-Length: 0").await,
        Some(Manner::Endless) => {
            head(stream, "200 OK", "Transfer-Encoding: chunked").await?;
            loop {
                stream.write_all(b"1000\r\n").await?;
                stream.write_all(&[b' '; 0x1000]).await?;
                stream.write_all(b"\r\n").await?;
            }
        }
        _ => {}
    }
    if from > 0 && from >= bytes.len() {
        return head(stream, "416 Range Not Satisfiable", "Content-Length: 0").await;
    }
    let range = format!("Content-Range: bytes {from}-{}/{}", bytes.len().saturating_sub(1), bytes.len());
    let (status, range) = if from > 0 { ("206 Partial Content", range.as_str()) } else { ("200 OK", "X-Whole: 1") };
    head(stream, status, &format!("{range}\r\nContent-Length: {}", bytes.len() - from)).await?;
    let bytes = &bytes[from..];
    match manner {
        Some(Manner::Drips) => loop {
            stream.write_all(&bytes[..1]).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        },
        Some(Manner::Breaks(length)) => stream.write_all(&bytes[..length.min(bytes.len())]).await,
        Some(Manner::Slowly) => {
            for piece in bytes.chunks(8 * 1024) {
                stream.write_all(piece).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        }
        _ => stream.write_all(bytes).await,
    }
}

async fn head(stream: &mut TcpStream, status: &str, headers: &str) -> std::io::Result<()> {
    stream.write_all(format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n\r\n").as_bytes()).await
}
