//! The device's side, against real servers, real files and other people's software.
mod goldens;
mod shapes;
