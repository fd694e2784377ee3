//! A support bundle tells of no patient, wherever a patient's name was written.
use crate::hospital::{Archive, Image, frame, new_uid, until};
use crate::serve::Site;
use dicom_core::VR;
use dicom_dictionary_std::tags;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use sund_agent::association::{Peer, Sent, send};

const SECRETS: [&str; 6] = ["Quillfeather", "Zzyzxa", "PID-77QX", "19470823", "ACCXQ77", "5a5a5a"];

fn named(study: &str) -> Image {
    let texts = [
        (tags::PATIENT_NAME, VR::PN, "Quillfeather^Zzyzxa"),
        (tags::PATIENT_ID, VR::LO, "PID-77QX"),
        (tags::PATIENT_BIRTH_DATE, VR::DA, "19470823"),
        (tags::ACCESSION_NUMBER, VR::SH, "ACCXQ77"),
    ];
    let image = frame().rows(64).in_study(study, "1");
    texts.into_iter().fold(image, |image, (tag, vr, text)| image.with(tag, vr, text.as_bytes()))
}

/// On loopback, where nobody logs in.
fn taken_from_the_console(address: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST /support HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_name_number_or_secret_is_in_a_bundle_wherever_it_was_written() {
    let archive = Archive::open().await;
    // Where people write: a comment, a rule of a route, the name of a folder.
    let configuration = crate::crash::configuration(&archive.address);
    let rule = "[routes.rules]\nrequire = [{ attribute = \"PatientID\", none_of = [\"PID-77QX\"] }]\n";
    let site = Site::new(&format!("# for Quillfeather, born 19470823\n{configuration}"));
    let daemon = tokio::task::block_in_place(|| site.serve());
    let status = || tokio::task::block_in_place(|| site.status());
    let address = status()["node"]["address"].as_str().unwrap().to_owned();
    let node = Peer { calling_ae: "MODALITY".into(), called_ae: "SUND".into(), address, tls: None };
    let study = new_uid();
    let stored = |_, sent| assert_eq!(sent, Sent::Stored { status: 0 });
    send(&node, &[named(&study).object()], stored).await.unwrap();
    archive.holds(2).await;
    until("all is recorded", || (status()["destinations"][0]["waiting"] == 0).then_some(())).await;

    // A log as a careless library, or a person, would have left it.
    let mut log = fs::read_to_string(site.folder("log")).unwrap();
    log.push_str(
        "2026-11-23T13:05:57Z  WARN sund_agent: stage refused code=study-unknown reason=Quillfeather^Zzyzxa PID-77QX\n",
    );
    log.push_str("2026-11-23T13:05:57Z  WARN sund_agent: stage refused code=PID-77QX\n");
    log.push_str("Quillfeather ACCXQ77\n");
    fs::write(site.folder("planted.log"), log).unwrap();
    let text = fs::read_to_string(site.config()).unwrap();
    fs::write(site.config(), text + rule).unwrap();

    let bundle = |name: &str| {
        let (to, log) = (site.folder(name), site.folder("planted.log"));
        let arguments = ["support", "--output", to.to_str().unwrap(), "--log", log.to_str().unwrap()];
        let done = tokio::task::block_in_place(|| site.sund(&arguments));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        fs::read(&to).unwrap()
    };
    let bytes = bundle("one.tar");
    let is_in = |what: &str| bytes.windows(what.len()).any(|window| window.eq_ignore_ascii_case(what.as_bytes()));
    for secret in SECRETS.into_iter().chain([study.as_str()]) {
        assert!(!is_in(secret), "{secret}");
    }
    for told in [
        "stage refused [study-unknown]",
        "a study is complete",
        "\"instances-stored\"",
        "sund_instances_received_total 1",
        "ae_title = \"SUND\"",
        "\"received\": 1",
        "\"cores\"",
    ] {
        assert!(is_in(told), "{told}: {}", String::from_utf8_lossy(&bytes));
    }
    // Somebody else's tar reads it.
    let listed = Command::new("tar").arg("tf").arg(site.folder("one.tar")).output().unwrap();
    let members = "sund-support/machine.json\nsund-support/status.json\nsund-support/metrics.txt\n\
                   sund-support/configuration.toml\nsund-support/problems.txt\nsund-support/audit.json\nsund-support/log.txt\n";
    assert_eq!(String::from_utf8_lossy(&listed.stdout), members);
    let again =
        tokio::task::block_in_place(|| site.sund(&["support", "--output", site.folder("one.tar").to_str().unwrap()]));
    assert!(!again.status.success(), "an archive is not overwritten");

    // The same from the console, of what the agent has logged itself.
    let bytes = tokio::task::block_in_place(|| taken_from_the_console(&site.console()));
    let is_in = |what: &str| bytes.windows(what.len()).any(|window| window.eq_ignore_ascii_case(what.as_bytes()));
    for secret in SECRETS.into_iter().chain([study.as_str()]) {
        assert!(!is_in(secret), "{secret}");
    }
    for told in [
        "INFO serving\n",
        "INFO a study is complete\n",
        "\"received\": 1",
        "\"instances-stored\"",
        "the configuration holds",
    ] {
        assert!(is_in(told), "{told}: {}", String::from_utf8_lossy(&bytes));
    }
    assert!(site.audit().contains("support-bundle"));

    // It is wanted most where no agent runs.
    drop(daemon);
    let bytes = bundle("two.tar");
    assert!(String::from_utf8_lossy(&bytes).contains("no agent answers"));
    // Who has asked for it sees what is not in it.
    let nowhere = site.folder("nowhere.log");
    let (to, log) = (site.folder("three.tar"), nowhere.to_str().unwrap());
    let done = site.sund(&["support", "--output", to.to_str().unwrap(), "--log", log]);
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(told.contains("not in it: state and metrics: no agent answers"), "{told}");
    assert!(told.contains("not in it: the log: ") && told.contains(log), "{told}");
}
