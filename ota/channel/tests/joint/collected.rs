//! What a box refuses reaches its region's collector: the updater says it, the agent has it in its audit log, and that goes by syslog over TLS.
use super::hospital::{Hospital, Process, done, port, start, until};
use crate::region::text;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// A real rsyslog, which writes what it has read before it reads on.
fn rsyslog(folder: &Path, address: SocketAddr) -> Process {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &authority).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    fs::write(at("ca.pem"), authority.pem()).unwrap();
    fs::write(at("log.pem"), certificate.pem()).unwrap();
    fs::write(at("log.key"), key.serialize_pem()).unwrap();
    let text = format!(
        "global(workDirectory=\"{}\" maxMessageSize=\"256k\" DefaultNetstreamDriver=\"ossl\"\n\
         DefaultNetstreamDriverCAFile=\"{}\" DefaultNetstreamDriverCertFile=\"{}\" DefaultNetstreamDriverKeyFile=\"{}\")\n\
         main_queue(queue.type=\"Direct\")\n\
         module(load=\"imtcp\" StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{}\")\n\
         template(name=\"raw\" type=\"list\") {{ property(name=\"rawmsg\") constant(value=\"\\n\") }}\n\
         action(type=\"omfile\" file=\"{}\" template=\"raw\")\n",
        folder.display(),
        at("ca.pem"),
        at("log.pem"),
        at("log.key"),
        address.port(),
        at("collected"),
    );
    fs::write(at("rsyslog.conf"), text).unwrap();
    let mut command = Command::new("/usr/sbin/rsyslogd");
    command.args(["-n", "-f", &at("rsyslog.conf"), "-i", &at("rsyslog.pid")]);
    start(&mut command, &folder.join("rsyslog.log"))
}

#[test]
fn what_a_box_refuses_reaches_its_regions_collector() {
    let hospital = Hospital::new();
    let (region, address) = (&hospital.region, port());
    let folder = region.path("collector");
    fs::create_dir(&folder).unwrap();
    let _rsyslog = rsyslog(&folder, address);
    let forward = format!(
        "[forward]\ncollector = \"localhost:{}\"\nserver_name = \"localhost\"\nauthorities = \"{}\"\n",
        address.port(),
        folder.join("ca.pem").display(),
    );
    let open = hospital.opens_with("", &forward);
    let told = || fs::read_to_string(&open.updater_log).unwrap_or_default();
    let collected = || fs::read_to_string(folder.join("collected")).unwrap_or_default();
    let line = |what: &str| collected().lines().find(|line| line.contains(what)).map(str::to_owned);
    // `enrol` is a program of its own, which has ended long since.
    until("its enrolment is collected", told, || line("sund-updater enrol"));

    // A server that somebody else has.
    let file = region.home().join("repository/metadata/timestamp.json");
    let mut timestamp: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    timestamp["signatures"] = Value::Array(Vec::new());
    fs::write(&file, timestamp.to_string()).unwrap();
    let refused = until("the refusal is collected", told, || line("[signature-missing]"));
    assert!(refused.starts_with("<84>1 ") && refused.contains("sund-updater run"), "{refused}");

    // The whole of it holds together on the box.
    let audit = done(Command::new(super::hospital::sund()).args(["audit", "verify", "--config", text(&open.own)]));
    assert!(!audit.is_empty());
}
