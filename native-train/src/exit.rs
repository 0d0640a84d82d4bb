//! Exit codes: the one place that says which failure gets which.

use rmae_core::Error as CoreError;
use rmae_train::TrainError;
use rmae_train::data::DataError;

/// How a command failed, as a number that scripts can rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Failure {
    /// Anything not named below: a defect of the program.
    Internal = 1,
    // 2 is given by clap: the command line cannot be understood.
    /// An option, a prompt or a configuration file is wrong.
    Configuration = 3,
    /// Images, folders or label maps cannot be used.
    Data = 4,
    /// A checkpoint or weight file cannot be used.
    Checkpoint = 5,
    /// No device as demanded, or the device was lost.
    Device = 6,
    /// The device has not enough memory.
    Memory = 7,
    /// The loss or a gradient was not a number.
    NonFinite = 8,
    /// The file system refused: disk full, no permission.
    Io = 9,
    /// A verification is outside its tolerances.
    Verification = 10,
}

/// For `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
   0  done; also after Ctrl-C, when the run was saved
   1  internal error: please report it
   2  the command line cannot be understood
   3  an option, a prompt or the configuration file is wrong
   4  images, folders or label maps cannot be used
   5  a checkpoint or weight file cannot be used
   6  no device as demanded, or the device was lost
   7  the device has not enough memory
   8  the loss is no longer a number
   9  the file system refused (disk full, no permission)
  10  a verification is outside its tolerances
 130  interrupted a second time, without saving";

/// A verification that failed: a result, not a defect.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct VerificationFailed(pub(crate) String);

/// The failure that an error stands for.
pub(crate) fn failure(error: &anyhow::Error) -> Failure {
    error
        .chain()
        .find_map(|cause| {
            if let Some(error) = cause.downcast_ref::<TrainError>() {
                return Some(of_train(error));
            }
            if let Some(error) = cause.downcast_ref::<CoreError>() {
                return Some(of_core(error));
            }
            if let Some(error) = cause.downcast_ref::<DataError>() {
                return Some(of_data(error));
            }
            cause.is::<VerificationFailed>().then_some(Failure::Verification)
        })
        .unwrap_or(Failure::Internal)
}

fn of_train(error: &TrainError) -> Failure {
    match error {
        TrainError::Core(error) => of_core(error),
        TrainError::Data(error) => of_data(error),
        TrainError::Config(_) => Failure::Configuration,
        TrainError::Checkpoint { .. } => Failure::Checkpoint,
        TrainError::Io { .. } => Failure::Io,
        TrainError::NonFinite { .. } => Failure::NonFinite,
        _ => Failure::Internal,
    }
}

fn of_core(error: &CoreError) -> Failure {
    match error {
        CoreError::Config { .. } | CoreError::Prompt { .. } | CoreError::Unsupported(_) => {
            Failure::Configuration
        }
        CoreError::Image(_) => Failure::Data,
        CoreError::Checkpoint { .. } | CoreError::Tensor { .. } => Failure::Checkpoint,
        CoreError::NoAdapter(_) | CoreError::DeviceLost(_) => Failure::Device,
        CoreError::OutOfMemory { .. } => Failure::Memory,
        _ => Failure::Internal,
    }
}

fn of_data(error: &DataError) -> Failure {
    match error {
        DataError::Config(_) => Failure::Configuration,
        DataError::WorkerDied => Failure::Internal,
        _ => Failure::Data,
    }
}

/// What a person can do about it, where the message does not say.
pub(crate) fn advice(failure: Failure) -> Option<&'static str> {
    match failure {
        Failure::Internal => Some("this is a defect of rmae; please report it with the command that you ran"),
        Failure::Device => Some("`rmae devices` lists what there is; --device cpu always works"),
        Failure::Memory => Some(
            "lower --batch (and raise --accumulate by the same factor), add --recompute, or choose a smaller --preset or --img-size",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_through_context() {
        let memory = CoreError::OutOfMemory {
            what: "plan".into(),
            need_bytes: 2,
            limit_bytes: 1,
            advice: "less".into(),
        };
        let error = anyhow::Error::new(TrainError::from(memory)).context("while training");
        assert_eq!(failure(&error), Failure::Memory);
        assert!(advice(Failure::Memory).is_some_and(|a| a.contains("--batch") && a.contains("--recompute")));
        let lost = anyhow::Error::new(CoreError::DeviceLost("reset".into()));
        assert_eq!(failure(&lost), Failure::Device);
        assert_eq!(failure(&anyhow::anyhow!("what?")), Failure::Internal);
    }

    #[test]
    fn the_help_names_every_code() {
        for code in [
            Failure::Internal,
            Failure::Configuration,
            Failure::Data,
            Failure::Checkpoint,
            Failure::Device,
            Failure::Memory,
            Failure::NonFinite,
            Failure::Io,
            Failure::Verification,
        ] {
            assert!(HELP.contains(&format!("{:>4}  ", code as u8)), "{code:?}");
        }
    }
}
