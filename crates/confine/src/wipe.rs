//! An allocator that wipes what it takes back. A secret on its way passes buffers of codecs, sockets and parsers that nobody
//! here owns; what they leave behind would stay in the heap until somebody else needs the place.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, and nothing is left in what was freed. Growing moves, so that the old place is wiped as well.
///
/// Memory that C code takes for itself (SQLite, the TLS library's arithmetic) does not come through here.
#[derive(Debug, Default, Clone, Copy)]
pub struct Wiping;

// SAFETY: every request goes to the system's allocator with its own layout; `dealloc` writes only the block that its
// caller gives up. `realloc` is the provided one, which is made of `alloc`, a copy and `dealloc`.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's, `layout.size()` bytes long, and nobody reads it any more.
        unsafe { block.write_bytes(0, layout.size()) };
        // Without this the compiler may leave out a write that nobody can read.
        // SAFETY: no instruction; the block's address is all it gets.
        unsafe { std::arch::asm!("/* {} */", in(reg) block, options(nostack, preserves_flags)) };
        // SAFETY: the caller's promise about block and layout is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reading what was freed is what an attacker does; the test does it where the block cannot have gone elsewhere: a
    /// small block's first words are the allocator's own afterwards, the rest is left as it was.
    #[test]
    fn what_was_freed_is_wiped_and_what_was_moved_as_well() {
        let layout = Layout::from_size_align(4096, 16).unwrap();
        // SAFETY: the layout is not empty; only bytes of the block are written, and read again before anybody else can
        // have been given it, since this process allocates nothing in between.
        unsafe {
            for wiping in [true, false] {
                let (block, count) = match wiping {
                    true => {
                        let block = Wiping.alloc(layout);
                        block.write_bytes(0x5a, layout.size());
                        Wiping.dealloc(block, layout);
                        (block, 0)
                    }
                    // The control: the system leaves it there.
                    false => {
                        let block = System.alloc(layout);
                        block.write_bytes(0x5a, layout.size());
                        System.dealloc(block, layout);
                        (block, 1)
                    }
                };
                let left = (64..layout.size()).filter(|at| block.add(*at).read_volatile() == 0x5a);
                assert_eq!(left.count().min(1), count, "wiping: {wiping}");
            }
        }
    }
}
