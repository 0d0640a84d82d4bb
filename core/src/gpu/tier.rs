//! What devices can do, in steps: the one table that says which limits and features are asked for.

use wgpu::{Features, Limits};

/// How much of a device is used. Higher tiers include the lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Tier {
    /// WebGPU's default limits: bindings of 128 MiB, 256 invocations and 16 KiB a workgroup.
    Baseline,
    /// Larger buffers and bindings, up to what the adapter offers.
    Extended,
}

/// Most workgroup memory of a kernel that not every device takes.
pub const WORKGROUP_BYTES: u32 = 32 << 10;

impl Tier {
    /// The highest tier that an adapter with these limits reaches.
    #[must_use]
    pub fn of(limits: &Limits) -> Self {
        let base = Limits::default();
        let larger = limits.max_storage_buffer_binding_size > base.max_storage_buffer_binding_size
            && limits.max_buffer_size > base.max_buffer_size;
        if larger { Self::Extended } else { Self::Baseline }
    }

    /// The limits to ask an adapter for that offers `offered`: the defaults, and from
    /// [`Tier::Extended`] on the largest buffers it has.
    #[must_use]
    pub fn limits(self, offered: &Limits) -> Limits {
        let mut limits = Limits::default().or_worse_values_from(offered);
        if self >= Self::Extended {
            limits.max_storage_buffer_binding_size = offered.max_storage_buffer_binding_size;
            limits.max_buffer_size = offered.max_buffer_size;
            limits.max_compute_workgroup_storage_size =
                offered.max_compute_workgroup_storage_size.min(WORKGROUP_BYTES);
        }
        limits
    }

    /// The features to ask for, of those that are offered: subgroups, with which adapters that compute
    /// on the processor multiply matrices, f16 for mixed precision with the units that multiply it, and the
    /// clock for profiles. All else is plain WebGPU.
    #[must_use]
    pub fn features(self, offered: Features) -> Features {
        offered
            & (Features::SUBGROUP
                | Features::SHADER_F16
                | Features::TIMESTAMP_QUERY
                | Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
    }

    /// Its name in print-outs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Extended => "extended",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_ask_for_no_more_than_is_offered() {
        let mut offered = Limits::default();
        assert_eq!(Tier::of(&offered), Tier::Baseline);
        offered.max_storage_buffer_binding_size = 1 << 30;
        offered.max_buffer_size = 1 << 31;
        assert_eq!(Tier::of(&offered), Tier::Extended);
        assert_eq!(Tier::Extended.limits(&offered).max_buffer_size, 1 << 31);
        assert_eq!(Tier::Baseline.limits(&offered), Limits::default());
    }
}
