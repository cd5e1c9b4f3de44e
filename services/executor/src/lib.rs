//! The executor process.
