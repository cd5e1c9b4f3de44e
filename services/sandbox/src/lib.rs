//! The sandbox process.
