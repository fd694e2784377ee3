//! `sund-channel key`.
use super::Answer;
use crate::repository::keys::{FileSigner, KeyPlace, PublicKey, Scheme, Signer, fingerprint, pem};
use crate::repository::rescue;
use clap::Subcommand;
use serde_json::json;
use std::path::{Path, PathBuf};
use sund_ota::fault::Fault;

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Makes a key: FILE (private, PKCS#8, readable by its owner alone) and FILE.pub.
    New {
        /// The private key. It stays on the machine of its person.
        file: PathBuf,
        /// Whose it is.
        #[arg(long)]
        person: String,
        /// What it signs with.
        #[arg(long, value_enum, default_value = "ed25519")]
        scheme: Scheme,
    },
    /// Makes FILE.pub of a key that lives in a token.
    Import {
        /// The key in its token (`pkcs11:...`), or its public half as a file (SubjectPublicKeyInfo, PEM).
        key: KeyPlace,
        /// Whose it is.
        #[arg(long)]
        person: String,
        /// Where the public part is written.
        #[arg(long)]
        out: PathBuf,
    },
    /// Shows whose a public key is, and its fingerprint.
    Show {
        /// FILE.pub.
        file: PathBuf,
    },
}

pub(super) fn run(command: KeyCommand) -> Result<Answer, Fault> {
    match command {
        KeyCommand::New { file, person, scheme } => {
            // The name first: a key that nobody can be named for is not made.
            PublicKey::check_person(&person)?;
            let public = PublicKey::new(&person, FileSigner::create(&file, scheme)?.key())?;
            let beside = PublicKey::beside(&file);
            public.write(&beside)?;
            tell(&public, &beside)
        }
        KeyCommand::Import { key, person, out } => {
            PublicKey::check_person(&person)?;
            let public = match &key {
                KeyPlace::File(pem) => PublicKey::import(pem, &person)?,
                KeyPlace::Token(_) => PublicKey::new(&person, key.open()?.key())?,
            };
            public.write(&out)?;
            tell(&public, &out)
        }
        KeyCommand::Show { file } => tell(&PublicKey::read(&file)?, &file),
    }
}

fn tell(public: &PublicKey, file: &Path) -> Result<Answer, Fault> {
    let id = public.id()?;
    let mut lines =
        vec![format!("{}: the key of {}", file.display(), public.person), format!("fingerprint: {}", fingerprint(&id))];
    // As `sund-rescue` is told of it; it verifies Ed25519 alone.
    let pem = rescue::spki(&public.key).map(|spki| pem("PUBLIC KEY", &spki));
    lines.extend(pem.as_ref().map(|pem| pem.trim_end().to_owned()));
    let json = json!({ "person": public.person, "key": id, "fingerprint": fingerprint(&id), "file": file, "pem": pem });
    Ok(Answer::new(lines, json))
}
