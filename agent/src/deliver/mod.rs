//! A durable queue for each destination.
mod destination;
pub mod queue;
pub mod quote;
pub mod record;

pub use destination::Destination;
