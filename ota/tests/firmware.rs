//! A box that was started without Secure Boot says so wherever somebody looks.
use super::conversation::{Running, until};
use super::rauc::System;
use std::path::Path;
use sund_ota::firmware::SecureBoot;
use sund_ota::status::Status;

/// The firmware's variable as efivarfs has it: attributes, and the value.
pub const ON: [u8; 5] = [6, 0, 0, 0, 1];
/// See [`ON`].
pub const OFF: [u8; 5] = [6, 0, 0, 0, 0];

/// As it stands in the configuration of a [`System`].
fn says(system: &System, value: &[u8]) {
    let folder = system.appliance.directory.path().join("firmware");
    std::fs::create_dir_all(&folder).expect("a directory");
    std::fs::write(folder.join("SecureBoot"), value).expect("a variable");
}

async fn status(system: &System) -> (Status, String) {
    let json = system.appliance.updater(&["status", "--json"]).await.stdout;
    let words = system.appliance.updater(&["status"]).await.stdout;
    (serde_json::from_slice(&json).expect("JSON"), String::from_utf8(words).expect("UTF-8"))
}

async fn screen(system: &System) -> String {
    let variable = system.appliance.directory.path().join("firmware/SecureBoot");
    let variable = variable.to_str().expect("UTF-8");
    let shown = system.appliance.updater(&["screen", "--once", "--secure-boot", variable]).await.stdout;
    String::from_utf8(shown).expect("UTF-8")
}

#[test]
fn a_firmware_that_has_no_such_variable_starts_anything_and_a_machine_without_variables_says_nothing() {
    let folder = tempfile::tempdir().expect("a directory");
    let variable = folder.path().join("SecureBoot");
    assert_eq!(SecureBoot::read(Path::new("/nonexistent/SecureBoot")), None);
    assert_eq!(SecureBoot::read(&variable), None);
    std::fs::write(folder.path().join("BootOrder"), OFF).expect("a variable");
    assert_eq!(SecureBoot::read(&variable), Some(SecureBoot::Off));
    for (value, is) in [(&ON[..], SecureBoot::On), (&OFF, SecureBoot::Off), (&[6, 0, 0, 0], SecureBoot::Off)] {
        std::fs::write(&variable, value).expect("a variable");
        assert_eq!(SecureBoot::read(&variable), Some(is), "{value:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_without_secure_boot_says_so_to_the_channel_in_its_status_on_its_screen_and_in_the_audit_log() {
    let system = System::new("").await;
    assert_eq!(system.appliance.once().await, Some(0));
    assert!(!system.appliance.channel.told().attributes.contains_key("secure_boot"), "nothing is known");
    assert_eq!(status(&system).await.0.secure_boot, None);

    says(&system, &ON);
    assert_eq!(system.appliance.once().await, Some(0));
    assert_eq!(system.appliance.channel.told().attributes["secure_boot"], "on");
    let (known, words) = status(&system).await;
    assert!(known.secure_boot == Some(SecureBoot::On) && words.contains("\nsecure boot  on\n"), "{words}");
    assert!(!screen(&system).await.contains("SECURE BOOT"));

    says(&system, &OFF);
    let running = Running(system.appliance.run());
    let is_told = || system.appliance.channel.told().attributes["secure_boot"] == "off";
    until("the channel is told", is_told).await;
    let said = || {
        let serving = system.appliance.agent.serving();
        let events = serving.audited.iter().filter(|event| event.text == "the box was started without Secure Boot");
        events.map(|event| (event.warns, event.details["code"].clone())).collect::<Vec<_>>()
    };
    until("the agent has the event", || said() == [(true, "secure-boot-off".to_owned())]).await;
    drop(running);
    let (known, words) = status(&system).await;
    assert!(known.secure_boot == Some(SecureBoot::Off) && words.contains("\nsecure boot  OFF: "), "{words}");
    let shown = screen(&system).await;
    assert!(shown.contains("SECURE BOOT IS OFF"), "{shown}");
}
