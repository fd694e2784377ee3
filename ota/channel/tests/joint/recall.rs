//! From the withdrawal of a release to the rejected object in other people's archives: the centre withdraws it, the box leaves it by itself, and
//! a person there recalls what it has made.
use super::hospital::{Hospital, Process, done, port, start, sund, until};
use crate::region::{TWO, text};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

const KEY_OBJECTS: &str = "1.2.840.10008.5.1.4.1.1.88.59";
const REASON: &str = "it misses small squares";

/// Orthanc, with its REST interface.
struct Orthanc {
    dicom: SocketAddr,
    rest: SocketAddr,
    _server: Process,
}

impl Orthanc {
    fn start(folder: &Path) -> Self {
        let (dicom, rest) = (port(), port());
        let configuration = format!(
            r#"{{ "Name": "test", "StorageDirectory": "{0}", "IndexDirectory": "{0}", "Plugins": [], "DicomAet": "ORTHANC",
                  "DicomPort": {1}, "HttpPort": {2}, "RemoteAccessAllowed": false, "AuthenticationEnabled": false,
                  "DicomAlwaysAllowStore": true }}"#,
            folder.display(),
            dicom.port(),
            rest.port(),
        );
        let path = folder.join("orthanc.json");
        fs::write(&path, configuration).unwrap();
        let log = folder.join("log");
        let server = start(Command::new("Orthanc").arg(path), &log);
        let told = || fs::read_to_string(&log).unwrap_or_default();
        until("Orthanc listens", told, || [dicom, rest].iter().all(|at| TcpStream::connect(at).is_ok()).then_some(()));
        Self { dicom, rest, _server: server }
    }

    fn get(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.rest).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1)
            .unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// The tags of rejection notes, then of all else that it holds.
    fn holds(&self) -> (Vec<Value>, Vec<Value>) {
        let ids = self.get("/instances");
        let tags = ids.as_array().unwrap().iter().map(|id| id.as_str().unwrap());
        let tags = tags.map(|id| self.get(&format!("/instances/{id}/simplified-tags")));
        tags.partition(|tags| tags["SOPClassUID"] == KEY_OBJECTS)
    }
}

fn uid(tags: &Value, name: &str) -> String {
    tags[name].as_str().unwrap().to_owned()
}

/// The objects that a rejection note names.
fn named(note: &Value) -> BTreeSet<String> {
    let studies = note["CurrentRequestedProcedureEvidenceSequence"].as_array().unwrap();
    let series = studies.iter().flat_map(|study| study["ReferencedSeriesSequence"].as_array().unwrap());
    let objects = series.flat_map(|series| series["ReferencedSOPSequence"].as_array().unwrap());
    objects.map(|object| uid(object, "ReferencedSOPInstanceUID")).collect()
}

#[test]
fn what_a_withdrawn_release_has_made_is_rejected_in_orthanc_and_in_dcmtk() {
    let hospital = Hospital::new();
    let region = &hospital.region;
    fs::create_dir(region.path("orthanc")).unwrap();
    let orthanc = Orthanc::start(&region.path("orthanc"));
    let dcmtk = region.path("archive");
    let storescp = ["-aet", "PACS", "-od", text(&dcmtk), &hospital.archive.port().to_string()].map(str::to_owned);
    let _storescp = start(Command::new("storescp").args(storescp), &region.path("archive.log"));
    let to = |name: &str, ae_title: &str, address: SocketAddr| {
        format!(
            "[[destinations]]\nname = \"{name}\"\nae_title = \"{ae_title}\"\naddress = \"{address}\"\nrejection_notes = true\n"
        )
    };
    let open = hospital.opens(&format!(
        "{}{}[[routes]]\nname = \"all\"\nmodels = [\"bright-squares\"]\nmode = \"shadow\"\ndestinations = [\"orthanc\", \"dcmtk\"]\n",
        to("orthanc", "ORTHANC", orthanc.dicom),
        to("dcmtk", "PACS", hospital.archive),
    ));
    for n in 1..=2 {
        hospital.publishes(n, &open.config, ("licence", "licence"));
        let rolled_out = hospital.rolls_out(n, &open.updater_log);
        assert_eq!(rolled_out["waves"][0]["boxes"]["finished"], 1, "{rolled_out:#}");
    }
    let asks = |arguments: &[&str]| -> Value {
        let told = done(Command::new(sund()).args(arguments).arg("--json").arg("--config").arg(&open.own));
        serde_json::from_str(&told).unwrap()
    };
    // Of every destination: what waits, and what was delivered.
    let sent = || -> Vec<(u64, u64)> {
        let status = asks(&["status"]);
        let all = status["destinations"].as_array().unwrap().iter();
        all.map(|to| (to["waiting"].as_u64().unwrap(), to["delivered"].as_u64().unwrap())).collect()
    };
    let of_agent = || fs::read_to_string(&open.agent_log).unwrap_or_default();
    hospital.sends();
    until("both archives have the answer", of_agent, || {
        sent().iter().all(|(waiting, delivered)| *waiting == 0 && *delivered > 0).then_some(())
    });

    // The centre withdraws the package, and the box goes back to the release before it.
    let withdrawn = region.must(&["withdraw", "models/sund/bright-squares-2.0.0.sund", "--reason", REASON]);
    region.publish(withdrawn["proposal"].as_str().unwrap(), &TWO);
    let of_updater = || fs::read_to_string(&open.updater_log).unwrap_or_default();
    until("the box leaves the release", of_updater, || {
        (hospital.serves() == ("north-1".into(), "1.0.0".into())).then_some(())
    });

    let before = hospital.results();
    let recalled = asks(&["recall", "bright-squares@2.0.0", "--reason", REASON]);
    assert_eq!(
        recalled["still_on"].as_array().map(Vec::len),
        Some(0),
        "what was left makes nothing more: {recalled:#}"
    );
    assert_eq!((&recalled["notes"], &recalled["total"]["by_hand"]), (&2.into(), &0.into()), "{recalled:#}");
    until("both archives have the note", of_agent, || {
        (orthanc.holds().0.len() == 1 && hospital.results() > before).then_some(())
    });

    let (notes, results) = orthanc.holds();
    let results: BTreeSet<String> = results.iter().map(|result| uid(result, "SOPInstanceUID")).collect();
    assert!(!results.is_empty());
    let note = &notes[0];
    assert_eq!(named(note), results, "the very objects that Orthanc holds");
    assert_eq!(note["ConceptNameCodeSequence"][0]["CodeValue"], "113037", "rejected for patient safety reasons");
    assert!(note["ContentSequence"].to_string().contains(REASON), "{note:#}");
    // DCMTK holds the same objects, and a note of its own on them.
    until("all of it is recorded", of_agent, || sent().iter().all(|(waiting, _)| *waiting == 0).then_some(()));
    let files: Vec<String> = fs::read_dir(&dcmtk).unwrap().map(|file| text(&file.unwrap().path()).to_owned()).collect();
    let dumps: Vec<String> =
        files.iter().map(|file| done(Command::new("dcmdump").args(["-Un", "-q", "+L", file]))).collect();
    let (notes, held): (Vec<&String>, Vec<&String>) = dumps.iter().partition(|dump| dump.contains(KEY_OBJECTS));
    assert_eq!((notes.len(), held.len()), (1, results.len()), "{files:?}");
    assert!(notes[0].contains("[113037]") && notes[0].contains(REASON), "{}", notes[0]);
    for result in &results {
        let is_it = |dump: &&&String| dump.contains(&format!("[{result}]"));
        assert!(held.iter().any(|dump| is_it(&dump)) && is_it(&&notes[0]), "{result}");
    }
}
