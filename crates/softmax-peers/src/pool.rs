//! The threads of one measuring process, and rows split among them for peers without threads.

use crate::data::Rows;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// A fixed number of threads. The calling thread is one of them, so that with a single thread
/// every peer runs where its instructions can be watched.
pub struct Pool {
    threads: usize,
    pool: ThreadPool,
}

impl Pool {
    /// A pool of `threads` threads.
    ///
    /// # Errors
    /// The threads could not be started, or the calling thread already belongs to a pool.
    pub fn new(threads: usize) -> Result<Self, String> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .use_current_thread()
            .build()
            .map_err(|error| format!("a pool of {threads} threads: {error}"))?;
        Ok(Self { threads, pool })
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work`, with this pool as the one its parallel iterators use.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// Whether [`Pool::split`] has a row for each thread.
    ///
    /// # Errors
    /// There are fewer rows than threads.
    pub fn can_split(&self, rows: usize) -> Result<(), String> {
        if self.threads == 1 || rows >= self.threads {
            Ok(())
        } else {
            Err(format!("has no threads of its own, and {rows} row cannot be split"))
        }
    }

    /// Runs `work` on as many runs of whole rows as there are threads.
    pub fn split<T: Send + Sync>(&self, rows: Rows<'_, T>, cols: usize, work: impl Fn(Rows<'_, T>) + Sync) {
        if self.threads == 1 {
            return work(rows);
        }
        let part = |len: usize| (len / cols).div_ceil(self.threads) * cols;
        let work = &work;
        self.pool.in_place_scope(|scope| match rows {
            Rows::Out { x, y } => {
                let part = part(x.len());
                let mut parts = x.chunks(part).zip(y.chunks_mut(part));
                let first = parts.next();
                for (x, y) in parts {
                    scope.spawn(move |_| work(Rows::Out { x, y }));
                }
                if let Some((x, y)) = first {
                    work(Rows::Out { x, y });
                }
            }
            Rows::In { x } => {
                let part = part(x.len());
                let mut parts = x.chunks_mut(part);
                let first = parts.next();
                for x in parts {
                    scope.spawn(move |_| work(Rows::In { x }));
                }
                if let Some(x) = first {
                    work(Rows::In { x });
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_visited_once() {
        let pool = Pool::new(3).unwrap();
        for rows in 3..10 {
            let mut x = vec![1; rows * 5];
            pool.split(Rows::In { x: &mut x }, 5, |part| {
                let Rows::In { x } = part else { unreachable!() };
                assert!(x.len().is_multiple_of(5));
                x.iter_mut().for_each(|x| *x += 1);
            });
            assert!(x.iter().all(|&x| x == 2));
            let mut y = vec![0; x.len()];
            pool.split(Rows::Out { x: &x, y: &mut y }, 5, |part| {
                let Rows::Out { x, y } = part else { unreachable!() };
                y.copy_from_slice(x);
            });
            assert_eq!(x, y);
        }
        assert!(pool.can_split(2).is_err());
        assert!(pool.can_split(3).is_ok());
    }
}
