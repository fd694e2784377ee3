//! A channel that serves on a port of its own, and boxes that speak to it.
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};
use sund_channel::rollout::orders::Order;
use sund_channel::rollout::view::Rollout;
use sund_channel::rollout::{New, NewWave};
use sund_channel::server::Bound;
use sund_channel::server::config::Config;
use sund_channel::server::control::{Answer, Request, ask};
use sund_ota::fault::Fault;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A server on a home in a temporary directory; its boxes reach it as `localhost`.
pub struct Channel {
    pub home: TempDir,
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What a test may set in `[server]`.
pub const PLAIN: &str = "approval = false";

impl Channel {
    pub async fn start(settings: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        list_states(home.path(), 1, &["north-1", "north-2"]);
        Self::start_on(home, settings).await
    }

    pub async fn start_on(home: TempDir, settings: &str) -> Self {
        provider();
        configure(home.path(), settings);
        let (stop, stopped) = watch::channel(false);
        let config = Config::read(&home.path().join("channel.toml")).unwrap();
        let bound = Bound::new(config, stopped).await.unwrap();
        let address = bound.addresses()[0];
        Self { home, address, stop, task: tokio::spawn(bound.serve()) }
    }

    /// Stops and gives back the home.
    pub async fn stop(self) -> TempDir {
        self.stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(20), self.task).await.unwrap().unwrap();
        self.home
    }

    pub async fn ask(&self, request: Request) -> Result<Answer, Fault> {
        ask(self.home.path(), &request).await
    }

    pub async fn secret(&self, request: Request) -> String {
        match self.ask(request).await.unwrap() {
            Answer::Secret(secret) => secret,
            other => panic!("{other:?}"),
        }
    }

    /// A box with a target token.
    pub async fn device(&self, name: &str, attributes: &[(&str, &str)]) -> Device {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let token = self.secret(Request::Token { name: name.to_owned(), attributes }).await;
        Device { name: name.to_owned(), root: self.root(name), client: self.client(None), token: Some(token) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    pub fn root(&self, name: &str) -> String {
        self.url(&format!("/DEFAULT/controller/v1/{name}"))
    }

    /// A client that trusts the channel's authority alone; `identity` is a certificate and its key, PEM.
    pub fn client(&self, identity: Option<&str>) -> Client {
        client(self.home.path(), identity)
    }

    pub async fn rollout(&self, name: &str, state: &str, groups: &[&str]) -> Result<(), Fault> {
        self.ask(Request::NewRollout(new(name, state, groups))).await.map(drop)
    }

    pub async fn order(&self, name: &str, order: Order) -> Result<(), Fault> {
        self.ask(Request::Order { name: name.to_owned(), order }).await.map(drop)
    }

    pub async fn status(&self, name: &str) -> Rollout {
        match self.ask(Request::Rollouts { name: Some(name.to_owned()) }).await.unwrap() {
            Answer::Rollouts(mut rollouts) => rollouts.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// The rollouts of that name.
    pub async fn status_of(&self, name: &str) -> Vec<Rollout> {
        match self.ask(Request::Rollouts { name: Some(name.to_owned()) }).await {
            Ok(Answer::Rollouts(rollouts)) => rollouts,
            _ => Vec::new(),
        }
    }

    /// Waits until a rollout is as `is_so` says; the rules look again at most some seconds after what changes them.
    pub async fn until(&self, name: &str, is_so: impl Fn(&Rollout) -> bool) -> Rollout {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let rollout = self.status(name).await;
            if is_so(&rollout) {
                return rollout;
            }
            assert!(Instant::now() < end, "{rollout:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Lets so much time pass at once for all that waits in this runtime, which has one thread.
pub async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

pub fn configure(home: &Path, settings: &str) {
    let text = format!("[server]\nlisten = ['127.0.0.1:0']\nnames = ['localhost']\n{settings}\n");
    fs::write(home.join("channel.toml"), text).unwrap();
}

pub fn client(home: &Path, identity: Option<&str>) -> Client {
    provider();
    let authority = fs::read(home.join("ca/ca.pem")).unwrap();
    let mut builder = Client::builder()
        .tls_certs_only([Certificate::from_pem(&authority).unwrap()])
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(20));
    if let Some(pem) = identity {
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

fn provider() {
    static ONCE: Once = Once::new();
    // What is tried in this process may have chosen it before.
    ONCE.call_once(|| drop(rustls::crypto::aws_lc_rs::default_provider().install_default()));
}

pub fn new(name: &str, state: &str, groups: &[&str]) -> New {
    let wave = |group: &&str| NewWave { filter: (*group).to_owned(), success: 100, error: 0 };
    New {
        name: name.to_owned(),
        state: state.to_owned(),
        waves: groups.iter().map(wave).collect(),
        silence_hours: 24,
        maintenance: None,
        confirm: false,
        all_at_once: true,
    }
}

/// Writes the metadata by which the repository lists these states. The server reads them unproved: devices prove them.
pub fn list_states(home: &Path, version: u64, names: &[&str]) {
    let metadata = home.join("repository/metadata");
    fs::create_dir_all(&metadata).unwrap();
    let put = |file: String, signed: Value| {
        fs::write(metadata.join(file), json!({ "signed": signed, "signatures": [] }).to_string()).unwrap();
    };
    let role = |kind: &str, rest: Value| {
        let mut role =
            json!({ "_type": kind, "spec_version": "1.0.31", "version": version, "expires": "2036-01-01T00:00:00Z" });
        role.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        role
    };
    // Any 64 digits that differ by the name.
    let target = |name: &&str| {
        let sha256 = format!("{:0<64}", name.bytes().map(|b| char::from(b'0' + b % 10)).collect::<String>());
        (format!("state/{name}.json"), json!({ "length": 100, "hashes": { "sha256": sha256 } }))
    };
    let targets: BTreeMap<String, Value> = names.iter().map(target).collect();
    put(format!("{version}.state.json"), role("targets", json!({ "targets": targets })));
    let meta = json!({ "state.json": { "version": version }, "targets.json": { "version": 1 } });
    put(format!("{version}.snapshot.json"), role("snapshot", json!({ "meta": meta })));
    // The timestamp last and whole: from then on the rest counts.
    let timestamp = role("timestamp", json!({ "meta": { "snapshot.json": { "version": version } } }));
    put("timestamp.new".to_owned(), timestamp);
    fs::rename(metadata.join("timestamp.new"), metadata.join("timestamp.json")).unwrap();
}

/// A box as the DDI sees it.
pub struct Device {
    pub name: String,
    pub root: String,
    pub client: Client,
    pub token: Option<String>,
}

impl Device {
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.header("authorization", format!("TargetToken {token}")),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, &format!("{}{path}", self.root)).send().await.unwrap()
    }

    /// `_links` of a poll, by name.
    pub async fn poll(&self) -> BTreeMap<String, String> {
        let response = self.get("").await;
        assert_eq!(response.status(), StatusCode::OK);
        let base: Value = response.json().await.unwrap();
        let links = base["_links"].as_object().unwrap();
        links.iter().map(|(name, link)| (name.clone(), link["href"].as_str().unwrap().to_owned())).collect()
    }

    /// Follows a link.
    pub async fn follow(&self, link: &str) -> Value {
        let response = self.request(Method::GET, link).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{link}");
        response.json().await.unwrap()
    }

    /// Polls until a link is there, and follows it.
    pub async fn await_link(&self, name: &str) -> (String, Value) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(link) = self.poll().await.remove(name) {
                let answer = self.follow(&link).await;
                return (answer["id"].as_str().unwrap().to_owned(), answer);
            }
            assert!(Instant::now() < end, "{} is offered no {name}", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn feedback(
        &self,
        base: &str,
        id: &str,
        execution: &str,
        finished: &str,
        details: &[&str],
    ) -> StatusCode {
        let body = json!({ "timestamp": 1, "status": { "execution": execution, "result": { "finished": finished }, "details": details } });
        let url = format!("{}/{base}/{id}/feedback", self.root);
        self.request(Method::POST, &url).json(&body).send().await.unwrap().status()
    }

    /// Answers whether it may begin: `confirmed` or `denied`.
    pub async fn confirm(&self, id: &str, word: &str, why: &str) -> StatusCode {
        let url = format!("{}/confirmationBase/{id}/feedback", self.root);
        let body = json!({ "confirmation": word, "details": [why] });
        self.request(Method::POST, &url).json(&body).send().await.unwrap().status()
    }

    /// Takes what is offered and says how it ended.
    pub async fn install(&self, finished: &str, details: &[&str]) {
        let (id, _) = self.await_link("deploymentBase").await;
        assert_eq!(self.feedback("deploymentBase", &id, "proceeding", "none", &["fetching"]).await, StatusCode::OK);
        assert_eq!(self.feedback("deploymentBase", &id, "closed", finished, details).await, StatusCode::OK);
    }
}
