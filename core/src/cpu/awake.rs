//! Threads that stay awake while a program runs.
//!
//! A thread of the pool that finds no work goes to sleep within microseconds, and to wake it again
//! costs tens of them: as much as many an op of a small model takes. While a program runs, all other
//! threads therefore look for work until it has ended; they do other programs' work, too.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use super::spread::Places;

/// Looks for work between two offers of the processor to other programs.
const LOOKS: u32 = 64;

thread_local! {
    /// Programs that run on this thread, one inside a wait of another.
    static RUNNING: Cell<u32> = const { Cell::new(0) };
}

/// Counts a program that runs, and tells the other threads when it has ended: by its result or a panic.
struct Running<'a>(&'a AtomicBool);

impl<'a> Running<'a> {
    fn begin(ended: &'a AtomicBool) -> Self {
        RUNNING.set(RUNNING.get() + 1);
        Self(ended)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        RUNNING.set(RUNNING.get() - 1);
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `work` on a thread of the pool while all others stay awake.
pub(crate) fn during<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    if cfg!(target_arch = "wasm32") {
        return work();
    }
    // A pool of one thread, too: from another thread, every op would be handed over and waited for.
    let threads = rayon::current_num_threads();
    let (ended, places) = (&AtomicBool::new(false), &Places::default());
    rayon::scope(|scope| {
        let _placed = places.take_one();
        for _ in 1..threads {
            scope.spawn(|_| look_for_work(ended, places));
        }
        // One that wakes up here gets to its own processor now, and not when this one's time is over.
        std::thread::yield_now();
        let _running = Running::begin(ended);
        work()
    })
}

/// Does the pool's work until a program has ended. A thread that another program waits on must not:
/// two programs would wait for each other.
fn look_for_work(ended: &AtomicBool, places: &Places) {
    if RUNNING.get() > 0 {
        return;
    }
    let _placed = places.take_one();
    let mut looks = 0;
    while !ended.load(Ordering::Acquire) {
        if rayon::yield_now() == Some(rayon::Yield::Executed) {
            looks = 0;
            continue;
        }
        looks += 1;
        if looks % LOOKS == 0 {
            // Others may have the processor where there are more threads than processors.
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rayon::prelude::*;

    use super::*;

    fn sum(of: usize) -> usize {
        (0..of).into_par_iter().with_max_len(1).sum()
    }

    #[test]
    fn work_ends_with_any_number_of_threads_and_beside_others() {
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            // From within the pool, from several threads at once, and one inside another.
            let nested = || during(|| (0..20).map(|_| sum(300)).sum::<usize>() + during(|| sum(100)));
            let expected = 20 * 44_850 + 4950;
            assert_eq!(pool.install(nested), expected);
            std::thread::scope(|scope| {
                let others: Vec<_> = (0..4).map(|_| scope.spawn(|| pool.install(nested))).collect();
                others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), expected));
            });
        }
    }

    /// Two programs in one pool would wait for each other if each looked for work on top of the other.
    #[test]
    fn a_thread_with_a_program_does_not_wait_for_another_to_end() {
        let (done, back) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let (own, other) = (AtomicBool::new(false), AtomicBool::new(false));
            let running = Running::begin(&own);
            look_for_work(&other, &Places::default());
            drop(running);
            done.send(own.load(Ordering::Acquire)).unwrap();
        });
        assert_eq!(back.recv_timeout(std::time::Duration::from_secs(10)), Ok(true));
    }

    #[test]
    fn a_panic_comes_through_and_leaves_no_thread_behind() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let failing = AssertUnwindSafe(|| {
            pool.install(|| during(|| -> usize { std::panic::resume_unwind(Box::new(7)) }))
        });
        assert!(catch_unwind(failing).is_err());
        assert_eq!(pool.install(|| during(|| sum(10))), 45);
    }
}
