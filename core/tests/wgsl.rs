//! Every kernel, in every specialisation that lowerings produce, is valid WGSL, translates to SPIR-V,
//! MSL and HLSL, and agrees with what the lowering hands it. Needs no GPU.
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod op_cases;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ScalarKind, ShaderStage, StorageAccess, TypeInner};
use rmae_core::gpu::WORKGROUP_BYTES;
use rmae_core::graph::Source;
use rmae_core::ops::Op;
use rmae_core::ops::kernel::{
    Dispatch, Halves, Kernel, Lowering, MAX_BINDINGS, MAX_GROUPS, Machine, MatrixUnits, Open, Scalar, Sizes,
    Slot, all,
};
use rmae_core::ops::variant::{Choices, Variant};

/// Files that are parts of several kernels.
const SHARED: [&str; 5] = ["erf", "layer_norm_row", "matmul_blocks", "matmul_strided", "matmul_tile"];

/// Every machine that has kernels of its own.
fn machines() -> [Machine; 6] {
    let cooperative = |side, lanes| Machine::Cooperative(MatrixUnits { side, lanes });
    let processor = |lanes| Machine::Processor { lanes };
    let [direct, quads, lanes] = [None, Some(4), Some(8)].map(processor);
    [Machine::Gpu, cooperative(8, 32), cooperative(16, 32), direct, quads, lanes]
}

/// Each variant of a machine's kernels.
fn variants(machine: Machine) -> Vec<(Machine, Arc<Choices>)> {
    let all = Variant::of(machine).into_iter();
    all.map(|variant| (machine, Arc::new(Choices::always(variant)))).collect()
}

/// Kernels that only devices with subgroups are given.
const WITH_SUBGROUPS: [&str; 3] = ["matmul_lanes", "matmul_quads", COOPERATIVE];

/// The kernel that only devices with units for products of small matrices are given: more workgroup memory,
/// f16 whatever the bindings are, and no DX12.
const COOPERATIVE: &str = "matmul_cooperative";

/// Every dispatch that the ops of the kernel tests, and the executor itself, produce.
fn dispatches() -> Vec<Dispatch> {
    let mut found = rmae_core::gpu::sample_dispatches();
    for case in op_cases::all() {
        let node = case.graph.nodes().last().unwrap();
        let Source::Op { op, inputs } = &node.source else { panic!("not an op") };
        let inputs: Vec<Vec<usize>> = inputs.iter().map(|&i| case.graph.shape(i).to_vec()).collect();
        for (machine, choices) in machines().into_iter().flat_map(variants) {
            let io = Lowering { inputs: inputs.clone(), output: node.shape.clone(), machine, choices };
            let lowered = op.lower(&io);
            assert!(!lowered.is_empty(), "{}: no dispatch", case.name);
            found.extend(lowered);
        }
    }
    found
}

fn kernels() -> Vec<&'static Kernel> {
    [all(), rmae_core::gpu::kernels()].concat()
}

/// The bindings that may be stored as f16: none, and all that can.
fn storages(kernel: &Kernel) -> BTreeSet<Halves> {
    let can = (1..=MAX_BINDINGS).filter(|&binding| kernel.takes_half(binding));
    [Halves::default(), can.fold(Halves::default(), Halves::with)].into()
}

fn parse(kernel: &Kernel, half: Halves, sizes: Sizes) -> (Module, ModuleInfo) {
    let text = kernel.text(half, sizes);
    let module = naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(&text, kernel.name)));
    let mut may = Capabilities::empty();
    may.set(Capabilities::SUBGROUP, WITH_SUBGROUPS.contains(&kernel.name));
    may.set(Capabilities::SHADER_FLOAT16, half.any() || kernel.name == COOPERATIVE);
    may.set(Capabilities::COOPERATIVE_MATRIX, kernel.name == COOPERATIVE);
    let info = Validator::new(ValidationFlags::all(), may)
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {}", kernel.name, e.emit_to_string(&text)));
    (module, info)
}

#[test]
fn every_shader_file_is_a_registered_kernel_that_some_lowering_uses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeSet::new();
    for folder in ["ops", "gpu", "graph", "model", "cpu"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "wgsl") {
                files.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
            }
        }
    }
    SHARED.iter().for_each(|name| assert!(files.remove(*name), "{name}"));
    let registered: BTreeSet<String> = kernels().iter().map(|k| k.name.to_string()).collect();
    assert_eq!(files, registered);
    let used: BTreeSet<String> = dispatches().iter().map(|d| d.kernel.name.to_string()).collect();
    assert_eq!(used, registered);
}

#[test]
fn every_specialisation_validates_and_translates() {
    let mut specialisations = BTreeMap::new();
    for d in dispatches() {
        let key = format!("{:?} {:?}", d.constants, d.sizes);
        specialisations.entry((d.kernel.name, key)).or_insert((d.kernel, d.constants, d.sizes));
    }
    assert!(specialisations.len() > kernels().len(), "no kernel has more than one specialisation");
    for ((name, constants), (kernel, values, sizes)) in &specialisations {
        let values: PipelineConstants = values.iter().map(|&(k, v)| (k.to_string(), v)).collect();
        for half in storages(kernel) {
            let (module, info) = parse(kernel, half, sizes);
            let main = Some((ShaderStage::Compute, "main"));
            let (module, info) = process_overrides(&module, &info, main, &values)
                .unwrap_or_else(|e| panic!("{name} {constants} {half:?}: {e}"));
            translate(&module, &info, *name == COOPERATIVE)
                .unwrap_or_else(|e| panic!("{name} {constants} {half:?}: {e}"));
        }
    }
}

/// To what Vulkan, Metal and DX12 take.
fn translate(module: &Module, info: &ModuleInfo, cooperative: bool) -> Result<(), String> {
    let words =
        spv::write_vec(module, info, &spv::Options::default(), None).map_err(|e| format!("SPIR-V: {e}"))?;
    assert!(words.len() > 50);
    let lang_version = if cooperative { (2, 3) } else { msl::Options::default().lang_version };
    let options = msl::Options { lang_version, ..Default::default() };
    let (text, reflection) = msl::write_string(module, info, &options, &msl::PipelineOptions::default())
        .map_err(|e| format!("MSL: {e}"))?;
    reflection.entry_point_names[0].as_ref().map_err(|e| format!("MSL: {e}"))?;
    assert!(text.contains("kernel void"));
    if cooperative {
        return Ok(());
    }
    let mut text = String::new();
    // The first version with 16-bit types.
    let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
    let pipeline = hlsl::PipelineOptions::default();
    let reflection = hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(module, info, None)
        .map_err(|e| format!("HLSL: {e}"))?;
    reflection.entry_point_names[0].as_ref().map_err(|e| format!("HLSL: {e}"))?;
    assert!(text.contains("numthreads"));
    Ok(())
}

#[test]
fn params_and_bindings_are_what_the_lowerings_hand_over() {
    for d in dispatches() {
        let (module, _) = parse(d.kernel, Halves::default(), d.sizes);
        let name = d.kernel.name;
        assert_eq!(params_of(&module), d.params.iter().map(kind_of).collect::<Vec<_>>(), "{name}: Params");
        let bindings = bindings_of(&module);
        if !d.bindings.is_empty() && d.kernel.name != "accumulate" && d.kernel.name != "adamw" {
            let written: Vec<bool> = d.bindings.iter().map(|s| matches!(s, Slot::Output)).collect();
            assert_eq!(bindings.len(), written.len(), "{name}: number of bindings");
            let last = d.bindings.len() - 1;
            for (i, writable) in bindings.iter().enumerate() {
                assert_eq!(*writable, i == last, "{name}: only the last binding is written");
            }
        }
        let known: BTreeSet<&str> = module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
        let given: BTreeSet<&str> = d.constants.iter().map(|(n, _)| *n).collect();
        assert_eq!(known, given, "{name}: overrides");
    }
}

/// The kinds of the fields of `Params`, which must be scalars of 4 bytes without gaps.
fn params_of(module: &Module) -> Vec<ScalarKind> {
    let uniform = module.global_variables.iter().find(|(_, v)| v.space == AddressSpace::Uniform).unwrap().1;
    let binding = uniform.binding.as_ref().unwrap();
    assert_eq!((binding.group, binding.binding), (0, 0));
    let TypeInner::Struct { members, span } = &module.types[uniform.ty].inner else {
        panic!("Params is no struct")
    };
    assert_eq!(*span as usize, 4 * members.len());
    let field = |(i, m): (usize, &naga::StructMember)| {
        assert_eq!(m.offset as usize, 4 * i);
        let TypeInner::Scalar(scalar) = module.types[m.ty].inner else { panic!("a field is no scalar") };
        assert_eq!(scalar.width, 4);
        scalar.kind
    };
    members.iter().enumerate().map(field).collect()
}

fn kind_of(scalar: &Scalar) -> ScalarKind {
    match scalar {
        Scalar::U32(_) => ScalarKind::Uint,
        Scalar::F32(_) => ScalarKind::Float,
    }
}

/// For each storage binding in order, whether the shader writes it.
fn bindings_of(module: &Module) -> Vec<bool> {
    let mut found = BTreeMap::new();
    for (_, v) in module.global_variables.iter() {
        if let AddressSpace::Storage { access } = v.space {
            found.insert(v.binding.as_ref().unwrap().binding, access.contains(StorageAccess::STORE));
        }
    }
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), (1..=found.len() as u32).collect::<Vec<_>>());
    found.into_values().collect()
}

#[test]
fn dispatches_stay_inside_the_default_limits() {
    for d in dispatches() {
        assert!(
            d.workgroups.iter().all(|&n| n > 0 && n as usize <= MAX_GROUPS),
            "{}: {:?}",
            d.kernel.name,
            d.workgroups
        );
        assert!(d.bindings.len() <= 8 && d.params.len() <= 64);
        let (module, info) = parse(d.kernel, Halves::default(), d.sizes);
        let values: PipelineConstants = d.constants.iter().map(|&(k, v)| (k.to_string(), v)).collect();
        let (module, _) =
            process_overrides(&module, &info, Some((ShaderStage::Compute, "main")), &values).unwrap();
        assert!(module.entry_points[0].workgroup_size.iter().product::<u32>() <= 256);
        let shared = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx())).sum();
        let most = if d.kernel.name == COOPERATIVE { WORKGROUP_BYTES } else { 16384 };
        assert!(bytes <= most, "{} {:?}: {bytes} bytes of workgroup memory", d.kernel.name, d.constants);
    }
}

#[test]
fn long_products_are_split_by_rows_into_short_dispatches() {
    let (rows, k, out) = (200_000, 4096, 1000);
    for (machine, choices) in machines()[..3].iter().flat_map(|&machine| variants(machine)) {
        let inputs = vec![vec![rows, k], vec![out, k], vec![out]];
        let io = Lowering { inputs, output: vec![rows, out], machine, choices };
        let dispatches = rmae_core::ops::linear::Linear.lower(&io);
        assert!(dispatches.len() > 1);
        let factors: &[&str] = match dispatches[0].kernel.name {
            COOPERATIVE => &["SIDE", "SUBGROUPS_DOWN", "DOWN"],
            _ => &["THREADS_DOWN", "DOWN"],
        };
        let tile: u32 = factors.iter().map(|name| size(&dispatches[0], name)).product();
        let tile = if dispatches[0].kernel.name == COOPERATIVE { tile } else { 4 * tile };
        let mut next = 0;
        for d in &dispatches {
            assert_eq!(d.params[3], Scalar::U32(next), "the first row of tiles");
            let tile_rows = d.workgroups[1];
            assert!(2.0 * f64::from(tile) * f64::from(tile_rows) * (k * out) as f64 <= 2e10);
            next += tile_rows;
        }
        assert_eq!(next as usize, rows.div_ceil(tile as usize));
    }
}

fn size(dispatch: &Dispatch, name: &str) -> u32 {
    match dispatch.sizes.iter().find(|(known, _)| *known == name) {
        Some((_, Open::Size(size))) => *size,
        other => panic!("{name}: {other:?}"),
    }
}
