//! What the updater refuses, each named by its threat; ota/README.md lists them.
mod clock;
mod download;
mod flips;
mod freezing;
mod hostile_server;
mod kept;
mod recovery;
mod rollback;
mod signatures;
mod store;
mod thief;
mod wrong_role;
