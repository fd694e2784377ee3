//! The main job on packaged data, from a sender to a stand-in PACS.
