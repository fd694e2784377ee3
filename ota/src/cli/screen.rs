//! `screen`: draws what has changed, and takes a code where one is needed.
use crate::audit::Audit;
use crate::config::Config;
use crate::exit::Exit;
use crate::identity;
use crate::provision::document::is_code;
use crate::screen::code::Typing;
use crate::screen::facts::{Looks, Sources, gather};
use crate::screen::{Stage, draw};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

/// Between two looks at how the box stands.
const LOOK: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The agent's configuration.
    #[arg(long, default_value = "/etc/sund/sund.toml")]
    agent_config: PathBuf,
    /// What the system says of itself.
    #[arg(long, default_value = "/etc/os-release")]
    release: PathBuf,
    /// Where the firmware says whether Secure Boot is on.
    #[arg(long, default_value = crate::firmware::SECURE_BOOT)]
    secure_boot: PathBuf,
    /// What became of the region's stick.
    #[arg(long, default_value = crate::stick::SAID)]
    stick: PathBuf,
    /// Prints it once.
    #[arg(long)]
    once: bool,
}

#[expect(clippy::print_stdout, reason = "stdout is for data, and this is the data")]
pub(super) async fn screen(config: PathBuf, arguments: Arguments, audit: &Audit) -> Exit {
    let Arguments { agent_config, release, secure_boot, stick, once } = arguments;
    let sources = Sources { config, agent_config, release, secure_boot, stick };
    if once {
        let (config, stage) = Looks::default().look(&sources);
        print!("{}", draw(&gather(&sources, config.as_ref(), stage).await));
        return Exit::Done;
    }
    let Ok(_quiet) = Quiet::new() else {
        eprintln!("standard input is no terminal: `--once` prints the picture elsewhere");
        return Exit::Usage;
    };
    match show(&sources, audit).await {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("the terminal: {error}");
            Exit::Failed
        }
    }
}

/// Until the terminal is gone.
async fn show(sources: &Sources, audit: &Audit) -> std::io::Result<()> {
    let mut keyboard = tokio::io::stdin();
    let mut keys = [0; 64];
    let (mut typing, mut said, mut drawn) = (Typing::default(), String::new(), String::new());
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut standing = Looks::default();
    let (mut config, mut stage) = standing.look(sources);
    let mut picture = gather(sources, config.as_ref(), stage.clone()).await;
    loop {
        picture.stage = match stage {
            Stage::NeedsCode { ref why, .. } => {
                Stage::NeedsCode { why: why.clone(), typed: typing.letters().to_owned(), said: said.clone() }
            }
            ref other => other.clone(),
        };
        let now = draw(&picture);
        if now != drawn {
            paint(&now)?;
            drawn = now;
        }
        tokio::select! {
            _ = looks.tick() => {
                (config, stage) = standing.look(sources);
                picture = gather(sources, config.as_ref(), stage.clone()).await;
            }
            read = keyboard.read(&mut keys) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                let Stage::NeedsCode { why, .. } = &stage else { continue };
                for byte in &keys[..read] {
                    if let Some(code) = typing.key(*byte, Instant::now()) {
                        said = String::from("The channel is asked ...");
                        picture.stage = Stage::NeedsCode { why: why.clone(), typed: code.clone(), said: said.clone() };
                        paint(&draw(&picture))?;
                        said = enrol(config.as_ref(), &code, &mut typing, audit).await;
                        looks.reset_immediately();
                        // What was typed meanwhile was for nothing.
                        break;
                    }
                    if typing.is_closed(Instant::now()) {
                        said = String::from("Too many wrong codes: nothing is taken for 15 minutes.");
                    }
                }
            }
        }
    }
}

/// Tries a code; what is said of it.
async fn enrol(config: Option<&Config>, code: &str, typing: &mut Typing, audit: &Audit) -> String {
    let Some(config) = config.filter(|_| is_code(code)) else { return String::new() };
    audit.keep_in(&config.directory, "screen");
    match identity::enrol(config, &config.server, code).await {
        Ok(_) => "This box is enrolled.".to_owned(),
        Err(fault) => {
            tracing::warn!(target: "audit", code = %fault.code, reason = fault.reason, "a code that was typed at the screen did not do");
            if fault.code == "enrol-refused" {
                typing.was_wrong(Instant::now());
            }
            fault.to_string()
        }
    }
}

/// From the first line on, each line to its end; no line feed, which would scroll.
fn paint(picture: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    // Cursor hidden, and home.
    let mut text = "\x1b[?25l\x1b[H".to_owned();
    for (n, line) in picture.lines().enumerate() {
        // Into memory: nothing can fail.
        let _ = write!(text, "\x1b[{};1H{line}\x1b[K", n + 1);
    }
    text.push_str("\x1b[J");
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A terminal that shows nothing by itself and sends no signals, for as long as this lives.
struct Quiet(Termios);

impl Quiet {
    fn new() -> rustix::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}
