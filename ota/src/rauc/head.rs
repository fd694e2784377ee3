//! The heads of HTTP, as far as the relay of a bundle needs them.
use reqwest::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED};
use reqwest::{Method, Response, StatusCode};
use std::fmt::Write as _;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A request's head, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// What is asked of the one file that there is.
pub(super) struct Asked {
    pub(super) method: Method,
    /// As the header has it.
    pub(super) range: Option<String>,
}

/// A request's head, to its empty line.
pub(super) async fn read(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let length = stream.read(&mut piece).await?;
        head.extend_from_slice(&piece[..length]);
        if length == 0 || head.len() > MAX_HEAD {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
    String::from_utf8(head).map_err(|_| std::io::ErrorKind::InvalidData.into())
}

/// What a head asks for, where it is the file at `path`.
pub(super) fn parse(head: &str, path: &str) -> Option<Asked> {
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let method = match words.next()? {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        _ => return None,
    };
    let range = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("range"));
    let range = range.map(|(_, value)| value.trim().to_owned());
    (words.next()? == path).then_some(Asked { method, range })
}

/// The head of the store's answer.
pub(super) fn said(response: &Response) -> String {
    let mut head = begin(response.status());
    for name in [CONTENT_LENGTH, CONTENT_RANGE, ACCEPT_RANGES, ETAG, LAST_MODIFIED] {
        if let Some(value) = response.headers().get(&name).and_then(|value| value.to_str().ok()) {
            // Into memory: nothing can fail.
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    head + "\r\n"
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Vec<u8> {
    (begin(status) + "Content-Length: 0\r\n\r\n").into_bytes()
}

fn begin(status: StatusCode) -> String {
    format!("HTTP/1.1 {} {}\r\nConnection: close\r\n", status.as_u16(), status.canonical_reason().unwrap_or(""))
}
