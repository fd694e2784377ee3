//! A durable queue for each destination.
pub mod queue;
pub mod record;
