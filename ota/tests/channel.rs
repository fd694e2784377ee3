//! A channel server for tests: DDI as hawkBit answers it, and the static tree of a repository with ranges, on a real socket.
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use sund_ota::ddi::{ConfigData, Execution, Feedback, Finished};
use sund_ota::descriptor::Descriptor;

/// The box's name.
pub const BOX: &str = "box-1";

/// What the server knows and was told.
#[derive(Default)]
pub struct Told {
    /// The static tree.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Actions, the newest last.
    pub actions: Vec<ServerAction>,
    /// Attributes of the box.
    pub attributes: BTreeMap<String, String>,
    /// Polls so far.
    pub polls: u32,
    /// Sends who asks for a descriptor elsewhere.
    pub redirects: bool,
    /// Answers polls with 503 and `Retry-After` of so many seconds.
    pub busy: Option<u32>,
    /// What it answers in the same way beside polls: `deploymentBase`, `artifacts` or `feedback`.
    pub busy_with: Option<(&'static str, u32)>,
    /// A file of the repository that is answered with 500.
    pub fails: Option<&'static str>,
    /// What it does to a box that is to go on with its work.
    pub misdeed: Option<Misdeed>,
    /// Answers nothing, the repository neither.
    pub is_away: bool,
    /// How often the length of a bundle was asked for by its first byte, and how often all of one.
    pub lengths_asked: u32,
    pub whole_bundles: u32,
    /// It says of a part how long it is, and not of how much.
    pub hides_lengths: bool,
    /// How many ranges of a bundle it still fails to serve.
    pub streams_break: u32,
    /// How long it takes to answer anything.
    pub answers_after: Duration,
    /// Longest stretch of a target in one answer before the connection breaks.
    pub breaks_after: Option<usize>,
    /// Time between two chunks of a target.
    pub pause: Option<Duration>,
    /// Bytes of targets that were sent.
    pub sent: u64,
    /// Every path that was asked for.
    pub asked: Vec<String>,
    /// Requests for targets that asked for a range.
    pub ranges: Vec<String>,
}

/// What a server that was taken over answers while the box brings something to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// Names the action, and does not give it.
    Withholds,
    /// Wants an action stopped that the box has never heard of, each time.
    Cancels,
    /// Wants such an action confirmed, each time.
    Confirms,
    /// Names such an action, and does not give it.
    NamesAnother,
    /// Answers every request for the repository with a page for people.
    MaintenancePage,
}

impl Misdeed {
    /// What a poll names in place of what there is.
    fn link(self) -> Option<&'static str> {
        match self {
            Self::Cancels => Some("cancelAction"),
            Self::Confirms => Some("confirmationBase"),
            Self::NamesAnother => Some("deploymentBase"),
            Self::Withholds | Self::MaintenancePage => None,
        }
    }
}

/// Its number.
const STRANGER: &str = "666";

/// An action.
pub struct ServerAction {
    pub id: String,
    pub descriptor: Vec<u8>,
    pub update: &'static str,
    /// The window of its rollout.
    pub maintenance: Option<Value>,
    pub is_open: bool,
    pub needs_confirmation: bool,
    pub is_canceling: bool,
    /// Feedback while it was open.
    pub feedback: Vec<Feedback>,
    /// Feedback after it was closed.
    pub late: u32,
    /// Feedback to its cancel action.
    pub cancel_feedback: Vec<Feedback>,
}

impl ServerAction {
    /// How it was closed.
    pub fn closed(&self) -> Vec<&Feedback> {
        self.feedback.iter().filter(|feedback| feedback.status.execution == Execution::Closed).collect()
    }

    /// All that was said when it was closed.
    pub fn last_words(&self) -> String {
        self.closed().iter().flat_map(|feedback| feedback.status.details.clone()).collect::<Vec<_>>().join("\n")
    }
}

/// A running server; ends with its runtime.
#[derive(Clone)]
pub struct Channel {
    pub address: SocketAddr,
    told: Arc<Mutex<Told>>,
}

impl Channel {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let channel = Self { address, told: Arc::default() };
        let router = Router::new().fallback(answer).with_state(channel.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        channel
    }

    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("no test failed while it held this")
    }

    /// Replaces the repository.
    pub fn serve(&self, files: BTreeMap<String, Vec<u8>>) {
        self.told().files.extend(files);
    }

    /// Assigns a state to the box, as one action.
    pub fn deploy(&self, id: &str, descriptor: &Descriptor) {
        self.deploy_bytes(id, serde_json::to_vec(descriptor).expect("JSON"));
    }

    pub fn deploy_bytes(&self, id: &str, descriptor: Vec<u8>) {
        self.told().actions.push(ServerAction {
            id: id.to_owned(),
            descriptor,
            update: "forced",
            maintenance: None,
            is_open: true,
            needs_confirmation: false,
            is_canceling: false,
            feedback: Vec::new(),
            late: 0,
            cancel_feedback: Vec::new(),
        });
    }

    /// Changes an action.
    pub fn action<T>(&self, id: &str, change: impl FnOnce(&mut ServerAction) -> T) -> T {
        change(self.told().actions.iter_mut().find(|action| action.id == id).expect("the action"))
    }
}

async fn answer(State(channel): State<Channel>, request: Request) -> Response {
    let response = answer_at_once(&channel, request).await;
    let answers_after = channel.told().answers_after;
    tokio::time::sleep(answers_after).await;
    response
}

async fn answer_at_once(channel: &Channel, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let path = head.uri.path().to_owned();
    channel.told().asked.push(path.clone());
    if channel.told().is_away {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    if let Some(file) = path.strip_prefix("/repository/") {
        let range = head.headers.get(header::RANGE).and_then(|range| range.to_str().ok()).map(str::to_owned);
        return channel.file(file, range);
    }
    let Some(rest) = path.strip_prefix(&format!("/DEFAULT/controller/v1/{BOX}")) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    channel.ddi(&head.method, &parts, &body)
}

impl Told {
    fn withholds(&self) -> bool {
        matches!(self.misdeed, Some(Misdeed::Withholds | Misdeed::NamesAnother))
    }

    /// A bundle, whole or by a range as RAUC asks for it.
    fn bundle(&mut self, bytes: &[u8], range: Option<&str>) -> Response {
        let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let range = range.and_then(|(from, to)| Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?)));
        let Some((from, to)) = range else {
            self.whole_bundles += 1;
            return bytes.to_vec().into_response();
        };
        if (from, to) == (0, 0) {
            self.lengths_asked += 1;
        } else if self.streams_break > 0 {
            self.streams_break -= 1;
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let to = to.min(bytes.len() - 1);
        let length = if self.hides_lengths { "*".to_owned() } else { bytes.len().to_string() };
        let of = format!("bytes {from}-{to}/{length}");
        (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, of)], bytes[from..=to].to_vec()).into_response()
    }
}

impl Channel {
    fn ddi(&self, method: &Method, parts: &[&str], body: &Bytes) -> Response {
        let address = self.address;
        let mut told = self.told();
        if let Some((kind, seconds)) = told.busy_with
            && (parts.last() == Some(&kind) || parts.len() == 2 && parts[0] == kind)
        {
            return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", seconds.to_string())]).into_response();
        }
        // A server behind a proxy does not know its own name.
        let base = format!("http://channel.internal:{}/DEFAULT/controller/v1/{BOX}", address.port());
        match (method.as_str(), parts) {
            ("GET", []) => {
                told.polls += 1;
                if let Some(seconds) = told.busy {
                    return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", seconds.to_string())]).into_response();
                }
                json_answer(&poll(&told, &base))
            }
            ("PUT", ["configData"]) => {
                let data: ConfigData = serde_json::from_slice(body).expect("configData");
                told.attributes = data.data;
                StatusCode::OK.into_response()
            }
            ("GET", ["artifacts", ..]) if told.redirects => {
                let elsewhere = format!("http://{address}/repository/elsewhere.json");
                (StatusCode::FOUND, [(header::LOCATION, elsewhere)]).into_response()
            }
            ("GET", ["artifacts", id]) => match told.actions.iter().find(|action| action.id == *id) {
                Some(action) => action.descriptor.clone().into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            ("GET", ["deploymentBase", ..]) if told.withholds() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            ("GET", ["cancelAction", STRANGER]) => {
                json_answer(&json!({"id": STRANGER, "cancelAction": {"stopId": STRANGER}}))
            }
            ("POST", [_, STRANGER, "feedback"]) => StatusCode::OK.into_response(),
            (method, [kind, id, rest @ ..]) => {
                let Some(action) = told.actions.iter_mut().find(|action| action.id == *id) else {
                    return StatusCode::NOT_FOUND.into_response();
                };
                if !action.is_open {
                    action.late += 1;
                    return StatusCode::GONE.into_response();
                }
                match (method, *kind, rest) {
                    ("GET", "deploymentBase" | "confirmationBase", []) => json_answer(&deployment(action, &base)),
                    ("GET", "cancelAction", []) => {
                        json_answer(&json!({"id": action.id, "cancelAction": {"stopId": action.id}}))
                    }
                    ("POST", "confirmationBase", ["feedback"]) => {
                        action.needs_confirmation = false;
                        StatusCode::OK.into_response()
                    }
                    ("POST", "deploymentBase", ["feedback"]) => {
                        let feedback: Feedback = serde_json::from_slice(body).expect("feedback");
                        // What a box has left is offered to it no more.
                        action.is_open = !matches!(feedback.status.execution, Execution::Closed | Execution::Canceled);
                        action.feedback.push(feedback);
                        StatusCode::OK.into_response()
                    }
                    ("POST", "cancelAction", ["feedback"]) => {
                        let feedback: Feedback = serde_json::from_slice(body).expect("feedback");
                        action.is_canceling = false;
                        action.is_open = feedback.status.execution != Execution::Closed
                            || feedback.status.result.finished != Finished::Success;
                        action.cancel_feedback.push(feedback);
                        StatusCode::OK.into_response()
                    }
                    _ => StatusCode::NOT_FOUND.into_response(),
                }
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn file(&self, path: &str, range: Option<String>) -> Response {
        let mut told = self.told();
        if told.misdeed == Some(Misdeed::MaintenancePage) {
            return ([(header::CONTENT_TYPE, "text/html")], "<h1>We will be back soon</h1>").into_response();
        }
        if told.fails == Some(path) {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let Some(bytes) = told.files.get(path).cloned() else { return StatusCode::NOT_FOUND.into_response() };
        if path.starts_with("targets/os") {
            return told.bundle(&bytes, range.as_deref());
        }
        if !path.starts_with("targets/models") {
            return bytes.into_response();
        }
        let start = range.as_ref().map_or(0, |range| {
            let start = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
            start.and_then(|start| start.parse().ok()).expect("a range from somewhere to the end")
        });
        told.ranges.extend(range);
        if start >= bytes.len() {
            return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        }
        let length = bytes.len();
        let breaks_after = told.breaks_after.unwrap_or(length).min(length - start);
        let chunks: Vec<Vec<u8>> = bytes[start..start + breaks_after].chunks(16 * 1024).map(<[u8]>::to_vec).collect();
        let (channel, pause, is_broken) = (self.clone(), told.pause, start + breaks_after < length);
        let body = stream::unfold(chunks.into_iter(), move |mut chunks| {
            let channel = channel.clone();
            async move {
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
                match chunks.next() {
                    Some(chunk) => {
                        channel.told().sent += chunk.len() as u64;
                        Some((Ok(chunk), chunks))
                    }
                    None if is_broken => Some((Err(std::io::Error::other("the connection breaks")), chunks)),
                    None => None,
                }
            }
        });
        let status = if start > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let content_range = format!("bytes {start}-{}/{length}", length - 1);
        let headers = [(header::CONTENT_LENGTH, (length - start).to_string()), (header::CONTENT_RANGE, content_range)];
        (status, headers, Body::from_stream(body)).into_response()
    }
}

fn poll(told: &Told, base: &str) -> Value {
    let mut links = serde_json::Map::new();
    let mut link = |rel: &str, path: String| links.insert(rel.to_owned(), json!({"href": format!("{base}/{path}")}));
    if told.attributes.is_empty() {
        link("configData", "configData".to_owned());
    }
    // One action at a time, the newest, as hawkBit does it.
    if let Some(rel) = told.misdeed.and_then(Misdeed::link) {
        link(rel, format!("{rel}/{STRANGER}"));
    } else if let Some(action) = told.actions.iter().rev().find(|action| action.is_open) {
        let id = &action.id;
        if action.is_canceling {
            link("cancelAction", format!("cancelAction/{id}"));
        } else if action.needs_confirmation {
            link("confirmationBase", format!("confirmationBase/{id}?c=-2129030598"));
        } else {
            // Another one where the action says something else.
            let said = format!("{}{:?}", action.update, action.maintenance);
            let c = said.bytes().fold(17_i32, |c, byte| c.wrapping_mul(31).wrapping_add(i32::from(byte)));
            link("deploymentBase", format!("deploymentBase/{id}?c={c}"));
        }
    }
    json!({"config": {"polling": {"sleep": "00:00:01"}}, "_links": links})
}

fn deployment(action: &ServerAction, base: &str) -> Value {
    let href = format!("{base}/artifacts/{}", action.id);
    let mut answer = json!({"id": action.id, "deployment": {
        "download": "forced", "update": action.update,
        "chunks": [{"part": "os", "version": "1", "name": "state", "artifacts": [{
            "filename": "sund-descriptor.json", "hashes": {"sha1": "0000"}, "size": action.descriptor.len(),
            "_links": {"download": {"href": href}},
        }]}],
    }});
    if let Some(window) = &action.maintenance {
        answer["deployment"]["sundMaintenance"] = window.clone();
    }
    answer
}

fn json_answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/hal+json")], value.to_string()).into_response()
}
