//! Who stands behind a packed package: signatures by Ed25519 (RFC 8032) over an in-toto statement (Statement v1) that names the
//! digest of the package, in a DSSE envelope (v1.0). Several can sign: a vendor, then a test centre.
mod envelope;
mod key;
mod statement;

pub use envelope::{Envelope, Signature};
pub use key::{Signer, Verifier};
pub use statement::statement;
