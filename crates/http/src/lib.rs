//! HTTP over connected sockets that the dialer handed over, and JSON limits.
