#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use pollster::block_on;

use super::{Measure, TUNING_BUDGET, Trial, Tuning, agree, tune};
use crate::error::{Error, Result};
use crate::ops::kernel::Machine;
use crate::ops::variant::{Choices, Product, Variant};

const LARGE: Product = Product { m: 512, n: 512, k: 512, trans_a: false, trans_b: false, bias: false };
const SMALL: Product = Product { m: 4, ..LARGE };

/// Says how long variants take, by name, and which are wrong or fail.
#[derive(Default)]
struct Fake {
    seconds: BTreeMap<&'static str, f64>,
    wrong: Option<&'static str>,
    failing: Option<&'static str>,
    lost: bool,
    /// What each trial takes of the budget.
    each: Duration,
    tried: Vec<(Product, &'static str)>,
}

impl Measure for Fake {
    fn elapsed(&self) -> Duration {
        self.each * self.tried.len() as u32
    }

    async fn trial(&mut self, product: &Product, variant: Variant) -> Result<Trial> {
        let name = variant.name();
        self.tried.push((*product, name));
        if self.lost {
            return Err(Error::DeviceLost("pulled out".into()));
        }
        if self.failing == Some(name) {
            return Err(Error::Validation("does not compile".into()));
        }
        let last = if self.wrong == Some(name) { 2.5 } else { 2.0 };
        let seconds = self.seconds.get(name).copied().unwrap_or(1.0);
        Ok(Trial { seconds, result: vec![1.0, last] })
    }

    fn tolerance(&self) -> f32 {
        1e-4
    }
}

fn tuned(fake: &mut Fake, products: &[Product], known: &Choices) -> Tuning {
    block_on(tune(fake, Machine::Gpu, products, known, TUNING_BUDGET)).unwrap()
}

fn choice(tuning: &Tuning, product: &Product) -> &'static str {
    tuning.choices.variant(Machine::Gpu, product).name()
}

/// The default variant's name, and how many there are.
fn variants() -> (&'static str, usize) {
    let all = Variant::of(Machine::Gpu);
    (all[0].name(), all.len())
}

#[test]
fn the_fastest_is_taken() {
    let mut fake = Fake { seconds: [("128x64x16", 0.5), ("32x32x32", 0.7)].into(), ..Fake::default() };
    let tuning = tuned(&mut fake, &[LARGE], &Choices::default());
    assert_eq!((choice(&tuning, &LARGE), tuning.measured), ("128x64x16", 1));
    assert_eq!(choice(&tuning, &SMALL), variants().0, "an unknown class keeps the default");
}

#[test]
fn hardly_faster_is_not_fast_enough() {
    let mut fake = Fake { seconds: [("128x64x16", 0.99)].into(), ..Fake::default() };
    assert_eq!(choice(&tuned(&mut fake, &[LARGE], &Choices::default()), &LARGE), variants().0);
}

#[test]
fn what_computes_something_else_or_fails_is_never_taken() {
    let seconds = BTreeMap::from([("128x64x16", 0.1), ("32x32x32", 0.2), ("16x64x32", 0.3)]);
    let (wrong, failing) = (Some("128x64x16"), Some("32x32x32"));
    let mut fake = Fake { seconds, wrong, failing, ..Fake::default() };
    assert_eq!(choice(&tuned(&mut fake, &[LARGE], &Choices::default()), &LARGE), "16x64x32");
}

#[test]
fn without_the_default_nothing_is_chosen_and_without_a_device_tuning_ends() {
    let mut fake = Fake { failing: Some(variants().0), ..Fake::default() };
    let tuning = tuned(&mut fake, &[LARGE], &Choices::default());
    assert_eq!((tuning.measured, tuning.left, fake.tried.len()), (0, 1, 1));
    let mut lost = Fake { lost: true, ..Fake::default() };
    let ended = block_on(tune(&mut lost, Machine::Gpu, &[LARGE], &Choices::default(), TUNING_BUDGET));
    assert!(matches!(ended, Err(Error::DeviceLost(_))));
}

#[test]
fn most_work_comes_first_and_the_budget_ends_it() {
    let each = TUNING_BUDGET / (variants().1 as u32 + 2) + Duration::from_nanos(1);
    let mut fake = Fake { each, seconds: [("64x64x8", 0.5)].into(), ..Fake::default() };
    let tuning = tuned(&mut fake, &[SMALL, LARGE], &Choices::default());
    assert_eq!((tuning.measured, tuning.left), (1, 1));
    assert_eq!(fake.tried.len(), variants().1 + 2, "no trial begins after the budget's end");
    assert!(fake.tried[..variants().1].iter().all(|(product, _)| *product == LARGE));
    assert_eq!((choice(&tuning, &LARGE), choice(&tuning, &SMALL)), ("64x64x8", variants().0));
}

#[test]
fn what_is_known_is_not_measured_again() {
    let mut fake = Fake { seconds: [("64x64x8", 0.5)].into(), ..Fake::default() };
    let first = tuned(&mut fake, &[LARGE], &Choices::default());
    fake.tried.clear();
    let second = tuned(&mut fake, &[LARGE, SMALL], &first.choices);
    assert_eq!((second.known, second.measured), (1, 1));
    assert!(fake.tried.iter().all(|(product, _)| *product == SMALL));
    assert_eq!(choice(&second, &LARGE), "64x64x8");
}

#[test]
fn a_machine_with_one_kernel_has_nothing_to_choose() {
    let machine = Machine::Processor { lanes: None };
    let mut fake = Fake::default();
    let tuning = block_on(tune(&mut fake, machine, &[LARGE], &Choices::default(), TUNING_BUDGET)).unwrap();
    assert_eq!((tuning, fake.tried.len()), (Tuning::default(), 0));
}

#[test]
fn results_agree_up_to_rounding_and_never_with_nan() {
    assert!(agree(&[1.0, 100.0], &[1.005, 100.0], 1e-4));
    assert!(!agree(&[1.0, 100.0], &[1.02, 100.0], 1e-4));
    assert!(!agree(&[1.0, f32::NAN], &[1.0, f32::NAN], 1e-4));
    assert!(!agree(&[1.0], &[1.0, 1.0], 1e-4));
}
