//! The central side, against real devices, real servers and other people's software.
mod hawkbit;
