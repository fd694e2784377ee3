//! The device's side of DDI: polls, and tells the server how it goes. The server's word is bounded and never trusted: it can name
//! what the region has signed, and nothing else.
use super::{
    Artifact, Base, Cancel, ConfigData, Confirmation, DeploymentBase, Execution, Feedback, FeedbackResult,
    FeedbackStatus, Finished, Progress,
};
use crate::config::Config;
use crate::descriptor::FILE_NAME;
use crate::fault::{Blame, Fault};
use crate::http::{self, BodyError, Http};
use crate::limits::MAX_DESCRIPTOR;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use url::Url;

/// The answer to a poll, in bytes.
const MAX_BASE: u64 = 64 * 1024;
/// A deployment, in bytes: every chunk and artifact of it.
const MAX_DEPLOYMENT: u64 = 1024 * 1024;
/// Lines of a feedback; hawkBit keeps a bounded number for each action.
const MAX_DETAILS: usize = 40;
/// Characters of a line of a feedback; hawkBit cuts longer ones.
const MAX_DETAIL: usize = 500;
/// Characters of an action's number.
const MAX_ACTION: usize = 64;

/// The channel server, as this box sees it.
#[derive(Clone, Debug)]
pub struct Ddi {
    http: Http,
    base: Url,
}

/// What a poll found.
#[derive(Clone, Debug, Default)]
pub struct Polled {
    /// What the server asks to leave between two polls.
    pub sleep: Option<Duration>,
    /// The server wants to know what this box is.
    pub wants_config_data: bool,
    /// An action to work on.
    pub deployment: Option<ActionLink>,
    /// An action that waits for a confirmation.
    pub confirmation: Option<ActionLink>,
    /// An action that is to be stopped.
    pub cancel: Option<ActionLink>,
}

/// An action of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionLink {
    /// Its number.
    pub id: String,
    url: Url,
}

/// Why a request did not do.
#[derive(Debug, thiserror::Error)]
pub enum DdiError {
    /// The server is not there now, or busy.
    #[error("the channel does not answer: {reason}")]
    Away {
        /// What happened.
        reason: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
        /// What of this box is the reason, where it is that.
        own: Option<Fault>,
    },
    /// The action is not there, or over.
    #[error("the channel knows no such action, or it is over")]
    Gone,
    /// It is answered, and not as agreed.
    #[error("{0}")]
    Fault(Fault),
}

impl DdiError {
    /// In words; what of this box is the reason comes before what the server made of it.
    pub fn in_words(&self) -> String {
        match self {
            Self::Away { own: Some(fault), .. } => fault.to_string(),
            other => other.to_string(),
        }
    }
}

impl From<DdiError> for Fault {
    fn from(error: DdiError) -> Self {
        match error {
            DdiError::Away { own: Some(fault), .. } => fault,
            DdiError::Away { .. } => Self::new("channel-away", Blame::Channel, error.to_string()),
            DdiError::Gone => Self::new("action-gone", Blame::Channel, error.to_string()),
            DdiError::Fault(fault) => fault,
        }
    }
}

type Call<T> = Result<T, DdiError>;

impl Ddi {
    /// The server that the configuration names.
    pub fn new(config: &Config, http: Http) -> Result<Self, Fault> {
        let path = format!("{}/controller/v1/{}", config.tenant, config.id);
        let base = config.server.join(&path).map_err(|error| answer_invalid(&error.to_string()))?;
        Ok(Self { http, base })
    }

    /// `GET /{tenant}/controller/v1/{controllerId}`.
    pub async fn poll(&self) -> Call<Polled> {
        // The channel has nothing to say to a box that it can't know.
        self.http.is_somebody().map_err(DdiError::Fault)?;
        let base: Base = match self.get(self.base.clone(), MAX_BASE).await {
            Err(DdiError::Gone) => return Err(unknown_box("404")),
            base => base?,
        };
        let link = |rel: &str| base.links.get(rel).map(|link| self.action(rel, &link.href)).transpose();
        Ok(Polled {
            sleep: interval(&base.config.polling.sleep),
            wants_config_data: base.links.contains_key("configData"),
            deployment: link("deploymentBase")?,
            confirmation: link("confirmationBase")?,
            cancel: link("cancelAction")?,
        })
    }

    /// What an action is to do.
    pub async fn deployment(&self, link: &ActionLink) -> Call<DeploymentBase> {
        self.get(link.url.clone(), MAX_DEPLOYMENT).await
    }

    /// The bytes of a deployment's descriptor.
    pub async fn descriptor(&self, deployment: &DeploymentBase) -> Call<Vec<u8>> {
        let artifact = descriptor_of(deployment)?;
        let href = ["download", "download-http"].iter().find_map(|rel| artifact.links.get(*rel));
        let href = href.ok_or_else(|| DdiError::Fault(answer_invalid("the descriptor has no address")))?;
        let url = self.at_server(&href.href)?;
        self.bytes(self.http.request(Method::GET, url), MAX_DESCRIPTOR).await
    }

    /// Confirms an action that waits for it.
    pub async fn confirm(&self, link: &ActionLink) -> Call<()> {
        let confirmation = Confirmation {
            confirmation: "confirmed".to_owned(),
            code: None,
            details: vec!["confirmed by the box's configuration".to_owned()],
        };
        self.send(Method::POST, self.path(&["confirmationBase", &link.id, "feedback"])?, &confirmation).await
    }

    /// The action that a cancel action is to stop.
    pub async fn stops(&self, link: &ActionLink) -> Call<String> {
        let cancel: Cancel = self.get(link.url.clone(), MAX_BASE).await?;
        Ok(cancel.cancel_action.stop_id)
    }

    /// Answers a cancel action: closed with success where it was stopped, rejected where it can't be.
    pub async fn answer_cancel(&self, link: &ActionLink, stopped: Result<&str, &str>) -> Call<()> {
        let feedback = match stopped {
            Ok(text) => feedback(Execution::Closed, Finished::Success, None, vec![text.to_owned()]),
            Err(text) => feedback(Execution::Rejected, Finished::Failure, None, vec![text.to_owned()]),
        };
        self.tell("cancelAction", &link.id, &feedback).await
    }

    /// Tells how an action goes.
    pub async fn feedback(&self, action: &str, feedback: &Feedback) -> Call<()> {
        self.tell("deploymentBase", action, feedback).await
    }

    async fn tell(&self, of: &str, action: &str, feedback: &Feedback) -> Call<()> {
        let named = Feedback { id: Some(action.to_owned()), ..feedback.clone() };
        self.send(Method::POST, self.path(&[of, action, "feedback"])?, &named).await
    }

    /// Tells what this box is.
    pub async fn config_data(&self, data: &ConfigData) -> Call<()> {
        self.send(Method::PUT, self.path(&["configData"])?, data).await
    }

    fn action(&self, rel: &str, href: &str) -> Call<ActionLink> {
        let url = self.at_server(href)?;
        let mut segments = url.path_segments().into_iter().flatten().skip_while(|segment| *segment != rel);
        let id = segments.nth(1).unwrap_or_default().to_owned();
        let is_number = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if id.is_empty() || id.len() > MAX_ACTION || !id.chars().all(is_number) || id.chars().all(|c| c == '.') {
            return Err(DdiError::Fault(answer_invalid(&format!("the link {rel} names no action"))));
        }
        Ok(ActionLink { id, url })
    }

    /// A link says where on the server, never on which: a server behind a proxy does not know its own name, and one that was taken
    /// over must not send the box elsewhere.
    fn at_server(&self, href: &str) -> Call<Url> {
        let invalid = |_| DdiError::Fault(answer_invalid("a link is no address"));
        let link = self.base.join(href).map_err(invalid)?;
        let mut url = self.base.clone();
        url.set_path(link.path());
        url.set_query(link.query());
        Ok(url)
    }

    fn path(&self, segments: &[&str]) -> Call<Url> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut path) => {
                path.extend(segments);
            }
            Err(()) => return Err(DdiError::Fault(answer_invalid("the server's address takes no path"))),
        }
        Ok(url)
    }

    async fn get<T: DeserializeOwned>(&self, url: Url, limit: u64) -> Call<T> {
        let bytes = self.bytes(self.http.request(Method::GET, url), limit).await?;
        serde_json::from_slice(&bytes).map_err(|error| DdiError::Fault(answer_invalid(&error.to_string())))
    }

    async fn send(&self, method: Method, url: Url, body: &impl Serialize) -> Call<()> {
        self.bytes(self.http.request(method, url).json(body), MAX_BASE).await.map(|_| ())
    }

    async fn bytes(&self, request: reqwest::RequestBuilder, limit: u64) -> Call<Vec<u8>> {
        let away = |reason: String| DdiError::Away { reason, retry_after: None, own: None };
        let response = request.send().await.map_err(|error| DdiError::Away {
            reason: http::reason(&error),
            retry_after: None,
            own: http::own_fault(&error),
        })?;
        match response.status() {
            status if status.is_success() => http::body(response, limit).await.map_err(|error| match error {
                BodyError::TooLong(_) => DdiError::Fault(answer_invalid(&error.to_string())),
                BodyError::Broken(reason) => away(reason),
            }),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(DdiError::Gone),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(unknown_box(status.as_str())),
            status if status.is_server_error() || matches!(status.as_u16(), 408 | 429) => Err(DdiError::Away {
                reason: format!("the server answers {status}"),
                retry_after: http::retry_after(&response),
                own: None,
            }),
            status => Err(DdiError::Fault(answer_invalid(&format!("the server answers {status}")))),
        }
    }
}

/// A feedback with bounded lines; it says how many more there are.
pub fn feedback(
    execution: Execution,
    finished: Finished,
    progress: Option<Progress>,
    details: Vec<String>,
) -> Feedback {
    let short = |line: String| line.chars().take(MAX_DETAIL).collect();
    let room = if details.len() > MAX_DETAILS { MAX_DETAILS - 1 } else { MAX_DETAILS };
    let more = details.len().saturating_sub(room);
    let rest = (more > 0).then(|| format!("{more} more lines on the box: `sund-updater status`"));
    let details = details.into_iter().take(room).chain(rest).map(short).collect();
    let result = FeedbackResult { finished, progress };
    let timestamp = Some(jiff::Timestamp::now().as_millisecond());
    Feedback { id: None, timestamp, status: FeedbackStatus { execution, result, code: None, details } }
}

fn unknown_box(status: &str) -> DdiError {
    let reason = format!("the channel does not know this box ({status}): check `id` and `tenant`, or enrol it (again)");
    DdiError::Fault(Fault::new("channel-unauthorized", Blame::Configuration, reason))
}

fn descriptor_of(deployment: &DeploymentBase) -> Call<&Artifact> {
    let chunks = &deployment.deployment.chunks;
    let mut descriptors =
        chunks.iter().flat_map(|chunk| &chunk.artifacts).filter(|artifact| artifact.filename == FILE_NAME);
    match (descriptors.next(), descriptors.next()) {
        (Some(artifact), None) => Ok(artifact),
        _ => {
            let reason = format!("the deployment has not one artifact `{FILE_NAME}`: it is none of this box's");
            Err(DdiError::Fault(Fault::new("descriptor-missing", Blame::Channel, reason)))
        }
    }
}

/// `HH:MM:SS`.
fn interval(text: &str) -> Option<Duration> {
    let mut parts = text.splitn(3, ':').map(|part| part.parse::<u32>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(Duration::from_secs(u64::from(hours) * 3600 + u64::from(minutes) * 60 + u64::from(seconds)))
}

fn answer_invalid(reason: &str) -> Fault {
    Fault::new("channel-answer-invalid", Blame::Channel, format!("the channel's answer is not DDI: {reason}"))
}
