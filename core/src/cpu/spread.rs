//! A program's threads on processors of their own.
//!
//! Threads that were asleep wake up on one processor, or follow each other to one, and share it until the
//! system notices: for tens of milliseconds, which is all that a photo takes. While a program runs, each
//! of its threads therefore stays where no other one is. Work of others that a thread of the pool does
//! meanwhile is bound, too, and so would be a thread that it starts; no op starts any.

#[cfg(target_os = "linux")]
pub(crate) use linux::Places;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::Places;

#[cfg(target_os = "linux")]
mod linux {
    use parking_lot::Mutex;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

    /// The processors that threads of a program have.
    #[derive(Debug, Default)]
    pub(crate) struct Places(Mutex<Vec<usize>>);

    /// Gives a thread the run of the processors back that it had before.
    #[derive(Debug)]
    pub(crate) struct Placed(CpuSet);

    impl Drop for Placed {
        fn drop(&mut self) {
            // It fails only where the system has taken these processors away meanwhile.
            let _ = sched_setaffinity(None, &self.0);
        }
    }

    impl Places {
        /// Keeps the calling thread on a processor that no thread before has: that on which it runs, if
        /// it is free. Where none is, or the system does not allow it, the thread is left alone.
        pub(crate) fn take_one(&self) -> Option<Placed> {
            let before = sched_getaffinity(None).ok()?;
            let mut taken = self.0.lock();
            let own = std::iter::once(sched_getcpu());
            let free = |cpu: &usize| before.is_set(*cpu) && !taken.contains(cpu);
            let place = own.chain(0..CpuSet::MAX_CPU).find(free)?;
            let mut only = CpuSet::new();
            only.set(place);
            sched_setaffinity(None, &only).ok()?;
            taken.push(place);
            Some(Placed(before))
        }
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    mod tests {
        use super::*;

        #[test]
        fn threads_get_processors_of_their_own_and_all_of_them_back() {
            let before = sched_getaffinity(None).unwrap();
            let places = Places::default();
            let mut had = vec![];
            for _ in 0..before.count() {
                // As another thread would, from wherever this one is now.
                let placed = places.take_one().unwrap();
                let now = sched_getaffinity(None).unwrap();
                assert!(now.count() == 1 && now.is_set(sched_getcpu()));
                had.push(sched_getcpu());
                drop(placed);
                assert_eq!(sched_getaffinity(None).unwrap(), before);
            }
            had.sort_unstable();
            had.dedup();
            assert_eq!(had.len(), before.count() as usize);
            assert!(places.take_one().is_none(), "all are taken");
            assert_eq!(sched_getaffinity(None).unwrap(), before);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    /// Where threads run is left to the system.
    #[derive(Debug, Default)]
    pub(crate) struct Places(());

    /// A thread that runs where the system lets it.
    #[derive(Debug)]
    pub(crate) struct Placed(());

    impl Places {
        /// Leaves the thread alone.
        pub(crate) fn take_one(&self) -> Placed {
            let Self(()) = self;
            Placed(())
        }
    }
}
