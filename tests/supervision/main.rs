//! Applications that panic or hang, in a server that a program embeds: what their clients see, and that nobody else
//! sees anything.

#[expect(dead_code, reason = "shared with tests/embedding.rs, which uses the rest")]
mod client;
mod hangs;
mod levelled;
mod panics;
mod presence;
mod restarts;
mod shown;
mod told;

#[expect(dead_code, reason = "shared with tests/e2e, which uses the rest")]
#[path = "../e2e/certificate.rs"]
mod certificate;
#[expect(dead_code, reason = "shared with tests that use the rest")]
#[path = "../e2e/tunnel.rs"]
mod tunnel;
