/// Lets the system's allocator keep freed blocks of up to 32 MiB, 256 MiB in all, instead of giving them back at
/// once: a pass through a model frees and asks for the same blocks again and again, and fresh ones cost a fault for
/// every 4 KiB. For programs, at their start; it rules the whole process. Does nothing but on Linux with glibc.
pub fn keep_memory() {
    keep_memory_up_to(256 << 20);
}

/// As [`keep_memory`], with so many bytes in all: for training, whose steps free all activations at their end.
pub fn keep_memory_up_to(bytes: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const TRIM_THRESHOLD: i32 = -1;
        const MMAP_THRESHOLD: i32 = -3;
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        // SAFETY: glibc's function of this name and signature; both numbers are in its bounds.
        unsafe {
            mallopt(MMAP_THRESHOLD, 32 << 20);
            mallopt(TRIM_THRESHOLD, i32::try_from(bytes).unwrap_or(i32::MAX));
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = bytes;
}
