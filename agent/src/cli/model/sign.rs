//! `sund model sign`: a signature for a packed package, by a key in a file or by one that never leaves its token.
use super::super::print;
use super::packed_at;
use crate::exit::Exit;
use crate::fault::{Blame, Fault};
use crate::model::packed::with_envelope;
use crate::model::signed::{Envelope, Signer, Verifier, statement};
use std::path::{Path, PathBuf};

/// Who signs.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(in crate::cli) struct By {
    /// The private key (Ed25519, PKCS #8, PEM).
    #[arg(long, value_name = "PEM", conflicts_with_all = ["write_message", "public_key", "signature"])]
    key: Option<PathBuf>,
    /// Writes what is to be signed to a file, for a key in a token or a vault (PKCS #11: CKM_EDDSA).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["public_key", "signature"])]
    write_message: Option<PathBuf>,
    /// The public key of a signature that was made elsewhere.
    #[arg(long, value_name = "PEM", requires = "signature")]
    public_key: Option<PathBuf>,
    /// That signature: 64 bytes.
    #[arg(long, value_name = "FILE", requires = "public_key")]
    signature: Option<PathBuf>,
}

pub(super) fn sign(file: &Path, by: &By) -> Result<Exit, Fault> {
    let (package, archive) = packed_at(file)?;
    // Nobody signs what he has not got whole.
    archive.verify_others(&package.compared(), &mut |_| {})?;
    let mut envelope = package.envelope()?.unwrap_or_else(|| Envelope::new(&statement(&package)));
    let message = envelope.to_sign();
    let (key, signature) = match (&by.key, &by.write_message, &by.public_key, &by.signature) {
        (Some(key), ..) => {
            let signer = Signer::read(key)?;
            (signer.verifier(), signer.sign(&message))
        }
        (_, Some(to), ..) => {
            std::fs::write(to, &message).map_err(|error| {
                let reason = format!("{} cannot be written: {error}", to.display());
                Fault::new("package-unwritable", Blame::Box, reason)
            })?;
            let at = file.display();
            return Ok(print(&format!(
                "sign {} with Ed25519, then: sund model sign {at} --public-key PEM --signature FILE\n",
                to.display()
            )));
        }
        (_, _, Some(key), Some(signature)) => {
            let made = std::fs::read(signature).map_err(|error| {
                let reason = format!("{} cannot be read: {error}", signature.display());
                Fault::new("key-unusable", Blame::Configuration, reason)
            })?;
            (Verifier::read(key)?, made)
        }
        _ => {
            return Err(Fault::new(
                "key-unusable",
                Blame::Configuration,
                "no key was named: see sund model sign --help",
            ));
        }
    };
    envelope.add(&key, &signature)?;
    with_envelope(file, &archive, &envelope.write())?;
    let manifest = &package.manifest;
    Ok(print(&format!("signed {} {}\n{}\nkey {}\n", manifest.name, manifest.version, package.digest, key.id())))
}
