//! An Eclipse hawkBit as the server that devices poll.
mod device;
mod hostile;
mod refused;
mod region;
mod server;
mod updater;
mod whole_path;
