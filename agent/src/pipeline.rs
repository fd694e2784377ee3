//! The order of the stages, and the one place that writes their audit events, spans and metrics.
