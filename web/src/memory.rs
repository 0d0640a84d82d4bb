//! The allocator: the standard one, which also tells the worker when memory has run out.
//!
//! Rust then ends the program with a bare `unreachable executed`, and never says why.

use std::alloc::{GlobalAlloc, Layout, System};

use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    /// Set by the worker. It takes a number, as there is no memory left to make text in.
    #[wasm_bindgen(js_namespace = globalThis, js_name = rmaeOutOfMemory)]
    fn out_of_memory(bytes: f64);
}

struct Telling;

#[global_allocator]
static ALLOCATOR: Telling = Telling;

fn told(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() {
        out_of_memory(bytes as f64);
    }
    memory
}

// SAFETY: every call is passed on to the standard allocator as it is.
unsafe impl GlobalAlloc for Telling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that are asked for.
        told(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        told(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        told(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}
