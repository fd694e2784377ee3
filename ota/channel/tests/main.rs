//! The central side, against real devices, real servers and other people's software.
mod copies;
mod power_cut;
mod documents;
mod hawkbit;
mod interop;
mod publishing;
mod region;
mod rotation;
mod signatures;
mod taking_back;
