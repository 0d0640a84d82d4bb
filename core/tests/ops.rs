//! Every op: its fast CPU evaluation against its definition, and its gradient rule against candle's
//! automatic differentiation and against central differences, in f64.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use candle_core::{DType, Device as CandleDevice, Tensor, Var};
use common::{Case, cases};
use rmae_core::exec::{Device, Precision, Tensors};
use rmae_core::graph::{Graph, NodeId, Recompute, gradient};
use rmae_core::ops::elementwise::Reshape;
use rmae_core::ops::linear::Linear;
use rmae_core::tensor::{HostData, HostTensor};

fn candle(tensor: &HostTensor, dtype: DType) -> Tensor {
    let shape = tensor.shape().to_vec();
    match tensor.data() {
        HostData::U32(v) => Tensor::from_vec(v.clone(), shape, &CandleDevice::Cpu).unwrap(),
        _ => Tensor::from_vec(tensor.to_f64(), shape, &CandleDevice::Cpu).unwrap().to_dtype(dtype).unwrap(),
    }
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference, on the scale of the largest value.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(1e-30f64, |m, x| m.max(x.abs()));
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    worst.fold(0.0, |m: f64, x| if x.is_nan() { f64::NAN } else { m.max(x) }) / scale
}

#[test]
fn fast_evaluations_agree_with_the_definitions() {
    for case in cases() {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
            let inputs: Vec<Tensor> = case.inputs.iter().map(|t| candle(t, dtype)).collect();
            let fast = case.op.cpu(&inputs).unwrap();
            let want = case.op.reference(&inputs).unwrap();
            assert_eq!(fast.dims(), want.dims(), "{}", case.name);
            assert!(fast.is_contiguous(), "{}", case.name);
            let error = difference(&flat(&fast), &flat(&want));
            assert!(error <= tolerance, "{} in {dtype:?}: {error:e}", case.name);
        }
    }
}

/// A graph with the case's inputs as parameters, and as loss a fixed random combination of the
/// elements of its result.
fn loss_graph(case: &Case) -> (Graph, Tensors, Tensors) {
    let mut graph = Graph::new();
    let (mut weights, mut inputs) = (Tensors::new(), Tensors::new());
    let mut ids: Vec<NodeId> = vec![];
    for (i, tensor) in case.inputs.iter().enumerate() {
        let name = format!("x{i}");
        let is_index = matches!(tensor.data(), HostData::U32(_));
        ids.push(match (is_index, case.differentiable.contains(&i)) {
            (true, _) => graph.index_input(&name, tensor.shape()),
            (false, true) => graph.param(&name, tensor.shape(), true),
            (false, false) => graph.input(&name, tensor.shape()),
        });
        let to = if case.differentiable.contains(&i) { &mut weights } else { &mut inputs };
        to.insert(name, tensor.clone());
    }
    let y = graph.apply(Wrapped(case.op.clone()), &ids).unwrap();
    let n = graph.node(y).len();
    let combination = (0..n).map(|i| ((i * 7919 + 13) % 101) as f32 / 50.0 - 1.0).collect();
    weights.insert("combination".into(), HostTensor::f32(&[1, n], combination).unwrap());
    let w = graph.param("combination", &[1, n], false);
    let row = graph.apply(Reshape { shape: vec![1, n] }, &[y]).unwrap();
    let loss = graph.apply(Linear, &[row, w]).unwrap();
    graph.set_output("loss", loss);
    (graph, weights, inputs)
}

/// A shared op as an owned one.
#[derive(Debug)]
struct Wrapped(std::sync::Arc<dyn rmae_core::ops::Op>);

impl rmae_core::ops::Op for Wrapped {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn infer(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
        self.0.infer(inputs)
    }
    fn vjp(&self, cx: &mut rmae_core::ops::Vjp) -> rmae_core::Result<Vec<Option<NodeId>>> {
        self.0.vjp(cx)
    }
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        self.0.reference(inputs)
    }
    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        self.0.cpu(inputs)
    }
    fn lower(&self, io: &rmae_core::ops::kernel::Lowering) -> Vec<rmae_core::ops::kernel::Dispatch> {
        self.0.lower(io)
    }
    fn is_view(&self) -> bool {
        self.0.is_view()
    }
    fn index_inputs(&self) -> &'static [usize] {
        self.0.index_inputs()
    }
}

fn run(graph: &Graph, weights: &Tensors, inputs: &Tensors, train: bool) -> (f64, Tensors) {
    let device = Device::cpu(Precision::F64);
    let mut params = pollster::block_on(device.params(weights)).unwrap();
    let mut program = pollster::block_on(device.compile(graph, &["loss"], train)).unwrap();
    let out = pollster::block_on(program.run(&mut params, inputs)).unwrap();
    let gradients = pollster::block_on(params.gradients()).unwrap();
    (out["loss"].scalar(), gradients)
}

fn our_gradients(case: &Case) -> Tensors {
    let (mut graph, weights, inputs) = loss_graph(case);
    let loss = graph.output("loss").unwrap();
    gradient(&mut graph, loss, Recompute::Nothing).unwrap();
    run(&graph, &weights, &inputs, true).1
}

/// The same gradients by candle's automatic differentiation of the op's definition.
fn candle_gradients(case: &Case) -> Vec<(usize, Vec<f64>)> {
    let (_, weights, _) = loss_graph(case);
    let mut vars: Vec<(usize, Var)> = vec![];
    let inputs: Vec<Tensor> = case
        .inputs
        .iter()
        .enumerate()
        .map(|(i, tensor)| {
            let value = candle(tensor, DType::F64);
            if !case.differentiable.contains(&i) {
                return value;
            }
            let var = Var::from_tensor(&value).unwrap();
            vars.push((i, var.clone()));
            var.as_tensor().clone()
        })
        .collect();
    let y = case.op.reference(&inputs).unwrap().flatten_all().unwrap();
    let w = candle(&weights["combination"], DType::F64).flatten_all().unwrap();
    let store = (y * w).unwrap().sum_all().unwrap().backward().unwrap();
    vars.iter().map(|(i, var)| (*i, flat(store.get(var.as_tensor()).unwrap()))).collect()
}

#[test]
fn gradient_rules_agree_with_candles_automatic_differentiation() {
    let mut compared = 0;
    for case in cases().iter().filter(|c| !c.differentiable.is_empty()) {
        let ours = our_gradients(case);
        for (i, want) in candle_gradients(case) {
            let error = difference(&ours[&format!("x{i}")].to_f64(), &want);
            assert!(error < 1e-10, "{}: input {i}: {error:e}", case.name);
            compared += 1;
        }
    }
    assert!(compared > 60, "only {compared} gradients were compared");
}

#[test]
fn gradient_rules_agree_with_central_differences() {
    const STEP: f64 = 1e-5;
    for case in cases().iter().filter(|c| !c.differentiable.is_empty()) {
        let ours = our_gradients(case);
        let (graph, weights, inputs) = loss_graph(case);
        for &i in &case.differentiable {
            let name = format!("x{i}");
            let gradient = ours[&name].to_f64();
            let scale = gradient.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
            // A handful of elements of large inputs: the rules treat all alike.
            let stride = (gradient.len() / 12).max(1);
            for e in (0..gradient.len()).step_by(stride) {
                let at = |delta: f64| {
                    let mut moved = weights.clone();
                    let mut values = weights[&name].to_f64();
                    values[e] += delta;
                    moved.insert(
                        name.clone(),
                        HostTensor::new(weights[&name].shape(), HostData::F64(values)).unwrap(),
                    );
                    run(&graph, &moved, &inputs, false).0
                };
                let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
                let error = (gradient[e] - numeric).abs() / scale;
                assert!(error < 2e-6, "{}: input {i}, element {e}: {} and {numeric}", case.name, gradient[e]);
            }
        }
    }
}
