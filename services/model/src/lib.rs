//! The model process.
