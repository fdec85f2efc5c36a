//! Memory between inaccessible pages, where the platform has `mmap`; plain memory elsewhere.
#![allow(unsafe_code)]

pub use platform::*;

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod platform {
    use crate::common::memory::Edge;
    use crate::common::within;
    use std::ffi::c_void;
    use std::marker::PhantomData;
    use std::slice;
    use std::sync::OnceLock;
    use std::time::Duration;

    /// Whether a slice can lie against that edge of its pages.
    ///
    /// Always, but for the end under QEMU 7 to 8: its `vmaskmovps` reads the elements that the mask leaves out, which a
    /// CPU does not. A forked process tries.
    pub fn guarded(edge: Edge) -> bool {
        static END: OnceLock<bool> = OnceLock::new();
        edge == Edge::Start
            || *END.get_or_init(|| {
                let end = !faults(masked_load_at_the_end);
                if !end {
                    println!("this emulator faults on masked-out elements: canaries, not a guard page, at the end");
                }
                end
            })
    }

    /// Whether `body` ends with a segmentation fault, in a process of its own.
    ///
    /// Of an emulator's threads a fork copies the locks, too: a child that waits for one of them is ended, and another made.
    pub fn faults(body: impl Fn()) -> bool {
        for _ in 0..10 {
            // SAFETY: the child only touches memory and leaves at once.
            let child = unsafe { libc::fork() };
            assert!(child >= 0, "fork");
            if child == 0 {
                // SAFETY: as above.
                unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
                body();
                // SAFETY: as above.
                unsafe { libc::_exit(0) };
            }
            if let Some(status) = ended(child) {
                return libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV;
            }
        }
        panic!("no forked process comes to an end");
    }

    /// How a child ended, or `None` if it had to be ended after five seconds.
    fn ended(child: libc::pid_t) -> Option<i32> {
        let mut status = 0;
        let ended = within(Duration::from_secs(5), || {
            // SAFETY: `status` is a place for it.
            let found = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
            assert!(found >= 0, "waitpid");
            (found == child).then_some(())
        });
        if ended.is_none() {
            // SAFETY: the child is ours, and nobody has waited for its end.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &raw mut status, 0);
            }
        }
        ended.map(|()| status)
    }

    #[cfg(target_arch = "x86_64")]
    fn masked_load_at_the_end() {
        use std::arch::x86_64::{_mm256_maskload_ps, _mm256_set1_epi32};
        #[target_feature(enable = "avx2")]
        fn load(pages: &Pages<f32>) {
            let end = pages.shared().as_ptr_range().end;
            // SAFETY: no element is accessed.
            std::hint::black_box(unsafe { _mm256_maskload_ps(end, _mm256_set1_epi32(std::hint::black_box(0))) });
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has AVX2.
            unsafe { load(&Pages::new(1)) };
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn masked_load_at_the_end() {}

    /// Whole accessible pages between two inaccessible ones.
    pub struct Pages<T> {
        map: *mut c_void,
        page: usize,
        accessible: usize,
        element: PhantomData<T>,
    }

    impl<T> Pages<T> {
        pub fn new(len: usize) -> Pages<T> {
            // SAFETY: no preconditions.
            let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
            let accessible = (len * size_of::<T>()).next_multiple_of(page);
            let (protection, flags) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            );
            // SAFETY: a new anonymous mapping; its outer pages, which nothing refers to, become inaccessible.
            let map = unsafe {
                let map = libc::mmap(std::ptr::null_mut(), accessible + 2 * page, protection, flags, -1, 0);
                assert_ne!(map, libc::MAP_FAILED, "mmap of {accessible} bytes");
                assert_eq!(libc::mprotect(map, page, libc::PROT_NONE), 0);
                assert_eq!(
                    libc::mprotect(map.byte_add(page + accessible), page, libc::PROT_NONE),
                    0
                );
                map
            };
            Pages {
                map,
                page,
                accessible,
                element: PhantomData,
            }
        }

        pub fn shared(&self) -> &[T] {
            // SAFETY: the accessible pages are mapped, zeroed at first, aligned, and live as long as `self`.
            unsafe { slice::from_raw_parts(self.map.byte_add(self.page).cast(), self.accessible / size_of::<T>()) }
        }

        pub fn all(&mut self) -> &mut [T] {
            // SAFETY: as in `shared`, and `self` is borrowed exclusively.
            unsafe { slice::from_raw_parts_mut(self.map.byte_add(self.page).cast(), self.accessible / size_of::<T>()) }
        }
    }

    impl<T> Drop for Pages<T> {
        fn drop(&mut self) {
            // SAFETY: the very mapping made by `new`, referred to by nothing any more.
            unsafe { libc::munmap(self.map, self.accessible + 2 * self.page) };
        }
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod platform {
    use crate::common::memory::{Edge, Watched};

    pub fn guarded(_: Edge) -> bool {
        false
    }

    /// Canaries on both sides.
    pub struct Pages<T>(Vec<T>);

    impl<T: Watched> Pages<T> {
        pub fn new(len: usize) -> Pages<T> {
            Pages(vec![T::mark(); len])
        }

        pub fn shared(&self) -> &[T] {
            &self.0
        }

        pub fn all(&mut self) -> &mut [T] {
            &mut self.0
        }
    }
}
