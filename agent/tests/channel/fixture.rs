//! A site with a channel, for all that is tried on it.
use crate::hospital::{Archive, copy_of, frame, new_uid, until};
use crate::serve::{Daemon, Site};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use ring::digest::{SHA256, digest};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use sund_agent::association::{Peer, Sent, send};

pub const SUND: &str = env!("CARGO_BIN_EXE_sund");
pub const MODEL: &str = "text-detection";

/// A site with a channel, an archive and three versions of the text model: its own 4.0.0, and 5.0.0 as the channel brings it; 6.0.0
/// misses its golden case.
pub struct Hospital {
    pub site: Site,
    pub archive: Archive,
}

impl Hospital {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// The same with more in its `[channel]`.
    pub async fn with(more: &str) -> Self {
        Self::on("[worker]\nlauncher = \"child\"\n", more).await
    }

    /// The same with a `[worker]` of its own.
    pub async fn on(worker: &str, more: &str) -> Self {
        let archive = Archive::open().await;
        let site = Site::new(&format!(
            "[study]\nquiet = \"1s\"\ncomplete_on_association_end = true\n{worker}\
             [channel]\nsocket = \"channel.sock\"\ndirectory = \"channel\"\n{more}\
             [[models]]\npackage = \"4.0.0.sund\"\n{}",
            rest(&archive.address, "models = [\"text-detection\"]\nmode = \"research\"\n")
        ));
        fs::create_dir(site.folder("channel")).unwrap();
        fs::create_dir(site.folder("cohort")).unwrap();
        let hospital = Self { site, archive };
        tokio::task::block_in_place(|| {
            hospital.packs("4.0.0", &[]);
            hospital.packs("5.0.0", &[]);
            hospital.packs("6.0.0", &[("[20.0, 17.0, 189.0, 32.0]", "[20.0, 217.0, 189.0, 232.0]")]);
        });
        hospital
    }

    /// Packs a version of the model.
    pub fn packs(&self, version: &str, changes: &[(&str, &str)]) {
        let folder = self.site.folder(&format!("{version}.folder"));
        copy_of(MODEL, &folder);
        let manifest = folder.join("model.toml");
        let mut text = fs::read_to_string(&manifest).unwrap().replace("\"4.0.0\"", &format!("\"{version}\""));
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        fs::write(&manifest, text).unwrap();
        let to = self.package(version);
        let done = Command::new(SUND).args(["model", "pack"]).arg(&folder).arg("--to").arg(to).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    pub fn package(&self, version: &str) -> PathBuf {
        self.site.folder(&format!("{version}.sund"))
    }

    pub async fn serve(&self) -> Daemon {
        let daemon = tokio::task::block_in_place(|| self.site.serve());
        until("the model is active", || (self.site.status()["models"][0]["state"] == "active").then_some(())).await;
        daemon
    }

    /// What the updater offers: this version of the model, on this route.
    pub fn offer(&self, state: &str, version: &str, mode: &str) -> Value {
        let file = self.package(version);
        let sha256 = hex(digest(&SHA256, &fs::read(&file).unwrap()).as_ref());
        json!({ "try": {
            "state": id(state),
            "configuration": null,
            "packages": [{ "file": file, "sha256": sha256, "name": MODEL }],
            "routes": { "everything": { "models": [MODEL], "mode": mode } },
        }})
    }

    pub fn ask(&self, request: &Value) -> Value {
        let mut stream = UnixStream::connect(self.site.folder("channel.sock")).unwrap();
        writeln!(stream, "{request}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    pub fn status(&self) -> Value {
        self.ask(&json!("status"))["status"].take()
    }

    /// Has a state tried, to the end.
    pub async fn tries(&self, offer: &Value) -> Value {
        let begun = self.ask(offer);
        assert_eq!(begun["trial"]["standing"], "running", "{begun}");
        until("the trial ends", || {
            let trial = self.ask(&json!("trial"))["trial"].take();
            (trial["standing"] != "running").then_some(trial)
        })
        .await
    }

    /// Has a state tried, which holds, and activated.
    pub async fn activates(&self, offer: &Value) -> Value {
        let trial = self.tries(offer).await;
        assert_eq!(trial["standing"], "held", "{trial}");
        self.ask(&json!({ "activate": { "state": offer["try"]["state"] } }))["serves"].take()
    }

    /// Sends an image under a new study.
    pub async fn sends(&self) {
        self.sends_series(1).await;
    }

    /// Sends a study of so many series, of an image each: so many jobs.
    pub async fn sends_series(&self, series: u32) {
        let address = self.site.status()["node"]["address"].as_str().unwrap().to_owned();
        self.sends_series_to("SUND", &address, series).await;
    }

    /// The same to a node of this AE title.
    pub async fn sends_series_to(&self, ae_title: &str, address: &str, series: u32) {
        let (calling_ae, called_ae) = ("MODALITY".into(), ae_title.into());
        let node = Peer { calling_ae, called_ae, address: address.into(), tls: None };
        let stored = |_, sent| assert_eq!(sent, Sent::Stored { status: 0 });
        let study = new_uid();
        let image = |n: u32| {
            let of_series = format!("{study}.{n}");
            let image = frame().rows(64).in_study(&study, &n.to_string());
            image.with(tags::SERIES_INSTANCE_UID, VR::UI, of_series.as_bytes()).object()
        };
        let images: Vec<_> = (1..=series).map(image).collect();
        send(&node, &images, stored).await.unwrap();
    }

    /// The studies once this number have ended, the newest first.
    pub async fn ended(&self, count: usize) -> Vec<Value> {
        let over = |study: &Value| ["delivered", "failed", "done"].iter().any(|state| study["state"] == *state);
        until("the studies end", || {
            let studies = self.site.status()["studies"].as_array().unwrap().clone();
            (studies.len() == count && studies.iter().all(over)).then_some(studies)
        })
        .await
    }

    /// Versions of the model in the reports that the archive holds, in order.
    pub fn versions(&self) -> Vec<&'static str> {
        let version = |held: &crate::hospital::Held| ["4.0.0", "5.0.0", "6.0.0"].into_iter().find(|v| held.says(v));
        self.archive.reports().iter().filter_map(version).collect()
    }
}

/// A state of this name: a name with `@` is that of other bytes under the name before it.
pub fn id(text: &str) -> Value {
    let name = text.split('@').next().unwrap();
    json!({ "name": name, "sha256": hex(digest(&SHA256, text.as_bytes()).as_ref()) })
}

/// Destination and route of a configuration.
pub fn rest(archive: &str, plan: &str) -> String {
    format!(
        "[[destinations]]\nname = \"archive\"\nae_title = \"PACS\"\naddress = \"{archive}\"\n\
         [[routes]]\nname = \"everything\"\n{plan}destinations = [\"archive\"]\n"
    )
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The processes that a daemon has started.
pub fn children_of(daemon: Pid) -> Vec<Pid> {
    let pid = daemon.as_raw_nonzero();
    let list = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let numbers: Vec<i32> =
        list.flat_map(|text| text.split_whitespace().map(|n| n.parse().unwrap()).collect::<Vec<_>>()).collect();
    numbers.into_iter().filter_map(Pid::from_raw).collect()
}

/// The worker of a daemon, once that of golden cases has gone.
pub async fn one_worker(daemon: &Daemon) -> Vec<Pid> {
    until("one worker is there", || Some(children_of(daemon.pid())).filter(|workers| workers.len() == 1)).await
}

pub fn signals(processes: &[Pid], signal: Signal) {
    for process in processes {
        kill_process(*process, signal).unwrap();
    }
}
