//! The web console and the metrics endpoint.
