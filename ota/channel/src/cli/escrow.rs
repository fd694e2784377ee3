//! `sund-channel escrow …`
use super::enrol::Named;
use super::{print, print_json, request, unexpected, unwritable};
use crate::repository::files;
use crate::server::control::{Answer, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use serde_json::json;
use std::path::{Path, PathBuf};
use sund_ota::fault::Fault;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Tells which sealed recovery keys of a box are kept, the newest first.
    List(Named),
    /// Writes one of them to a file, for the holder of the region's private key.
    Write {
        #[command(flatten)]
        of: Named,
        /// SHA-256 of the sealed key; absent: the newest.
        #[arg(long)]
        sha256: Option<String>,
        /// The file.
        #[arg(long)]
        out: PathBuf,
    },
    /// Drops the one of a disk that is gone.
    Drop {
        #[command(flatten)]
        of: Named,
        /// SHA-256 of the sealed key.
        #[arg(long)]
        sha256: String,
    },
}

pub(super) fn run(home: &Path, json: bool, command: Command) -> Result<(), Fault> {
    match command {
        Command::List(Named { name }) => {
            let Answer::Escrow(kept) = request(home, &Request::Escrow { name: name.clone() })? else {
                return Err(unexpected());
            };
            if json {
                return print_json(&json!({ "name": name, "kept": kept }));
            }
            if kept.is_empty() {
                return print(&format!("{name}: no recovery key is kept"));
            }
            kept.iter().try_for_each(|kept| {
                let since = jiff::Timestamp::from_millisecond(kept.kept_at).map_err(unwritable)?;
                print(&format!("{name}: {} since {since:.0}, sealed to {}", kept.sha256, kept.recipient))
            })
        }
        Command::Write { of: Named { name }, sha256, out } => {
            let Answer::Sealed(kept, sealed) = request(home, &Request::TakeEscrow { name: name.clone(), sha256 })?
            else {
                return Err(unexpected());
            };
            files::write(&out, &STANDARD.decode(sealed).map_err(unwritable)?, 0o600)?;
            if json {
                return print_json(&json!({ "name": name, "file": out, "kept": kept }));
            }
            let file = out.display();
            print(&format!("{file}: a recovery key of {name}, sealed to {}", kept.recipient))?;
            print(&format!(
                "next: openssl pkeyutl -decrypt -inkey REGION.key -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -in {file}"
            ))
        }
        Command::Drop { of: Named { name }, sha256 } => {
            let Answer::Escrow(dropped) = request(home, &Request::DropEscrow { name: name.clone(), sha256 })? else {
                return Err(unexpected());
            };
            if json {
                return print_json(&json!({ "name": name, "dropped": dropped }));
            }
            dropped.iter().try_for_each(|kept| print(&format!("{name}: {} is dropped", kept.sha256)))
        }
    }
}
