/// Lets the system's allocator keep freed blocks of up to 32 MiB, 256 MiB in all, instead of giving them back at
/// once: a pass through a model frees and asks for the same blocks again and again, and fresh ones cost a fault for
/// every 4 KiB. For programs, at their start; it rules the whole process. Does nothing but on Linux with glibc.
pub fn keep_memory() {
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
            mallopt(TRIM_THRESHOLD, 256 << 20);
        }
    }
}
