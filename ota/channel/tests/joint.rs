//! The whole way of a model, with nothing played by a stand-in: its vendor signs a package, the region's approvers sign a state that
//! names it, the server rolls it out, the updater on a box verifies it, the agent there tries and serves it, and what it answers
//! reaches an archive. A release that misses its golden case goes nowhere, and the centre is told why; one that is withdrawn is left for
//! the state before it.
mod collected;
mod hospital;
mod recall;

use super::region::{TWO, text};
use hospital::{Hospital, Open, done, start, until};
use std::fs;
use std::process::Command;

#[test]
fn a_model_goes_from_its_vendor_to_the_archive_and_one_that_misses_goes_nowhere() {
    let hospital = Hospital::new();
    let region = &hospital.region;
    let route = format!(
        "[[destinations]]\nname = \"pacs\"\nae_title = \"PACS\"\naddress = \"{}\"\n\
         [[routes]]\nname = \"all\"\nmodels = [\"bright-squares\"]\nmode = \"shadow\"\ndestinations = [\"pacs\"]\n",
        hospital.archive
    );
    // The archive, and the box with its centre.
    let storescp =
        ["-aet", "PACS", "-od", text(&region.path("archive")), &hospital.archive.port().to_string()].map(str::to_owned);
    let _archive = start(Command::new("storescp").args(storescp), &region.path("archive.log"));
    let path = |name: &str| region.path(name).display().to_string();
    let open = hospital.opens(&route);
    let Open { config, url, agent_log, updater_log, .. } = &open;
    hospital.publishes(1, config, ("licence", "licence"));
    let first = hospital.rolls_out(1, updater_log);
    assert_eq!(first["waves"][0]["boxes"]["finished"], 1, "{first:#}\n{}", fs::read_to_string(updater_log).unwrap());
    hospital.sends();
    let told = || fs::read_to_string(agent_log).unwrap_or_default();
    until("the answer is in the archive", told, || (hospital.results() > 0).then_some(()));

    // A release whose golden case misses on the box: the centre is told why, and the first one goes on.
    hospital.publishes(2, config, ("[6.0, 4.0, 34.0, 24.0]", "[6.0, 24.0, 34.0, 44.0]"));
    let second = hospital.rolls_out(2, updater_log);
    assert_eq!(second["waves"][0]["boxes"]["failed"], 1, "{second:#}");
    let fleet = region.must(&["fleet"]).to_string();
    assert!(fleet.contains("golden case `squares`"), "{fleet}");
    assert!(hospital.status().to_string().contains("north-1"));
    let before = hospital.results();
    // The same image again is no new study: its results were delivered, and are looked at under another name.
    hospital.sends_another();
    until("the first version answers still", told, || (hospital.results() > before).then_some(()));

    // A release that holds, with the figures that the centre is told; and which is then withdrawn.
    hospital.publishes(3, config, ("licence", "licence"));
    let third = hospital.rolls_out(3, updater_log);
    assert_eq!(third["waves"][0]["boxes"]["finished"], 1, "{third:#}");
    assert_eq!(hospital.serves(), ("north-3".into(), "3.0.0".into()));
    let reported = hospital.status().to_string();
    for figures in ["no study was answered in the watch; golden cases held", "before it 1.0.0: 2 answered, 0 failed"] {
        assert!(reported.contains(figures), "{reported}");
    }
    let package = "models/sund/bright-squares-3.0.0.sund";
    let withdrawn = region.must(&["withdraw", package, "--reason", "it misses small squares"]);
    region.publish(withdrawn["proposal"].as_str().unwrap(), &TWO);
    let told = || fs::read_to_string(updater_log).unwrap_or_default();
    until("the box goes back to the state that is listed", told, || {
        (hospital.serves() == ("north-1".into(), "1.0.0".into())).then_some(())
    });
    let before = hospital.results();
    hospital.sends_another();
    until("the first version answers again", told, || (hospital.results() > before).then_some(()));

    // A hospital's mirror, which reads the channel as a box does.
    let (mirror, from) = (path("mirror"), format!("{url}/repository/"));
    let (root, ca) = (region.home().join("repository/metadata/1.root.json"), region.home().join("ca/ca.pem"));
    let stranger = ["mirror", &mirror, "--from", &from, "--root", text(&root), "--ca", text(&ca)];
    assert_ne!(region.run(&stranger).code, Some(0));
    let (certificate, key) = (path("box.pem"), path("box.key"));
    let known = [&stranger[..], &["--certificate", &certificate, "--key", &key]].concat();
    let mirrored = region.must(&known);
    assert!(mirrored["fetched"].as_u64().is_some_and(|fetched| fetched > 3), "{mirrored:#}");

    // A fourth release comes on a stick: the channel is gone, and the approvers have signed how long the stick may be used.
    hospital.publishes(4, config, ("licence", "licence"));
    drop(open.server);
    let stick = region.path("north-4.bundle");
    let bundle = ["bundle", text(&stick), "--state", "north-4", "--lifetime", "30"];
    let proposed = region.run(&bundle);
    assert_eq!(proposed.code, Some(75));
    region.publish(proposed.json["proposal"].as_str().unwrap(), &TWO);
    assert_eq!(region.run(&bundle).code, Some(0));
    let told = done(hospital.updater().args(["install", text(&stick)]));
    assert!(told.contains("done: this box serves north-4") && told.contains("bright-squares 4.0.0"), "{told}");
    assert_eq!(hospital.status()["last"]["origin"], "stick");
}
