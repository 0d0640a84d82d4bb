//! What can go wrong on a device, told apart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};

/// What to do about too little memory.
pub(crate) const ADVICE: &str = "reduce --batch, and use --accumulate or --recompute";

/// What a device reports outside of any call: kept until the next call, which returns it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    lost: Option<String>,
    uncaptured: Option<Reported>,
}

#[derive(Clone, Debug)]
enum Reported {
    OutOfMemory(String),
    Validation(String),
}

impl Reports {
    /// Has the device report here.
    pub(crate) fn listen(&self, device: &wgpu::Device) {
        let on_lost = self.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                on_lost.state().lost.get_or_insert(format!("{reason:?}: {message}"));
            }
        });
        let on_error = self.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            on_error.state().uncaptured.get_or_insert(classify(&error));
        }));
    }

    /// Fails with what was reported since the last call; a lost device fails for ever.
    pub(crate) fn check(&self) -> Result<()> {
        let mut state = self.state();
        if let Some(message) = &state.lost {
            return Err(Error::DeviceLost(message.clone()));
        }
        state.uncaptured.take().map_or(Ok(()), |reported| Err(reported.into_error("a command", 0)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reported {
    fn into_error(self, what: &str, need_bytes: u64) -> Error {
        match self {
            Self::OutOfMemory(message) => Error::OutOfMemory {
                what: format!("{what} ({message})"),
                need_bytes,
                limit_bytes: 0,
                advice: ADVICE.into(),
            },
            Self::Validation(message) => Error::Validation(message),
        }
    }
}

fn classify(error: &wgpu::Error) -> Reported {
    match error {
        wgpu::Error::OutOfMemory { source } => Reported::OutOfMemory(source.to_string()),
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            Reported::Validation(description.clone())
        }
    }
}

/// Runs `work` and fails with what the device objects to in it.
pub(crate) async fn scoped<T>(
    device: &wgpu::Device, reports: &Reports, what: &str, need_bytes: u64, work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    reports.check()?;
    let (result, errors) = {
        let filters =
            [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory];
        let scopes = filters.map(|filter| device.push_error_scope(filter));
        let result = work();
        // Scopes end in the reverse order of their beginning.
        let [internal, validation, memory] = scopes;
        (result, [Box::pin(memory.pop()) as Popped, Box::pin(validation.pop()), Box::pin(internal.pop())])
    };
    for error in errors {
        if let Some(error) = error.await {
            reports.check()?;
            return Err(classify(&error).into_error(what, need_bytes));
        }
    }
    reports.check()?;
    result
}

type Popped = std::pin::Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;
