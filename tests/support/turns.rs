//! What is dear is not done by all tests at once: a machine on which everything starts together is late everywhere.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// So many at a time.
pub struct Turns {
    free: Mutex<usize>,
    freed: Condvar,
}

/// One of them, given back when it is dropped.
pub struct Turn(&'static Turns);

impl Turns {
    pub const fn of(many: usize) -> Self {
        Self { free: Mutex::new(many), freed: Condvar::new() }
    }

    /// Waits for one.
    pub fn take(&'static self) -> Turn {
        let none = |free: &mut usize| *free == 0;
        let mut free = self.freed.wait_while(self.free(), none).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Turn(self)
    }

    fn free(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.free() += 1;
        self.0.freed.notify_one();
    }
}
