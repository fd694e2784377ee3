//! Hands a release to hawkBit: a software module with the descriptor as its one artifact, in a distribution set of its own.
use super::{Management, Release, TYPE_KEY};
use aws_lc_rs::digest::{SHA256, digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sund_ota::descriptor::FILE_NAME;
use sund_ota::fault::{Blame, Fault};
use sund_ota::hex::hex;

/// What stands in hawkBit for a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Name of the state, of the module and of the set.
    pub state: String,
    /// Version of module and set: the state's SHA-256.
    pub version: String,
    /// Number of the software module.
    pub software_module: u64,
    /// Number of the distribution set.
    pub distribution_set: u64,
    /// Whether anything had to be made; `false`: all of it was there.
    pub made: bool,
}

#[derive(Deserialize)]
struct Type {
    id: u64,
    key: String,
}

#[derive(Deserialize)]
struct Module {
    id: u64,
    name: String,
    version: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
pub(super) struct Set {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) version: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default = "yes")]
    pub(super) valid: bool,
    #[serde(default)]
    modules: Vec<Module>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    provided_filename: String,
    hashes: ArtifactHashes,
}

#[derive(Deserialize)]
struct ArtifactHashes {
    sha256: String,
}

/// Publishes a release. The same one twice makes one: each step takes what is there, and a push that broke off is taken up.
pub async fn push(hawkbit: &Management, release: &Release) -> Result<Published, Fault> {
    let descriptor = release.descriptor()?;
    let (name, version) = (release.name(), release.version());
    let kind = |kind: &Type| kind.key == TYPE_KEY;

    let module_type = Wanted {
        path: "softwaremoduletypes",
        query: &format!("key=={TYPE_KEY}"),
        body: json!([{ "key": TYPE_KEY, "name": "Sund desired state", "maxAssignments": 1,
            "description": "The descriptor of one signed desired state" }]),
    };
    let (module_type, made_module_type) = module_type.found_or_made(hawkbit, kind).await?;
    let set_type = Wanted {
        path: "distributionsettypes",
        query: &format!("key=={TYPE_KEY}"),
        body: json!([{ "key": TYPE_KEY, "name": "Sund desired state",
            "description": "One signed desired state", "mandatorymodules": [{ "id": module_type.id }] }]),
    };
    let (_, made_set_type) = set_type.found_or_made(hawkbit, kind).await?;

    let query = format!("name=={name};version=={version}");
    let module = Wanted {
        path: "softwaremodules",
        query: &query,
        body: json!([{ "name": name, "version": version, "type": TYPE_KEY }]),
    };
    let same = |module: &Module| module.name == name && module.version == version && module.kind == TYPE_KEY;
    let (module, made_module) = module.found_or_made(hawkbit, same).await?;
    let made_artifact = hang(hawkbit, &module, &descriptor).await?;

    let set = Wanted {
        path: "distributionsets",
        query: &query,
        body: json!([{ "name": name, "version": version, "type": TYPE_KEY, "modules": [{ "id": module.id }] }]),
    };
    let same = |set: &Set| set.name == name && set.version == version && set.kind == TYPE_KEY;
    let (set, made_set) = set.found_or_made(hawkbit, same).await?;
    if !set.valid || set.modules.iter().map(|held| held.id).ne([module.id]) {
        return Err(altered(&format!(
            "the distribution set {} ({name}) was invalidated or holds other modules",
            set.id
        )));
    }
    Ok(Published {
        state: name.to_owned(),
        version: version.to_owned(),
        software_module: module.id,
        distribution_set: set.id,
        made: made_module_type || made_set_type || made_module || made_artifact || made_set,
    })
}

/// The artifact, where it is not there yet. A module that is locked, or that holds something else, is not ours to mend.
async fn hang(hawkbit: &Management, module: &Module, descriptor: &[u8]) -> Result<bool, Fault> {
    let sha256 = hex(digest(&SHA256, descriptor).as_ref());
    let path = format!("softwaremodules/{}/artifacts", module.id);
    let there: Vec<Artifact> = hawkbit.get(&path).await?.unwrap_or_default();
    let (artifacts, made) = if there.is_empty() {
        let uploaded: Option<Artifact> = hawkbit.upload(&path, FILE_NAME, descriptor).await?;
        match uploaded {
            Some(artifact) => (vec![artifact], true),
            // Another push was faster.
            None => (hawkbit.get(&path).await?.unwrap_or_default(), false),
        }
    } else {
        (there, false)
    };
    let holds = |artifact: &Artifact| artifact.provided_filename == FILE_NAME && artifact.hashes.sha256 == sha256;
    match artifacts.as_slice() {
        [artifact] if holds(artifact) => Ok(made),
        _ => Err(altered(&format!("the software module {} holds something else than {FILE_NAME}", module.id))),
    }
}

fn altered(what: &str) -> Fault {
    let reason = format!("{what}: somebody changed it in hawkBit; delete set and module there and push again");
    Fault::new("hawkbit-altered", Blame::Channel, reason)
}

/// Something that is to be there once.
struct Wanted<'a> {
    path: &'static str,
    query: &'a str,
    body: Value,
}

impl Wanted<'_> {
    /// hawkBit compares without regard to case: what it finds is looked at again.
    async fn found_or_made<T: DeserializeOwned>(
        self,
        hawkbit: &Management,
        is_it: impl Fn(&T) -> bool,
    ) -> Result<(T, bool), Fault> {
        if let Some(found) = self.find(hawkbit, &is_it).await? {
            return Ok((found, false));
        }
        let made: Option<Vec<T>> = hawkbit.make(self.path, &self.body).await?;
        if let Some(made) = made.and_then(|made| made.into_iter().find(&is_it)) {
            return Ok((made, true));
        }
        // Another push was faster.
        match self.find(hawkbit, &is_it).await? {
            Some(found) => Ok((found, false)),
            None => Err(altered(&format!("{} ({}): it is there and cannot be found", self.path, self.query))),
        }
    }

    async fn find<T: DeserializeOwned>(
        &self,
        hawkbit: &Management,
        is_it: impl Fn(&T) -> bool,
    ) -> Result<Option<T>, Fault> {
        Ok(hawkbit.list(self.path, Some(self.query)).await?.into_iter().find(is_it))
    }
}
