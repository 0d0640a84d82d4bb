//! Every op on a GPU against its evaluation on the CPU in f64, over ragged sizes, with poisoned buffers.
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod adapter;
mod op_cases;

use std::time::Duration;

use adapter::{gpu, mixed, units};
use op_cases::{Case, Of, Random, all, case};
use pollster::block_on;
use rmae_core::Error;
use rmae_core::exec::{Device, Params, Precision, Program, Tensors};
use rmae_core::gpu::{AdapterChoice, GpuDevice};
use rmae_core::graph::{Graph, Recompute, gradient};
use rmae_core::ops::elementwise::{Fill, Gelu, Reshape, Scale};
use rmae_core::ops::kernel::Machine;
use rmae_core::ops::layer_norm::LayerNorm;
use rmae_core::ops::linear::Linear;
use rmae_core::ops::reduce::SumAxis;
use rmae_core::ops::variant::{Choices, Variant};
use rmae_core::optim::AdamW;
use rmae_core::tensor::{HostData, HostTensor};

fn run(device: &Device, graph: &Graph, inputs: &Tensors) -> HostTensor {
    let mut program = block_on(device.compile(graph, &["y"], false)).unwrap();
    let mut params = block_on(device.params(&Tensors::new())).unwrap();
    if let Program::Gpu(gpu) = &program {
        gpu.poison();
    }
    block_on(program.run(&mut params, inputs)).unwrap().remove("y").unwrap()
}

/// The worst difference, relative to the largest number of the tensor; NaN is the worst of all.
fn worst(a: &HostTensor, b: &HostTensor) -> f64 {
    let (a, b) = (a.to_f64(), b.to_f64());
    let scale = b.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
    let error = |(x, y): (&f64, &f64)| if x.is_nan() { f64::INFINITY } else { (x - y).abs() / scale };
    a.iter().zip(&b).map(error).fold(0.0, f64::max)
}

#[test]
fn every_op_agrees_with_its_cpu_twin() {
    let Some(device) = gpu() else { return };
    let Device::Gpu(gpu) = &device.device else { return };
    let own = gpu.report().machine();
    let others = [
        Machine::Gpu,
        Machine::Processor { lanes: None },
        Machine::Processor { lanes: gpu.report().lanes() },
        // Of wider subgroups, workgroups of four threads are a part.
        Machine::Processor { lanes: gpu.report().lanes().and(Some(4)) },
    ];
    let mut bad = vec![];
    for Case { name, graph, inputs, .. } in all() {
        let want = run(&Device::cpu(Precision::F64), &graph, &inputs);
        // The kernels for every machine that this one can be taken for, whatever it is.
        for machine in others.into_iter().chain([own]) {
            gpu.use_kernels_for(machine);
            let have = run(&device, &graph, &inputs);
            assert_eq!(have.shape(), want.shape(), "{name}");
            let error = worst(&have, &want);
            if error > 2e-5 {
                bad.push(format!("{name} ({machine:?}) -> {:?}: {error:.1e}", want.shape()));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// As above with f16: what the shaders load and store may be halves, what they compute is not.
#[test]
fn every_op_agrees_when_its_values_are_stored_as_f16() {
    let Some(device) = gpu() else { return };
    let Some(mixed) = mixed(&device) else { return };
    let Device::Gpu(gpu) = &mixed else { return };
    let own = gpu.report().machine();
    let mut bad = vec![];
    let mut rounded = 0;
    for Case { name, between, inputs, .. } in all() {
        let rounded_inputs = inputs.iter().map(|(name, value)| (name.clone(), as_halves(value))).collect();
        let want = run(&Device::cpu(Precision::F64), &between, &rounded_inputs);
        for machine in [Machine::Gpu, Machine::Processor { lanes: None }, own] {
            gpu.use_kernels_for(machine);
            let error = worst(&run(&mixed, &between, &inputs), &want);
            rounded += usize::from(error > 1e-5);
            // Half a unit in the last place of f16 for the result, and as much for what the reference rounds
            // though the kernel keeps it in f32 (gradients of losses).
            if error > 9.8e-4 {
                bad.push(format!("{name} ({machine:?}) -> {:?}: {error:.1e}", want.shape()));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(rounded > 100, "only {rounded} results differ from f32: was f16 used?");
}

/// The variants of the products' kernels, each for every product of the cases.
fn every_variant_agrees(gpu: &GpuDevice, rounded: impl Fn(&Case) -> (Graph, Tensors), tolerance: f64) {
    let own = gpu.report().machine();
    let products = ["linear", "linear_grad_input", "linear_grad_weight"];
    let mut bad = vec![];
    for case in all() {
        let (graph, want_inputs) = rounded(&case);
        let op = case.graph.nodes().last().and_then(|node| node.op()).map(rmae_core::ops::Op::name);
        if !op.is_some_and(|op| products.contains(&op)) {
            continue;
        }
        let want = run(&Device::cpu(Precision::F64), &graph, &want_inputs);
        for machine in [Some(Machine::Gpu), Some(own), gpu.report().units.map(Machine::Cooperative)] {
            let Some(machine) = machine else { continue };
            gpu.use_kernels_for(machine);
            for variant in Variant::of(machine) {
                let device = Device::Gpu(gpu.clone().tuned(Choices::always(variant)));
                let error = worst(&run(&device, &graph, &case.inputs), &want);
                if error > tolerance {
                    let name = variant.name();
                    bad.push(format!("{} ({name}) -> {:?}: {error:.1e}", case.name, want.shape()));
                }
            }
        }
    }
    gpu.use_kernels_for(own);
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn every_variant_of_a_product_agrees_with_the_cpu() {
    let Some(device) = gpu() else { return };
    let Device::Gpu(gpu) = &device.device else { return };
    every_variant_agrees(gpu, |case| (case.graph.clone(), case.inputs.clone()), 2e-5);
    let Some(Device::Gpu(mixed)) = mixed(&device) else { return };
    let halves = |case: &Case| {
        let inputs = case.inputs.iter().map(|(name, value)| (name.clone(), as_halves(value))).collect();
        (case.between.clone(), inputs)
    };
    every_variant_agrees(&mixed, halves, 9.8e-4);
    units(gpu);
}

#[test]
fn a_tuned_program_computes_what_an_untuned_one_does() {
    let Some(device) = gpu() else { return };
    let Device::Gpu(gpu) = &device.device else { return };
    let own = gpu.report().machine();
    let (graph, inputs, weights) = small_network();
    for machine in [Machine::Gpu, own] {
        gpu.use_kernels_for(machine);
        let tuning = block_on(gpu.tune(&graph, Duration::from_secs(60))).unwrap();
        let several = Variant::of(machine).len() > 1;
        assert_eq!((tuning.measured > 0, tuning.left), (several, 0), "{machine:?}");
        let tuned = gpu.clone().tuned(tuning.choices.clone());
        let again = block_on(tuned.tune(&graph, Duration::ZERO)).unwrap();
        assert_eq!((again.known, again.measured, again.left), (tuning.measured, 0, 0));
        assert_eq!(again.choices, tuning.choices);
        let [have, want] =
            [tuned, gpu.clone()].map(|gpu| gradients(&Device::Gpu(gpu), &graph, &inputs, &weights));
        assert_close(&have, &want, "after tuning");
    }
    gpu.use_kernels_for(own);
}

fn gradients(device: &Device, graph: &Graph, inputs: &Tensors, weights: &Tensors) -> Tensors {
    let mut params = block_on(device.params(weights)).unwrap();
    let mut program = block_on(device.compile(graph, &["loss"], true)).unwrap();
    let mut found = block_on(program.run(&mut params, inputs)).unwrap();
    found.extend(block_on(params.gradients()).unwrap());
    found
}

#[test]
fn what_tuning_found_is_kept_for_the_same_device_only() {
    let Some(device) = gpu() else { return };
    let Device::Gpu(gpu) = &device.device else { return };
    let own = gpu.report().machine();
    gpu.use_kernels_for(Machine::Gpu);
    let tuning = block_on(gpu.tune(&small_network().0, Duration::from_secs(60))).unwrap();
    let key = gpu.tuning_key();
    gpu.use_kernels_for(own);
    let text = key.write(&tuning.choices).unwrap();
    assert_eq!(key.read(&text).unwrap(), tuning.choices);
    let other = text.replacen(&gpu.report().driver, "another driver", 1);
    assert_ne!(other, text);
    assert_eq!(key.read(&other).unwrap(), Choices::default());
    assert!(key.read(&text[..text.len() / 2]).is_err());
    if let Some(Device::Gpu(mixed)) = mixed(&device) {
        assert_ne!(mixed.tuning_key().file_name(), key.file_name());
    }
}

#[test]
fn what_f16_cannot_hold_becomes_an_infinity() {
    let Some(device) = gpu() else { return };
    let Some(mixed) = mixed(&device) else { return };
    let mut graph = Graph::new();
    let x = graph.input("x", &[6]);
    let large = graph.apply(Scale { factor: 1e6 }, &[x]).unwrap();
    let y = graph.apply(Scale { factor: 1e-6 }, &[large]).unwrap();
    graph.set_output("y", y);
    let values = vec![1.0, -1.0, 0.066, -0.065, f32::NAN, f32::INFINITY];
    let inputs = Tensors::from([("x".into(), HostTensor::f32(&[6], values).unwrap())]);
    let y = run(&mixed, &graph, &inputs).to_f64();
    assert_eq!((y[0], y[1], y[2]), (f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY), "{y:?}");
    assert!((y[3] + 0.065).abs() < 1e-4 && y[4].is_nan() && y[5] == f64::INFINITY, "{y:?}");
}

/// The numbers that are left of a tensor in f16.
fn as_halves(tensor: &HostTensor) -> HostTensor {
    match tensor.data() {
        HostData::F32(values) => {
            let halves = values.iter().map(|&x| half::f16::from_f32(x).to_f32()).collect();
            HostTensor::f32(tensor.shape(), halves).unwrap()
        }
        _ => tensor.clone(),
    }
}

/// Same classes of numbers in the same places: finite, NaN, or an infinity of one sign.
fn same_classes(a: &HostTensor, b: &HostTensor) -> bool {
    let class = |x: f64| {
        if x.is_nan() {
            2
        } else if x.is_infinite() {
            x.signum() as i32
        } else {
            0
        }
    };
    a.to_f64().iter().zip(b.to_f64()).all(|(x, y)| class(*x) == class(y))
}

#[test]
fn infinities_and_nan_stay_where_they_belong() {
    let Some(device) = gpu() else { return };
    let spoil = |mut case: Case, at: usize, value: f32| {
        let mut data = case.inputs["i0"].to_f32();
        data[at] = value;
        let spoiled = HostTensor::f32(case.inputs["i0"].shape(), data).unwrap();
        case.inputs.insert("i0".into(), spoiled);
        case
    };
    let matrix = |r: usize, c: usize| Of::Real(vec![r, c]);
    let row = |n: usize| Of::Real(vec![n]);
    for value in [f32::INFINITY, f32::NAN] {
        let cases = [
            spoil(case("gelu", Gelu, &[row(9)]), 4, value),
            spoil(case("norm", LayerNorm { eps: 1e-6 }, &[matrix(5, 70), row(70), row(70)]), 75, value),
            spoil(case("linear", Linear, &[matrix(70, 20), matrix(66, 20), row(66)]), 333, value),
        ];
        for Case { name, graph, inputs, .. } in cases {
            let want = run(&Device::cpu(Precision::F32), &graph, &inputs);
            let have = run(&device, &graph, &inputs);
            assert!(want.to_f64().iter().any(|x| !x.is_finite()), "{name}: nothing to test");
            assert!(same_classes(&have, &want), "{name} with {value}");
        }
    }
}

/// A two-layer network with a loss, whose parameters share an input and whose graph has views.
fn small_network() -> (Graph, Tensors, Tensors) {
    let mut g = Graph::new();
    let x = g.input("x", &[6, 10]);
    let (w1, b1) = (g.param("fc1.weight", &[12, 10], true), g.param("fc1.bias", &[12], true));
    let w2 = g.param("fc2.weight", &[3, 12], true);
    let h = g.apply(Linear, &[x, w1, b1]).unwrap();
    let h = g.apply(Gelu, &[h]).unwrap();
    let h = g.apply(Reshape { shape: vec![2, 3, 12] }, &[h]).unwrap();
    let y = g.apply(Linear, &[h, w2]).unwrap();
    let y = g.apply(Gelu, &[y]).unwrap();
    let loss =
        g.apply(SumAxis { outer: 1, n: 18, inner: 1, scale: 1.0 / 18.0, shape: vec![1] }, &[y]).unwrap();
    g.set_output("loss", loss);
    gradient(&mut g, loss, Recompute::Nothing).unwrap();
    let mut random = Random::new(3);
    let mut tensor = |shape: &[usize]| {
        let n = shape.iter().product();
        HostTensor::f32(shape, (0..n).map(|_| random.real()).collect()).unwrap()
    };
    let inputs = Tensors::from([("x".into(), tensor(&[6, 10]))]);
    let weights = Tensors::from([
        ("fc1.weight".into(), tensor(&[12, 10])),
        ("fc1.bias".into(), tensor(&[12])),
        ("fc2.weight".into(), tensor(&[3, 12])),
        ("unused".into(), tensor(&[5])),
    ]);
    (g, inputs, weights)
}

struct Trained {
    loss: f64,
    norms: Vec<f64>,
    gradients: Tensors,
    weights: Tensors,
    state: Tensors,
}

/// Three steps of two accumulated runs each, then one more run whose gradients are read.
fn train(device: &Device, adamw: &AdamW) -> Trained {
    let (graph, inputs, weights) = small_network();
    let mut params = block_on(device.params(&weights)).unwrap();
    let mut program = block_on(device.compile(&graph, &["loss"], true)).unwrap();
    if let Program::Gpu(gpu) = &program {
        gpu.poison();
    }
    let mut norms = vec![];
    for step in 1..=3 {
        for _ in 0..2 {
            block_on(program.run(&mut params, &inputs)).unwrap();
        }
        let report = block_on(params.step(&AdamW { step, grad_scale: 0.5, ..adamw.clone() })).unwrap();
        assert!(report.applied);
        norms.push(report.grad_norm);
        assert!(block_on(params.gradients()).unwrap().is_empty(), "a step clears the gradients");
    }
    let loss = block_on(program.run(&mut params, &inputs)).unwrap()["loss"].scalar();
    let gradients = block_on(params.gradients()).unwrap();
    let state = block_on(params.optimizer_state()).unwrap();
    Trained { loss, norms, gradients, weights: block_on(params.weights()).unwrap(), state }
}

fn assert_close(have: &Tensors, want: &Tensors, what: &str) {
    assert_eq!(have.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{what}");
    for (name, want) in want {
        let error = have[name].relative_error(want);
        assert!(error < 2e-5, "{what} {name}: {error:e}");
    }
}

#[test]
fn training_agrees_with_the_cpu() {
    let Some(device) = gpu() else { return };
    for clip_norm in [None, Some(0.05)] {
        let adamw = AdamW { lr: 1e-2, clip_norm, ..AdamW::default() };
        let (have, want) = (train(&device, &adamw), train(&Device::cpu(Precision::F64), &adamw));
        assert!((have.loss - want.loss).abs() < 1e-5 * want.loss.abs(), "{} {}", have.loss, want.loss);
        for (h, w) in have.norms.iter().zip(&want.norms) {
            assert!((h - w).abs() < 1e-5 * w, "{h} {w}");
        }
        assert_close(&have.gradients, &want.gradients, "gradient");
        assert_close(&have.weights, &want.weights, "weight");
        assert_close(&have.state, &want.state, "state");
    }
}

#[test]
fn a_non_finite_norm_leaves_the_weights_alone() {
    let Some(device) = gpu() else { return };
    let (graph, mut inputs, weights) = small_network();
    let mut params = block_on(device.params(&weights)).unwrap();
    let mut program = block_on(device.compile(&graph, &["loss"], true)).unwrap();
    let good = inputs.clone();
    inputs.insert("x".into(), HostTensor::f32(&[6, 10], vec![f32::NAN; 60]).unwrap());
    block_on(program.run(&mut params, &inputs)).unwrap();
    let report = block_on(params.step(&AdamW::default())).unwrap();
    assert!(!report.applied && !report.grad_norm.is_finite());
    assert_eq!(block_on(params.weights()).unwrap(), weights);
    // The bad gradients are gone: the next step is a good one.
    block_on(program.run(&mut params, &good)).unwrap();
    assert!(block_on(params.step(&AdamW::default())).unwrap().applied);
}

#[test]
fn optimizer_state_can_be_taken_away_and_brought_back() {
    let Some(device) = gpu() else { return };
    let (graph, inputs, weights) = small_network();
    let mut program = block_on(device.compile(&graph, &["loss"], true)).unwrap();
    let mut step = |params: &mut Params, step: u64| {
        block_on(program.run(params, &inputs)).unwrap();
        block_on(params.step(&AdamW { step, lr: 1e-2, ..AdamW::default() })).unwrap();
    };
    let mut params = block_on(device.params(&weights)).unwrap();
    assert!(block_on(params.optimizer_state()).unwrap().is_empty());
    step(&mut params, 1);
    let (middle, state) = (block_on(params.weights()).unwrap(), block_on(params.optimizer_state()).unwrap());
    step(&mut params, 2);
    let mut again = block_on(device.params(&middle)).unwrap();
    block_on(again.set_optimizer_state(&state)).unwrap();
    step(&mut again, 2);
    assert_eq!(block_on(again.weights()).unwrap(), block_on(params.weights()).unwrap());
    let stray = Tensors::from([("exp_avg.nothing".into(), HostTensor::zeros(&[1]))]);
    assert!(matches!(block_on(again.set_optimizer_state(&stray)), Err(Error::Tensor { .. })));
}

#[test]
fn bad_inputs_and_weights_are_named() {
    let Some(device) = gpu() else { return };
    let (graph, inputs, mut weights) = small_network();
    let mut program = block_on(device.compile(&graph, &["loss"], true)).unwrap();
    let mut params = block_on(device.params(&weights)).unwrap();
    let message = |r: rmae_core::Result<Tensors>| r.unwrap_err().to_string();
    let missing = message(block_on(program.run(&mut params, &Tensors::new())));
    assert!(missing.contains("x") && missing.contains("not given"), "{missing}");
    let wrong = Tensors::from([("x".into(), HostTensor::zeros(&[6, 11]))]);
    assert!(message(block_on(program.run(&mut params, &wrong))).contains("[6, 11]"));
    let ids = Tensors::from([("x".into(), HostTensor::u32(&[6, 10], vec![0; 60]).unwrap())]);
    assert!(message(block_on(program.run(&mut params, &ids))).contains("Real"));
    weights.remove("fc2.weight");
    let mut params = block_on(device.params(&weights)).unwrap();
    assert!(message(block_on(program.run(&mut params, &inputs))).contains("fc2.weight"));
    assert!(matches!(block_on(device.compile(&graph, &["nothing"], false)), Err(Error::UnknownName { .. })));
}

#[test]
fn a_buffer_over_the_limit_is_out_of_memory_with_need_limit_and_advice() {
    let Some(device) = gpu() else { return };
    let mut graph = Graph::new();
    let y = graph.apply(Fill { shape: vec![1 << 32], value: 0.0 }, &[]).unwrap();
    graph.set_output("y", y);
    let error = block_on(device.compile(&graph, &["y"], false)).unwrap_err();
    let Error::OutOfMemory { need_bytes, limit_bytes, advice, .. } = &error else { panic!("{error}") };
    assert!(*need_bytes == 1 << 34 && *limit_bytes > 0 && advice.contains("--batch"), "{error}");
}

#[test]
fn repeated_runs_and_programs_leak_nothing() {
    let Some(device) = gpu() else { return };
    let (graph, inputs, weights) = small_network();
    let mut params = block_on(device.params(&weights)).unwrap();
    let mut round = |runs: usize| {
        let mut program = block_on(device.compile(&graph, &["loss"], true)).unwrap();
        for _ in 0..runs {
            block_on(program.run(&mut params, &inputs)).unwrap();
            block_on(params.step(&AdamW::default())).unwrap();
        }
    };
    round(3);
    let before = resident_bytes();
    (0..10).for_each(|_| round(30));
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "300 runs of 10 programs grew the process by {grown} bytes");
}

/// Memory of this process; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

#[test]
fn a_device_measures_its_speed() {
    let Some(alone) = gpu() else { return };
    let Device::Gpu(gpu) = &alone.device else { return };
    let gflops = block_on(gpu.measure_gflops()).unwrap();
    assert!(gflops.is_finite() && gflops > 0.01, "{gflops}");
}

#[test]
fn software_adapters_are_only_taken_when_asked_for() {
    let reports = block_on(rmae_core::gpu::adapters());
    let hardware = block_on(GpuDevice::new(&AdapterChoice::Hardware));
    assert_eq!(hardware.is_ok(), reports.iter().any(|r| !r.software));
    let none = block_on(GpuDevice::new(&AdapterChoice::Named("no such adapter".into()))).unwrap_err();
    assert!(matches!(none, Error::NoAdapter(_)));
    if let Some(first) = reports.first() {
        assert!(block_on(GpuDevice::new(&AdapterChoice::Named(first.name.to_uppercase()))).is_ok());
        assert!(none.to_string().contains(&first.name), "{none}");
    }
}
