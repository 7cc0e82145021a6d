//! How glibc's allocator is to treat the memory of these programs.
//!
//! They take and give back buffers as large as an event, hundreds of times a second. Left to itself glibc gives such memory back to the
//! kernel each time and faults it in again page by page, which is a tenth of what a put costs; and it keeps a heap for each thread, of
//! which ours have many that do the same work in turn. docs/decisions/memory.md has the figures.

/// Buffers up to this size, in bytes, come from the heap: an event with a fragment of 4 MiB. Larger ones come from the kernel each time.
const HEAP_UP_TO: i32 = 8 << 20;
/// So much free memory at the end of a heap, in bytes, is kept for the next buffers.
const KEPT: i32 = 16 << 20;
/// How many heaps the threads share.
const HEAPS: i32 = 2;

/// What the environment tells glibc begins with this.
const VARIABLES: &str = "MALLOC_";

/// Sets the allocator up, unless the environment does. To be called first, before there are other threads. With another C library than
/// glibc it does nothing.
pub fn set_up() {
    if std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with(VARIABLES)) {
        return;
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in
        [(libc::M_MMAP_THRESHOLD, HEAP_UP_TO), (libc::M_TRIM_THRESHOLD, KEPT), (libc::M_ARENA_MAX, HEAPS)]
    {
        set(parameter, value);
    }
}

/// What the allocator refuses is left as it was: it is a matter of speed only.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn set(parameter: libc::c_int, value: libc::c_int) {
    #[expect(unsafe_code, reason = "there is no safe way to call mallopt")]
    // SAFETY: mallopt takes two numbers by value, checks them, and changes the allocator under its own lock.
    unsafe {
        libc::mallopt(parameter, value);
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn resident_pages() -> u64 {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn memory_that_was_given_back_is_there_for_the_next_buffer() {
        super::set_up();
        const BYTES: usize = 4 << 20;
        let before = resident_pages();
        drop(std::hint::black_box(vec![1_u8; BYTES]));
        let kept = resident_pages() - before;
        assert!(kept * 4096 >= BYTES as u64 / 2, "{kept} pages");
    }
}
