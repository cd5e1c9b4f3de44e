//! The dialer process.
