//! lab
use std::time::Instant;
use wgpu::util::DeviceExt;
fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dims: Vec<u32> = args[0].split('x').map(|s| s.parse().unwrap()).collect();
    let (m, n, k) = (dims[0], dims[1], dims[2]);
    let mut desc = wgpu::InstanceDescriptor::new_without_display_handle();
    desc.backends = wgpu::Backends::VULKAN;
    let instance = wgpu::Instance::new(desc);
    let adapter = pollster::block_on(instance.request_adapter(&Default::default())).unwrap();
    eprintln!("{:?}", adapter.get_info());
    if std::env::var("FEATURES").is_ok() {
        eprintln!("{:?}\n{:?}", adapter.features(), adapter.limits());
    }
    let want = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16 | wgpu::Features::IMMEDIATES;
    let mut limits = adapter.limits();
    limits.max_immediate_size = limits.max_immediate_size.min(128);
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
        required_features: adapter.features() & want,
        required_limits: limits,
        ..Default::default()
    }))
    .unwrap();
    let rnd = |len: u32, s: u32| -> Vec<f32> {
        (0..len)
            .map(|i| {
                ((i.wrapping_mul(2654435761).wrapping_add(s.wrapping_mul(97)) >> 8) % 1000) as f32 / 500.0
                    - 1.0
            })
            .collect()
    };
    let (a, b) = (rnd(m * k, 1), rnd(k * n, 2));
    let buf = |d: &[f32]| {
        device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: None,
            contents: bytemuck::cast_slice(d),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
        })
    };
    let (ba, bb) = (buf(&a), buf(&b));
    let bc = buf(&vec![0f32; (m * n) as usize]);
    let params = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: None,
        contents: bytemuck::cast_slice(&[m, n, k, 0u32]),
        usage: wgpu::BufferUsages::UNIFORM,
    });
    let read = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4 * (m * n) as u64,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut runs = vec![];
    for f in &args[1..] {
        let src = std::fs::read_to_string(f).unwrap();
        let head: Vec<String> = src.lines().next().unwrap().split_whitespace().map(String::from).collect();
        let (tr, tc): (u32, u32) = (head[2].parse().unwrap(), head[3].parse().unwrap());
        let t = Instant::now();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(src.into()),
        });
        let pipe = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        let entries: Vec<_> = [&params, &ba, &bb, &bc]
            .iter()
            .enumerate()
            .map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.as_entire_binding() })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipe.get_bind_group_layout(0),
            entries: &entries,
        });
        let go = || {
            let mut e = device.create_command_encoder(&Default::default());
            {
                let mut p = e.begin_compute_pass(&Default::default());
                p.set_pipeline(&pipe);
                p.set_bind_group(0, &group, &[]);
                p.dispatch_workgroups(n.div_ceil(tc), m.div_ceil(tr), 1);
            }
            queue.submit([e.finish()]);
            device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        };
        go();
        let compile = t.elapsed().as_secs_f64();
        let mut e = device.create_command_encoder(&Default::default());
        e.copy_buffer_to_buffer(&bc, 0, &read, 0, 4 * (m * n) as u64);
        queue.submit([e.finish()]);
        read.slice(..).map_async(wgpu::MapMode::Read, |_| ());
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let c: Vec<f32> = bytemuck::cast_slice(&read.slice(..).get_mapped_range().unwrap()).to_vec();
        read.unmap();
        let mut err = 0f64;
        for s in 0..997u32 {
            let i = s * 7919 % m;
            let j = s * 104729 % n;
            let want: f64 =
                (0..k).map(|x| a[(i * k + x) as usize] as f64 * b[(x * n + j) as usize] as f64).sum();
            err = err.max((want - c[(i * n + j) as usize] as f64).abs());
        }
        let mut best = vec![];
        let rounds = std::env::var("ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(5);
        for _ in 0..rounds {
            let t = Instant::now();
            go();
            best.push(t.elapsed().as_secs_f64());
        }
        best.sort_by(f64::total_cmp);
        let gf = 2.0 * (m as f64) * (n as f64) * (k as f64) / 1e9;
        println!(
            "{f}: {:.1} GFLOP/s (best {:.1}) first {:.2}s err {:.1e}",
            gf / best[best.len() / 2],
            gf / best[0],
            compile,
            err
        );
        runs.push(0);
    }
}
