//! What `nvidia-smi --query-gpu=... --format=csv,noheader,nounits` prints.

use super::gpu::{Gpu, GpuSnapshot, MIB};

/// The command that [`parse`] reads. The reasons' older name is understood by old and new drivers.
pub const COMMAND: [&str; 3] = [
    "nvidia-smi",
    "--query-gpu=index,uuid,memory.used,memory.total,utilization.gpu,utilization.memory,power.draw,temperature.gpu,\
     clocks.sm,clocks.mem,clocks_throttle_reasons.active",
    "--format=csv,noheader,nounits",
];

/// Columns of the command.
const COLUMNS: usize = 11;

/// Reads its output: one line per GPU. `[N/A]`, `[Not Supported]` and the like are absent; a line that is none is a problem.
#[must_use]
pub fn parse(text: &str) -> GpuSnapshot {
    let mut snapshot = GpuSnapshot::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match parse_line(line) {
            Some(gpu) => snapshot.gpus.push(gpu),
            None => {
                let shown: String = line.chars().take(160).collect();
                snapshot.problems.push(format!("nvidia-smi says: {shown}"));
            }
        }
    }
    snapshot
}

fn parse_line(line: &str) -> Option<Gpu> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    if cells.len() != COLUMNS {
        return None;
    }
    let number = |at: usize| cells[at].parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0);
    let ratio = |at: usize| number(at).map(|percent| percent / 100.0);
    let bytes = |at: usize| number(at).map(|mib| mib * MIB);
    let bits = cells[10].strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    Some(Gpu {
        index: cells[0].parse().ok()?,
        uuid: cells[1].to_owned(),
        memory_used_bytes: bytes(2),
        memory_total_bytes: bytes(3),
        utilization_ratio: ratio(4),
        memory_utilization_ratio: ratio(5),
        power_w: number(6),
        temperature_c: number(7),
        sm_clock_mhz: number(8),
        memory_clock_mhz: number(9),
        throttle_bits: bits,
        processes: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_per_gpu_is_read_and_what_is_not_supported_is_absent() {
        let text = "0, GPU-5f3c1d2e-8a77-4f6e-9d2b-1c0e4a5b6c7d, 22841, 24576, 98, 61, 347.21, 71, 1695, 9501, 0x0000000000000004\n\
                    1, GPU-0a1b2c3d-1111-2222-3333-444455556666, 3, 81559, [N/A], [Not Supported], [N/A], 34, 210, 1593, Not Active\n";
        let snapshot = parse(text);
        assert_eq!(snapshot.problems, [] as [String; 0]);
        let first = &snapshot.gpus[0];
        assert_eq!((first.memory_used_bytes, first.power_w), (Some(22_841.0 * MIB), Some(347.21)));
        assert_eq!((first.utilization_ratio, first.throttle_bits), (Some(0.98), Some(4)));
        let second = &snapshot.gpus[1];
        assert_eq!((second.index, second.utilization_ratio, second.power_w), (1, None, None));
        assert_eq!((second.temperature_c, second.throttle_bits), (Some(34.0), None));
        assert!(COMMAND[1].split(',').count() == COLUMNS);
    }

    #[test]
    fn what_the_tool_says_instead_of_figures_is_a_problem() {
        let text = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.163\n";
        let snapshot = parse(text);
        assert_eq!(snapshot.gpus, []);
        assert!(snapshot.problems[0].contains("Driver/library version mismatch"), "{:?}", snapshot.problems);
    }

    proptest! {
        #[test]
        fn no_output_makes_it_panic(text in "([0-9]{1,3}, ){0,12}[0-9a-zA-Z,. \\[\\]/é\n-]{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_whole_line_of_any_cells_never_gives_a_negative_or_infinite_figure(cells in proptest::collection::vec("[-0-9a-zN/.\\[\\]]{0,6}", 10)) {
            for gpu in parse(&format!("0,{}", cells.join(","))).gpus {
                let figures = [gpu.memory_used_bytes, gpu.utilization_ratio, gpu.power_w, gpu.temperature_c];
                prop_assert!(figures.iter().flatten().all(|v| v.is_finite() && *v >= 0.0));
            }
        }
    }
}
