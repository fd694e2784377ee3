//! The signed repository, as files. It needs no trust: whoever alters it is found out by the region's signatures.
use super::Server;
use super::peer::{Device, Peer};
use super::range::{Content, answer};
use super::refusal::Refusal;
use crate::limits::http::CHUNK;
use crate::repository::Home;
use crate::repository::rescue;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The descriptor of the recovery bundle.
const RESCUE: &str = "targets/rescue/rescue.json";

/// `GET /repository/{metadata|targets}/…`
pub(super) async fn file(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    // The raw path: the metadata of the role `models/x` is a file whose very name has `%2F` in it.
    let inner = uri.path().strip_prefix("/repository/").ok_or_else(Refusal::not_found)?;
    if !server.config.open_repository && !is_of_the_rescue(&server, inner).await {
        Device::any(&server, &peer, &headers)?;
    }
    let path = inside(inner).ok_or_else(Refusal::not_found)?;
    let path = server.config.home.join("repository").join(path);
    let is_metadata = inner.starts_with("metadata/");
    // What each poll asks for is in the kernel's memory: a step beside the event loop would cost more than it.
    let read = if is_metadata {
        read(&path)
    } else {
        tokio::task::spawn_blocking(move || read(&path)).await.unwrap_or_else(|_| Err(ErrorKind::Interrupted.into()))
    };
    let (content, tag) = read.map_err(|_| Refusal::not_found())?;
    let kind = if is_metadata { "application/json" } else { "application/octet-stream" };
    let mut response = answer(&headers, content, &tag, kind).await;
    // Consistent snapshots (TUF 7): every name but these means the same bytes for ever.
    let may_change = matches!(inner, "metadata/timestamp.json" | RESCUE);
    let life = if may_change { "no-cache" } else { "max-age=31536000, immutable" };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(life));
    Ok(response)
}

/// A file and its strong tag, with its bytes where they are few.
fn read(path: &Path) -> std::io::Result<(Content, String)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(ErrorKind::NotFound.into());
    }
    let tag = format!("{:x}-{:x}-{:x}", about.ino(), about.len(), about.mtime() * 1_000_000_000 + about.mtime_nsec());
    if about.len() > CHUNK as u64 {
        return Ok((Content::File(tokio::fs::File::from_std(file), about.len()), tag));
    }
    let mut bytes = Vec::with_capacity(about.len() as usize);
    file.take(about.len()).read_to_end(&mut bytes)?;
    Ok((Content::Bytes(bytes.into()), tag))
}

/// What a box of which no slot starts has to fetch: it has no certificate then. That is the signed descriptor and the
/// one bundle that it names, and no other target.
async fn is_of_the_rescue(server: &Server, inner: &str) -> bool {
    if !server.config.open_rescue || !inner.starts_with("targets/") {
        return false;
    }
    if inner == RESCUE {
        return true;
    }
    let home = Home::served(&server.config.home);
    let offered = tokio::task::spawn_blocking(move || rescue::offered(&home)).await;
    let named = offered.ok().and_then(Result::ok).flatten();
    named.is_some_and(|it| inner.strip_prefix("targets/") == Some(it.bundle.path.as_str()))
}

/// A path that stays inside: plain names, none of which begins with a dot.
fn inside(path: &str) -> Option<PathBuf> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+' | b'%' | b'~' | b'@');
    let parts: Vec<&str> = path.split('/').collect();
    let good = |part: &&str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_plain);
    let begins = matches!(parts.first(), Some(&("metadata" | "targets")));
    (begins && parts.len() > 1 && parts.iter().all(good)).then(|| parts.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn no_path_leads_out_of_the_repository() {
        for out in [
            "",
            "metadata",
            "metadata/",
            "metadata/../../channel.db",
            "keys/timestamp.pem",
            "targets//etc/passwd",
            "targets/.hidden",
            "targets/a\\b",
            "metadata/./a",
        ] {
            assert_eq!(inside(out), None, "{out}");
        }
        assert!(inside("metadata/3.models%2Fvendor.json").is_some());
        assert!(inside("targets/models/vendor/ab.brain-1.0.sund").is_some());
    }
}
