//! Server-sent events (HTML Living Standard §9.2): encoding only.
