//! How the C library's allocator gives memory back.
//!
//! Left to itself it keeps a heap for each thread, and what threads hand on to each other leaves holes in
//! all of them: exports that hold 300 MiB take twice that from the system.
//!
//! Source: `docs/decisions/0010-few-heaps.md`, with the figures.

/// Heaps that threads share.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAPS: std::ffi::c_int = 2;

/// Those of a server, whose many small requests would wait for each other at two.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SERVERS_HEAPS: std::ffi::c_int = 4;

/// Bytes from which a buffer is the system's own, and goes back to it as soon as it is dropped. Pages and columns
/// are below: the system would clear their memory each time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_PAGES_BYTES: std::ffi::c_int = 2 << 20;

/// Bytes that a heap keeps at its end for what comes next.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: std::ffi::c_int = 32 << 20;

/// Sets the allocator up; to be called before there are other threads.
pub(crate) fn set_up(serves: bool) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    let heaps = if serves { SERVERS_HEAPS } else { HEAPS };
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = serves;
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(
        unsafe_code,
        reason = "the C library is asked; it takes numbers and no memory of ours"
    )]
    // SAFETY: `mallopt` has no requirement but to be called by one thread at a time.
    unsafe {
        // What it refuses stays as it was, which is slower to give back and nothing worse.
        libc::mallopt(libc::M_ARENA_MAX, heaps);
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
    }
}
