//! A durable queue for each destination.
