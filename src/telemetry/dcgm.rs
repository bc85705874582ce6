//! What a DCGM exporter shows: Prometheus text with one sample per GPU and field.

use std::collections::BTreeMap;

use super::gpu::{Gpu, GpuSnapshot, MIB};
use crate::prometheus::Scrape;

/// Names of the field with the clocks' reasons: today's and the older one. Not among the exporter's default fields.
const REASONS: [&str; 2] = ["DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS"];

/// DCGM writes values from here on where a GPU has none ("blank" of 64 bits); the 32-bit ones are below.
const BLANK_64: f64 = 9.0e18;

/// The blanks of 32 bits: `0x7ffffff0` and the fifteen numbers after it.
const BLANK_32: std::ops::RangeInclusive<f64> = 2_147_483_632.0..=2_147_483_647.0;

/// Reads an answer of the exporter. Samples of MIG instances are left out: they are parts of a GPU.
#[must_use]
pub fn parse(text: &str) -> GpuSnapshot {
    let mut gpus: BTreeMap<u32, Gpu> = BTreeMap::new();
    let mut free: BTreeMap<u32, f64> = BTreeMap::new();
    for sample in Scrape::parse(text).samples {
        let Some(index) = sample.labels.get("gpu").and_then(|index| index.parse::<u32>().ok()) else { continue };
        let is_part = sample.labels.get("GPU_I_ID").is_some_and(|id| !id.is_empty());
        let value = sample.value;
        let is_blank = BLANK_32.contains(&value) && !sample.name.contains("_FB_");
        if is_part || !value.is_finite() || !(0.0..BLANK_64).contains(&value) || is_blank {
            continue;
        }
        let gpu = gpus.entry(index).or_insert_with(|| Gpu { index, ..Gpu::default() });
        if let Some(uuid) = sample.labels.get("UUID") {
            gpu.uuid.clone_from(uuid);
        }
        match sample.name.as_str() {
            "DCGM_FI_DEV_FB_USED" => gpu.memory_used_bytes = Some(value * MIB),
            "DCGM_FI_DEV_FB_FREE" => drop(free.insert(index, value * MIB)),
            "DCGM_FI_DEV_FB_TOTAL" => gpu.memory_total_bytes = Some(value * MIB),
            "DCGM_FI_DEV_GPU_UTIL" => gpu.utilization_ratio = Some(value / 100.0),
            "DCGM_FI_DEV_MEM_COPY_UTIL" => gpu.memory_utilization_ratio = Some(value / 100.0),
            "DCGM_FI_DEV_POWER_USAGE" => gpu.power_w = Some(value),
            "DCGM_FI_DEV_GPU_TEMP" => gpu.temperature_c = Some(value),
            "DCGM_FI_DEV_SM_CLOCK" => gpu.sm_clock_mhz = Some(value),
            "DCGM_FI_DEV_MEM_CLOCK" => gpu.memory_clock_mhz = Some(value),
            name if REASONS.contains(&name) => gpu.throttle_bits = Some(value as u64),
            _ => {}
        }
    }
    for (index, free) in free {
        if let Some(gpu) = gpus.get_mut(&index) {
            // Without the field of the total; what the driver keeps for itself is missing in the sum.
            gpu.memory_total_bytes = gpu.memory_total_bytes.or_else(|| gpu.memory_used_bytes.map(|used| used + free));
        }
    }
    GpuSnapshot { gpus: gpus.into_values().collect(), problems: Vec::new() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXPORTED: &str = "# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).\n# TYPE DCGM_FI_DEV_SM_CLOCK gauge\n\
        DCGM_FI_DEV_SM_CLOCK{gpu=\"0\",UUID=\"GPU-604ac76c\",device=\"nvidia0\",modelName=\"Tesla T4\",Hostname=\"h\"} 1590\n\
        DCGM_FI_DEV_GPU_TEMP{gpu=\"0\",UUID=\"GPU-604ac76c\"} 61\n\
        DCGM_FI_DEV_POWER_USAGE{gpu=\"0\",UUID=\"GPU-604ac76c\"} 68.9\n\
        DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",UUID=\"GPU-604ac76c\"} 97\n\
        DCGM_FI_DEV_FB_FREE{gpu=\"0\",UUID=\"GPU-604ac76c\"} 1009\n\
        DCGM_FI_DEV_FB_USED{gpu=\"0\",UUID=\"GPU-604ac76c\"} 14100\n\
        DCGM_FI_DEV_FB_USED{gpu=\"0\",UUID=\"GPU-604ac76c\",GPU_I_ID=\"1\"} 4\n\
        DCGM_FI_DEV_CLOCK_THROTTLE_REASONS{gpu=\"0\",UUID=\"GPU-604ac76c\"} 32\n\
        DCGM_FI_DEV_MEM_COPY_UTIL{gpu=\"1\",UUID=\"GPU-7f\"} 9223372036854775794\n\
        DCGM_FI_DEV_GPU_TEMP{gpu=\"1\",UUID=\"GPU-7f\"} 2147483632\n\
        DCGM_FI_DEV_SM_CLOCK{gpu=\"1\",UUID=\"GPU-7f\"} 300\n";

    #[test]
    fn fields_are_gathered_by_gpu_and_blanks_and_parts_are_left_out() {
        let gpus = parse(EXPORTED).gpus;
        assert_eq!(gpus.len(), 2);
        assert_eq!((gpus[0].uuid.as_str(), gpus[0].sm_clock_mhz), ("GPU-604ac76c", Some(1_590.0)));
        assert_eq!(gpus[0].memory_used_bytes, Some(14_100.0 * MIB));
        assert_eq!(gpus[0].memory_total_bytes, Some(15_109.0 * MIB));
        assert_eq!((gpus[0].throttle_bits, gpus[0].utilization_ratio), (Some(32), Some(0.97)));
        assert_eq!((gpus[1].memory_utilization_ratio, gpus[1].temperature_c), (None, None));
        assert_eq!(gpus[1].sm_clock_mhz, Some(300.0));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(text in "(DCGM_FI_DEV_FB_USED[{]gpu=\"[0-9]{0,12}\"[}] [0-9.eNan+-]{0,9}\n){0,4}.{0,60}") {
            let _ = parse(&text);
        }
    }
}
