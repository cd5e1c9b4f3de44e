//! Memory is wiped when it is freed, in every process: credentials, tokens and messages pass buffers of libraries on their
//! way, and none of that is to be found afterwards.

use clawdbot_confine::wipe::Wiping;

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;
