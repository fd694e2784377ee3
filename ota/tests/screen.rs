//! The box's screen: what it shows is frozen, and a code is typed at a real terminal.
use super::appliance::Appliance;
use super::authority::{Authority, known_to, start};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sund_ota::screen::picture::{COLUMNS, ROWS};
use sund_ota::screen::{Picture, Stage, draw};

fn enrolled() -> Picture {
    Picture {
        stage: Stage::Enrolled,
        host: "sund-odense-1".to_owned(),
        variant: None,
        starts_anything: false,
        networks: vec![
            ("clinical".to_owned(), vec!["10.10.0.5".to_owned()]),
            ("management".to_owned(), vec!["10.20.0.5".to_owned(), "2001:db8::5".to_owned()]),
        ],
        versions: vec![("system".to_owned(), "1.2.0".to_owned()), ("updater".to_owned(), "0.1.0".to_owned())],
        node: Some("SUND, port 11112, TLS port 2762".to_owned()),
        agent: "0.1.0 answers; models: 3 (gpu), studies: 2".to_owned(),
        channel: "channel.north.example: well at 2026-11-29 12:00".to_owned(),
        update: "to north-8: candidate, 42 %".to_owned(),
        stick: None,
        rescue: None,
        recovery: Some("kept by the region since 2026-11-29 12:00".to_owned()),
        id: Some("north-1".to_owned()),
        fingerprint: Some("0123456789abcdef".repeat(4)),
    }
}

fn golden(name: &str, picture: &Picture) {
    let drawn = draw(picture);
    assert_eq!(drawn.lines().count(), ROWS);
    assert!(drawn.lines().all(|line| line.chars().count() <= COLUMNS), "{drawn}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/screen").join(name);
    if std::env::var_os("SUND_WRITE_GOLDENS").is_some() {
        std::fs::write(&path, &drawn).expect("a golden file");
    }
    assert_eq!(drawn, std::fs::read_to_string(&path).expect("a golden file"), "{name}");
}

#[test]
fn what_the_screen_shows_is_frozen() {
    golden("enrolled.txt", &enrolled());
    golden("new.txt", &Picture { stage: Stage::New, id: None, fingerprint: None, node: None, ..enrolled() });
    let stage = Stage::NeedsCode {
        why: "This box has no certificate yet.".to_owned(),
        typed: "AB1CD-2EF".to_owned(),
        said: "the channel issues no certificate (403 Forbidden): ask for a new code [enrol-refused]".to_owned(),
    };
    golden("code.txt", &Picture { stage, ..enrolled() });
    let stick = Some(
        "this would be lost: 2 jobs that are not done. Let it be sent first, or have the region sign an order that gives it up \
         (`sund-channel reset --discard`) [reset-unsent]"
            .to_owned(),
    );
    golden("stick.txt", &Picture { stick, ..enrolled() });
    golden("unsecured.txt", &Picture { starts_anything: true, ..enrolled() });
    let variant = Some("DEBUG VARIANT: NOT FOR PATIENTS".to_owned());
    let long = "a very long reason ".repeat(40) + &"x".repeat(200);
    golden("debug.txt", &Picture { variant, channel: long.clone(), stage: Stage::Unusable(long), ..enrolled() });
}

#[test]
fn no_name_pushes_off_the_screen_that_the_system_is_none_for_patients() {
    let long = "x".repeat(64);
    let drawn = draw(&Picture {
        host: long.clone(),
        id: Some(long.to_uppercase()),
        variant: Some("DEBUG: not for patients".to_owned()),
        ..enrolled()
    });
    let first = drawn.lines().next().expect("a line");
    assert!(first.ends_with("x DEBUG: not for patients") && first.chars().count() < COLUMNS, "{first}");
}

#[test]
fn nothing_that_is_shown_commands_the_terminal() {
    let evil = "a\x1b[2J\u{9b}31m\x07\n\x00b".to_owned();
    let drawn = draw(&Picture {
        host: evil.clone(),
        variant: Some(evil.clone()),
        networks: vec![(evil.clone(), vec![evil.clone()])],
        channel: evil.clone(),
        stage: Stage::NeedsCode { why: evil.clone(), typed: String::new(), said: evil },
        ..enrolled()
    });
    assert!(drawn.chars().all(|letter| letter == '\n' || !letter.is_control()), "{drawn:?}");
    assert_eq!(drawn.lines().count(), ROWS);
}

/// The screen on a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: std::fs::File,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn start(mut command: Command) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("its name").into_string().expect("UTF-8");
        let side = || std::fs::File::options().read(true).write(true).open(&name).expect("the other side");
        let child = command.stdin(side()).stdout(side()).stderr(Stdio::null()).spawn().expect("sund-updater starts");
        let keyboard = std::fs::File::from(master);
        let mut reader = keyboard.try_clone().expect("a file");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let of = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                of.lock().expect("no test failed while it held this").extend_from_slice(&bytes[..length]);
            }
        });
        Self { child, keyboard, shown }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("a keyboard");
    }

    /// Waits until the newest picture has that.
    fn shows(&self, wanted: &str) {
        let begin = Instant::now();
        loop {
            let shown = self.shown.lock().expect("no test failed while it held this").clone();
            let text = String::from_utf8_lossy(&shown).into_owned();
            let newest = text.rsplit("\x1b[H").next().unwrap_or_default();
            if newest.contains(wanted) {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "not {wanted:?} in {newest}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_typed_at_the_screen_enrols_the_box() {
    let appliance = Appliance::new().await;
    let authority = Arc::new(Authority::new());
    let port = start(&authority).await;
    authority.codes.lock().expect("no test failed while it held this").push("AB1CD-2EF3G");
    let path = appliance.directory.path();
    let text = known_to(&appliance, &authority, port, &format!("key = \"{}/box.key\"", path.display()));
    std::fs::remove_file(appliance.configuration()).expect("it was there");
    let agent = path.join("sund.toml").display().to_string();
    let mut screen = Terminal::start(appliance.command(&["screen", "--agent-config", &agent]));
    screen.shows("This box is nobody's yet");
    // Keys of a box that waits for nothing are lost.
    screen.types("AAAA\r");

    // Its stick came.
    let key = rcgen::KeyPair::generate().expect("a key");
    let console =
        rcgen::CertificateParams::new(Vec::new()).expect("parameters").self_signed(&key).expect("a certificate");
    std::fs::write(path.join("console.pem"), console.pem()).expect("a certificate");
    let node = format!(
        "[node]\nae_title = \"SUND\"\nlisten = \"0.0.0.0:11112\"\n[console.tls]\ncertificate = \"{}/console.pem\"\n",
        path.display()
    );
    std::fs::write(&agent, node).expect("sund.toml");
    std::fs::write(appliance.configuration(), text).expect("updater.toml");
    screen.shows("This box has no certificate yet.");
    screen.shows("SUND, port 11112");
    let fingerprint = sund_ota::hex::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, console.der()).as_ref());
    screen.shows(&format!("{} {}", &fingerprint[..4], &fingerprint[4..8]));

    screen.types("guessed\x03\x1a\r");
    screen.shows("[enrol-refused]");
    assert!(!path.join("box.pem").exists());
    screen.types("ab1cx\x7fd-2ef3g");
    screen.shows("> AB1CD-2EF3G_");
    screen.types("\r");
    let begin = Instant::now();
    while !path.join("box.pem").exists() {
        assert!(begin.elapsed() < Duration::from_secs(30), "it is not enrolled");
        std::thread::sleep(Duration::from_millis(20));
    }
    // It asks for no code any more, and is told how the channel is by the updater that polls.
    assert_eq!(appliance.once().await, Some(0));
    screen.shows("localhost: well at");
    assert!(screen.child.try_wait().expect("a process").is_none(), "it goes on");
}
