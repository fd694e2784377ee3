//! The box's screen: how it stands, for whoever is in front of it. Nobody logs in here, and the one thing that can be typed is a one-time
//! code, while the box has no certificate.
pub mod code;
pub mod facts;
pub mod picture;
mod qr;

pub use picture::{Picture, Stage, draw};
