//! A durable queue for each destination.
mod destination;
pub mod queue;
pub mod record;

pub use destination::Destination;
