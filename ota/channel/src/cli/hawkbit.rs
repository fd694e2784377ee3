//! `sund-channel hawkbit ...`: publishing and rollouts through an Eclipse hawkBit.
use super::Answer;
use crate::hawkbit::{
    ANSWER, Command, FleetBox, Group, Login, Management, Plan, Release, Repository, RolloutStatus, StateName, command,
    fleet, plan, push, start, status,
};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use sund_ota::fault::{Blame, Fault};

/// A file with a password or with certificates, in bytes: another file given by mistake is not read whole.
const MAX_FILE: u64 = 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct HawkbitCommand {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
struct Server {
    /// Base address of hawkBit.
    #[arg(long, global = true, default_value = "http://127.0.0.1:8080/")]
    url: String,
    /// User; with several tenants `TENANT\user`.
    #[arg(long, global = true, default_value = "admin")]
    user: String,
    /// File that holds the password alone.
    #[arg(long, global = true)]
    password_file: Option<PathBuf>,
    /// Certificates (PEM) that hawkBit's may have been issued by, beside the system's.
    #[arg(long, global = true)]
    ca: Option<PathBuf>,
}

/// Where a state is read as a box reads it.
#[derive(Debug, Args)]
struct Signed {
    /// The signed repository, with `metadata/` and `targets/` in it; that of the channel's home otherwise.
    #[arg(long)]
    repository: Option<PathBuf>,
    /// Root metadata that is trusted; the repository's first one otherwise.
    #[arg(long)]
    root: Option<PathBuf>,
}

impl Signed {
    fn of(self, home: &Path) -> Repository {
        let directory = self.repository.unwrap_or_else(|| home.join("repository"));
        Repository { root: self.root.unwrap_or_else(|| directory.join("metadata/1.root.json")), directory }
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Publishes a signed state's descriptor; the same one twice makes one.
    Push {
        /// Name of the state.
        #[arg(long)]
        state: String,
        #[command(flatten)]
        signed: Signed,
    },
    /// Makes, starts, stops and shows rollouts.
    #[command(subcommand)]
    Rollout(RolloutVerb),
    /// Says which box runs which state.
    Targets {
        /// Which boxes, in hawkBit's query language, e.g. `attribute.site==north`.
        #[arg(long)]
        filter: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum RolloutVerb {
    /// Makes a rollout; it starts when it is told to. Refused where it takes boxes that the state is not for.
    New {
        /// Name of the rollout.
        name: String,
        /// State that was pushed.
        #[arg(long)]
        state: String,
        #[command(flatten)]
        signed: Signed,
        /// Which boxes, in hawkBit's query language, e.g. `attribute.site==north`.
        #[arg(long)]
        filter: String,
        /// A group, NAME=PERCENT of all boxes of the filter, in order; the last has 100, which is all that is left.
        #[arg(long = "group", default_values = ["canary=10", "rest=100"])]
        groups: Vec<Group>,
        /// Per cent of a group that must succeed before the next one starts.
        #[arg(long, default_value_t = 100)]
        success: u8,
        /// Per cent of a group that may fail before the rollout pauses itself.
        #[arg(long, default_value_t = 10)]
        error: u8,
        /// Somebody at each box confirms first.
        #[arg(long)]
        confirm: bool,
    },
    /// Starts it. Refused where its groups have boxes that the state is not for.
    Start {
        /// Name of the rollout.
        name: String,
        #[command(flatten)]
        signed: Signed,
    },
    /// Lets no further group start.
    Pause(RolloutName),
    /// Goes on after a pause.
    Resume(RolloutName),
    /// Ends it; what is not done is cancelled, also on the boxes.
    Stop(RolloutName),
    /// Approves it, where hawkBit asks for that.
    Approve(RolloutName),
    /// Denies it.
    Deny(RolloutName),
    /// Says how it stands.
    Status(RolloutName),
}

#[derive(Debug, Args)]
struct RolloutName {
    /// Name of the rollout.
    name: String,
}

/// Publishes and rolls out.
pub(super) async fn run(home: &Path, hawkbit: HawkbitCommand) -> Result<Answer, Fault> {
    match hawkbit.verb {
        Verb::Push { state, signed } => {
            let release = Release::read(&signed.of(home), &state).await?;
            let published = push(&management(hawkbit.server).await?, &release).await?;
            let made = if published.made { "pushed" } else { "was there already" };
            let people = format!(
                "{} {made}: version {}, distribution set {}",
                published.state, published.version, published.distribution_set
            );
            Ok(told(&published, &people))
        }
        Verb::Rollout(verb) => {
            let management = management(hawkbit.server).await?;
            let stands = match verb {
                RolloutVerb::New { name, state, signed, filter, groups, success, error, confirm } => {
                    let release = Release::read(&signed.of(home), &state).await?;
                    let new = Plan { name, filter, groups, success, error, confirm };
                    plan(&management, &release, &new).await?
                }
                RolloutVerb::Start { name, signed } => start(&management, &signed.of(home), &name).await?,
                RolloutVerb::Pause(RolloutName { name }) => command(&management, &name, Command::Pause).await?,
                RolloutVerb::Resume(RolloutName { name }) => command(&management, &name, Command::Resume).await?,
                RolloutVerb::Stop(RolloutName { name }) => command(&management, &name, Command::Stop).await?,
                RolloutVerb::Approve(RolloutName { name }) => command(&management, &name, Command::Approve).await?,
                RolloutVerb::Deny(RolloutName { name }) => command(&management, &name, Command::Deny).await?,
                RolloutVerb::Status(RolloutName { name }) => status(&management, &name).await?,
            };
            Ok(told(&stands, &rollout_table(&stands)))
        }
        Verb::Targets { filter } => {
            let boxes = fleet(&management(hawkbit.server).await?, filter.as_deref()).await?;
            Ok(told(&boxes, &fleet_table(&boxes)))
        }
    }
}

async fn management(server: Server) -> Result<Management, Fault> {
    let Some(password_file) = &server.password_file else {
        let reason = "--password-file names the file with hawkBit's password";
        return Err(Fault::new("hawkbit-login-invalid", Blame::Configuration, reason));
    };
    let password = String::from_utf8(file(password_file).await?).map_err(|_| {
        let reason = format!("{} is no text", password_file.display());
        Fault::new("hawkbit-login-invalid", Blame::Configuration, reason)
    })?;
    let ca = match &server.ca {
        Some(path) => Some(file(path).await?),
        None => None,
    };
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    Management::new(Login { url: server.url, user: server.user, password, ca, within: ANSWER })
}

async fn file(path: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable =
        |reason: String| Fault::new("file-unreadable", Blame::Configuration, format!("{}: {reason}", path.display()));
    let length = tokio::fs::metadata(path).await.map_err(|error| unreadable(error.to_string()))?.len();
    if length > MAX_FILE {
        return Err(unreadable(format!("has more than {MAX_FILE} bytes")));
    }
    tokio::fs::read(path).await.map_err(|error| unreadable(error.to_string()))
}

fn told(value: &impl Serialize, people: &str) -> Answer {
    Answer::new(people.lines().map(str::to_owned).collect(), value)
}

fn rollout_table(rollout: &RolloutStatus) -> String {
    let mut text = format!("{}: {}, {}\n", rollout.name, rollout.status, counted(rollout.boxes, &rollout.counts));
    for group in &rollout.groups {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<16} {:<10} {}", group.name, group.status, counted(group.boxes, &group.counts));
    }
    text
}

fn counted(boxes: u64, counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> = counts.iter().map(|(what, boxes)| format!("{boxes} {what}")).collect();
    format!("{boxes} boxes: {}", counts.join(", "))
}

fn fleet_table(boxes: &[FleetBox]) -> String {
    let named = |state: &Option<StateName>| match state {
        Some(state) => format!("{} {}", state.state, state.version.get(..8).unwrap_or(&state.version)),
        None => "-".to_owned(),
    };
    let mut text = format!("{:<24} {:<10} {:<30} {:<30} polls\n", "box", "status", "runs", "is to run");
    for known in boxes {
        let polls = match (known.last_poll, known.overdue) {
            (None, _) => "never",
            (Some(_), true) => "overdue",
            (Some(_), false) => "yes",
        };
        let (runs, to_run) = (named(&known.installed), named(&known.assigned));
        let _ = writeln!(text, "{:<24} {:<10} {runs:<30} {to_run:<30} {polls}", known.id, known.status);
        for line in &known.reason {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}
