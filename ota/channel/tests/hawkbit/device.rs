//! A device of few words that speaks DDI with the types of the updater, and keeps what the server answered.
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sund_ota::ddi::{
    Base, Cancel, ConfigData, Confirmation, DeploymentBase, Execution, Feedback, FeedbackResult, FeedbackStatus,
    Finished,
};

pub(super) struct Device {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Device {
    pub(super) fn new(server: &str, id: &str, token: &str) -> Self {
        let url = format!("{server}DEFAULT/controller/v1/{id}");
        Self { http: reqwest::Client::new(), url, token: format!("TargetToken {token}") }
    }

    pub(super) async fn poll(&self) -> (Base, Value) {
        self.get(&self.url).await
    }

    /// Address of what there is to do, from a poll; `None`: nothing of that kind.
    pub(super) async fn link(&self, kind: &str) -> Option<String> {
        self.poll().await.0.links.get(kind).map(|link| link.href.clone())
    }

    /// What a link of the poll leads to, as it was read and as it came.
    pub(super) async fn follow<T: DeserializeOwned>(&self, kind: &str) -> (T, Value) {
        let link = self.link(kind).await.unwrap_or_else(|| panic!("no {kind} for {}", self.url));
        self.get(&link).await
    }

    pub(super) async fn deployment(&self) -> DeploymentBase {
        self.follow("deploymentBase").await.0
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, url: &str) -> (T, Value) {
        let text = self.fetch(url, None).await.1;
        let read = serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{url}: {error}: {text:?}"));
        (read, serde_json::from_slice(&text).expect("JSON"))
    }

    /// Status and bytes of an address, whole or from an offset.
    pub(super) async fn fetch(&self, url: &str, from: Option<u64>) -> (u16, Vec<u8>) {
        let mut request = self.http.get(url).header("Authorization", &self.token);
        if let Some(from) = from {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.bytes().await.expect("a body").to_vec())
    }

    pub(super) async fn describe(&self, data: &[(&str, &str)]) {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let body = ConfigData { mode: Some("merge".to_owned()), data };
        let request = self.http.put(format!("{}/configData", self.url)).header("Authorization", &self.token);
        let answer = request.json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "configData");
    }

    /// Feedback to an action; the server's status.
    pub(super) async fn report(&self, action: &str, execution: Execution, finished: Finished, details: &[&str]) -> u16 {
        let result = FeedbackResult { finished, progress: None };
        let details = details.iter().map(|line| (*line).to_owned()).collect();
        let status = FeedbackStatus { execution, result, code: None, details };
        let body = Feedback { id: Some(action.to_owned()), timestamp: None, status };
        self.post(&format!("deploymentBase/{action}"), &body).await
    }

    pub(super) async fn confirm(&self, action: &str, confirmation: &str) -> u16 {
        let body = Confirmation { confirmation: confirmation.to_owned(), code: None, details: Vec::new() };
        self.post(&format!("confirmationBase/{action}"), &body).await
    }

    /// Stops what it is told to stop.
    pub(super) async fn accept_cancel(&self) -> Value {
        let (cancel, came) = self.follow::<Cancel>("cancelAction").await;
        let result = FeedbackResult { finished: Finished::Success, progress: None };
        let status = FeedbackStatus { execution: Execution::Closed, result, code: None, details: Vec::new() };
        let stopped = cancel.cancel_action.stop_id;
        let body = Feedback { id: Some(stopped.clone()), timestamp: None, status };
        assert_eq!(self.post(&format!("cancelAction/{stopped}"), &body).await, 200);
        came
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> u16 {
        let request = self.http.post(format!("{}/{path}/feedback", self.url)).header("Authorization", &self.token);
        request.json(body).send().await.expect("an answer").status().as_u16()
    }
}
