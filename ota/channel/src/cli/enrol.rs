//! `sund-channel enrol …`
use super::{attribute, print, print_json, request, unexpected};
use crate::rollout::filter::Attributes;
use crate::server::control::{Answer, Request};
use clap::Subcommand;
use std::path::Path;
use sund_ota::fault::Fault;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Gives a one-time code, by which a box or a mirror gets its certificate.
    New {
        #[command(flatten)]
        about: About,
        /// It is for a mirror (`sund-channel mirror`), to which nothing is rolled out.
        #[arg(long, conflicts_with = "attributes")]
        mirror: bool,
        /// Hours until the code expires.
        #[arg(long, default_value_t = 72)]
        hours: u32,
    },
    /// Gives a target token, for a box that cannot hold a certificate.
    Token {
        #[command(flatten)]
        about: About,
    },
    /// Says of a known box what it is; `KEY=` takes back what was said before. Its certificate and its code stay as they are.
    Set {
        /// Name of the box.
        #[arg(long)]
        name: String,
        /// What it is, for the groups of rollouts: `--attribute site=odense`.
        #[arg(long = "attribute", required = true, value_parser = attribute)]
        attributes: Vec<(String, String)>,
    },
    /// Shuts a box out: its certificate and its token are worth nothing.
    Block(Named),
    /// Lets it in again.
    Unblock(Named),
}

#[derive(Debug, clap::Args)]
pub(super) struct About {
    /// Name of the box.
    #[arg(long)]
    name: String,
    /// What it is, for the groups of rollouts: `--attribute site=odense`. What is said of a known box and not named stays.
    #[arg(long = "attribute", value_parser = attribute)]
    attributes: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Named {
    /// Name of the box.
    #[arg(long)]
    pub(super) name: String,
}

pub(super) fn run(home: &Path, json: bool, command: Command) -> Result<(), Fault> {
    match command {
        Command::New { about, mirror: true, hours } => {
            secret(home, &Request::EnrolMirror { name: about.name.clone(), hours }, "code", &about.name, json)
        }
        Command::New { about, mirror: false, hours } => {
            let attributes: Attributes = about.attributes.into_iter().collect();
            let asked = Request::Enrol { name: about.name.clone(), attributes, hours };
            secret(home, &asked, "code", &about.name, json)
        }
        Command::Token { about } => {
            let attributes: Attributes = about.attributes.into_iter().collect();
            let asked = Request::Token { name: about.name.clone(), attributes };
            secret(home, &asked, "token", &about.name, json)
        }
        Command::Set { name, attributes } => set(home, json, name, attributes.into_iter().collect()),
        Command::Block(named) => block(home, json, named, true),
        Command::Unblock(named) => block(home, json, named, false),
    }
}

fn set(home: &Path, json: bool, name: String, attributes: Attributes) -> Result<(), Fault> {
    let Answer::Attributes(all) = request(home, &Request::Set { name: name.clone(), attributes })? else {
        return Err(unexpected());
    };
    if json {
        return print_json(&serde_json::json!({ "name": name, "attributes": all }));
    }
    let all: Vec<String> = all.iter().map(|(key, value)| format!("{key}={value}")).collect();
    print(&format!("{name}: {}", if all.is_empty() { "nothing is said of it".to_owned() } else { all.join(", ") }))
}

fn block(home: &Path, json: bool, named: Named, blocked: bool) -> Result<(), Fault> {
    let name = named.name;
    request(home, &Request::Block { name: name.clone(), blocked })?;
    if json {
        return print_json(&serde_json::json!({ "name": name, "blocked": blocked }));
    }
    print(&format!("{name}: {}", if blocked { "shut out" } else { "let in" }))
}

fn secret(home: &Path, asked: &Request, kind: &str, name: &str, json: bool) -> Result<(), Fault> {
    let Answer::Secret(secret) = request(home, asked)? else { return Err(unexpected()) };
    if json { print_json(&serde_json::json!({ "name": name, kind: secret })) } else { print(&secret) }
}
