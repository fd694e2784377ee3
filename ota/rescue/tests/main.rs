//! The way back, against real TLS servers, real files and a TPM. Tests are named by the threat or the promise.
mod authority;
mod binary;
mod bundle;
mod forger;
mod goldens;
mod identity;
mod minimum;
mod released;
mod signatures;
mod site;
mod world;
