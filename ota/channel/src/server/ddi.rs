//! hawkBit's Direct Device Integration API, version 1: what a device asks. Shapes are those of `sund_ota::ddi`.
use super::Server;
use super::peer::{Device, Peer};
use super::range::{Content, answer};
use super::refusal::Refusal;
use crate::database::{failed, now};
use crate::enrol::check_attributes;
use crate::limits::device::ATTRIBUTES_AGE;
use crate::repository::check_name;
use crate::rollout::action::Status;
use crate::rollout::filter::Attributes;
use crate::rollout::{hearing, maintenance};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use md5::Digest;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use sund_ota::ddi::{
    Artifact, Base, Cancel, Chunk, ConfigData, Deployment, DeploymentBase, Handling, Hashes, Link, Maintenance,
    NO_STATE, PollConfig, Polling, STATE, StopId,
};
use sund_ota::descriptor::{Descriptor, FILE_NAME};
use sund_ota::fault::Fault;
use sund_ota::hex::hex;

pub(super) type Answer = Result<Response, Refusal>;

/// The caller, who is the device that the path names.
pub(super) fn caller(
    server: &Server,
    peer: &Peer,
    headers: &HeaderMap,
    tenant: &str,
    name: &str,
) -> Result<Device, Refusal> {
    if tenant != server.config.tenant {
        return Err(Refusal::unauthorized());
    }
    Device::named(server, peer, headers, name)
}

/// `GET /{tenant}/controller/v1/{controllerId}`
pub(super) async fn base(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Path((tenant, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let device = caller(&server, &peer, &headers, &tenant, &name)?;
    let root = root(&server, &headers, &device);
    let mut links = BTreeMap::new();
    let mut link =
        |relation: &str, path: String| links.insert(relation.to_owned(), Link { href: format!("{root}/{path}") });
    if device.reported_at.is_none_or(|at| at + ATTRIBUTES_AGE < now()) {
        link("configData", "configData".to_owned());
    }
    if let Some(action) = server.database.read(|c| Action::next(c, device.id))? {
        let id = action.id;
        match action.status {
            Status::Canceling => link("cancelAction", format!("cancelAction/{id}")),
            _ if action.awaits_confirmation() => link("confirmationBase", format!("confirmationBase/{id}")),
            _ => link("deploymentBase", format!("deploymentBase/{id}?c={}", action.tag())),
        };
    }
    if let Some(installed) = device.installed {
        link("installedBase", format!("installedBase/{installed}"));
    }
    let sleep = sleep(server.config.poll_seconds, &device.name);
    Ok(Json(Base { config: PollConfig { polling: Polling { sleep } }, links }).into_response())
}

/// `HH:MM:SS`, a tenth more or less than configured, always the same for one device: boxes that were switched on
/// together drift apart.
fn sleep(seconds: u32, name: &str) -> String {
    let drawn = digest(&SHA256, name.as_bytes());
    let drawn = u32::from(u16::from_be_bytes([drawn.as_ref()[0], drawn.as_ref()[1]]));
    let seconds = seconds - seconds / 10 + seconds / 5 * drawn / u32::from(u16::MAX);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `GET .../deploymentBase/{actionId}`: from here on the box knows what it is to do, and has to be asked to leave it.
pub(super) async fn deployment(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Path((tenant, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Answer {
    let device = caller(&server, &peer, &headers, &tenant, &name)?;
    let action = server.action(&device, id)?.filter(|action| !action.awaits_confirmation());
    let action = action.ok_or_else(Refusal::not_found)?;
    match action.status {
        Status::Taken => {}
        Status::Offered | Status::Silent if action.is_running || action.taken => {
            // It may have been taken back in between.
            if server.database.write(move |c| take(c, id)).await? == 0 {
                return Err(Refusal::not_found());
            }
        }
        _ => return Err(Refusal::not_found()),
    }
    let deployment = action.deployment(&root(&server, &headers, &device));
    Ok(Json(DeploymentBase { id: id.to_string(), deployment }).into_response())
}

/// The box knows its action from now on. One that was silent is so until it says a word of it. Gives how many actions that was: one or
/// none.
pub(super) fn take(c: &Connection, id: i64) -> Result<usize, Fault> {
    let taken =
        "UPDATE action SET status = CASE status WHEN 'offered' THEN 'taken' ELSE status END, taken = 1, changed_at = ?2
                 WHERE id = ?1 AND status IN ('offered', 'silent')";
    c.execute(taken, params![id, now()]).map_err(failed)
}

/// `GET .../installedBase/{actionId}`
pub(super) async fn installed(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Path((tenant, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Answer {
    let device = caller(&server, &peer, &headers, &tenant, &name)?;
    let action = server.action(&device, id)?.filter(|action| action.status == Status::Finished);
    let deployment = action.ok_or_else(Refusal::not_found)?.deployment(&root(&server, &headers, &device));
    Ok(Json(DeploymentBase { id: id.to_string(), deployment }).into_response())
}

/// `GET .../confirmationBase/{actionId}`
pub(super) async fn confirmation(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Path((tenant, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Answer {
    let device = caller(&server, &peer, &headers, &tenant, &name)?;
    let action = server.action(&device, id)?.filter(|action| action.awaits_confirmation() && action.status.is_heard());
    let deployment = action.ok_or_else(Refusal::not_found)?.deployment(&root(&server, &headers, &device));
    Ok(Json(json!({ "id": id.to_string(), "confirmation": deployment })).into_response())
}

/// `GET .../confirmationBase`: nothing confirms by itself here.
pub(super) async fn confirmations(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Path((tenant, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    caller(&server, &peer, &headers, &tenant, &name)?;
    Ok(Json(json!({ "autoConfirm": { "active": false } })).into_response())
}

/// `GET .../cancelAction/{actionId}`
pub(super) async fn cancel(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Path((tenant, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Answer {
    let device = caller(&server, &peer, &headers, &tenant, &name)?;
    let action = server.action(&device, id)?.filter(|action| action.status == Status::Canceling);
    action.ok_or_else(Refusal::not_found)?;
    let stop_id = id.to_string();
    Ok(Json(Cancel { id: stop_id.clone(), cancel_action: StopId { stop_id } }).into_response())
}

/// `PUT .../configData`: what the device says of itself. What an operator said of it is kept apart and counts first.
pub(super) async fn config_data(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Path((tenant, name)): Path<(String, String)>,
    headers: HeaderMap,
    Json(told): Json<ConfigData>,
) -> Answer {
    let device = caller(&server, &peer, &headers, &tenant, &name)?;
    let mode = told.mode.as_deref().unwrap_or("merge").to_owned();
    if !matches!(mode.as_str(), "merge" | "replace" | "remove") {
        return Err(Refusal::bad_request("`mode` is merge, replace or remove."));
    }
    let runs = told.data.get(STATE).filter(|_| mode != "remove").cloned();
    let write = move |c: &Connection| -> Result<(), Fault> {
        let known: String =
            c.query_row("SELECT reported FROM device WHERE id = ?1", [device.id], |r| r.get(0)).map_err(failed)?;
        let mut all: Attributes = crate::enrol::attributes(&known);
        match mode.as_str() {
            "replace" => all = told.data,
            "remove" => all.retain(|key, _| !told.data.contains_key(key)),
            _ => all.extend(told.data),
        }
        check_attributes(&all)?;
        let text = serde_json::to_string(&all).map_err(failed)?;
        let row = "UPDATE device SET reported = ?2, reported_at = ?3 WHERE id = ?1";
        c.execute(row, params![device.id, text, now()]).map_err(failed)?;
        hearing::keep(c, device.id, &all, now())?;
        runs.map_or(Ok(()), |said| keep_state(c, device.id, &said))
    };
    server.database.write(write).await?;
    Ok(StatusCode::OK.into_response())
}

/// Keeps which state a device says that it runs. It knows best: a state can be left, or come on a stick, without an action of the channel.
fn keep_state(c: &Connection, device: i64, said: &str) -> Result<(), Fault> {
    let state = match said {
        NO_STATE => None,
        name if check_name(STATE, name).is_ok() => Some(format!("{STATE}/{name}.json")),
        // No state is called so: some other client's word.
        _ => return Ok(()),
    };
    let row = "UPDATE device SET installed_state = ?2 WHERE id = ?1";
    c.execute(row, params![device, state]).map(drop).map_err(failed)
}

/// `GET .../softwaremodules/{id}/artifacts/sund-descriptor.json`, whole or in part.
pub(super) async fn artifact(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Path((tenant, name, rollout, file)): Path<(String, String, i64, String)>,
    headers: HeaderMap,
) -> Answer {
    let device = caller(&server, &peer, &headers, &tenant, &name)?;
    let descriptor = server.database.read(|c| descriptor_of(c, device.id, rollout))?.ok_or_else(Refusal::not_found)?;
    let bytes = bytes(&descriptor);
    if file == FILE_NAME {
        let tag = hex(digest(&SHA256, &bytes).as_ref());
        return Ok(answer(&headers, Content::Bytes(Bytes::from(bytes)), &tag, "application/json").await);
    }
    if file.strip_suffix(".MD5SUM") == Some(FILE_NAME) {
        let sum = format!("{}  {FILE_NAME}\n", hex(&md5::Md5::digest(&bytes)));
        return Ok(([(header::CONTENT_TYPE, "text/plain")], sum).into_response());
    }
    Err(Refusal::not_found())
}

/// `GET .../softwaremodules/{id}/artifacts`
pub(super) async fn artifacts(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Path((tenant, name, rollout)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Answer {
    let device = caller(&server, &peer, &headers, &tenant, &name)?;
    let descriptor = server.database.read(|c| descriptor_of(c, device.id, rollout))?.ok_or_else(Refusal::not_found)?;
    Ok(Json([described(&root(&server, &headers, &device), rollout, &descriptor)]).into_response())
}

/// Where the caller finds this device's resources: as it asked, unless the configuration says otherwise.
fn root(server: &Server, headers: &HeaderMap, device: &Device) -> String {
    let host = || headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let base = server.config.url.clone().unwrap_or_else(|| format!("https://{}", host()));
    format!("{base}/{}/controller/v1/{}", server.config.tenant, device.name)
}

fn bytes(descriptor: &Descriptor) -> Vec<u8> {
    // Two numbers and two texts always serialize.
    serde_json::to_vec(descriptor).unwrap_or_default()
}

fn described(root: &str, rollout: i64, descriptor: &Descriptor) -> Artifact {
    let bytes = bytes(descriptor);
    let href = format!("{root}/softwaremodules/{rollout}/artifacts/{FILE_NAME}");
    let link = |relation: &str, href: String| (relation.to_owned(), Link { href });
    let sum = format!("{href}.MD5SUM");
    Artifact {
        filename: FILE_NAME.to_owned(),
        // Clients of hawkBit ask for MD5 and SHA-1. Nothing here is trusted for any of the three.
        hashes: Hashes {
            sha1: Some(hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &bytes).as_ref())),
            md5: Some(hex(&md5::Md5::digest(&bytes))),
            sha256: Some(hex(digest(&SHA256, &bytes).as_ref())),
        },
        size: bytes.len() as u64,
        links: [
            link("download", href.clone()),
            link("download-http", href),
            link("md5sum", sum.clone()),
            link("md5sum-http", sum),
        ]
        .into(),
    }
}

/// An action of one device, with what its rollout says.
pub(super) struct Action {
    pub id: i64,
    pub status: Status,
    confirmed: bool,
    confirm: bool,
    /// Whether the box has begun it, silent or not.
    pub taken: bool,
    /// Whether its rollout is running.
    is_running: bool,
    rollout: i64,
    pub descriptor: Descriptor,
    maintenance: Option<Maintenance>,
    zone: Option<String>,
}

const ACTION: &str = "SELECT a.id, a.status, a.confirmed, r.confirm, r.status = 'running', r.id, r.state, r.sha256, r.length,
    r.maintenance, CASE WHEN r.maintenance IS NULL THEN NULL ELSE coalesce(d.attributes ->> 'timezone', d.reported ->> 'timezone') END, a.taken
    FROM action a JOIN rollout r ON r.id = a.rollout JOIN device d ON d.id = a.device";

impl Action {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let length = row.get::<_, i64>(8)? as u64;
        Ok(Self {
            id: row.get(0)?,
            status: row.get(1)?,
            confirmed: row.get(2)?,
            confirm: row.get(3)?,
            is_running: row.get(4)?,
            rollout: row.get(5)?,
            descriptor: Descriptor { format: 1, target: row.get(6)?, sha256: row.get(7)?, length },
            maintenance: row.get::<_, Option<String>>(9)?.and_then(|text| serde_json::from_str(&text).ok()),
            zone: row.get(10)?,
            taken: row.get(11)?,
        })
    }

    /// What a device has to do next: leave something, else go on with the oldest that it has begun or may begin. A
    /// rollout that is paused lets nobody begin.
    pub fn next(c: &Connection, device: i64) -> rusqlite::Result<Option<Self>> {
        c.prepare_cached(&format!(
            "{ACTION} WHERE a.device = ?1 AND (a.status IN ('canceling', 'taken') OR (a.status = 'silent' AND a.taken)
                 OR (a.status IN ('offered', 'silent') AND r.status = 'running'))
             ORDER BY a.status = 'canceling' DESC, a.id LIMIT 1"
        ))?
        .query_row([device], Self::read)
        .optional()
    }

    /// An action of a device by its number.
    pub fn of(c: &Connection, device: i64, id: i64) -> rusqlite::Result<Option<Self>> {
        c.prepare_cached(&format!("{ACTION} WHERE a.id = ?1 AND a.device = ?2"))?
            .query_row([id, device], Self::read)
            .optional()
    }

    fn awaits_confirmation(&self) -> bool {
        self.confirm && !self.confirmed
    }

    /// `?c=`: changes whenever what the action says changes.
    fn tag(&self) -> String {
        let says = format!("{}{}{}", self.descriptor.sha256, self.confirmed, self.is_window_closed());
        hex(&digest(&SHA256, says.as_bytes()).as_ref()[..4])
    }

    /// Whether its window is closed now, where that is known here: by the time zone that the box has told.
    fn is_window_closed(&self) -> bool {
        let window = self.maintenance.as_ref().zip(self.zone.as_deref());
        window.and_then(|(window, zone)| maintenance::is_open(window, zone, jiff::Timestamp::now())) == Some(false)
    }

    fn deployment(&self, root: &str) -> Deployment {
        let is_closed = self.is_window_closed();
        let name = self.descriptor.target.trim_start_matches("state/").trim_end_matches(".json");
        Deployment {
            download: Handling::Forced,
            update: if is_closed { Handling::Skip } else { Handling::Forced },
            maintenance_window: self
                .maintenance
                .as_ref()
                .map(|_| if is_closed { "unavailable" } else { "available" }.to_owned()),
            maintenance: self.maintenance.clone(),
            chunks: vec![Chunk {
                part: "bApp".to_owned(),
                version: name.to_owned(),
                name: "sund-state".to_owned(),
                artifacts: vec![described(root, self.rollout, &self.descriptor)],
            }],
        }
    }
}

/// The descriptor of a rollout, for a device that has or had an action of it.
fn descriptor_of(c: &Connection, device: i64, rollout: i64) -> rusqlite::Result<Option<Descriptor>> {
    c.prepare_cached(
        "SELECT r.state, r.sha256, r.length FROM rollout r WHERE r.id = ?2 AND EXISTS (
             SELECT 1 FROM action a WHERE a.device = ?1 AND a.rollout = r.id AND a.status NOT IN ('scheduled', 'canceled'))",
    )?
    .query_row([device, rollout], |r| {
        let length = r.get::<_, i64>(2)? as u64;
        Ok(Descriptor { format: 1, target: r.get(0)?, sha256: r.get(1)?, length })
    })
    .optional()
}

#[cfg(test)]
mod tests {
    use super::sleep;

    #[test]
    fn boxes_that_were_switched_on_together_drift_apart() {
        let all: std::collections::BTreeSet<String> = (0..200).map(|n| sleep(300, &format!("box-{n}"))).collect();
        assert!(all.len() > 30, "{all:?}");
        assert!(all.first().unwrap().as_str() >= "00:04:30" && all.last().unwrap().as_str() <= "00:05:30", "{all:?}");
    }
}
